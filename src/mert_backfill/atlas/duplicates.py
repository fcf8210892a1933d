"""Tracks that sound the same: groups, on what evidence each stands, and which one to keep.

A false merge loses a song. So each track of a group is held against the one that is kept, never
against one that is held against another; how long files are is asked of the files, because what
was heard of them ends after 120 s; and nothing is deleted.
"""

from __future__ import annotations

import logging
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mert_backfill import recipes
from mert_backfill.atlas.table import Table
from mert_backfill.audio.tags import FileFacts
from mert_backfill.records.atlas import DuplicateRow, Neighbors
from mert_backfill.records.tracks import Sound

logger = logging.getLogger(__name__)

MIN_COSINE = 0.99
MAX_DIFFERENCE_S = 2.0
_SAME_LENGTH_S = 0.5  # encoders put some of their own around the sound
_CAPPED_S = min(recipe.kept_seconds for recipe in recipes.RECIPES.values()) - _SAME_LENGTH_S
# nobody has ten copies of one track in twenty: then the cosine says nothing
_MANY_COPIES, _MANY_TRACKS = 10, 0.05
_LOSSLESS_WORDS = {True: "yes", False: "no", None: ""}


@dataclass(frozen=True)
class _File:
    """A track that may be a near-duplicate, and what its file says."""

    place: int
    track_id: str
    path: str
    size_bytes: int
    inode: tuple[int, int]
    is_link: bool
    facts: FileFacts
    length_s: float | None
    pcm_sha256: str | None

    @property
    def rate(self) -> tuple[int, int]:
        """What tells which of two is of higher quality, where both are lossless or both not."""
        rates = (self.facts.sample_rate or 0, self.facts.bit_rate or 0)
        return rates if self.facts.lossless else (rates[1], rates[0])


def find_duplicates(
    table: Table,
    unit: np.ndarray,
    neighbors: Neighbors,
    sounds: Mapping[str, Sound],
    read_facts: Callable[[str], FileFacts],
) -> list[DuplicateRow]:
    """Find the groups of tracks that sound the same, and which of each to keep.

    Parameters
    ----------
    table : Table
        The rows of the atlas; those without a file are in no group.
    unit : np.ndarray [shape=(n, D), dtype=float32]
        Their vectors, the mean taken.
    neighbors : Neighbors
        The nearest of each.
    sounds : mapping
        Track id to what was heard of it.
    read_facts : callable
        Tells what a file says of itself; asked for those alone that may be duplicates.
    """
    parts = _connected(table, neighbors, sounds)
    found = _Files(table, sounds, read_facts)
    groups = []
    for part in parts:
        left = [file for place in part if (file := found.look_at(place)) is not None]
        while len(left) > 1:
            kept = _best(left)
            spare = {
                file.place: evidence
                for file in left
                if file is not kept and (evidence := _evidence(kept, file, unit))
            }
            if spare:
                others = [file for file in left if file.place in spare]
                groups.append(_group(kept, others, spare, unit))
            left = [file for file in left if file is not kept and file.place not in spare]
    groups.sort(key=lambda rows: (-(rows[0].spare_bytes or 0), rows[0].path))
    return [replace(row, group=n) for n, rows in enumerate(groups, 1) for row in rows]


def _connected(table: Table, neighbors: Neighbors, sounds: Mapping[str, Sound]) -> list[list[int]]:
    """Return the places of tracks that hang together, by whatever evidence."""
    leads = list(range(len(table.tracks)))

    def lead(place: int) -> int:
        while leads[place] != place:
            leads[place] = leads[leads[place]]
            place = leads[place]
        return place

    def join(one: int, other: int) -> None:
        first, second = sorted((lead(one), lead(other)))
        leads[second] = first

    same: dict[str, int] = {}
    for place, track in enumerate(table.tracks):
        sound = sounds.get(track.track_id)
        if table.files[place] is not None and sound is not None and sound.pcm_sha256:
            join(place, same.setdefault(sound.pcm_sha256, place))
    for one, rank in _near_pairs(neighbors):
        other = int(neighbors.places[one, rank])
        if table.files[one] is None or table.files[other] is None:
            continue
        lengths = [table.tracks[place].duration_s for place in (one, other)]
        if _differ(*lengths) is not True:
            join(one, other)
    parts = defaultdict(list)
    for place in range(len(leads)):
        parts[lead(place)].append(place)
    return [part for part in parts.values() if len(part) > 1]


def _near_pairs(neighbors: Neighbors) -> list[tuple[int, int]]:
    near = neighbors.cosines >= MIN_COSINE
    if near.shape[1] >= _MANY_COPIES and near[:, _MANY_COPIES - 1].mean() > _MANY_TRACKS:
        logger.warning(
            "the model does not tell tracks apart: %.0f %% have %d others at a cosine of %s or "
            "more; near-duplicates are those of equal sound alone",
            100 * near[:, _MANY_COPIES - 1].mean(),
            _MANY_COPIES,
            MIN_COSINE,
        )
        return []
    return [(int(one), int(rank)) for one, rank in np.argwhere(near)]


class _Files:
    """Looks at the files of tracks."""

    def __init__(
        self,
        table: Table,
        sounds: Mapping[str, Sound],
        read_facts: Callable[[str], FileFacts],
    ) -> None:
        self._table = table
        self._sounds = sounds
        self._read_facts = read_facts

    def look_at(self, place: int) -> _File | None:
        """Return what the file of a track says; None where it is none any more."""
        track, file = self._table.tracks[place], self._table.files[place]
        if file is None:
            return None
        try:
            status = os.stat(file.path)
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        facts = self._read_facts(file.path)
        sound = self._sounds.get(track.track_id)
        heard = sound.duration_s if sound is not None else None
        return _File(
            place=place,
            track_id=track.track_id,
            path=file.path,
            size_bytes=status.st_size,
            inode=(status.st_dev, status.st_ino),
            is_link=os.path.islink(file.path),
            facts=facts,
            length_s=_length(heard, facts.length_s),
            pcm_sha256=sound.pcm_sha256 if sound is not None else None,
        )


def _length(heard: float | None, said: float | None) -> float | None:
    """Return how long a track is: what was heard, where that was all, else what its file says."""
    if heard is None:
        return said
    if heard < _CAPPED_S:
        return heard
    return said if said is not None and said >= _CAPPED_S else None


def _differ(one: float | None, other: float | None) -> bool | None:
    """Tell whether two lengths differ; None where one is not known."""
    return None if one is None or other is None else abs(one - other) > MAX_DIFFERENCE_S


def _evidence(kept: _File, other: _File, unit: np.ndarray) -> str:
    """Return why two tracks count as the same sound; nothing where they do not."""
    if kept.inode == other.inode:
        return "another name of the same file: it takes no room"
    differ = _differ(kept.length_s, other.length_s)
    if kept.pcm_sha256 is not None and kept.pcm_sha256 == other.pcm_sha256:
        if differ is None:
            return "equal sound, as far as it was heard; how long they are is not known"
        return "" if differ else "equal sound"
    cosine = _cosine(kept, other, unit)
    if cosine < MIN_COSINE or differ is not False:
        return ""
    return f"cosine {cosine:.4f}, lengths {kept.length_s:.1f} and {other.length_s:.1f} s"


def _cosine(one: _File, other: _File, unit: np.ndarray) -> float:
    return round(float(unit[one.place] @ unit[other.place]), 6)


def _best(files: Sequence[_File]) -> _File:
    """Return which to keep: lossless, then longer, then of the higher rate."""
    lossless = [file for file in files if file.facts.lossless] or list(files)
    longest = max(file.length_s or 0 for file in lossless)
    long = [file for file in lossless if longest - (file.length_s or 0) <= _SAME_LENGTH_S]
    return min(
        long, key=lambda file: (_negative(file.rate), file.is_link, -file.size_bytes, file.path)
    )


def _negative(rate: tuple[int, int]) -> tuple[int, int]:
    return -rate[0], -rate[1]


def _why(kept: _File, others: Sequence[_File]) -> str:
    reasons = []
    if kept.facts.lossless and not all(file.facts.lossless for file in others):
        reasons.append("lossless")
    lengths = [file.length_s for file in others if file.length_s is not None]
    if kept.length_s is not None and lengths and kept.length_s - min(lengths) > _SAME_LENGTH_S:
        reasons.append(f"longer by {kept.length_s - min(lengths):.1f} s")
    alike = [file for file in others if bool(file.facts.lossless) == bool(kept.facts.lossless)]
    if any(kept.rate > file.rate for file in alike):
        reasons.append("higher rate")
    if not reasons and any(kept.size_bytes > file.size_bytes for file in others):
        reasons.append("larger")
    return ", ".join(reasons) or "alike in all: any will do"


def _group(
    kept: _File, others: Sequence[_File], spare: Mapping[int, str], unit: np.ndarray
) -> list[DuplicateRow]:
    room = {file.inode: file.size_bytes for file in others if file.inode != kept.inode}
    rows = [_row(kept, "keep", None, _why(kept, others), sum(room.values()))]
    others = sorted(others, key=lambda file: file.path)
    return rows + [
        _row(file, "spare", _cosine(kept, file, unit), spare[file.place], None) for file in others
    ]


def _row(
    file: _File, proposal: str, cosine: float | None, evidence: str, spare_bytes: int | None
) -> DuplicateRow:
    return DuplicateRow(
        group=0,
        proposal=proposal,
        track_id=file.track_id,
        path=file.path,
        size_bytes=file.size_bytes,
        lossless=_LOSSLESS_WORDS[file.facts.lossless],
        length_s=None if file.length_s is None else round(file.length_s, 2),
        sample_rate=file.facts.sample_rate,
        bit_rate=file.facts.bit_rate,
        cosine=cosine,
        evidence=evidence,
        spare_bytes=spare_bytes,
    )
