"""One chunk: every track of it ends with a vector or with a failure record."""
