"""The atlas: what the vectors are for."""
