"""What one stage leaves for the next: manifest, journal, ledger, track tables."""
