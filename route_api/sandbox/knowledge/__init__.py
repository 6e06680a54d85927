"""Datasets, documents, segments, metadata and files: upload, indexing and search."""
