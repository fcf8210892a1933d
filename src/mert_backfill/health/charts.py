"""The charts of the report, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mert_backfill.health.counts import TrackCounters
from mert_backfill.health.history import HistoryEntry

CHART_WIDTH, CHART_HEIGHT = 720.0, 200.0
_MIN_SHARE = 0.5  # percent; so that one failure among 100,000 tracks can be seen


# what a track can be: the part of the library's counters, and its name on the page
OUTCOMES = {
    "embedded": "embedded",
    "failed": "failed, tried again",
    "quarantined": "quarantined",
    "open": "open",
}


@dataclass(frozen=True)
class Segment:
    """A part of a bar; `start` and `width` in percent."""

    outcome: str
    label: str
    count: int
    start: float
    width: float


@dataclass(frozen=True)
class Point:
    """A point of the progress chart, in the units of its viewBox."""

    x: float
    y: float
    label: str
    count: int


def stack_bar(tracks: TrackCounters) -> list[Segment]:
    """Return a stacked bar of the library's counters; no part that exists is too thin to see.

    Parameters
    ----------
    tracks : TrackCounters
        What the tracks are.
    """
    counters = tracks.as_record()
    counts = {outcome: counters[outcome] for outcome in OUTCOMES if counters[outcome]}
    shares = {
        outcome: max(_MIN_SHARE, 100 * count / counters["tracks"])
        for outcome, count in counts.items()
    }
    scale = 100 / sum(shares.values()) if shares else 0
    segments, start = [], 0.0
    for outcome, share in shares.items():
        width = share * scale
        segments.append(Segment(outcome, OUTCOMES[outcome], counts[outcome], start, width))
        start += width
    return segments


def progress_points(history: Sequence[HistoryEntry]) -> list[Point]:
    """Return the embedded tracks after each entry, with the start before the first.

    Runs are evenly spaced: hours of work and weeks of pause would else hide each other.
    """
    counts = [history[0].library.before.embedded]
    counts += [entry.library.now.embedded for entry in history]
    labels = ["before", *(entry.when for entry in history)]
    top = max(1, *(entry.library.now.tracks for entry in history))
    return [
        Point(CHART_WIDTH * index / len(history), CHART_HEIGHT * (1 - count / top), label, count)
        for index, (label, count) in enumerate(zip(labels, counts, strict=True))
    ]
