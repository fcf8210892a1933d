"""What the machine and the file system ask for: atomic files, tables, locks, logs, processes."""
