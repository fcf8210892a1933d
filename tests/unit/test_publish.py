import errno
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import mert_backfill.meta.publish as publish
from mert_backfill.errors import UserError
from mert_backfill.meta.publish import publish_meta

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
OLD, NEW = b'{"tracks": {}, "old": 1}', b'{"tracks": {"/a.mp3": {}}}'


@pytest.fixture
def rebuilt(tmp_path: Path) -> Path:
    path = tmp_path / "results" / "meta.json"
    path.parent.mkdir()
    path.write_bytes(NEW)
    return path


@pytest.fixture
def live(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "meta.json"
    path.parent.mkdir()
    path.write_bytes(OLD)
    path.chmod(0o640)
    return path


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_backs_up_then_replaces_and_keeps_the_mode(rebuilt: Path, live: Path) -> None:
    backup = publish_meta(rebuilt, live, digest(OLD), NOON)
    assert backup == live.with_name("meta.json.20261122T120000Z.bak")
    assert backup is not None
    assert (backup.read_bytes(), live.read_bytes()) == (OLD, NEW)
    assert live.stat().st_mode & 0o777 == backup.stat().st_mode & 0o777 == 0o640
    assert names(live.parent) == ["meta.json", backup.name]


def test_equal_files_are_left_alone(rebuilt: Path, live: Path) -> None:
    publish_meta(rebuilt, live, digest(OLD), NOON)
    inode = live.stat().st_ino
    assert publish_meta(rebuilt, live, digest(OLD), NOON) is None
    assert live.stat().st_ino == inode


def test_a_link_stays_a_link(rebuilt: Path, live: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(live)
    backup = publish_meta(rebuilt, link, digest(OLD), NOON)
    assert link.is_symlink()
    assert live.read_bytes() == NEW
    assert backup is not None
    assert backup.parent == live.parent


def test_changed_live_file_is_refused(rebuilt: Path, live: Path) -> None:
    with pytest.raises(UserError, match=r"meta\.json: it has changed since it was read"):
        publish_meta(rebuilt, live, digest(b"what it was"), NOON)
    assert live.read_bytes() == OLD
    assert names(live.parent) == ["meta.json"]


def test_change_during_the_backup_is_refused(
    rebuilt: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = publish.write_atomically

    def someone_else_writes(path: Path, write: Any) -> None:
        original(path, write)
        live.write_bytes(b"theirs")

    monkeypatch.setattr(publish, "write_atomically", someone_else_writes)
    with pytest.raises(UserError, match="changed since it was read"):
        publish_meta(rebuilt, live, digest(OLD), NOON)
    assert live.read_bytes() == b"theirs"


def test_missing_files_are_named(rebuilt: Path, live: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.json: cannot be read: No such file"):
        publish_meta(rebuilt, live.with_name("gone.json"), digest(OLD), NOON)
    rebuilt.unlink()
    with pytest.raises(UserError, match=r"results/meta\.json: .* run `snakemake --cores 2` first"):
        publish_meta(rebuilt, live, digest(OLD), NOON)


@pytest.mark.parametrize("data", [b"", NEW[:-3], b"[]", b"{}", b'{"tracks": []}', b"[" * 100_000])
def test_what_is_no_meta_is_refused(rebuilt: Path, live: Path, data: bytes) -> None:
    rebuilt.write_bytes(data)
    with pytest.raises(UserError, match=r"results/meta\.json: this is no meta\.json with tracks"):
        publish_meta(rebuilt, live, digest(OLD), NOON)
    assert live.read_bytes() == OLD


def test_existing_backup_is_never_overwritten(rebuilt: Path, live: Path) -> None:
    backup = live.with_name("meta.json.20261122T120000Z.bak")
    backup.write_bytes(b"precious")
    with pytest.raises(UserError, match=r"20261122T120000Z\.bak: a backup of this name exists"):
        publish_meta(rebuilt, live, digest(OLD), NOON)
    assert (backup.read_bytes(), live.read_bytes()) == (b"precious", OLD)


@pytest.mark.parametrize("full_at", [0, 1])
def test_full_disk_leaves_the_live_file(
    rebuilt: Path, live: Path, monkeypatch: pytest.MonkeyPatch, full_at: int
) -> None:
    calls = iter(range(9))
    original = os.fsync

    def fsync(handle: int) -> None:
        # each atomic file is flushed, then its folder
        if next(calls) == full_at * 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match="the disk is full"):
        publish_meta(rebuilt, live, digest(OLD), NOON)
    assert json.loads(live.read_bytes()) == json.loads(OLD)
    assert not [name for name in names(live.parent) if name.startswith(".tmp")]


def test_a_folder_that_refuses_is_told_in_one_line(
    rebuilt: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(publish, "write_atomically", refuse)
    with pytest.raises(UserError, match="cannot be published to: Permission denied; make"):
        publish_meta(rebuilt, live, digest(OLD), NOON)
    assert live.read_bytes() == OLD
