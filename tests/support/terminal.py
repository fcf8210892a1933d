"""A terminal for tests: runs a command in a pseudo-terminal, and knows what is on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from select import select

from support.project import HEARS_CTRL_C

COLUMNS, ROWS = 100, 40
_TOKEN = re.compile(r"\x1b\[(\d*)([A-Za-z])|\r|\n|[^\r\n\x1b]+|\x1b")


class Terminal:
    """A command in a pseudo-terminal.

    Parameters
    ----------
    command : sequence of str
        The command line.
    folder : Path
        Where it is typed.
    environment : mapping
        Its environment.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.written = ""
        self.code: int | None = None
        self._pid, self._handle = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            command = [*HEARS_CTRL_C, *command]
            os.execvpe(command[0], command, {**environment, "PWD": str(folder), "TERM": "xterm"})
        size = struct.pack("HHHH", ROWS, COLUMNS, 0, 0)
        fcntl.ioctl(self._handle, termios.TIOCSWINSZ, size)

    @property
    def lines(self) -> list[str]:
        """What is on the screen, and what scrolled out of it."""
        return screen_lines(self.written)

    @property
    def last_line(self) -> str:
        """The last line that says anything."""
        return next((line for line in reversed(self.lines) if line.strip()), "")

    @property
    def drawn(self) -> list[str]:
        """Each line that was written, those included that others took the place of."""
        parts = re.split(r"[\r\n]+", self.written.replace("\x1b[K", ""))
        return [part for part in parts if part]

    def press_ctrl_c(self) -> None:
        """Press Ctrl-C."""
        os.write(self._handle, b"\x03")

    def wait_until(self, seen: Callable[[str], object], limit_s: float = 300) -> None:
        """Read on until `seen` is true of all that was written; the command has to run so long."""
        deadline = time.monotonic() + limit_s
        while not seen(self.written):
            assert time.monotonic() < deadline, self.written
            assert self._read(), self.written

    def wait(self, limit_s: float = 300) -> int:
        """Read to the end; return the exit code."""
        deadline = time.monotonic() + limit_s
        while self._read():
            assert time.monotonic() < deadline, self.written
        _, status = os.waitpid(self._pid, 0)
        os.close(self._handle)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def _read(self) -> bool:
        """Read what is there; False at the end."""
        if not select([self._handle], [], [], 0.2)[0]:
            return True
        try:
            data = os.read(self._handle, 65536)
        except OSError:  # nobody holds the other side any more
            return False
        self.written += data.decode("utf-8", "replace")
        return bool(data)


def screen_lines(written: str) -> list[str]:
    """Return what a terminal shows of a text, line by line, with what scrolled out of it.

    It knows what this program and Snakemake write: line ends, returns, colours, and the codes that
    erase to the end of a line or of the screen, and that go up.
    """
    lines, row, column = [""], 0, 0
    for token in _TOKEN.finditer(written):
        number, code = token[1], token[2]
        if token[0] == "\r":
            column = 0
        elif token[0] == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif code == "K":
            lines[row] = lines[row][:column]
        elif code == "J":
            lines[row:] = [lines[row][:column]]
        elif code == "F":
            row, column = max(0, row - int(number or 1)), 0
        elif code is None and token[0] != "\x1b":
            text = token[0]
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
    return lines
