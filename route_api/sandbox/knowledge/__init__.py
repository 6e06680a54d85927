"""Datasets with their documents, segments, metadata and files: upload, indexing and search."""
