"""Which file of the library a row most likely means, and why."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
_NAMESAKES = (
    50  # files of one name; "Track 01" of more says nothing, and would be told for each row
)


@dataclass(frozen=True, order=True)
class Candidate:
    """A file that a row may mean.

    `confidence` is from 0 to 1, `evidence` says what speaks for it.
    """

    confidence: float
    path: str
    evidence: str


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
        self._by_word: defaultdict[str, list[str]] = defaultdict(list)
        for plain in self._by_plain:
            for word in set(plain.split()):
                self._by_word[word].append(plain)

    def find(
        self, meta_key: str, row: Mapping[str, Any], note: TrackNote | None
    ) -> list[Candidate]:
        """Return the files that a row may mean, the likeliest first.

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
            return sorted(Candidate(1.0, file.path, "the same sound") for file in same)
        name, plain = _name(meta_key), plain_name(meta_key)
        found = {file.path: (file, 0.0, "name") for file in self._by_name.get(name, ())}
        for file in self._by_plain.get(plain, ()):
            found.setdefault(file.path, (file, 0.01, "spelling of the name"))
        if len(found) > _NAMESAKES:
            return []
        if not found:
            found = {file.path: (file, 0.05, "a name alike") for file in self._alike(plain)}
        candidates = [
            self._judge(file, meta_key, row, less, evidence)
            for file, less, evidence in found.values()
            if not (sound and self._has_other_sound(file, sound))
        ]
        return sorted(candidates, key=lambda one: (-one.confidence, one.path))

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


def _name(path: str) -> str:
    return fold_case(with_slashes(path).rpartition("/")[2])


def _same_folder(one: str, other: str) -> bool:
    folders = [plain_text(os.path.basename(os.path.dirname(with_slashes(p)))) for p in (one, other)]
    return folders[0] == folders[1] != ""


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


def _same_length(row: Mapping[str, Any], note: TrackNote | None) -> bool | None:
    """Tell whether the lengths are the same; None when one side does not say."""
    length = row.get("duration_s", row.get("duration"))
    if note is None or note.duration_s is None or not isinstance(length, int | float):
        return None
    if note.duration_s >= _KEPT_S:
        return None if length >= _KEPT_S else False
    return abs(length - note.duration_s) <= _SAME_LENGTH_S
