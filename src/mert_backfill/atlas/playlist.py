"""Playlists: m3u, m3u8, and plain lists of paths."""

from __future__ import annotations

import codecs
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from mert_backfill.errors import UserError
from mert_backfill.records.atlas import AtlasTrack
from mert_backfill.system.atomic import write_text

_MAX_BYTES = 100 << 20
_HEARD_WHOLE_S = 119.5  # of longer ones it is not known how long they are
_FILE = "file://"


def read_playlist(path: Path) -> list[tuple[str, ...]]:
    """Read a playlist.

    Returns
    -------
    list of tuple of str
        For each entry the spellings that it may have: old programs write letters as Windows did.

    Raises
    ------
    UserError
        It cannot be read, or holds no entry.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES)
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; give an m3u, m3u8 or a list of paths"
        ) from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode()
    lines = (line.strip(b" \t\r\0") for line in data.removeprefix(codecs.BOM_UTF8).split(b"\n"))
    entries = [_spellings(line) for line in lines if line and not line.startswith(b"#")]
    if not entries:
        raise UserError(f"{path}: there is no entry in it")
    return entries


def _spellings(line: bytes) -> tuple[str, ...]:
    found = [line.decode("utf-8", "surrogateescape")]
    if not found[0].isascii():
        found.append(line.decode("cp1252", "replace"))
    return tuple(
        unquote("/" + text[len(_FILE) :].partition("/")[2], errors="surrogateescape")
        if text.startswith(_FILE)
        else text
        for text in dict.fromkeys(found)
    )


def write_playlist(path: Path, tracks: Sequence[AtlasTrack], *, there: bool) -> list[AtlasTrack]:
    """Write an m3u8.

    Parameters
    ----------
    path : Path
        The playlist.
    tracks : sequence of AtlasTrack
        Its tracks, in order.
    there : bool
        Paths as meta.json writes them, not as this machine does.

    Returns
    -------
    list of AtlasTrack
        The tracks that are not in it: no playlist can hold a path with a line break.
    """
    lines, left_out = ["#EXTM3U"], []
    for track in tracks:
        entry = track.meta_key if there else os.path.abspath(track.path)
        if len(entry.splitlines()) != 1:
            left_out.append(track)
            continue
        seconds = track.duration_s
        known = seconds is not None and seconds < _HEARD_WHOLE_S
        name = " - ".join(part for part in (track.artist, track.title) if part)
        lines.append(f"#EXTINF:{round(seconds or 0) if known else -1},{' '.join(name.split())}")
        lines.append(f"./{entry}" if entry.startswith("#") else entry)
    write_text(path, "\n".join(lines) + "\n")
    return left_out
