"""Files that failed elsewhere, and the list of those that failed here in the same form."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mert_backfill.errors import UserError
from mert_backfill.failures import Reason, TrackError
from mert_backfill.health.failure_lists import read_failures
from mert_backfill.health.jobs import audit_library
from mert_backfill.library.paths import PathMap
from mert_backfill.library.quarantine_list import read_quarantine_list
from mert_backfill.meta.rebuild import rebuild_library
from mert_backfill.plan.freshness import Change
from mert_backfill.records.summary import read_summary
from mert_backfill.system.tables import read_json, read_jsonl
from support.jobs import Workflow
from support.libraries import Library

BAD = {"b.mp3": TrackError("decode", Reason.NOT_AUDIO, "LibsndfileError: bad")}
FIELDS = ["path", "reason", "phase", "first_seen", "last_seen", "attempts", "size_bytes"]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path)
    library.add("a.mp3", "b.mp3", "c.mp3")
    return library


def listed(library: Library, name: str, **changes: Any) -> dict[str, Any]:
    path = library.music / name
    record = {
        "path": str(path),
        "reason": "decode_eof",
        "phase": "embed",
        "first_seen": "2026-01-01T00:00:00+00:00",
        "last_seen": "2026-02-01T00:00:00+00:00",
        "attempts": 2,
        "size_bytes": path.stat().st_size,
        "source": "theirs",
    }
    return record | changes


def write(path: Path, *lines: dict[str, Any] | str) -> Path:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def audit(work: Workflow) -> None:
    """Do the jobs that follow the chunks."""
    rebuild_library(work.settings, work.library.profile)
    audit_library(work.settings, work.library.profile)
    work.library.results.report.touch()


def test_what_failed_elsewhere_is_skipped_while_its_size_is_the_same(library: Library) -> None:
    lines = [listed(library, "b.mp3"), listed(library, "c.mp3", size_bytes=1)]
    path = write(library.folder / "theirs.jsonl", *lines)
    work = Workflow(library, quarantine_file=path)
    assert work.run() == ["a.mp3", "c.mp3"]
    summary = read_summary(library.results.summary)
    assert summary.counts["quarantined_total"] == 1
    assert summary.counts["quarantine_file_total"] == 1
    assert summary.samples["quarantine_file"] == [str(library.music / "b.mp3")]
    audit(work)
    current = read_json(library.results.audit)["current"]
    assert (current["failed_total"], current["quarantined_total"]) == (1, 1)
    (failure,) = read_failures(library.results.failures)
    assert (failure.path, failure.reason) == (str(library.music / "b.mp3"), "decode_eof")
    assert failure.error == "it failed elsewhere: meta.quarantine_file lists it"
    assert list(read_jsonl(library.results.quarantine)) == []  # nothing failed here
    assert work.preview().change is Change.NONE
    library.add("b.mp3", content="another song")
    assert work.run() == ["b.mp3"]


@pytest.mark.parametrize("asked", ["retry_failed", "paths_file"])
def test_it_is_tried_when_that_is_asked_for(library: Library, asked: str) -> None:
    path = write(library.folder / "theirs.jsonl", listed(library, "b.mp3"))
    work = Workflow(library, quarantine_file=path)
    assert work.run() == ["a.mp3", "c.mp3"]
    audit(work)
    named = library.folder / "list.txt"
    named.write_text(str(library.music / "b.mp3"))
    changes = {"retry_failed": True} if asked == "retry_failed" else {"paths_file": named}
    again = Workflow(library, quarantine_file=path, **changes)
    assert again.run() == ["b.mp3"]
    audit(again)
    assert again.run() == []


def test_another_list_makes_the_library_be_scanned(library: Library) -> None:
    work = Workflow(library)
    assert work.run(BAD) == ["a.mp3", "b.mp3", "c.mp3"]
    audit(work)
    path = write(library.folder / "theirs.jsonl", listed(library, "b.mp3"))
    work = Workflow(library, quarantine_file=path)
    assert work.preview().change is Change.LIBRARY
    assert work.run() == []
    audit(work)
    assert work.preview().change is Change.NONE
    write(path, listed(library, "a.mp3"))
    assert work.preview().change is Change.LIBRARY


def test_ours_fed_back_quarantines_exactly_those(library: Library, tmp_path: Path) -> None:
    odd = "\udcff odd\n.mp3"
    library.add(odd, content="odd")
    work = Workflow(library)
    work.run(BAD | {odd: BAD["b.mp3"]})
    audit(work)
    records = list(read_jsonl(library.results.quarantine))
    assert [list(record) for record in records] == [FIELDS] * 2
    assert [record["path"] for record in records] == [
        str(library.music / name) for name in ("b.mp3", odd)
    ]
    first = records[0]
    assert (first["reason"], first["phase"], first["attempts"]) == ("not_audio", "decode", 1)
    assert first["size_bytes"] == os.stat(library.music / "b.mp3").st_size
    assert first["first_seen"] == first["last_seen"]
    retry = Workflow(library, retry_failed=True)
    assert sorted(retry.run(BAD | {odd: BAD["b.mp3"]})) == sorted(["b.mp3", odd])
    audit(retry)
    records = list(read_jsonl(library.results.quarantine))
    assert [record["attempts"] for record in records] == [2, 2]
    assert records[0]["first_seen"] == first["first_seen"]
    assert records[0]["last_seen"] > first["last_seen"]
    kept = library.results.quarantine.rename(tmp_path / "kept.jsonl")
    elsewhere = Library(tmp_path / "elsewhere")
    elsewhere.music.parent.mkdir()
    elsewhere.music.symlink_to(library.music)
    pairs = PathMap([(str(library.music), str(elsewhere.music))])
    fresh = Workflow(elsewhere, quarantine_file=kept, path_map=pairs)
    assert fresh.run() == ["a.mp3", "c.mp3"]


def test_our_own_list_may_be_the_one_that_is_read(library: Library) -> None:
    path = library.results.quarantine
    work = Workflow(library, quarantine_file=path)
    work.run(BAD)  # it is not there yet
    audit(work)
    text = path.read_text()
    assert work.preview().change is Change.NONE
    write(path, text.strip(), listed(library, "c.mp3"))  # whose vector is there
    theirs = library.music / "d.mp3"
    library.add("d.mp3")
    write(path, text.strip(), listed(library, "c.mp3"), listed(library, "d.mp3", source=""))
    for _ in range(2):
        assert work.run() == []
        audit(work)
        assert [record["path"] for record in read_jsonl(path)] == [
            str(library.music / "b.mp3"), str(theirs)
        ]  # fmt: skip


def test_lines_that_tell_no_file_are_passed_over_and_counted(library: Library) -> None:
    path = write(
        library.folder / "theirs.jsonl",
        listed(library, "a.mp3", size_bytes=None),
        "{",
        "",
        "[1]",
        listed(library, "b.mp3", size_bytes=float(os.stat(library.music / "b.mp3").st_size)),
        '{"path": 3, "size_bytes": 4}',
        "[" * 100_000,
        json.dumps({"path": "x" * (1 << 21), "size_bytes": 4}),
        json.dumps({"path": "a\u0301" + "\u0301" * 5000, "size_bytes": 1e400}),
        '{"path": "/x", "size_bytes": true}',
        listed(library, "c.mp3", attempts="many", reason=["x"], phase="y" * 5000),
    )
    files = read_quarantine_list(path, PathMap())
    assert files.passed_over == (1, 2, 4, 6, 7, 8, 9, 10)
    c = listed(library, "c.mp3")
    found = files.of_file(c["path"], c["size_bytes"])
    assert found is not None
    assert (found.attempts, found.reason, len(found.phase)) == (1, "unknown", 200)
    work = Workflow(library, quarantine_file=path)
    told = f"{path}: 8 lines that hold no path and size_bytes are passed over, such as line 1"
    assert told in str(work.preview())
    assert work.run() == ["a.mp3"]


def test_any_spelling_will_do_and_the_last_line_of_a_file_counts(library: Library) -> None:
    path = write(
        library.folder / "theirs.jsonl",
        listed(library, "a.mp3", path="c:\\MUSIC\\A.MP3", size_bytes=1),
        listed(library, "a.mp3", path="C:/music/a.mp3"),
        listed(library, "b.mp3", path="music/b.mp3"),
    )
    pairs = PathMap([("C:\\Music", str(library.music))])
    work = Workflow(library, quarantine_file=path, path_map=pairs)
    assert work.run() == ["c.mp3"]


@pytest.mark.parametrize(
    ("place", "told"),
    [("gone", "there is no such file; correct meta.quarantine_file"), ("", "is not a file")],
)
def test_a_list_that_cannot_be_read_is_refused(library: Library, place: str, told: str) -> None:
    work = Workflow(library, quarantine_file=library.folder / place)
    with pytest.raises(UserError, match=told):
        work.preview()


@hypothesis_settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=30)))
def test_whatever_a_list_holds_it_is_read(tmp_path_factory: Any, lines: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("list") / "list"
    path.write_bytes(b"\n".join(lines))
    files = read_quarantine_list(path, PathMap())
    assert len(files) == 0
