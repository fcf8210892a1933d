"""A small library and a small random model, made by code."""

MARKER = ".complete"  # written last; holds the version of what was made
