"""Closes the gap between a music library and its MERT embeddings, resumably."""

__version__ = "0.1.0"
