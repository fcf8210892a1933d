"""What the journals say that matters to a chunk, when it begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from mert_backfill.failures import Failure
from mert_backfill.records.journal import JournalState, replay
from mert_backfill.records.journal_index import JournalIndex, open_index
from mert_backfill.records.ledger import LastOutcomes, Ledger, runs_in_a_row
from mert_backfill.records.origins import Origin, last_origin, origin_told
from mert_backfill.results import Results
from mert_backfill.system.tables import read_jsonl


class Sounds:
    """Which tracks have a vector of which sound, under one profile.

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
        self._origins: dict[str, Origin] = {}

    def learn(self, record: Mapping[str, Any]) -> None:
        """Learn from a line of this chunk's own journal."""
        origin = origin_told(record, self._profile)
        if origin is None:
            return
        last = last_origin((self._origins.get(origin.track_id), origin))
        if last is origin:
            self._origins[origin.track_id] = origin
        if origin.sound is not None:
            self._own.setdefault(origin.sound, []).append(origin.track_id)

    def origin_of(self, track_id: str) -> Origin | None:
        """Return what the vector of a track was made of, None where no journal tells of one."""
        told = (origin_told(record, self._profile) for record in self._index.of_track(track_id))
        return last_origin((*told, self._origins.get(track_id)))

    def tracks_with(self, pcm_sha256: str) -> Iterator[str]:
        """Yield the tracks whose vector was made of a sound, each once.

        A track that had that sound until its file was replaced is none of them.
        """
        seen = set()
        for track_id in chain(self._own.get(pcm_sha256, ()), self._elsewhere(pcm_sha256)):
            if track_id in seen:
                continue
            seen.add(track_id)
            origin = self.origin_of(track_id)
            if origin is not None and origin.sound == pcm_sha256:
                yield track_id

    def _elsewhere(self, pcm_sha256: str) -> Iterator[str]:
        for record in self._index.of_sound(self._profile, pcm_sha256):
            origin = origin_told(record, self._profile)
            if origin is not None and origin.sound == pcm_sha256:
                yield origin.track_id


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
    since_ns : int
        What other chunks have written from this time on is not in it.
    """

    state: JournalState
    ledger: Ledger
    sounds: Sounds
    since_ns: int


def read_past(
    results: Results, chunk: str, tracks: Iterable[str], profile: str, *, since_ns: int
) -> Past:
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
    since_ns : int
        The time now, by the clock of the disk that holds the results.
    """
    own = list(read_jsonl(results.journal(chunk)))
    index = open_index(results, besides=results.journal(chunk))
    sounds = Sounds(index, profile)
    for record in own:
        sounds.learn(record)
    return Past(replay(own), Ledger(_failures(index, tracks, own)), sounds, since_ns)


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
