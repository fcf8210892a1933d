"""Closes the gap between a music library and its MERT embeddings, resumably."""
