"""Artist and title of a track."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_TRACK_NUMBER = re.compile(r"^\d{1,2}(?:\.\s+|\.?\s+-\s+)")


@dataclass(frozen=True, slots=True)
class Tags:
    """What a file says about itself; None where it says nothing."""

    artist: str | None = None
    title: str | None = None


def tags_from_name(path: str) -> Tags:
    """Read "Artist - Title" from a file's name, with or without a track number before it.

    A name without that form is a title.
    """
    stem = os.path.splitext(os.path.basename(path))[0].strip()
    unnumbered = _TRACK_NUMBER.sub("", stem) or stem
    artist, separator, title = (part.strip() for part in unnumbered.partition(" - "))
    return Tags(artist, title) if separator and artist and title else Tags(None, unnumbered)
