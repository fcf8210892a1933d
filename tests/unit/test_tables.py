"""The text files: whatever a file is called comes out as it went in."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mert_backfill.system.tables import (
    format_tsv,
    read_json,
    read_jsonl,
    read_tsv,
    write_json,
    write_jsonl,
    write_tsv,
)
from support.checks import read_frame

HEADER = ["track_id", "path", "size_bytes"]
# what a file system can hand out: any bytes but NUL, not UTF-8 ones as surrogate escapes
file_names = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    st.text("\t\"'\r\n ,\\\u2028\x85\x1c\ufeffa", min_size=1),
    st.binary(min_size=1)
    .filter(lambda name: b"\0" not in name)
    .map(lambda name: name.decode("utf-8", "surrogateescape")),
)

# the same examples every time, and no clock: the machine may be busy
LAW = settings(derandomize=True, deadline=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@LAW
@given(st.lists(file_names))
def test_names_survive_tsv_for_csv_and_pandas(folder: Path, names: list[str]) -> None:
    path = folder / "table.tsv"
    write_tsv(path, HEADER, [(f"id{i}", f"/{name}", i) for i, name in enumerate(names)])
    expected = [f"/{name}" for name in names]

    assert [row["path"] for row in read_tsv(path)] == expected
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        header, *rows = csv.reader(file, delimiter="\t")
    assert header == HEADER
    assert [row[1] for row in rows] == expected
    frame = read_frame(path)
    assert frame["path"].tolist() == expected
    assert frame["size_bytes"].tolist() == list(range(len(names)))


@LAW
@given(st.lists(file_names))
def test_names_survive_json_and_json_lines(folder: Path, names: list[str]) -> None:
    write_json(folder / "names.json", names)
    assert json.loads((folder / "names.json").read_text(encoding="utf-8")) == names
    write_jsonl(folder / "names.jsonl", ({"path": name} for name in names))
    assert [record["path"] for record in read_jsonl(folder / "names.jsonl")] == names


def test_a_name_that_is_not_utf8_is_its_byte_in_tsv_and_escaped_in_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"Beyonc\xe9.mp3")
    write_tsv(tmp_path / "a.tsv", ["path"], [[name]])
    assert (tmp_path / "a.tsv").read_bytes() == b"path\nBeyonc\xe9.mp3\n"
    write_json(tmp_path / "a.json", {"path": name})
    assert rb"Beyonc\udce9.mp3" in (tmp_path / "a.json").read_bytes()


def test_readable_letters_stay_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"artist": "Zoë"})
    assert "Zoë" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_rows_end_with_a_line_feed_and_none_is_empty() -> None:
    assert format_tsv(["a", "b"], [("x", None)]) == "a\tb\nx\t\n"


def test_damaged_json_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    nested = b"[" * 200_000
    path.write_bytes(b'{"n": 1}\n{"n": \n\xff\xfe\n[1]\n' + nested + b'\n{"n": 2}\n{"n": 3')
    assert list(read_jsonl(path)) == [{"n": 1}, {"n": 2}]
    assert list(read_jsonl(tmp_path / "none.jsonl")) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"\xff{}", "can't decode byte"),
        (b"[" * 99_999, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_a_value_error(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=told):
        read_json(path)


def test_json_reads_back(tmp_path: Path) -> None:
    value = {"name": os.fsdecode(b"\xe9\n\t"), "list": [1, 0.5, None, True]}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
