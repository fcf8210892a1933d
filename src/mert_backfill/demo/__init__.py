"""A small library and a small random model, made by code."""
