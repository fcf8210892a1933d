"""What was found out once at some cost, and need not be found out again: in eight bytes a fact.

A fact is a kind and what it is about, such as the path, size and time of a vector that could be
read. Only a number that stands for it is kept, in ``.state/remembered.npz``. That two facts have
the same number is as good as impossible: among a million of them, once in 18,000,000,000,000
questions.

The file may be deleted at any time: what it held is found out again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from typing import IO, Self

import numpy as np

from mert_backfill.results import Results
from mert_backfill.system.atomic import write_atomically


class Fact(StrEnum):
    """The kinds of facts.

    ADOPTED_TRACK: an earlier version made the vector of this track (profile, track).
    ADOPTED_FILE: and this is the file that it counts as made of (profile, track, size, mtime).
    """

    ADOPTED_TRACK = "adopted_track"
    ADOPTED_FILE = "adopted_file"


class Remembered:
    """The facts that are remembered, and those that are learned now."""

    def __init__(self, kept: Iterable[int] = ()) -> None:
        self._kept = set(kept)
        self._learned: set[int] = set()

    @classmethod
    def read(cls, results: Results) -> Self:
        """Read what is remembered; a missing or damaged file is an empty memory."""
        try:
            with np.load(results.remembered, allow_pickle=False) as file:
                return cls(file["facts"].astype(np.uint64).tolist())
        except Exception:  # whatever a damaged file makes of the reader
            return cls()

    def knows(self, fact: Fact, *about: object) -> bool:
        """Tell whether a fact is remembered, or was learned."""
        number = _number(fact, about)
        return number in self._kept or number in self._learned

    def learn(self, fact: Fact, *about: object) -> None:
        """Learn a fact; `write` keeps it."""
        self._learned.add(_number(fact, about))

    def write(self, results: Results) -> None:
        """Keep what was learned, if that is anything new; what others have kept stays."""
        if self._learned <= self._kept:
            return
        self._kept |= self._learned | type(self).read(results)._kept
        facts = np.sort(np.fromiter(self._kept, np.uint64, len(self._kept)))

        def save(file: IO[bytes]) -> None:
            np.savez(file, facts=facts)

        write_atomically(results.remembered, save)


def _number(fact: Fact, about: tuple[object, ...]) -> int:
    text = "\0".join([fact, *map(str, about)]).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
