"""A Dify-compatible server of our own, for use where no Dify is configured.

It imports nothing of the rest of Route API.
"""
