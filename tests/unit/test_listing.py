"""What counts as a file of the library, and when the library looks unmounted."""

from __future__ import annotations

import os
import socket
import tempfile
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mert_backfill.errors import UserError
from mert_backfill.library.junk import JUNK_FOLDER_PREFIXES, JUNK_FOLDERS, is_junk
from mert_backfill.library.listing import Listing, check_not_shrunken, list_library
from mert_backfill.library.paths import hash_name, track_id
from mert_backfill.library.roots import Root, is_mount
from support import REPO

# the same examples every time, and no clock: the machine may be busy
LAW = settings(derandomize=True, deadline=None)

EXTENSIONS = [".mp3", ".flac"]
NFC, NFD = (unicodedata.normalize(form, "é.mp3") for form in ("NFC", "NFD"))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))


def list_folder(folder: Path) -> Listing:
    return list_library([Root("main", folder)], EXTENSIONS)


def names(files: tuple[Any, ...], folder: Path) -> list[str]:
    return [os.path.relpath(file.path, folder) for file in files]


def test_files_are_described_and_in_byte_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp3", "a/x.FLAC", "a b/y.mp3", "A.Mp3", "cover.jpg", ".mp3", "mp3")
    found = list_folder(tmp_path)
    assert names(found.files, tmp_path) == ["A.Mp3", "a b/y.mp3", "a/x.FLAC", "b.mp3"]
    first = found.files[0]
    status = os.stat(tmp_path / "A.Mp3")
    assert first.root == "main"
    assert first.path == f"{tmp_path}/A.Mp3"
    assert first.track_id == track_id("main", "A.Mp3")
    assert (first.size_bytes, first.mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_junk_is_set_apart(tmp_path: Path) -> None:
    touch(tmp_path, "._a.mp3", "__MACOSX/x/b.mp3", "__MACOSX.mp3", "empty.mp3")
    (tmp_path / "empty.mp3").write_bytes(b"")
    found = list_folder(tmp_path)
    assert names(found.junk, tmp_path) == ["._a.mp3", "__MACOSX/x/b.mp3"]
    assert names(found.files, tmp_path) == ["__MACOSX.mp3", "empty.mp3"]
    assert found.found_per_root() == {"main": 4}


def test_folders_that_systems_make_are_junk(tmp_path: Path) -> None:
    junk = [*JUNK_FOLDERS, ".Trash-1000", "$Recycle.Bin", "System Volume Information", "@EADIR"]
    own = ["Recycler", "#recycle bin", "Trash", ".trashy", "snapshots", "@eaDir.mp3", "_macosx"]
    touch(tmp_path, *(f"a/{name}/b/c.mp3" for name in (*junk, *own)))
    found = list_folder(tmp_path)
    assert {path.split("/")[1] for path in names(found.junk, tmp_path)} == {*junk}
    assert {path.split("/")[1] for path in names(found.files, tmp_path)} == {*own}
    for file in (*found.junk, *found.files):  # rows of meta.json are judged by the same names
        assert is_junk(os.path.relpath(file.path, tmp_path)) is (file in found.junk)


def test_a_library_may_lie_in_a_folder_of_such_a_name(tmp_path: Path) -> None:
    touch(tmp_path, ".snapshots/music/a.mp3")
    assert names(list_folder(tmp_path / ".snapshots/music").files, tmp_path) != []


def test_the_manual_names_each_folder_that_is_junk() -> None:
    text = (REPO / "config" / "README.md").read_text(encoding="utf-8").lower()
    for name in (*JUNK_FOLDERS, *JUNK_FOLDER_PREFIXES):
        assert f"`{name}" in text, name


def test_links_in_junk_folders_are_of_no_interest(tmp_path: Path) -> None:
    (tmp_path / ".snapshot").mkdir()
    (tmp_path / ".snapshot" / "daily").symlink_to("/")
    assert list_folder(tmp_path).linked_folders == ()


def test_links_and_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    music, other = tmp_path / "music", tmp_path / "other"
    touch(other, "real.mp3")
    touch(music, "folder.mp3/inside.flac")
    (music / "link.mp3").symlink_to(other / "real.mp3")
    (music / "folder-link.mp3").symlink_to(other)
    (music / "linked").symlink_to(other)
    (music / "dangling.mp3").symlink_to(other / "none")
    (music / "loop.mp3").symlink_to("loop.mp3")
    os.mkfifo(music / "fifo.flac")
    (music / "device.mp3").symlink_to("/dev/null")
    monkeypatch.chdir(music)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.mp3")
    os.mkfifo(music / "fifo.txt")

    found = list_folder(music)
    assert names(found.files, music) == ["folder.mp3/inside.flac", "link.mp3"]
    assert found.files[1].size_bytes == os.stat(other / "real.mp3").st_size
    assert found.linked_folders == (f"{music}/folder-link.mp3", f"{music}/linked")
    assert [Path(path).name for path in found.not_regular] == [
        "dangling.mp3",
        "device.mp3",
        "fifo.flac",
        "loop.mp3",
        "socket.mp3",
    ]


def test_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.mp3"
    with open(raw, "wb"):
        pass
    (file,) = list_folder(tmp_path).files
    assert os.fsencode(file.path) == raw


def test_names_that_differ_only_in_normalisation_are_two_tracks(tmp_path: Path) -> None:
    touch(tmp_path, NFD, NFC, "x.mp3")
    ids = {Path(file.path).name: file.track_id for file in list_folder(tmp_path).files}
    assert ids[NFC] == track_id("main", NFC)
    assert ids[NFD] == hash_name(f"main/{NFD}")
    assert len(set(ids.values())) == 3


def test_who_held_an_id_keeps_it(tmp_path: Path) -> None:
    touch(tmp_path, NFD)
    before = list_folder(tmp_path)
    touch(tmp_path, NFC)
    holders = before.holders
    for _ in range(2):  # also of what was listed in between
        found = list_library([Root("main", tmp_path)], EXTENSIONS, holders)
        ids = {Path(file.path).name: file.track_id for file in found.files}
        assert ids == {NFD: track_id("main", NFC), NFC: hash_name(f"main/{NFC}/")}
        holders = found.holders
    (tmp_path / NFD).unlink()
    found = list_library([Root("main", tmp_path)], EXTENSIONS, holders)
    assert found.files[0].track_id == track_id("main", NFC)
    assert not found.holders


def test_a_lone_nfd_name_has_the_id_of_its_nfc_form(tmp_path: Path) -> None:
    touch(tmp_path, NFD)
    (file,) = list_folder(tmp_path).files
    assert file.track_id == track_id("main", NFC)


marks = st.text("e\u0301\u0323\u00e9\u1eb9", min_size=1, max_size=4)


@LAW
@given(st.sets(marks, min_size=1, max_size=12))
def test_no_two_files_share_an_id(stems: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        touch(Path(folder), *(f"{stem}.mp3" for stem in stems))
        files = list_folder(Path(folder)).files
        assert len(files) == len(os.listdir(folder))
    assert len({file.track_id for file in files}) == len(files)


@LAW
@given(st.sets(marks, min_size=1, max_size=6), st.lists(st.sets(marks, max_size=4), max_size=3))
def test_no_file_that_is_added_changes_the_id_of_another(
    stems: set[str], added: list[set[str]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Root("main", Path(folder))
        ids: dict[str, str] = {}
        holders: Mapping[str, str] = {}
        for names in (stems, *added):
            touch(Path(folder), *(f"{stem}.mp3" for stem in names))
            found = list_library([root], EXTENSIONS, holders)
            now = {file.path: file.track_id for file in found.files}
            assert now.items() >= ids.items()
            assert len(set(now.values())) == len(now)
            ids, holders = now, found.holders


def test_a_library_that_moves_keeps_ids_and_fingerprint(tmp_path: Path) -> None:
    touch(tmp_path / "one", "a/x.mp3", "y.mp3")
    before = list_library([Root("main", tmp_path / "one")], EXTENSIONS)
    (tmp_path / "one").rename(tmp_path / "two")
    after = list_library([Root("main", tmp_path / "two")], EXTENSIONS)
    assert [f.track_id for f in before.files] == [f.track_id for f in after.files]
    assert before.fingerprint() == after.fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: touch(folder, "new.mp3"),
        lambda folder: touch(folder, "._new.mp3"),
        lambda folder: (folder / "a.mp3").unlink(),
        lambda folder: (folder / "a.mp3").rename(folder / "b.mp3"),
        lambda folder: os.utime(folder / "a.mp3", ns=(1, 1)),
        lambda folder: (folder / "link").symlink_to("/"),
    ],
    ids=["new", "new junk", "deleted", "renamed", "touched", "new link to a folder"],
)
def test_the_fingerprint_sees_every_change(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    touch(tmp_path, "a.mp3", "c.mp3")
    before = list_folder(tmp_path).fingerprint()
    assert list_folder(tmp_path).fingerprint() == before
    change(tmp_path)
    assert list_folder(tmp_path).fingerprint() != before


def test_an_unreadable_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.mp3", "locked/b.mp3")
    scandir = os.scandir

    def refuse(folder: str) -> Any:  # permissions do not bind root, who may run the tests
        if folder.endswith("locked"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = list_folder(tmp_path)
    assert names(found.files, tmp_path) == ["a.mp3"]
    assert found.unreadable == (f"{tmp_path}/locked",)
    with pytest.raises(UserError, match=r"cannot be read.*Permission denied.*permissions"):
        list_folder(tmp_path / "locked")


def test_an_entry_whose_type_cannot_be_told_ends_no_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Untold:  # as of a folder that may be listed but not entered, where it holds no types
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.name, self.path = entry.name, entry.path

        def is_dir(self, *, follow_symlinks: bool = True) -> bool:
            raise PermissionError(13, "Permission denied", self.path)

    class Scan:
        def __init__(self, folder: str) -> None:
            with scandir(folder) as entries:
                self._entries = [Untold(e) if "locked/" in e.path else e for e in entries]

        def __enter__(self) -> Any:
            return self._entries

        def __exit__(self, *_: object) -> None:
            pass

    scandir = os.scandir
    touch(tmp_path, "a.mp3", "locked/b.mp3")
    monkeypatch.setattr(os, "scandir", Scan)
    found = list_folder(tmp_path)
    assert names(found.files, tmp_path) == ["a.mp3"]
    assert found.unreadable == (f"{tmp_path}/locked",)


def test_roots_must_be_folders(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp3")
    with pytest.raises(UserError, match=r"library\.roots: 'main'.*no folder.*mount"):
        list_folder(tmp_path / "none")
    with pytest.raises(UserError, match="make demo"):
        list_folder(tmp_path / "demo" / "music")
    with pytest.raises(UserError, match="is not a folder"):
        list_folder(tmp_path / "a.mp3")


def test_roots_keep_their_order(tmp_path: Path) -> None:
    touch(tmp_path, "z/a.mp3", "a/b.mp3")
    (tmp_path / "void").mkdir()
    roots = [Root(name, tmp_path / name) for name in ("z", "a", "void")]
    found = list_library(roots, [".MP3"])
    assert [file.root for file in found.files] == ["z", "a"]
    assert found.found_per_root() == {"z": 1, "a": 1, "void": 0}


@pytest.mark.parametrize(("before", "refused"), [(0, False), (6, False), (7, True)])
def test_a_root_with_under_half_its_files_looks_unmounted(
    tmp_path: Path, before: int, refused: bool
) -> None:
    touch(tmp_path, "a.mp3", "b.mp3", "._c.mp3")
    found = list_folder(tmp_path)
    previous = {"main": before, "other": 1000}
    if refused:
        with pytest.raises(UserError, match=r"'main'.*unmounted.*accept_shrunken_library=true"):
            check_not_shrunken(found, previous, accept=False)
    else:
        check_not_shrunken(found, previous, accept=False)
    check_not_shrunken(found, previous, accept=True)


def test_an_empty_root_looks_unmounted_at_the_first_scan_too(tmp_path: Path) -> None:
    touch(tmp_path, "cover.jpg")
    found = list_folder(tmp_path)
    with pytest.raises(UserError, match="unmounted"):
        check_not_shrunken(found, {}, accept=False)
    check_not_shrunken(found, {}, accept=True)


def test_a_root_of_links_alone_says_so(tmp_path: Path) -> None:
    (tmp_path / "jazz").symlink_to("/")
    with pytest.raises(UserError, match="folders in it that are links, which are not followed: 1"):
        check_not_shrunken(list_folder(tmp_path), {}, accept=False)


def test_disks_below_a_root_are_known() -> None:
    if not is_mount("/dev/shm"):
        pytest.skip("no other disk below a folder that can be listed in a moment")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        (Path(folder) / "a.mp3").touch()
        assert list_library([Root("r", Path("/dev"))], {".mp3"}).mounts == ("/dev/shm",)
        assert list_library([Root("r", Path(folder))], {".mp3"}).mounts == ()
