"""Vectors for texts: the cosine of two vectors says how close two texts are in meaning."""
