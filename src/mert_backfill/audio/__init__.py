"""From an audio file to 24 kHz windows, in processes that may die."""
