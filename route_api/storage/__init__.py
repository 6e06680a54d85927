"""The gateway's own database: users, conversations, messages."""
