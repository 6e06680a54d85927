"""Route API: one HTTP API for knowledge bases and conversations, carried out on a Dify server."""
