from pathlib import Path

import pytest

from mert_backfill.library.paths import PathMap
from mert_backfill.meta.gone import Disk


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    root = tmp_path / "music"
    (root / "Artist" / "Album").mkdir(parents=True)
    (root / "Artist" / "Album" / "there.mp3").touch()
    (root / "nas").mkdir()  # where a disk would be mounted
    (root / "emptied" / "below").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "there.mp3").touch()
    return Disk([str(root)], PathMap([("D:/Music", str(root))]))


@pytest.mark.parametrize(
    "key",
    [
        "music/Artist/Album/deleted.mp3",
        "music/Artist/Deleted Album/a.mp3",
        "music/Artist/Deleted/Disc 1/a.mp3",
        "music/Artist/Album/there.mp3/a.mp3",
        "music/deleted.mp3",
        "elsewhere/deleted.mp3",
    ],
)
def test_gone_where_somebody_could_look(tmp_path: Path, disk: Disk, key: str) -> None:
    assert disk.is_gone(str(tmp_path / key))


@pytest.mark.parametrize(
    "key",
    [
        "music/Artist/Album/there.mp3",
        "elsewhere/there.mp3",
        "music/nas/a.mp3",
        "music/nas/Artist/Album/a.mp3",
        "music/unplugged/a.mp3",
        "music/unplugged/Artist/a.mp3",
        "music/emptied/below/a.mp3",
        "unplugged/a.mp3",
        "elsewhere/unplugged/a.mp3",
    ],
)
def test_not_gone_where_a_disk_may_be_missing(tmp_path: Path, disk: Disk, key: str) -> None:
    assert not disk.is_gone(str(tmp_path / key))


@pytest.mark.parametrize(
    "key", ["E:\\Music\\a.mp3", "e:/a.mp3", "//server/share/a.mp3", "bare.mp3", "folder/a.mp3", ""]
)
def test_not_gone_where_no_path_of_this_machine_is_meant(disk: Disk, key: str) -> None:
    assert not disk.is_gone(key)


def test_windows_spellings_are_looked_for_through_the_path_map(disk: Disk) -> None:
    assert disk.is_gone("D:\\Music\\Artist\\Album\\deleted.mp3")
    assert not disk.is_gone("D:\\Music\\nas\\a.mp3")


def test_a_name_that_no_file_can_have_is_gone(disk: Disk) -> None:
    assert disk.is_gone("/x\0y.mp3")


def test_not_gone_where_nobody_may_look(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.lstat", refuse)
    assert not disk.is_gone(str(tmp_path / "music" / "Artist" / "Album" / "deleted.mp3"))
