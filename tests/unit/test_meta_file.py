"""Reading a meta.json: which rows name a file, where their embeddings lie, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from pathlib import Path
from typing import Any, Literal

import pytest

from mert_backfill.errors import UserError
from mert_backfill.library import meta_file as baseline_module
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.paths import PathMap, PathStyle

LOCAL = "/mnt/c/Users/me/Music"
WINDOWS = PathMap([("C:/Users/me/Music", LOCAL)])


def write(folder: Path, content: Any) -> Path:
    path = folder / "data" / "meta.json"
    path.parent.mkdir(exist_ok=True)
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(data)
    return path


def load(folder: Path, content: Any, path_map: PathMap | None = None) -> MetaFile:
    path = write(folder, content)
    return MetaFile.load(path, embedding_base=None, path_map=path_map or PathMap())


def with_refs(folder: Path, *refs: object, path_map: PathMap | None = None) -> MetaFile:
    tracks = {f"/m/{i}.mp3": {"embedding": ref} for i, ref in enumerate(refs)}
    return load(folder, {"tracks": tracks}, path_map)


@pytest.mark.parametrize(
    "to", ["/", "nowhere", "loop", "file", "../../..", "a\0b", "\x1b[2J", "/y" * 100_000]
)
def test_odd_targets_of_a_path_map_match_nothing(tmp_path: Path, to: str) -> None:
    """They are spellings to compare by: nothing is opened, followed or looked up."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    path_map = PathMap([("C:/Music", str(tmp_path / to) if "\0" not in to else to)])
    meta = tmp_path / "data" / "meta.json"
    meta.parent.mkdir()
    meta.write_text(json.dumps({"tracks": {"C:\\Music\\a.mp3": {"embedding": "../x.npy"}}}))
    read = MetaFile.load(meta, embedding_base=None, path_map=path_map)
    assert list(read.keys_of(str(tmp_path / "music" / "a.mp3"))) == []


def test_the_document_is_kept_as_it_is(tmp_path: Path) -> None:
    content = {"version": 3, "tracks": {"/m/b.mp3": {"x": [1]}, "/m/a.mp3": {}}, "tail": None}
    baseline = load(tmp_path, content)
    assert baseline.document == content
    assert list(baseline.document) == ["version", "tracks", "tail"]
    assert list(baseline.tracks) == ["/m/b.mp3", "/m/a.mp3"]
    assert baseline.tracks is baseline.document["tracks"]
    assert baseline.path is not None
    assert baseline.sha256 == hashlib.sha256(baseline.path.read_bytes()).hexdigest()


def test_no_baseline_has_no_rows() -> None:
    baseline = MetaFile.load(None, embedding_base=None, path_map=PathMap())
    assert baseline.document == {"tracks": {}}
    assert baseline.path is None
    assert baseline.sha256 is None
    assert baseline.keys_of("/m/a.mp3") == []


def test_keys_in_every_spelling(tmp_path: Path) -> None:
    keys = [
        r"C:\Users\me\Music\Zoë.mp3",
        "c:/users/ME/music/zoë.mp3",
        unicodedata.normalize("NFD", "C:/Users/me/Music/Zoë.mp3"),
        f"{LOCAL}/Zoë.mp3",
        r"C:\Users\me\Music\Other.mp3",
        "Zoë.mp3",
    ]
    baseline = load(tmp_path, {"tracks": {key: {} for key in keys}}, WINDOWS)
    assert baseline.keys_of(f"{LOCAL}/Zoë.mp3") == keys[:4]
    assert baseline.duplicate_keys() == keys[1:4]
    assert baseline.style == PathStyle(windows=True, backslash=False)
    assert list(baseline.comparison_keys().values()) == [keys[:4], [keys[4]], [keys[5]]]


def test_keys_below_folders(tmp_path: Path) -> None:
    keys = [r"C:\Users\me\Music\jazz\a.mp3", r"C:\Users\me\Music\Jazz2\a.mp3", "/x/b.mp3"]
    baseline = load(tmp_path, {"tracks": {key: {} for key in keys}}, WINDOWS)
    assert baseline.keys_below([f"{LOCAL}/Jazz"]) == {keys[0]}
    assert baseline.keys_below([]) == set()


@pytest.mark.parametrize("ref", [None, "", "  ", 7, ["x.npy"], {}])
def test_what_is_no_reference(tmp_path: Path, ref: object) -> None:
    baseline = with_refs(tmp_path, ref)
    assert baseline.embedding_ref("/m/0.mp3") is None
    assert baseline.embedding_path("/m/0.mp3") is None


def test_references_start_at_the_parent_of_the_data_folder(tmp_path: Path) -> None:
    baseline = with_refs(tmp_path, r"data\embeddings\x.npy", "/abs/x.npy", "data/y.npy")
    assert baseline.embedding_path("/m/0.mp3") == tmp_path / "data/embeddings/x.npy"
    assert baseline.embedding_path("/m/1.mp3") == Path("/abs/x.npy")
    assert baseline.embedding_path("/m/2.mp3") == tmp_path / "data/y.npy"
    other = MetaFile.load(baseline.path, embedding_base=Path("/base"), path_map=PathMap())
    assert other.embedding_path("/m/2.mp3") == Path("/base/data/y.npy")


def test_a_reference_with_a_drive_letter_goes_through_path_map(tmp_path: Path) -> None:
    path_map = PathMap([("C:/rb", str(tmp_path))])
    baseline = with_refs(tmp_path, r"c:\RB\data\x.npy", path_map=path_map)
    assert baseline.embedding_path("/m/0.mp3") == tmp_path / "data/x.npy"


def test_a_reference_in_another_case_is_found_where_windows_would(tmp_path: Path) -> None:
    (tmp_path / "Data2").mkdir()
    (tmp_path / "Data2" / "Übung.npy").touch()
    baseline = with_refs(tmp_path, "data2\\übung.NPY", "data2/übung.NPY", "Data2\\none.npy")
    assert baseline.embedding_path("/m/0.mp3") == tmp_path / "Data2" / "Übung.npy"
    assert baseline.embedding_path("/m/1.mp3") == tmp_path / "data2/übung.NPY"  # not Windows
    assert baseline.embedding_path("/m/2.mp3") == tmp_path / "Data2" / "none.npy"


@pytest.mark.parametrize(("on_disk", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_reference_in_another_normalisation_is_found(
    tmp_path: Path, on_disk: Literal["NFC", "NFD"], written: Literal["NFC", "NFD"]
) -> None:
    name = "Zoé/é.npy"
    file = tmp_path / unicodedata.normalize(on_disk, name)
    file.parent.mkdir()
    file.touch()
    baseline = with_refs(tmp_path, unicodedata.normalize(written, name))
    found = baseline.embedding_path("/m/0.mp3")
    assert found is not None
    assert os.path.samefile(found, file)


def test_a_hostile_reference_is_only_a_missing_file(tmp_path: Path) -> None:
    baseline = with_refs(tmp_path, "nul\0.npy", "x" * 5000, "-rf", "../../..", "/")
    for key in baseline.tracks:
        assert not os.path.isfile(baseline.embedding_path(key) or "")


DEEP = b"[" * 200_000 + b"]" * 200_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON at line 1, column 1"),
        (b'{"tracks": {\n "a": {},}}', "not valid JSON at line 2, column 10"),
        (b"[]", 'no "tracks"'),
        (b"{}", 'no "tracks"'),
        (b'{"tracks": []}', 'no "tracks"'),
        (b'{"tracks": {"/m/a.mp3": "x"}}', "row of '/m/a.mp3'"),
        (b'{"tracks": {"/m/a.mp3": {}, "/m/a.mp3": {"bpm": 1}}}', "'/m/a.mp3' twice"),
        (b'{"tracks": {}, "x": ' + DEEP + b"}", "nested too deeply"),
        (b'{"tracks": {}, "x": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"tracks": {"caf\xe9": {}}}', "not UTF-8 at byte 16"),
        ('{"tracks": {}}'.encode("utf-16"), "not UTF-8"),
        (b"\0" * 64, "not valid JSON"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UserError, match=message) as error:
        MetaFile.load(path, embedding_base=None, path_map=PathMap())
    assert str(error.value).startswith(f"{path}: meta.baseline ")
    assert path.read_bytes() == content


def test_a_mark_nan_and_lone_surrogates_are_read(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"tracks": {"/m/caf\\udce9.mp3": {"bpm": NaN}}}'
    baseline = load(tmp_path, content)
    assert baseline.keys_of(os.fsdecode(b"/m/caf\xe9.mp3")) == [os.fsdecode(b"/m/caf\xe9.mp3")]


def test_files_that_cannot_be_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, message: str) -> None:
        with pytest.raises(UserError, match=message):
            MetaFile.load(path, embedding_base=None, path_map=PathMap())

    refused(tmp_path / "none.json", "there is no such file")
    refused(tmp_path, "is not a file")
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo", "is not a file")
    path = write(tmp_path, {"tracks": {}})
    with monkeypatch.context() as patch:
        patch.setattr(baseline_module, "MAX_BYTES", 3)
        refused(path, "14 bytes, at most 3")

    def deny(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)
    refused(path, "cannot be read.*permissions")
