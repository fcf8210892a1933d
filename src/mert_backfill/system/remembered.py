"""What was found out once at some cost, and need not be found out again: in eight bytes a fact.

A fact is a kind and what it is about, such as the path, size and time of a vector that could be
read. Only a number that stands for it is kept. That two facts have the same number is as good as
impossible: among a million of them, once in 18,000,000,000,000 questions.

The file may be deleted at any time: what it held is found out again.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np

from mert_backfill.system.atomic import write_atomically


class Remembered:
    """The facts that a file keeps, and those that are learned now.

    Parameters
    ----------
    path : Path
        The file; one that is missing or damaged is an empty memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._learned: set[int] = set()
        self._forgotten: set[int] = set()

    @cached_property
    def _kept(self) -> set[int]:  # read at the first question
        return _read(self._path)

    def knows(self, fact: str, *about: object) -> bool:
        """Tell whether a fact is remembered, or was learned."""
        number = _number(fact, about)
        return number in self._kept or number in self._learned

    def learn(self, fact: str, *about: object) -> None:
        """Learn a fact; `write` keeps it."""
        number = _number(fact, about)
        self._learned.add(number)
        self._forgotten.discard(number)

    def forget(self, fact: str, *about: object) -> None:
        """Forget a fact that is none any more."""
        number = _number(fact, about)
        self._learned.discard(number)
        if number in self._kept:
            self._kept.remove(number)
            self._forgotten.add(number)

    def write(self) -> None:
        """Keep what was learned, if that is anything new; what others have kept stays."""
        if not self._forgotten and (not self._learned or self._learned <= self._kept):
            return
        kept = (_read(self._path) | self._learned) - self._forgotten
        facts = np.sort(np.fromiter(kept, np.uint64, len(kept)))

        def save(file: IO[bytes]) -> None:
            np.savez(file, facts=facts)

        write_atomically(self._path, save)


def _read(path: Path) -> set[int]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return set(file["facts"].astype(np.uint64).tolist())
    except Exception:  # whatever a damaged file makes of the reader
        return set()


def _number(fact: str, about: tuple[object, ...]) -> int:
    text = "\0".join([fact, *map(str, about)]).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
