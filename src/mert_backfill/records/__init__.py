"""What one stage leaves for the next: scan state, manifest, journal, ledger, track tables."""
