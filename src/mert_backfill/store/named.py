"""The vectors that the rows of a meta.json name, made by another program: what they are good for.

To read a hundred thousand of them takes long, and they hardly ever change: what was read once is
remembered by path, size and time.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from mert_backfill.store.vectors import VectorState, vector_state
from mert_backfill.system.remembered import Remembered

Reembed = Literal["none", "invalid", "all"]

# what is remembered of a vector, each with its path, size and time and the length it should have
_USABLE, _UNUSABLE = "usable vector", "unusable vector"


class NamedVectors:
    """Tells whether vectors that rows name count, each file read once at most.

    Parameters
    ----------
    dimension : int
        Length D that a vector must have.
    reembed : {"none", "invalid", "all"}
        Whether existence is enough, a vector has to be usable, or none counts.
    remembered : Remembered
        What was read before, and what is read now.
    """

    def __init__(self, dimension: int, reembed: Reembed, remembered: Remembered) -> None:
        self._dimension = dimension
        self._reembed = reembed
        self._remembered = remembered
        self._found: dict[Path, str | None] = {}
        self.has_news = False

    def state(self, path: Path) -> VectorState:
        """Tell what a vector counts as: VALID if its track needs no other, MISSING or INVALID."""
        if self._reembed != "invalid":
            exists = VectorState.VALID if self._reembed == "none" else VectorState.INVALID
            return exists if path.is_file() else VectorState.MISSING
        if path not in self._found:
            self._found[path] = self._look(path)
        found = self._found[path]
        if found is None:
            return VectorState.MISSING
        return VectorState.VALID if found == _USABLE else VectorState.INVALID

    @property
    def usable(self) -> int:
        """How many of the files that were asked for hold a vector of length D."""
        return sum(found == _USABLE for found in self._found.values())

    def read_again(self, path: Path) -> VectorState:
        """Tell what a file holds, whatever counts, and believe nothing that is remembered.

        `has_news` is true from the first file on of which nothing was remembered, or something
        else.
        """
        about = self._about(path)
        if about is None:
            return VectorState.MISSING
        believed = self._recall(about)
        for fact in (_USABLE, _UNUSABLE):
            self._remembered.forget(fact, *about)
        self._found[path] = found = self._read(path, about)
        self.has_news |= found != believed
        return VectorState.VALID if found == _USABLE else VectorState.INVALID

    def keep(self) -> None:
        """Write down what was read, for the next time."""
        self._remembered.write()

    def _look(self, path: Path) -> str | None:
        about = self._about(path)
        if about is None:
            return None
        return self._recall(about) or self._read(path, about)

    def _recall(self, about: tuple[object, ...]) -> str | None:
        for fact in (_USABLE, _UNUSABLE):
            if self._remembered.knows(fact, *about):
                return fact
        return None

    def _about(self, path: Path) -> tuple[object, ...] | None:
        """Return what a fact about a file is about; None when there is no file."""
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return path, status.st_size, status.st_mtime_ns, self._dimension

    def _read(self, path: Path, about: tuple[object, ...]) -> str:
        is_usable = vector_state(path, self._dimension) is VectorState.VALID
        found = _USABLE if is_usable else _UNUSABLE
        self._remembered.learn(found, *about)
        return found


def folder_marks(folders: Iterable[str]) -> dict[str, str]:
    """Return for each folder a hash of its vectors' names, sizes and times.

    One that is not there has a hash, too: it may come back.
    """
    return {folder: _mark(folder) for folder in folders}


def _mark(folder: str) -> str:
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".npy"):
                    status = entry.stat()
                    found.append(f"{entry.name}\0{status.st_size}\0{status.st_mtime_ns}\n")
    except OSError:
        pass  # what could be seen is what counts
    text = "".join(sorted(found)).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=16).hexdigest()
