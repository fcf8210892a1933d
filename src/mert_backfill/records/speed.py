"""How fast chunks were made here: the one measure of how long the rest takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mert_backfill.records.journal import outcome_of, seconds_of
from mert_backfill.results import Results
from mert_backfill.system.tables import read_jsonl

_JOURNALS = 4  # the newest ones tell the speed of now


@dataclass(frozen=True)
class Speed:
    """What one chunk at a time took.

    Attributes
    ----------
    tracks : int
        The tracks that were settled.
    seconds : float
        The time from the first one that the model got to the last one, model loaded already.
    """

    tracks: int
    seconds: float

    def seconds_for(self, tracks: int, *, chunks_at_a_time: int) -> float:
        """Return how long some tracks take at this speed (in seconds)."""
        return tracks * self.seconds / self.tracks / chunks_at_a_time


def read_speed(results: Results, profile: str | None = None) -> Speed | None:
    """Return the speed of the last chunks, or, where there are none yet, of the calibration.

    Parameters
    ----------
    results : Results
        The results folder; it need not exist.
    profile : str, optional
        Count only what was embedded under it.

    Returns
    -------
    Speed or None
        None when nothing was embedded yet, or by versions that did not note when a track began.
    """
    journals = results.journals() or results.calibration_work.journals()
    newest = sorted(journals, key=_age, reverse=True)[:_JOURNALS]
    measured = [speed for path in newest for speed in measure_speeds(read_jsonl(path), profile)]
    if not measured:
        return None
    return Speed(sum(speed.tracks for speed in measured), sum(speed.seconds for speed in measured))


def measure_speeds(records: Iterable[Mapping[str, Any]], profile: str | None) -> list[Speed]:
    """Return the speed of each process that worked on a chunk, from the lines of its journal."""
    speeds = []
    for lines in _processes(records):
        began, tracks, last = None, 0, 0.0
        embeds = False
        for record in lines:
            if record.get("event") == "begin":
                with suppress(KeyError, TypeError, ValueError):
                    began = seconds_of(record["at"]) if began is None else began
            elif began is not None and (outcome := outcome_of(record)):
                tracks, last = tracks + 1, outcome.at
                embeds |= record["event"] == "embedded" and profile in (None, record.get("profile"))
        if embeds and began is not None and last > began:
            speeds.append(Speed(tracks, last - began))
    return speeds


def _processes(records: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Split a journal where a new process begins; the line that says so is left out."""
    parts: list[list[Mapping[str, Any]]] = [[]]
    for record in records:
        if record.get("event") == "begin" and not record.get("tracks"):
            parts.append([])
        else:
            parts[-1].append(record)
    return parts


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
