"""What there is before anything is configured: music, a meta.json, its vectors, a model."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from mert_backfill.library.listing import Listing
from mert_backfill.library.meta_file import MetaFile, stale_meta_keys
from mert_backfill.library.paths import PathMap, fold_case, is_windows, with_slashes
from mert_backfill.library.roots import Root
from mert_backfill.store.vectors import read_array

# references that are looked at to find the folder that they start from, and vectors that are read
_REFERENCES = 200
_VECTORS = 50
# folders of meta.json and above it that references are tried from
_ABOVE = 4
# a line of path_map is worth it from one row in so many on; the best one from so many rows on
_WORTH_A_LINE = 20
_ENOUGH = 5
_DRIVE_OF_WSL = re.compile(r"/mnt/([a-z])(?=/|$)")
Pair = tuple[str, str]  # a line of path_map: theirs, ours


@dataclass(frozen=True)
class Music:
    """The music folders, and what lies in them.

    `formats` counts the files of each ending.
    """

    roots: tuple[Root, ...]
    listing: Listing

    @property
    def files(self) -> int:
        """How many audio files there are."""
        return len(self.listing.files)

    @property
    def formats(self) -> Counter[str]:
        """How many files have which ending."""
        return Counter(os.path.splitext(file.path)[1].lower() for file in self.listing.files)


@dataclass(frozen=True)
class MetaLook:
    """A meta.json, and what makes it fit the music.

    Attributes
    ----------
    path : Path
        The file.
    path_map : tuple of pairs
        The lines of ``meta.path_map`` that it needs.
    embedding_base : Path or None
        The folder that relative references start from, where it is not the usual one.
    rows, rows_matched : int
        All rows, and those that belong to a file of the music then.
    vectors_named, vectors_found : int
        Rows that name a vector, and those whose vector is there.
    sizes : Counter
        How many of some of these vectors hold how many numbers.
    is_windows : bool
        It is written in the style of Windows.
    """

    path: Path
    path_map: tuple[Pair, ...]
    embedding_base: Path | None
    rows: int
    rows_matched: int
    vectors_named: int
    vectors_found: int
    sizes: Counter[int]
    is_windows: bool


def look_at_meta(path: Path, music: Music) -> MetaLook:
    """Find what makes a meta.json fit the music.

    Raises
    ------
    UserError
        It is no meta.json.
    """
    plain = MetaFile.load(path, embedding_base=None, path_map=PathMap())
    references = [ref for key in plain.tracks if (ref := plain.embedding_ref(key)) is not None]
    pairs = list(_music_prefixes(stale_meta_keys(music.listing, plain), music))
    pairs += _vector_prefixes(references, path)
    if plain.style.windows:
        pairs += _drives_of_wsl([path, *(root.path for root in music.roots)])
    pairs = list(dict.fromkeys(pairs))
    base = _embedding_base(references, path, PathMap(pairs))
    fitted = MetaFile.load(path, embedding_base=base, path_map=PathMap(pairs))
    found = [key for key in fitted.tracks if fitted.has_embedding(key)]
    return MetaLook(
        path=path,
        path_map=tuple(pairs),
        embedding_base=base,
        rows=len(fitted.tracks),
        rows_matched=len(fitted.tracks) - len(stale_meta_keys(music.listing, fitted)),
        vectors_named=len(references),
        vectors_found=len(found),
        sizes=Counter(_sizes(fitted.embeddings_of(islice(found, _VECTORS)))),
        is_windows=plain.style.windows,
    )


def _music_prefixes(keys: Sequence[str], music: Music) -> Iterator[Pair]:
    """Yield the prefixes behind which most of the rows are files of the music."""
    for root in music.roots:
        below = os.path.join(root.path, "")
        tails = {
            fold_case(file.path.removeprefix(below))
            for file in music.listing.files
            if file.root == root.name
        }
        votes: Counter[str] = Counter()
        spellings: dict[str, Counter[str]] = {}  # of Windows' prefixes, which have no case
        for key in keys:
            parts = with_slashes(key).split("/")
            for start in range(1, len(parts)):
                if fold_case("/".join(parts[start:])) in tails:
                    prefix = _spelled("/".join(parts[:start]))
                    same = fold_case(prefix) if is_windows(prefix) else prefix
                    votes[same] += 1
                    spellings.setdefault(same, Counter())[prefix] += 1
                    break
        for place, (same, rows) in enumerate(votes.most_common()):
            if same and (rows * _WORTH_A_LINE >= len(keys) or (place == 0 and rows >= _ENOUGH)):
                yield spellings[same].most_common(1)[0][0], str(root.path)


def _vector_prefixes(references: Sequence[str], meta: Path) -> list[Pair]:
    """Return the prefix that absolute references have in place of a folder around meta.json."""
    votes: Counter[Pair] = Counter()
    for reference in references[:_REFERENCES]:
        parts = with_slashes(reference).split("/")
        if not is_windows("/".join(parts)) and not reference.startswith("/"):
            continue
        for start in range(1, len(parts)):
            tail = "/".join(parts[start:])
            for folder in meta.parents[:_ABOVE]:
                if os.path.isfile(folder / tail):
                    votes[_spelled("/".join(parts[:start])), str(folder)] += 1
                    break
            else:
                continue
            break
    return [pair for pair, _ in votes.most_common(1) if pair[0] != pair[1]]


def _drives_of_wsl(paths: Iterable[Path]) -> list[Pair]:
    """Return the drives under which WSL2 shows Windows' disks, as Windows calls them."""
    found = filter(None, (_DRIVE_OF_WSL.match(str(path)) for path in paths))
    return [(f"{drive[1].upper()}:/", drive[0]) for drive in found]


def _embedding_base(references: Sequence[str], meta: Path, path_map: PathMap) -> Path | None:
    """Return the folder that relative references start from, None where it is the usual one."""
    usual = meta.parent.parent
    some = references[:_REFERENCES]

    def there(folder: Path) -> int:
        return sum(os.path.isfile(folder / path_map.to_local(reference)) for reference in some)

    best = max([usual, *meta.parents[:_ABOVE]], key=there)  # the first of equals
    return None if best == usual else best


def _sizes(paths: Iterable[Path]) -> Iterator[int]:
    for path in paths:
        vector = read_array(path)
        if isinstance(vector, np.ndarray) and vector.ndim == 1:
            yield len(vector)


def _spelled(prefix: str) -> str:
    """Return a prefix that ends where a folder's name does: a bare drive needs its slash."""
    return f"{prefix}/" if prefix.endswith(":") else prefix
