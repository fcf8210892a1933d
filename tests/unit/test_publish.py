import errno
import hashlib
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mert_backfill.meta.publish as publish
from mert_backfill.config import load_settings
from mert_backfill.errors import UserError
from mert_backfill.library.meta_file import count_unseen
from mert_backfill.library.meta_text import MetaText
from mert_backfill.library.paths import PathMap
from mert_backfill.meta.difference import Difference
from mert_backfill.meta.documents import MetaSource
from mert_backfill.meta.publish import (
    KEPT_BACKUPS,
    PublishInputs,
    publish_library,
    unpublish_library,
)
from mert_backfill.meta.vectors_elsewhere import hand_over_vectors
from mert_backfill.settings import Settings
from mert_backfill.system.atomic import write_atomically
from support.libraries import changed

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
OLD, NEW = b'{"tracks": {}, "old": 1}', b'{"tracks": {"/a.mp3": {}}, "old": 1}'


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


def publish_meta(rebuilt: Path, live: Path, sha256: str, now: datetime = NOON) -> Path | None:
    """Publish what was rebuilt from a file of some hash; of which a copy may lie beside it."""
    inputs = PublishInputs(rebuilt, live, rebuilt.with_name("baseline.json"), sha256, PathMap())
    return publish.publish_meta(inputs, now=now)


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
    def someone_else_writes(path: Path, write: Any, **more: Any) -> None:
        write_atomically(path, write, **more)
        if path != live:
            live.write_bytes(b"theirs")

    monkeypatch.setattr(publish, "write_atomically", someone_else_writes)
    with pytest.raises(UserError, match="changed since it was read"):
        publish_meta(rebuilt, live, digest(OLD), NOON)
    assert live.read_bytes() == b"theirs"
    assert names(live.parent) == ["meta.json"]


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
    assert names(live.parent) == ["meta.json"]


def test_a_folder_that_refuses_is_told_in_one_line(
    rebuilt: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(publish, "write_atomically", refuse)
    with pytest.raises(UserError, match="cannot be published to: Permission denied; make"):
        publish_meta(rebuilt, live, digest(OLD), NOON)
    assert live.read_bytes() == OLD


def test_the_owner_stays(rebuilt: Path, live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, tuple[int, int]] = {}

    def chown(path: str, user: int, group: int) -> None:
        given[os.path.dirname(path)] = (user, group)

    monkeypatch.setattr(os, "chown", chown)
    publish_meta(rebuilt, live, digest(OLD))
    status = live.stat()
    assert given == {str(live.parent): (status.st_uid, status.st_gid)}


def test_a_mark_in_front_stays(rebuilt: Path, live: Path) -> None:
    live.write_bytes(b"\xef\xbb\xbf" + OLD)
    publish_meta(rebuilt, live, digest(OLD))
    assert live.read_bytes() == b"\xef\xbb\xbf" + NEW


def test_ten_backups_are_kept_and_nothing_else_is_removed(rebuilt: Path, live: Path) -> None:
    others = ["meta.json.bak", "meta.json.2026.bak", "other.json.20200101T000000Z.bak"]
    for name in others:
        live.with_name(name).touch()
    backups = []
    for number in range(KEPT_BACKUPS + 2):
        live.write_bytes(OLD)
        backups.append(publish_meta(rebuilt, live, digest(OLD), NOON + timedelta(hours=number)))
    kept = [path.name for path in backups[2:] if path is not None]
    assert names(live.parent) == sorted(["meta.json", *others, *kept])


def test_a_file_that_is_held_for_a_moment_is_tried_again(
    rebuilt: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, refusals = os.replace, iter([True, True])
    pauses: list[float] = []

    def held(source: str, target: Path) -> None:
        if Path(target) == live and next(refusals, False):
            raise PermissionError(errno.EACCES, "Permission denied", source, None, str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", held)
    monkeypatch.setattr(time, "sleep", pauses.append)
    publish_meta(rebuilt, live, digest(OLD))
    assert live.read_bytes() == NEW
    assert len(pauses) == 2


def test_a_file_that_stays_held_leaves_no_backup(
    rebuilt: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def held(source: str, target: Path) -> None:
        if Path(target) == live:
            raise PermissionError(errno.EACCES, "Permission denied", source, None, str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", held)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(UserError, match=r"meta\.json: cannot be published to: Permission denied"):
        publish_meta(rebuilt, live, digest(OLD))
    assert live.read_bytes() == OLD
    assert names(live.parent) == ["meta.json"]


def test_times_that_cannot_be_set_do_not_matter(
    rebuilt: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    assert publish_meta(rebuilt, live, digest(OLD)) is not None
    assert live.read_bytes() == NEW


# --- merging and unpublishing -----------------------------------------------------------------

BASE = '{"tracks": {"/a": {"bpm": 1, "gain": 1.50}, "/b": {}}, "v": 1}\n'
OURS = BASE.replace('"/b": {}', '"/b": {"embedding": "b.npy"}')


class Library:
    """A live meta.json, and what was rebuilt from it."""

    def __init__(self, folder: Path) -> None:
        self.live = folder / "data" / "meta.json"
        self.live.parent.mkdir()
        config = {
            "library": {"roots": [{"name": "m", "path": "music"}]},
            "meta": {"baseline": "data/meta.json"},
            "model": {"name": "."},
        }
        self.settings: Settings = load_settings(config, folder)
        self.live.write_text(BASE)
        self.rebuild(BASE, OURS)

    def rebuild(self, base: str, ours: str) -> None:
        results = self.settings.results
        results.meta.parent.mkdir(parents=True, exist_ok=True)
        results.meta.write_text(ours)
        results.meta_base.write_text(base)
        MetaSource(str(self.live), digest(base.encode())).write(results.meta_source)

    def backups(self) -> list[Path]:
        return sorted(self.live.parent.glob("*.bak"))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


def test_publishing_merges_what_the_live_file_has_gained(library: Library) -> None:
    theirs = BASE.replace('"bpm": 1', '"bpm": 2').replace('"/b"', '"/c": {"cues": [-0]}, "/b"')
    library.live.write_text(theirs)
    published = publish_library(library.settings)
    assert library.live.read_text() == theirs.replace('"/b": {}', '"/b": {"embedding": "b.npy"}')
    assert published.backup is not None
    assert published.backup.read_text() == theirs
    assert json.loads(library.settings.results.published.read_bytes()) == {
        "live": str(library.live),
        "backup": str(published.backup),
    }


def test_what_both_sides_changed_is_shown_and_refused(library: Library) -> None:
    theirs = BASE.replace('"/b": {}', '"/b": {"embedding": "theirs.npy"}')
    library.live.write_text(theirs)
    with pytest.raises(UserError) as caught:
        publish_library(library.settings)
    told = str(caught.value)
    assert "the field 'embedding' of the row '/b' is \"b.npy\" here and \"theirs.npy\"" in told
    assert "run `snakemake --cores 2` to rebuild from it, then publish again" in told
    assert library.live.read_text() == theirs
    assert library.backups() == []


def test_a_change_while_publishing_is_merged_too(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = BASE.replace('"bpm": 1', '"bpm": 2')

    def someone_else_writes(path: Path, write: Any, **more: Any) -> None:
        def also(file: IO[bytes]) -> None:
            if path == library.live and library.live.read_text() == BASE:
                library.live.write_text(theirs)
            write(file)

        write_atomically(path, also, **more)

    monkeypatch.setattr(publish, "write_atomically", someone_else_writes)
    publish_library(library.settings)
    assert library.live.read_text() == theirs.replace('"/b": {}', '"/b": {"embedding": "b.npy"}')
    assert [path.read_text() for path in library.backups()] == [theirs]


def test_a_copy_of_another_run_is_not_merged_with(library: Library) -> None:
    library.settings.results.meta_base.write_text(BASE.replace("1.50", "1.5"))
    library.live.write_text(BASE.replace('"bpm": 1', '"bpm": 2'))
    with pytest.raises(UserError, match="what was kept of that is of another run"):
        publish_library(library.settings)
    assert library.backups() == []


def test_unpublishing_gives_back_the_bytes(library: Library) -> None:
    library.live.write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    library.live.chmod(0o600)
    before = library.live.read_bytes()
    publish_library(library.settings)
    assert library.live.read_bytes() != before
    unpublish_library(library.settings)
    assert library.live.read_bytes() == before
    assert library.live.stat().st_mode & 0o777 == 0o600
    assert library.backups() == []
    assert not library.settings.results.published.exists()  # so that Snakemake publishes again
    with pytest.raises(UserError, match="nothing was published since the last unpublish"):
        unpublish_library(library.settings)
    publish_library(library.settings)
    assert "b.npy" in library.live.read_text()


def test_unpublishing_keeps_what_has_changed_since(library: Library) -> None:
    publish_library(library.settings)
    since = library.live.read_text().replace('"bpm": 1', '"bpm": 7')
    library.live.write_text(since)
    unpublish_library(library.settings)
    assert library.live.read_text() == BASE.replace('"bpm": 1', '"bpm": 7')


def test_unpublishing_refuses_where_both_changed(library: Library) -> None:
    publish_library(library.settings)
    since = library.live.read_text().replace("b.npy", "other.npy")
    library.live.write_text(since)
    with pytest.raises(UserError, match=r"is gone here and \"other\.npy\" there; what it was"):
        unpublish_library(library.settings)
    assert library.live.read_text() == since
    assert len(library.backups()) == 1


def test_a_publish_with_nothing_to_do_can_still_be_followed_by_unpublish(library: Library) -> None:
    publish_library(library.settings)
    assert publish_library(library.settings).backup is None
    unpublish_library(library.settings)
    assert library.live.read_text() == BASE


def test_unpublishing_without_the_backup_is_refused(library: Library) -> None:
    publish_library(library.settings)
    (backup,) = library.backups()
    backup.unlink()
    after = library.live.read_text()
    with pytest.raises(UserError, match="without it nothing can be put back"):
        unpublish_library(library.settings)
    assert library.live.read_text() == after


def test_vectors_are_copied_where_another_program_finds_them(
    library: Library, tmp_path: Path
) -> None:
    vector = library.settings.results.embeddings / "p" / "ab" / "ab12.npy"
    vector.parent.mkdir(parents=True)
    vector.write_bytes(b"a vector")
    gone, theirs = vector.with_name("gone.npy"), tmp_path / "theirs.npy"
    rows = {"embedding": str(vector), "embedding_intro": str(gone), "embedding_x": str(theirs)}
    ours = BASE.replace('"/b": {}', f'"/b": {json.dumps(rows)}')
    library.rebuild(BASE, ours)
    folder = tmp_path / "shared"
    settings = changed(library.settings, publish_embeddings_to=folder)
    publish_library(settings)
    copy = folder / "p" / "ab" / "ab12.npy"
    assert copy.read_bytes() == b"a vector"
    assert library.live.read_text() == ours.replace(str(vector), str(copy))
    inode = copy.stat().st_ino
    assert publish_library(settings).backup is None
    assert copy.stat().st_ino == inode
    unpublish_library(settings)
    assert library.live.read_text() == BASE


def test_vectors_that_cannot_be_copied_stop_the_publish(library: Library, tmp_path: Path) -> None:
    vector = library.settings.results.embeddings / "p" / "ab" / "ab12.npy"
    vector.parent.mkdir(parents=True)
    vector.write_bytes(b"a vector")
    library.rebuild(BASE, BASE.replace('"/b": {}', f'"/b": {{"embedding": "{vector}"}}'))
    folder = tmp_path / "file"
    folder.touch()
    with pytest.raises(UserError, match=r"publish_embeddings_to: .* nothing was published"):
        publish_library(changed(library.settings, publish_embeddings_to=folder))
    assert library.live.read_text() == BASE
    assert library.backups() == []


# --- words


def test_publishing_says_what_it_did_and_how_to_take_it_back(
    library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    library.rebuild(BASE, BASE.replace('"/b": {}', '"/b": {"embedding": "/x.npy"}, "/c": {}'))
    publish_library(library.settings)
    (backup,) = library.backups()
    assert caplog.messages == [
        f"published to {library.live}: 1 row added, 1 filled in, 0 removed, nothing else changed",
        f"the backup is {backup}; to take it back: `snakemake --cores 1 unpublish`",
    ]


def test_a_difference_in_words() -> None:
    before = {"tracks": {"a": {"bpm": 1}, "b": {}, "c": {}, "d": {}}}
    after = {"tracks": {"a": {"bpm": 2}, "b": {"embedding_profile": "p"}, "c": {}, "e": {}}}
    told = "1 row added, 1 filled in, 1 removed, 1 changed otherwise"
    assert str(Difference.of(before, after)) == told


@pytest.mark.parametrize("backslash", [True, False])
def test_a_program_on_windows_finds_the_copies_without_a_path_map(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, backslash: bool
) -> None:
    store, base = tmp_path / "results" / "embeddings", tmp_path / "rbassist"
    vector = store / "p" / "ab" / "ab12.npy"
    vector.parent.mkdir(parents=True)
    vector.write_bytes(b"a vector")
    key = "C:\\a.mp3" if backslash else "C:/a.mp3"
    text = MetaText(json.dumps({"tracks": {key: {"embedding": str(vector)}}}))
    folder = base / "data" / "mert"
    published = hand_over_vectors(text, store, folder, PathMap(), base).document["tracks"]
    reference = "data/mert/p/ab/ab12.npy"
    wanted = reference.replace("/", "\\") if backslash else reference
    assert published[key]["embedding"] == wanted
    elsewhere = hand_over_vectors(text, store, tmp_path / "x", PathMap(), base).document["tracks"]
    assert elsewhere[key]["embedding"] == f"{tmp_path}/x/p/ab/ab12.npy"
    assert (count_unseen(published), count_unseen(elsewhere)) == (0, 1)


# --- no field is lost, whatever both sides do --------------------------------------------------

cells = st.sampled_from([0, 1.5, "x", None, [1], {"k": 1}])
rows_of_theirs = st.dictionaries(st.sampled_from("abcd"), cells, max_size=4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    base=st.lists(rows_of_theirs, min_size=3, max_size=3),
    changes=st.lists(rows_of_theirs, min_size=3, max_size=3),
    later=st.lists(rows_of_theirs, min_size=3, max_size=3),
)
def test_publishing_and_unpublishing_lose_no_field(
    tmp_path_factory: pytest.TempPathFactory,
    base: list[dict[str, Any]],
    changes: list[dict[str, Any]],
    later: list[dict[str, Any]],
) -> None:
    """Of three rows one gets an embedding, one moves, and one leaves, as rebuilding and tidying do;
    what the other program changes meanwhile, and after it was published, is there in the end."""
    library = Library(tmp_path_factory.mktemp("library"))
    read = {f"/{number}": row for number, row in enumerate(base)}
    ours = {"/0": {**read["/0"], "embedding": "e.npy"}, "/moved": read["/1"]}
    library.rebuild(json.dumps({"tracks": read}), json.dumps({"tracks": ours}))
    theirs = {key: {**row, **more} for (key, row), more in zip(read.items(), changes, strict=True)}
    theirs["/1"], theirs["/2"] = read["/1"], read["/2"]
    library.live.write_text(json.dumps({"tracks": theirs}))
    publish_library(library.settings)
    published = json.loads(library.live.read_bytes())["tracks"]
    assert published == {"/0": {**theirs["/0"], "embedding": "e.npy"}, "/moved": read["/1"]}
    since = {"/0": {**published["/0"], **later[0]}, "/moved": published["/moved"], "/new": later[1]}
    library.live.write_text(json.dumps({"tracks": since}))
    unpublish_library(library.settings)
    back = json.loads(library.live.read_bytes())["tracks"]
    assert back == {**theirs, "/0": {**theirs["/0"], **later[0]}, "/new": later[1]}
