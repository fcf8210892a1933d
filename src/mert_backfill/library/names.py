"""Names of tracks, compared as a person would."""

from __future__ import annotations

import os
import re
import unicodedata

_TRACK_NUMBER = re.compile(r"^\s*(?:[a-d]?\d{1,3}\s*[-._)]+\s*|0\d\s+)(?=\S)")
_ORIGINAL = re.compile(r"[(\[]\s*original(?:\s+(?:mix|version))?\s*[)\]]|\boriginal mix\b")
_FEATURING = re.compile(r"\b(?:featuring|feat|ft)\b\.?")
_NO_LETTERS = re.compile(r"[\W_]+")
_DIGITS = re.compile(r"\d+")
_FEW_LETTERS = 8


def plain_name(path: str) -> str:
    """Return a file's name without what makes no difference to a person.

    That is the folder, the ending, case, accents, a track number in front, "(Original Mix)", how
    "feat." and "and" are written, underscores and punctuation.
    """
    stem = os.path.splitext(path.replace("\\", "/").rpartition("/")[2])[0]
    return plain_text(_TRACK_NUMBER.sub("", stem.casefold()) or stem)


def plain_text(text: str) -> str:
    """Return a text without what makes no difference to a person; see `plain_name`."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(letter for letter in letters if not unicodedata.combining(letter))
    text = _ORIGINAL.sub(" ", text.replace("_", " "))
    text = _FEATURING.sub(" feat ", text).replace("&", " and ")
    return _NO_LETTERS.sub(" ", text).strip()


def numbers_in(plain: str) -> tuple[str, ...]:
    """Return the numbers in a plain name: "part 1" and "part 2" are alike, but never the same."""
    return tuple(_DIGITS.findall(plain))


def is_telling(path: str) -> bool:
    """Tell whether a file's name says which song it is: an artist and a title, not "01 - Intro"."""
    stem = os.path.splitext(path.replace("\\", "/").rpartition("/")[2])[0]
    unnumbered = _TRACK_NUMBER.sub("", stem.casefold()) or stem
    artist, separator, title = unnumbered.replace("_", " ").partition(" - ")
    plain = (plain_text(artist), plain_text(title))
    return bool(separator) and all(plain) and len("".join(plain)) >= _FEW_LETTERS
