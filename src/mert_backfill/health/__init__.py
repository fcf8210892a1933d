"""How the library stands: audit, history, report, verification."""
