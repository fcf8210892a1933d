"""A disk of a few megabytes that can be filled to the last byte and emptied again."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = 4096  # bytes; the least that a file takes there


@dataclass(frozen=True)
class SmallDisk:
    """A mounted tmpfs; `folder` is where."""

    folder: Path

    def fill(self, leave: int = 0) -> None:
        """Fill the disk but for `leave` pages."""
        filler = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            while True:
                os.write(filler, bytes(PAGE))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            os.ftruncate(filler, max(0, os.fstat(filler).st_size // PAGE - leave) * PAGE)
        finally:
            os.close(filler)

    def free(self) -> None:
        """Free all the space that `fill` took."""
        self._filler.unlink()

    def grow(self, size: str) -> None:
        """Give the disk another size, such as ``100m``."""
        subprocess.run(["mount", "-o", f"remount,size={size}", self.folder], check=True)

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[SmallDisk]:
    """Mount a small disk on `folder`, or skip the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        # lazily: a job that is ending may still hold a file
        subprocess.run(["umount", "-l", folder], check=True)
