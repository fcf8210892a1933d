"""From windows to vectors: strict loading of MERT, and running it."""
