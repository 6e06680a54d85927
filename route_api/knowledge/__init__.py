"""Knowledge bases, documents and chunks: what Dify needs to be told, and what its API lacks."""
