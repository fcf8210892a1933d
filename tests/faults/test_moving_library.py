"""The library moves, or vanishes, under the run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mert_backfill.chunk.job import ChunkJob
from mert_backfill.config import load_settings
from mert_backfill.errors import UserError
from mert_backfill.health.jobs import read_audit_inputs
from mert_backfill.library.listing import list_library
from mert_backfill.library.roots import Root
from mert_backfill.meta.rebuild import read_rebuild_inputs
from mert_backfill.records.journal import read_journal
from mert_backfill.records.scan_state import ScanState
from support.fakes import FakeEncoder, PlainDecoder, a_profile
from support.jobs import failures, has_vector, make_job, run_once, statuses
from support.libraries import write_track
from support.small_disk import mounted

PROFILE = a_profile()
TRACKS = ["a.wav", "b.wav", "victim.wav", "c.wav", "d.wav"]
OTHERS = [name for name in TRACKS if name != "victim.wav"]
NOBODY = 65534


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    "change",
    [
        Path.unlink,
        lambda path: path.rename(path.with_name("renamed.wav")),
        replace_by_fifo,
        replace_by_folder,
        replace_by_loop,
    ],
    ids=["deleted", "renamed", "fifo", "folder", "loop"],
)
def test_a_file_that_is_gone_costs_itself(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """A file is deleted, renamed, or replaced by a FIFO, folder or link loop between scan and
    embedding -> file_missing, which may pass; all others are done and the chunk stays open."""
    job = make_job(tmp_path, TRACKS)
    change(tmp_path / "music" / "victim.wav")
    with pytest.raises(UserError, match=r"1 of 5 tracks failed .* \(1 file_missing\)"):
        run_once(job)
    record = failures(job)["victim.wav"]
    assert (record["reason"], record["stage"]) == ("file_missing", "stat")
    assert (record["permanent"], record["attempts"]) == (False, 1)
    assert all(has_vector(job, name) for name in OTHERS)


def test_a_file_that_comes_back_is_embedded(tmp_path: Path) -> None:
    """The file is back in the next run -> it gets its vector and its failure is gone."""
    job = make_job(tmp_path, TRACKS)
    victim, away = tmp_path / "music" / "victim.wav", tmp_path / "away.wav"
    victim.rename(away)
    for attempts in (1, 2):
        with pytest.raises(UserError, match="may pass"):
            run_once(job)
        assert failures(job)["victim.wav"]["attempts"] == attempts
    away.rename(victim)
    run_once(job)
    assert set(statuses(job)) == set(TRACKS)
    assert failures(job) == {}


def test_a_file_that_is_replaced_by_no_audio(tmp_path: Path) -> None:
    """A file is replaced by something else -> judged by what it is now, with its new size."""
    job = make_job(tmp_path, TRACKS)
    victim = tmp_path / "music" / "victim.wav"
    victim.write_bytes(b"no audio")
    run_once(job)
    record = failures(job)["victim.wav"]
    assert (record["reason"], record["size_bytes"]) == ("not_audio", 8)
    assert statuses(job) == dict.fromkeys(OTHERS, "embedded") | {"victim.wav": "failed"}


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    """A file is cut short just before it is read -> what is left of it is embedded."""
    job = make_job(tmp_path, {"a.wav": 2400, "victim.wav": 96_000})
    victim = tmp_path / "music" / "victim.wav"

    def cut(path: str) -> None:
        if path == str(victim):
            os.truncate(victim, 60_000)  # more than a second is left

    run_once(job, PlainDecoder(before=cut))
    assert set(statuses(job).values()) == {"embedded"}


# --- permissions --------------------------------------------------------------------------------


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user without rights; root may read everything, so it proves nothing."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Return a folder that every user can reach and write; pytest's own is private."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o777)
        yield path


def test_a_file_without_permission_costs_itself(public_folder: Path) -> None:
    """A file may not be read -> permission_denied, which may pass; all others are done."""
    with as_nobody():
        job = make_job(public_folder, TRACKS)
        victim = public_folder / "music" / "victim.wav"
        victim.chmod(0)
        with pytest.raises(UserError, match=r"\(1 permission_denied\)"):
            run_once(job)
        assert failures(job)["victim.wav"]["reason"] == "permission_denied"
        assert all(has_vector(job, name) for name in OTHERS)
        victim.chmod(0o600)
        run_once(job)
        assert failures(job) == {}


def test_a_folder_without_permission_is_told(public_folder: Path) -> None:
    """A folder may not be read -> the scan goes on and lists it as unreadable."""
    with as_nobody():
        write_track(public_folder / "music" / "a.wav", 0)
        write_track(public_folder / "music" / "closed" / "b.wav", 1)
        closed = public_folder / "music" / "closed"
        closed.chmod(0)
        listing = list_library([Root("lib", public_folder / "music")], {".wav"})
        closed.chmod(0o700)
    assert [Path(file.path).name for file in listing.files] == ["a.wav"]
    assert listing.unreadable == (str(closed),)


# --- the whole root -----------------------------------------------------------------------------


def move_away(job: ChunkJob) -> Callable[[], object]:
    root = job.roots[0].path
    root.rename(root.with_name("away"))
    return lambda: root.with_name("away").rename(root)


def leave_empty(job: ChunkJob) -> Callable[[], object]:
    """Do what unmounting does: the mount point is there, and empty."""
    back, root = move_away(job), job.roots[0].path
    root.mkdir()

    def restore() -> None:
        root.rmdir()
        back()

    return restore


@pytest.mark.parametrize("vanish", [move_away, leave_empty])
def test_a_root_that_vanishes_stops_the_chunk(
    tmp_path: Path, vanish: Callable[[ChunkJob], Callable[[], object]]
) -> None:
    """A whole root vanishes in the middle of a chunk -> it stops at once with one line and
    marks no track as failed; when the root is back the chunk goes on."""
    job = make_job(tmp_path, TRACKS)
    restore: list[Callable[[], object]] = []
    calls = iter(range(99))
    encoder = FakeEncoder(before=lambda: restore.append(vanish(job)) if next(calls) == 1 else None)
    with pytest.raises(UserError, match=r"library\.roots: 'lib' .* has vanished; mount it again"):
        run_once(job, encoder=encoder)
    assert encoder.windows_seen == 2
    assert read_journal(job.journal).failed == {}
    assert not (job.results.chunk_failures(job.name)).exists()
    with pytest.raises(UserError, match="has vanished"):  # nor does it begin without the root
        run_once(job)
    restore[0]()
    encoder = FakeEncoder()
    run_once(job, encoder=encoder)
    assert encoder.windows_seen == len(TRACKS) - 2
    assert statuses(job) == dict.fromkeys(TRACKS, "embedded")
    assert failures(job) == {}


def test_another_disk_in_the_place_of_the_root(tmp_path: Path) -> None:
    """Another disk appears in the place of the root in the middle of a chunk -> as if the root
    had vanished."""
    job = make_job(tmp_path, TRACKS)
    with mounted(tmp_path / "other", "1m"):
        pass  # skips here where nothing can be mounted
    decoded: list[str] = []

    def decode(path: str) -> None:
        decoded.append(path)
        if len(decoded) == 3:
            disk.__enter__()
            write_track(tmp_path / "music" / "stranger.wav", 0)

    disk = mounted(tmp_path / "music", "1m")
    try:
        with pytest.raises(UserError, match="has vanished"):
            run_once(job, PlainDecoder(before=decode))
    finally:
        disk.__exit__(None, None, None)
    assert len(decoded) == 3
    assert read_journal(job.journal).failed == {}
    run_once(job)
    assert set(statuses(job)) == set(TRACKS)


def test_nothing_is_rebuilt_or_audited_from_a_library_that_vanished(tmp_path: Path) -> None:
    """A root is gone or empty when meta.json is to be rebuilt or audited -> refused, so that
    no row is lost or counted as stale."""
    root = tmp_path / "music"
    write_track(root / "a.wav", 0)
    config = {"library": {"roots": [{"name": "lib", "path": "music"}]}, "model": {"name": "."}}
    settings = load_settings(config, tmp_path)
    ScanState(found_per_root={"lib": 1}).write(settings.results)
    assert len(read_rebuild_inputs(settings, PROFILE).files) == 1
    root.rename(tmp_path / "away")
    for read in (read_rebuild_inputs, read_audit_inputs):
        with pytest.raises(UserError, match="there is no folder"):
            read(settings, PROFILE)
    root.mkdir()
    for read in (read_rebuild_inputs, read_audit_inputs):
        with pytest.raises(UserError, match="looks unmounted"):
            read(settings, PROFILE)
