"""Which track a person means, and which tracks are near to it."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property

import numpy as np
from rapidfuzz import fuzz, process

from mert_backfill.atlas.neighbors import round_cosines, take_mean
from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.library.names import plain_name, plain_text
from mert_backfill.library.paths import with_own_letters, with_slashes
from mert_backfill.records.atlas import (
    NEIGHBORS,
    AtlasTrack,
    read_duplicates,
    read_neighbors,
    read_tracks,
    read_vectors,
)
from mert_backfill.results import Results

_TRACK_ID = re.compile(r"[0-9a-f]{20}")
_ALIKE = 75  # of 100, by rapidfuzz
_SUGGESTIONS = 3


class Atlas:
    """A finished atlas; what is large is read at the first question.

    Parameters
    ----------
    results : Results
        The results folder.

    Raises
    ------
    UserError
        There is no atlas, or it is damaged.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self.tracks = read_tracks(results)
        self._places = {track.track_id: place for place, track in enumerate(self.tracks)}

    @cached_property
    def unit(self) -> np.ndarray:
        """The vectors, the mean taken [shape=(n, D), dtype=float32]."""
        vectors = read_vectors(self.results)
        take_mean(vectors)
        return vectors

    @cached_property
    def copies(self) -> list[list[int]]:
        """The groups of near-duplicates, as places; the one to keep is the first of each."""
        groups: dict[int, list[int]] = {}
        for row in read_duplicates(self.results):
            if row.track_id in self._places:
                groups.setdefault(row.group, []).append(self._places[row.track_id])
        return list(groups.values())

    def nearest(self, place: int, count: int) -> list[tuple[int, float]]:
        """Return the tracks nearest to one, and their cosines; without those that are gone."""
        if count <= NEIGHBORS:
            rows = read_neighbors(self.results, self.tracks[place].track_id)
            near = [(self._place(other), round(cosine, 6)) for _, other, cosine in rows]
            here = [one for one in near if not is_gone(self.tracks[one[0]].path)]
            if len(here) >= min(count, len(near)):
                return here[:count]
        return self._nearest_to(self.unit[place], [place], count)

    def fitting(self, places: Collection[int], count: int) -> list[tuple[int, float]]:
        """Return the tracks nearest to the middle of some, and their cosines to it."""
        middle = self.unit[sorted(places)].mean(axis=0, dtype=np.float64).astype(np.float32)
        length = np.linalg.norm(middle)
        return self._nearest_to(middle / length if length else middle, places, count)

    def _place(self, track_id: str) -> int:
        try:
            return self._places[track_id]
        except KeyError:
            raise UserError(
                f"{self.results.atlas_neighbors}: is not of the library.parquet beside it; delete "
                f"it and run `{command('atlas')}`"
            ) from None

    def cosine(self, one: int, other: int) -> float:
        """Return how near two tracks are."""
        return float(round_cosines(self.unit[one] @ self.unit[other]))

    def _nearest_to(
        self, direction: np.ndarray, without: Collection[int], count: int
    ) -> list[tuple[int, float]]:
        cosines = round_cosines(self.unit @ direction)
        found: list[tuple[int, float]] = []
        for place in np.lexsort((np.arange(len(cosines)), -cosines)).tolist():
            if len(found) == count:
                break
            if place not in without and not is_gone(self.tracks[place].path):
                found.append((place, float(cosines[place])))
        return found


def is_gone(path: str) -> bool:
    """Tell whether a track's file is not there, where its folder is: elsewhere it may be."""
    return os.path.isdir(os.path.dirname(path)) and not os.path.exists(path)


class Finder:
    """Finds the tracks that a text may mean.

    Parameters
    ----------
    tracks : sequence of AtlasTrack
        The tracks.
    """

    def __init__(self, tracks: Sequence[AtlasTrack]) -> None:
        self._tracks = tracks

    def find(self, text: str) -> list[int]:
        """Return the places of all tracks that a text fits as well as any.

        It is an id, a path in any spelling, the end of a path, an artist and a title or part of
        them; the first of these that fits a track counts.

        Raises
        ------
        UserError
            It fits none.
        """
        is_path = not {*"/\\."}.isdisjoint(text) or _TRACK_ID.fullmatch(text)
        found = (self.find_path(text) if is_path else []) or self._find_name(text)
        if not found:
            raise UserError(f"no track of the atlas fits {text!r}{self._suggestions(text)}")
        return found

    def find_path(self, text: str, folder: str = "") -> list[int]:
        """Return the tracks that a path means, which may start at a folder.

        Parameters
        ----------
        text : str
            An id, a path in any spelling, or the end of one.
        folder : str
            Where relative paths start; the current folder by default.
        """
        spellings = {text, os.path.abspath(os.path.join(folder, text))}
        loose = {_loose(spelling) for spelling in spellings}
        tail = "/" + _loose(text).lstrip("/")
        kinds: list[Callable[[AtlasTrack], bool]] = [
            lambda track: track.path in spellings or track.meta_key in spellings,
            lambda track: not loose.isdisjoint(self._loose_paths[track.track_id]),
            lambda track: any(path.endswith(tail) for path in self._loose_paths[track.track_id]),
        ]
        if _TRACK_ID.fullmatch(text):
            kinds.insert(0, lambda track: track.track_id == text)
        return self._first(kinds) if text.strip() else []

    def _find_name(self, text: str) -> list[int]:
        wanted = plain_text(text)
        words = wanted.split()
        kinds: list[Callable[[AtlasTrack], bool]] = [
            lambda track: wanted in self._names[track.track_id],
            lambda track: all(word in self._names[track.track_id][0] for word in words),
            lambda track: all(word in "\n".join(self._names[track.track_id]) for word in words),
        ]
        return self._first(kinds) if words else []

    def _first(self, kinds: Iterable[Callable[[AtlasTrack], bool]]) -> list[int]:
        for fits in kinds:
            if found := [place for place, track in enumerate(self._tracks) if fits(track)]:
                return found
        return []

    @cached_property
    def _loose_paths(self) -> dict[str, set[str]]:
        return {
            track.track_id: {_loose(track.path), _loose(track.meta_key)} for track in self._tracks
        }

    @cached_property
    def _names(self) -> dict[str, tuple[str, ...]]:
        """By id, artist and title, both ways round, the title alone, and the file's name."""
        found: dict[str, tuple[str, ...]] = {}
        for track in self._tracks:
            artist, title = plain_text(track.artist or ""), plain_text(track.title or "")
            both = f"{artist} {title}".strip(), f"{title} {artist}".strip()
            found[track.track_id] = (*both, title, plain_name(track.path))
        return found

    def _suggestions(self, text: str) -> str:
        names = [names[0] for names in self._names.values()]
        alike = process.extract(
            plain_text(text), names, scorer=fuzz.WRatio, score_cutoff=_ALIKE, limit=_SUGGESTIONS
        )
        if not alike:
            return "; give a path, or words of its artist and title"
        told = ", ".join(called(self._tracks[place]) for _, _, place in alike)
        return f"; did you mean {told}?"


def called(track: AtlasTrack) -> str:
    """Return artist and title in one line."""
    return " - ".join(part for part in (track.artist, track.title) if part)


def _loose(path: str) -> str:
    """Return a path without regard to case, accents, and which slashes it has."""
    letters = unicodedata.normalize("NFKD", with_own_letters(with_slashes(path)).casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
