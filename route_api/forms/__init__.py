"""Multipart forms as real clients send them: their framing, the headers of their parts, the names of their files."""
