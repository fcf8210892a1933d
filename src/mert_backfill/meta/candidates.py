"""Which file of the library a row most likely means, and why."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from rapidfuzz import fuzz

from mert_backfill.library.listing import AudioFile
from mert_backfill.library.names import is_telling, numbers_in, plain_name, plain_text
from mert_backfill.library.paths import fold_case, with_slashes
from mert_backfill.records.track_notes import TrackNote

PROPOSED_FROM = 0.92  # a single candidate of at least this confidence is proposed
_ALIKE_FROM = 90.0  # percent, of two spellings
_SAME_LENGTH_S = 2.0
_KEPT_S = 119.5  # lengths from here on may be those of longer tracks
_MANY = 200  # names with a word in common; a word of more says too little
_NAMESAKES = 50  # files of one name; of more only those are looked at that something speaks for


@dataclass(frozen=True, order=True)
class Candidate:
    """A file that a row may mean.

    `confidence` is from 0 to 1, `evidence` says what speaks for it.
    """

    confidence: float
    path: str
    evidence: str


@dataclass(frozen=True)
class Found:
    """The files that a row may mean.

    Attributes
    ----------
    candidates : tuple of Candidate
        The likeliest first.
    listed_at : str or None
        Another row for which all files of this name were listed: each list is told once.
    """

    candidates: tuple[Candidate, ...] = ()
    listed_at: str | None = None


class Candidates:
    """Finds the files that rows may mean, by sound, name, tags and length.

    Parameters
    ----------
    files : sequence of AudioFile
        The files that a row may be given to.
    notes : mapping
        Track id to what decoding the file told.
    """

    def __init__(self, files: Sequence[AudioFile], notes: Mapping[str, TrackNote]) -> None:
        self._notes = notes
        self._by_sound: defaultdict[str, list[AudioFile]] = defaultdict(list)
        self._by_name: defaultdict[str, list[AudioFile]] = defaultdict(list)
        self._by_plain: defaultdict[str, list[AudioFile]] = defaultdict(list)
        for file in files:
            note = notes.get(file.track_id)
            if note is not None and note.pcm_sha256:
                self._by_sound[note.pcm_sha256].append(file)
            self._by_name[_name(file.path)].append(file)
            self._by_plain[plain_name(file.path)].append(file)
        self._namesakes: dict[str, _Namesakes] = {}
        self._by_word: defaultdict[str, list[str]] = defaultdict(list)
        for plain in self._by_plain:
            for word in set(plain.split()):
                self._by_word[word].append(plain)

    def find(self, meta_key: str, row: Mapping[str, Any], note: TrackNote | None) -> Found:
        """Return the files that a row may mean.

        Parameters
        ----------
        meta_key : str
            The row's key.
        row : mapping
            The row.
        note : TrackNote or None
            What decoding told of the file that the row named, when it was there.
        """
        sound = note.pcm_sha256 if note is not None else None
        if sound and (same := self._by_sound.get(sound)):
            return Found(
                tuple(sorted(Candidate(1.0, file.path, "the same sound") for file in same))
            )
        name, plain = _name(meta_key), plain_name(meta_key)
        found = {file.path: (file, 0.0, "name") for file in self._by_name.get(name, ())}
        for file in self._by_plain.get(plain, ()):
            found.setdefault(file.path, (file, 0.01, "spelling of the name"))
        if len(found) > _NAMESAKES:
            return self._find_among_many(plain, meta_key, row, sound)
        if not found:
            found = {file.path: (file, 0.05, "a name alike") for file in self._alike(plain)}
        return Found(self._judge_all(found.values(), meta_key, row, sound))

    def _find_among_many(
        self, plain: str, meta_key: str, row: Mapping[str, Any], sound: str | None
    ) -> Found:
        """Return the files of a name that many have; where nothing speaks for any, all of them."""
        if plain not in self._namesakes:
            self._namesakes[plain] = _Namesakes(self._by_plain[plain], self._notes)
        many = self._namesakes[plain]
        name = _name(meta_key)
        near = [
            (file, 0.0 if _name(file.path) == name else 0.01, f"name, of {len(many.files)} files,")
            for file in many.near(meta_key, row)
        ]
        judged = self._judge_all(near, meta_key, row, sound)
        if judged:
            return Found(judged)
        if many.listed_at is not None:
            return Found(listed_at=many.listed_at)
        many.listed_at = meta_key
        told = f"the name of {len(many.files)} files"
        return Found(tuple(Candidate(0.5, file.path, told) for file in many.files))

    def _judge_all(
        self,
        found: Iterable[tuple[AudioFile, float, str]],
        meta_key: str,
        row: Mapping[str, Any],
        sound: str | None,
    ) -> tuple[Candidate, ...]:
        candidates = [
            self._judge(file, meta_key, row, less, evidence)
            for file, less, evidence in found
            if not (sound and self._has_other_sound(file, sound))
        ]
        return tuple(sorted(candidates, key=lambda one: (-one.confidence, one.path)))

    def _judge(
        self, file: AudioFile, meta_key: str, row: Mapping[str, Any], less: float, evidence: str
    ) -> Candidate:
        note = self._notes.get(file.track_id)
        tags = _same_tags(row, note)
        length = _same_length(row, note)
        if tags is False or length is False:
            return Candidate(0.4, file.path, f"{evidence}, but another song by tags or length")
        if tags:
            return Candidate(0.98 - less, file.path, f"{evidence} and tags")
        if length:
            return Candidate(0.96 - less, file.path, f"{evidence} and length")
        if less < 0.05 and _same_folder(meta_key, file.path):
            return Candidate(0.95 - less, file.path, f"{evidence} and folder")
        telling = is_telling(meta_key) and is_telling(file.path)
        return Candidate((0.93 if telling else 0.8) - less, file.path, evidence)

    def _has_other_sound(self, file: AudioFile, sound: str) -> bool:
        note = self._notes.get(file.track_id)
        return note is not None and note.pcm_sha256 not in (None, sound)

    def _alike(self, plain: str) -> Iterable[AudioFile]:
        words = sorted(set(plain.split()), key=lambda word: len(self._by_word.get(word, ())))
        near: set[str] = set()
        for word in words[:3]:  # the rarest
            names = self._by_word.get(word, ())
            near.update(names if len(names) <= _MANY else ())
        for name in sorted(near):
            alike = fuzz.ratio(plain, name, score_cutoff=_ALIKE_FROM) > 0
            if alike and numbers_in(name) == numbers_in(plain):
                yield from self._by_plain[name]


class _Namesakes:
    """Many files of one name, by what may speak for one of them."""

    def __init__(self, files: Sequence[AudioFile], notes: Mapping[str, TrackNote]) -> None:
        self.files = sorted(files, key=lambda file: file.path)
        self.listed_at: str | None = None
        self._near: defaultdict[object, list[AudioFile]] = defaultdict(list)
        for file in self.files:
            self._near["folder", _folder(file.path)].append(file)
            note = notes.get(file.track_id)
            if note is None:
                continue
            if note.tags.artist and note.tags.title:
                tags = plain_text(note.tags.artist), plain_text(note.tags.title)
                self._near["tags", tags].append(file)
            if note.duration_s is not None and note.duration_s < _KEPT_S:
                self._near["length", int(note.duration_s)].append(file)

    def near(self, meta_key: str, row: Mapping[str, Any]) -> Iterable[AudioFile]:
        """Return the files that have their folder's name, tags or length in common with a row."""
        asked: list[object] = [("folder", folder)] if (folder := _folder(meta_key)) else []
        artist, title, length = row.get("artist"), row.get("title"), _length(row)
        if isinstance(artist, str) and isinstance(title, str):
            asked.append(("tags", (plain_text(artist), plain_text(title))))
        if length is not None and math.isfinite(length):
            around = int(_SAME_LENGTH_S) + 1
            asked += [("length", int(length) + more) for more in range(-around, around + 1)]
        found = chain.from_iterable(self._near.get(what, ()) for what in asked)
        return {file.path: file for file in found}.values()


def _name(path: str) -> str:
    return fold_case(with_slashes(path).rpartition("/")[2])


def _same_folder(one: str, other: str) -> bool:
    return _folder(one) == _folder(other) != ""


def _folder(path: str) -> str:
    return plain_text(os.path.basename(os.path.dirname(with_slashes(path))))


def _same_tags(row: Mapping[str, Any], note: TrackNote | None) -> bool | None:
    """Tell whether artist and title are the same; None when one side does not say."""
    if note is None:
        return None
    pairs = [(row.get("artist"), note.tags.artist), (row.get("title"), note.tags.title)]
    plain = [
        (plain_text(ours), plain_text(theirs))
        for ours, theirs in pairs
        if isinstance(ours, str) and theirs
    ]
    if len(plain) < 2 or not all(all(pair) for pair in plain):
        return None
    return all(ours == theirs for ours, theirs in plain)


def _length(row: Mapping[str, Any]) -> float | None:
    length = row.get("duration_s", row.get("duration"))
    return length if isinstance(length, int | float) else None


def _same_length(row: Mapping[str, Any], note: TrackNote | None) -> bool | None:
    """Tell whether the lengths are the same; None when one side does not say."""
    length = _length(row)
    if note is None or note.duration_s is None or length is None:
        return None
    if note.duration_s >= _KEPT_S:
        return None if length >= _KEPT_S else False
    return abs(length - note.duration_s) <= _SAME_LENGTH_S
