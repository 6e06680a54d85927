"""Chats of both APIs: questions and answers, conversations, messages."""
