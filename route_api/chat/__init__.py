"""A turn of a conversation: what is asked of Dify, what the caller gets, what is stored."""
