"""Numbers and times in sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime


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


def percent(part: int, whole: int) -> str:
    """Return a share of something: ``94 %``; 100 is said of all only, and 0 of none."""
    share = round(100 * part / whole)
    return f"{share if part in (0, whole) else min(max(share, 1), 99)} %"


def duration(seconds: float) -> str:
    """Return a time as people say it: ``50 s``, ``16 min``, ``5 h 20 min``, ``4 days 12 h``."""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 36:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    told = counted(days, "day")
    return f"{told} {hours} h" if hours else told


def listed(counts: Mapping[str, int]) -> str:
    """Return counts with their names, the largest first: ``2 too_short, 1 not_audio``."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {name}" for name, count in ordered)


def local_time(when: str) -> str:
    """Return a UTC time of ISO 8601 as the clock here showed it, to the minute."""
    return datetime.fromisoformat(when).astimezone().strftime("%Y-%m-%d %H:%M")
