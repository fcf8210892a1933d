"""Artist and title from a file's tags, or from its name."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import Any

import mutagen

# a tag may hold megabytes; no artist or title needs more than this
_MAX_CHARACTERS = 1000
# the names that the formats with easy access use, and those of the ID3 chunk in WAV and AIFF
_FIELDS = {"artist": ("artist", "TPE1"), "title": ("title", "TIT2")}
_TRACK_NUMBER = re.compile(r"^\d{1,2}(?:\.\s+|\.?\s+-\s+)")


@dataclass(frozen=True)
class Tags:
    """What a file says about itself; None where it says nothing."""

    artist: str | None = None
    title: str | None = None


def read_tags(path: str) -> Tags:
    """Read artist and title from a file's tags.

    A file that is damaged, unreadable, gone or not regular has none: a tag is never a reason
    to fail.
    """
    try:
        # without O_NONBLOCK a pipe that has taken the file's place would hold the job for ever
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return Tags()
            tags: Any = mutagen.File(file, easy=True)
            return Tags(**{field: _first(tags, names) for field, names in _FIELDS.items()})
    except Exception:  # mutagen raises nearly anything on a hostile file
        return Tags()


def tags_from_name(path: str) -> Tags:
    """Read "Artist - Title" from a file's name, with or without a track number before it.

    A name without that form is a title.
    """
    stem = os.path.splitext(os.path.basename(path))[0].strip()
    unnumbered = _TRACK_NUMBER.sub("", stem) or stem
    artist, separator, title = (part.strip() for part in unnumbered.partition(" - "))
    return Tags(artist, title) if separator and artist and title else Tags(None, unnumbered)


def _first(tags: Any, names: tuple[str, ...]) -> str | None:
    for name in names:
        for value in (tags or {}).get(name) or ():
            text = str(value).strip("\0 \t\r\n")
            if text:
                return text[:_MAX_CHARACTERS]
    return None


_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # Windows has neither the flag nor the pipes
