"""Knowledge bases, documents and chunks: the requests that we send to Dify for them, and what Dify's API lacks.

How Dify's datasets, documents and segments appear in our answers is decided in `presenters/`.
"""
