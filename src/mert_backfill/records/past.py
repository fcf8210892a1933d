"""What the journals say that matters to a chunk, when it begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from mert_backfill.failures import Failure
from mert_backfill.records.journal import JournalState, replay, vector_made
from mert_backfill.records.journal_index import JournalIndex, open_index
from mert_backfill.records.ledger import LastOutcomes, Ledger, runs_in_a_row
from mert_backfill.results import Results
from mert_backfill.system.tables import read_jsonl


class Sounds:
    """Which tracks got a vector from which sound, under one profile.

    Parameters
    ----------
    index : JournalIndex
        Knows those of other chunks.
    profile : str
        The profile.
    """

    def __init__(self, index: JournalIndex, profile: str) -> None:
        self._index = index
        self._profile = profile
        self._own: dict[str, list[str]] = {}

    def add(self, pcm_sha256: str, track_id: str) -> None:
        """Learn of a vector that this chunk has made."""
        self._own.setdefault(pcm_sha256, []).append(track_id)

    def tracks_with(self, pcm_sha256: str) -> Iterator[str]:
        """Yield the tracks that got a vector from a sound, each once."""
        seen = set()
        for track_id in chain(self._own.get(pcm_sha256, ()), self._elsewhere(pcm_sha256)):
            if track_id not in seen:
                seen.add(track_id)
                yield track_id

    def _elsewhere(self, pcm_sha256: str) -> Iterator[str]:
        for record in self._index.of_sound(self._profile, pcm_sha256):
            made = vector_made(record, self._profile)
            if made is not None and made[0] == pcm_sha256:
                yield made[1]


@dataclass(frozen=True)
class Past:
    """What the journals say that matters to a chunk.

    Attributes
    ----------
    state : JournalState
        What the chunk's own journal says.
    ledger : Ledger
        The last outcome of the chunk's tracks, whichever chunk had it.
    sounds : Sounds
        The vectors that can be reused.
    """

    state: JournalState
    ledger: Ledger
    sounds: Sounds


def read_past(results: Results, chunk: str, tracks: Iterable[str], profile: str) -> Past:
    """Read what matters to a chunk, its own journal once and of the others what is new.

    Parameters
    ----------
    results : Results
        The results folder.
    chunk : str
        The chunk.
    tracks : iterable of str
        The ids of its tracks.
    profile : str
        The profile whose vectors can be reused.
    """
    own = list(read_jsonl(results.journal(chunk)))
    index = open_index(results, besides=results.journal(chunk))
    sounds = Sounds(index, profile)
    for record in own:
        made = vector_made(record, profile)
        if made is not None:
            sounds.add(*made)
    return Past(replay(own), Ledger(_failures(index, tracks, own)), sounds)


def failures_of(results: Results, tracks: Iterable[str]) -> dict[str, Failure]:
    """Return the failures of some tracks, whichever chunk had them."""
    return _failures(open_index(results), tracks)


def runs_failed_alike(results: Results, tracks: Iterable[str]) -> dict[str, int]:
    """Return in how many runs in a row each track failed alike; see `runs_in_a_row`."""
    index = open_index(results)
    return {track: runs_in_a_row(index.of_track(track)) for track in tracks}


def _failures(
    index: JournalIndex, tracks: Iterable[str], own: Iterable[Mapping[str, Any]] = ()
) -> dict[str, Failure]:
    outcomes = LastOutcomes()
    for record in chain(*map(index.of_track, tracks), own):
        outcomes.add(record)
    return outcomes.failures
