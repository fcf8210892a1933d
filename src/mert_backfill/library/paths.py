"""Names of tracks: identity, and the many spellings of one path."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TRACK_ID_DIGITS = 20
MAX_PATH_CHARACTERS = 32_767  # the longest path of any system; csv reads no field of over 128 KiB
MAX_MARKS = 30  # on one letter: putting them in order takes time that grows with their square
_HARMLESS_CHARACTERS = 255
# Windows has no : ? " < > | * or control codes in names, nor a dot or space at their end. WSL2,
# Cygwin and cifs (mapchars) store U+F000 and the letter's number in their place, Macs and cifs
# (mapposix) letters of a list of their own. U+F022 is in both, as " and as :, and counts as "
_LETTERS_OF_MACS = dict(zip(range(0xF020, 0xF02A), '"*"<>?\uf026| .', strict=True))
_STORED_LETTERS = _LETTERS_OF_MACS | {
    0xF000 + code: chr(code) for code in (*range(1, 0x20), *map(ord, ':?<>|*."'))
}
_ANY_STORED_LETTER = re.compile("[\uf001-\uf07f]")
_WINDOWS_PATH = re.compile(r"(?:[A-Za-z]:(?:/|$)|//[^/])")


def track_id(root_name: str, relative_path: str) -> str:
    """Return a track's identity: 20 hex digits of sha256 over root name and relative path.

    Parameters
    ----------
    root_name : str
        The configured name of the root, not its folder, so that a library that moves to
        another disk keeps its embeddings.
    relative_path : str
        The path below the root with ``/`` separators, extension included.
    """
    spelling = unicodedata.normalize("NFC", f"{root_name}/{relative_path}")
    return hash_name(spelling)


def hash_name(spelling: str) -> str:
    """Return the first 20 hex digits of the sha256 of `spelling`, byte for byte."""
    data = spelling.encode("utf-8", "surrogateescape")
    return hashlib.sha256(data).hexdigest()[:TRACK_ID_DIGITS]


def why_no_path(text: str) -> str | None:
    """Return why a text is no path, whatever the system; comparing paths takes long for such."""
    if len(text) > MAX_PATH_CHARACTERS:
        return f"has {len(text):,} characters, a path has at most {MAX_PATH_CHARACTERS:,}"
    if len(text) <= _HARMLESS_CHARACTERS or text.isascii():
        return None
    marks = 0
    for letter in text:
        marks = marks + 1 if unicodedata.combining(letter) else 0
        if marks > MAX_MARKS:
            return f"has a letter with over {MAX_MARKS} accents"
    return None


def with_slashes(spelling: str) -> str:
    """Return a spelling with ``/`` separators, in NFC, without ``.`` parts or a final ``/``."""
    text = unicodedata.normalize("NFC", spelling).replace("\\", "/")
    if text.startswith(("//?/UNC/", "//?/unc/")):
        text = "//" + text[len("//?/UNC/") :]
    elif text.startswith("//?/"):  # the long-path prefix of Windows
        text = text[len("//?/") :]
    if not text:
        return text
    unc = text.startswith("//") and not text.startswith("///")
    text = posixpath.normpath(text)
    return text if not unc or text.startswith("//") else "/" + text


def with_own_letters(spelling: str) -> str:
    """Return a spelling with the letters that Windows cannot store, not those in their place.

    To be compared only: a file is found under the letters that are stored.
    """
    if spelling.isascii() or _ANY_STORED_LETTER.search(spelling) is None:
        return spelling
    return spelling.translate(_STORED_LETTERS)


def is_windows(spelling: str) -> bool:
    """Tell whether a spelling with ``/`` separators has a drive letter or a UNC prefix."""
    return _WINDOWS_PATH.match(spelling) is not None


def fold_case(spelling: str) -> str:
    """Return a spelling in NFC without regard to case, as Windows compares names.

    Letters stay single (``ß`` is not ``ss``): names that Windows tells apart stay apart.
    """
    lower = spelling.lower().replace("\N{GREEK SMALL LETTER FINAL SIGMA}", "σ")
    return unicodedata.normalize("NFC", lower)


def _below(path: str, prefix: str, *, ignore_case: bool) -> str | None:
    """Return what follows `prefix` in `path` ('' or '/...'), or None when it is not below."""
    head, tail = path[: len(prefix)], path[len(prefix) :]
    same = head.lower() == prefix.lower() if ignore_case else head == prefix
    return tail if same and (not tail or tail.startswith("/") or prefix.endswith("/")) else None


def _join(prefix: str, tail: str) -> str:
    return prefix.rstrip("/") + "/" + tail.lstrip("/") if tail else prefix


@dataclass(frozen=True)
class PathStyle:
    """How a meta.json writes its paths: Windows or local, with which separator."""

    windows: bool = False
    backslash: bool = False

    @classmethod
    def of(cls, spellings: Iterable[str]) -> PathStyle:
        """Return the style of the majority of `spellings`."""
        windows = backslash = posix = 0
        for spelling in spellings:
            if is_windows(with_slashes(spelling)):
                windows += 1
                backslash += "\\" in spelling
            elif spelling.startswith("/"):
                posix += 1
        return cls(windows > posix, backslash * 2 > windows)


class PathMap:
    """Translates between the spellings of a meta.json and the paths of this machine.

    Parameters
    ----------
    pairs : sequence of (str, str)
        A prefix as meta.json writes it, and the folder it is on this machine (absolute).
        The longest prefix that fits is used.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]] = ()) -> None:
        self.pairs = tuple((theirs, str(ours)) for theirs, ours in pairs)
        cleaned = [(with_slashes(theirs), os.path.abspath(ours)) for theirs, ours in pairs]
        self._to_local = sorted(cleaned, key=lambda pair: -len(pair[0]))
        self._from_local = sorted(cleaned, key=lambda pair: -len(pair[1]))
        self._to_windows = [
            (theirs, with_slashes(ours)) for theirs, ours in self._from_local if is_windows(theirs)
        ]

    def key(self, spelling: str) -> str:
        """Return the comparison key of a spelling in meta.json or in a list of paths.

        Two spellings name the same file when their keys are equal.
        """
        path = with_slashes(spelling)
        local = self._apply(path)
        if local is not None:  # by way of the local path: two prefixes may mean one folder
            return self.key_of_local(local)
        if is_windows(path):
            return fold_case(with_own_letters(path))
        return self.key_of_local(path)

    def key_of_local(self, path: str) -> str:
        """Return the comparison key of an absolute path of this machine."""
        path = with_slashes(path)
        for theirs, ours in self._to_windows:
            if (tail := _below(path, ours, ignore_case=False)) is not None:
                return fold_case(with_own_letters(_join(theirs, tail)))
        return with_own_letters(path)

    def to_local(self, spelling: str) -> str:
        """Return the path on this machine that a spelling means.

        A spelling that no prefix covers comes back as it is, with ``/`` separators where it
        is a Windows spelling or relative with backslashes.
        """
        if spelling.startswith("/") and not spelling.startswith("//"):
            local = self._apply(with_slashes(spelling))
            return local if local is not None else spelling
        path = with_slashes(spelling)
        local = self._apply(path)
        return local if local is not None else path

    def to_baseline(self, path: str, style: PathStyle) -> str:
        """Return an absolute local path in the style of a meta.json."""
        if not style.windows:
            if any(not is_windows(theirs) for theirs, _ in self._from_local):
                return self._their_spelling(path, windows=False) or path
            return path
        spelled = self._their_spelling(path, windows=True)
        if spelled is None:
            return path
        return spelled.replace("/", "\\") if style.backslash else spelled

    def _apply(self, path: str) -> str | None:
        for theirs, ours in self._to_local:
            tail = _below(path, theirs, ignore_case=is_windows(theirs))
            if tail is not None:
                return _join(ours, tail)
        return None

    def _their_spelling(self, path: str, *, windows: bool) -> str | None:
        """Return `path`, letters unchanged, below the prefix that stands for its folder."""
        for theirs, ours in self._from_local:
            if is_windows(theirs) != windows:
                continue
            tail = _below(path, ours, ignore_case=False)
            if tail is not None:
                return _join(theirs, tail)
        return None
