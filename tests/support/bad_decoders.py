"""Decoders that misbehave on files whose name says so; workers import this module."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from pathlib import Path

from mert_backfill.audio.decode import prepare_track
from mert_backfill.audio.prepared import PreparedTrack
from mert_backfill.failures import Reason, TrackError
from mert_backfill.recipes import CANONICAL, Recipe
from support.small_disk import SmallDisk


def misbehave(path: str, recipe: Recipe = CANONICAL) -> PreparedTrack:
    """Decode a file, unless its name is that of a fault."""
    match Path(path).stem:
        case "segfault":
            ctypes.string_at(0)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            threading.Event().wait()
        case "leak":
            leak = []
            while True:
                leak.append(bytearray(1 << 26))
        case "once":
            mark = Path(f"{path}.seen")
            if not mark.exists():
                mark.touch()
                ctypes.string_at(0)
        case "busy":  # as often as the file beside it says
            beside = Path(f"{path}.times")
            if times := int(beside.read_text()):
                beside.write_text(str(times - 1))
                raise TrackError("decode", Reason.IO_ERROR, "OSError: Input/output error")
        case "filler":  # fills the disk that the file beside it names
            SmallDisk(Path(Path(f"{path}.disk").read_text())).fill()
    return prepare_track(path, recipe)
