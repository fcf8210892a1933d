"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from mert_backfill.system.atomic import (
    remove_leftovers,
    set_mode,
    stop_if_disk_full,
    sync_folder,
    write_atomically,
    write_text,
)
from support.checks import refusal


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_only_old_temporary_files_of_ours_are_removed(tmp_path: Path) -> None:
    names = (
        ".tmp-abcdefgh",
        ".tmp-a_0_b1c2",
        ".tmp-young123",
        ".tmp-notours",
        ".tmp-ABCDEFGH",
        "x",
    )
    for name in names:
        (tmp_path / name).touch()
        if "young" not in name:
            os.utime(tmp_path / name, (1, 1))
    (tmp_path / ".tmp-folder00").mkdir()
    (tmp_path / ".tmp-linked00").symlink_to(tmp_path / "x")
    os.utime(tmp_path / ".tmp-folder00", (1, 1))
    os.utime(tmp_path / ".tmp-linked00", (1, 1), follow_symlinks=False)
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*names[2:], ".tmp-folder00", ".tmp-linked00"])
    remove_leftovers(tmp_path / "none")


def test_the_folder_is_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "c.bin", lambda file: file.write(b"\0\n"))
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"\0\n"
    assert names(tmp_path / "a" / "b") == ["c.bin"]


def test_nothing_has_the_final_name_before_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def write(file: IO[bytes]) -> None:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
        assert len(names(tmp_path)) == 2

    write_atomically(path, write)
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, error: type[BaseException], old: str | None
) -> None:
    path = tmp_path / "x"
    if old is not None:
        path.write_text(old)

    def write(file: IO[bytes]) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(error):
        write_atomically(path, write)
    assert names(tmp_path) == ([] if old is None else ["x"])
    assert old is None or path.read_text() == old


@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_a_full_disk_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(os, place, full_disk)
        told = refusal(lambda: write_text(path, "new"))
    assert told.startswith(f"{path}: the disk is full; free some space")
    assert names(tmp_path) == ["x"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_quota_is_a_disk(number: int) -> None:
    def write() -> None:
        with stop_if_disk_full("x.npy"):
            raise OSError(number, os.strerror(number))

    assert refusal(write).startswith("x.npy: the disk is full")


def test_other_errors_are_not_called_a_full_disk() -> None:
    with pytest.raises(PermissionError), stop_if_disk_full("x"):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    """The umask is read once in a process, so each case is a process."""
    path = tmp_path / "x"
    code = "import sys; import mert_backfill.system.atomic as a; a.write_text(sys.argv[1], 'x')"
    command = [sys.executable, "-c", code, str(path)]
    subprocess.run(command, umask=mask, check=True)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Have a call of `os` fail, on folders only where it is fsync."""
    real = getattr(os, name)

    def call(what: int | str, *more: int) -> None:
        if name != "fsync" or stat.S_ISDIR(os.fstat(int(what)).st_mode):
            raise OSError(number, os.strerror(number))
        real(what, *more)

    monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize("name", ["fsync", "chmod"])
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_what_a_file_system_cannot_do_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    refuse(monkeypatch, name, number)
    write_text(tmp_path / "x", "a", like=os.stat(tmp_path))
    write_text(tmp_path / "x", "b")
    assert (tmp_path / "x").read_text() == "b"
    assert names(tmp_path) == ["x"]
    assert sync_folder(tmp_path) is (name != "fsync")
    assert set_mode(str(tmp_path / "x"), 0o600) is (name != "chmod")


@pytest.mark.parametrize("name", ["fsync", "chmod"])
def test_a_disk_that_fails_is_no_such_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    refuse(monkeypatch, name, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        write_text(tmp_path / "x", "a")


def test_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    write_text(tmp_path / "x", os.fsdecode(b"\xe9 \xc3\xa9"))
    assert (tmp_path / "x").read_bytes() == b"\xe9 \xc3\xa9"
