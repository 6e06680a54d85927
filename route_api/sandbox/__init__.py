"""A Dify-compatible server of our own, for use where no Dify is configured.

It imports nothing of the rest of Route API, and it follows the behaviour of Dify 1.12.1. A docstring that names a case,
such as `chat/streaming-ping`, means the recording of a real Dify:
`tests/contract/dify-1.12.1/chat/streaming-ping.json`.
"""
