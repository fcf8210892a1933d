"""What lies on the disk, and what meta.json says of it."""
