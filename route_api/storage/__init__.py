"""The database of our own: users, conversations, messages."""
