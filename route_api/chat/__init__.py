"""A turn of a conversation: asks Dify, relays the answer to the caller, and stores both."""
