"""The one place that writes to the screen, so that a line that is redrawn eats no message."""

from __future__ import annotations

import sys
import threading
from typing import IO

from mert_backfill.system.logs import ERASE


class Terminal:
    """Prints messages above a line that is redrawn.

    The line stands without a line end, with the cursor at its beginning: a process of a job that
    prints beside it overwrites it, and does not go on behind it.

    Parameters
    ----------
    stream : file
        What is printed to; by default standard error.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._lock = threading.RLock()
        self._line = ""
        self.is_live = self._stream.isatty()

    def print(self, text: str) -> None:
        """Print a message of one or more lines."""
        with self._lock:
            self._write(f"{text}\n")
            if self._line:
                self._write(f"{self._line}\r")

    def show(self, line: str) -> None:
        """Put another line, or none, in the place of the one that is redrawn."""
        with self._lock:
            if self._line or line:
                self._write(f"{line}\r")
            self._line = line

    def _write(self, text: str) -> None:
        try:
            self._stream.write(f"{ERASE}{text}" if self.is_live else text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody is looking any more
            pass
