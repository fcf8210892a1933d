"""Numbers in sentences for people."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 track``, ``2,000 tracks``.

    Parameters
    ----------
    number : int
        How many.
    one, many : str
        The noun of one, and that of others; by default with an ``s``.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
