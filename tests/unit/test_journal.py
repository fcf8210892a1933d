"""The journal: whatever a kill leaves of it, the good lines count."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mert_backfill.records import journal as journal_module
from mert_backfill.records.journal import JournalState, JournalWriter, read_journal
from support.checks import heard, refusal
from support.fakes import a_failure

# the same examples every time, and no clock: the machine may be busy
LAW = settings(derandomize=True, deadline=None, max_examples=60)

A, B, C = "a" * 20, "b" * 20, "c" * 20
Event = tuple[str, dict[str, Any]]


def begin(*tracks: str) -> Event:
    return "begin", {"tracks": list(tracks)}


def crashed(*tracks: str) -> Event:
    return "crashed", {"tracks": list(tracks)}


def embedded(track: str, **row: Any) -> Event:
    return "embedded", {"row": {"track_id": track, **row}, "profile": "p", "at": "2026"}


def failed(track: str, **changes: Any) -> Event:
    return "failed", {"failure": a_failure(track, **changes).as_record()}


def write(path: Path, *events: Event) -> None:
    with JournalWriter(path) as journal:
        for event, fields in events:
            journal.append(event, sync=False, **fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chunks" / "x.journal.jsonl"


def test_there_need_be_no_journal(path: Path) -> None:
    assert read_journal(path) == JournalState()


def test_outcomes_are_replayed(path: Path) -> None:
    write(path, begin(A, B), embedded(A, path="/m/\udce9\n.mp3"), failed(B, attempts=2))
    state = read_journal(path)
    assert state.done == {A: {"track_id": A, "path": "/m/\udce9\n.mp3"}}
    assert state.failed == {B: a_failure(B, attempts=2)}
    assert state.in_flight == ()


def test_the_last_outcome_counts(path: Path) -> None:
    write(path, embedded(A, n=1), failed(A), failed(B), embedded(B), embedded(C, n=1))
    write(path, embedded(C, n=2))
    state = read_journal(path)
    assert set(state.failed) == {A}
    assert state.done == {B: {"track_id": B}, C: {"track_id": C, "n": 2}}


def test_who_is_in_flight(path: Path) -> None:
    write(path, begin(A, B, C), embedded(B))
    assert read_journal(path).in_flight == (A, C)
    write(path, failed(A))
    assert read_journal(path).in_flight == (C,)
    write(path, begin())
    assert read_journal(path).in_flight == ()


def test_crashes_are_counted_until_there_is_an_outcome(path: Path) -> None:
    write(path, begin(A, B), crashed(A, B), begin(A), crashed(A))
    state = read_journal(path)
    assert state.crashes == {A: 2, B: 1}
    assert state.in_flight == ()
    write(path, failed(A), embedded(B))
    assert not +read_journal(path).crashes


def test_a_cut_line_does_not_spoil_the_next_one(path: Path) -> None:
    write(path, embedded(A), embedded(B))
    path.write_bytes(path.read_bytes()[:-5])
    assert set(read_journal(path).done) == {A}
    write(path, embedded(C))
    assert set(read_journal(path).done) == {A, C}


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\0\0\0",
        b"\xff\xfe{",
        b"[]",
        b"3",
        b"null",
        b"{}",
        b'{"event": "begin"}',
        b'{"event": "begin", "tracks": 3}',
        b'{"event": "embedded", "row": 3}',
        b'{"event": "embedded", "row": {}}',
        b'{"event": "embedded", "row": ["track_id"]}',
        b'{"event": "failed", "failure": {"track_id": "x"}}',
        b'{"event": "failed", "failure": null}',
        b'{"event": "crashed", "tracks": null}',
        b'{"event": "of a later version"}',
        b"[" * 100_000,
    ],
)
def test_garbage_between_good_lines_is_passed_over(path: Path, garbage: bytes) -> None:
    write(path, embedded(A))
    with open(path, "ab") as file:
        file.write(garbage + b"\n")
    write(path, failed(B))
    state = read_journal(path)
    assert (set(state.done), set(state.failed)) == ({A}, {B})


def test_events_are_appended_never_changed(path: Path) -> None:
    write(path, embedded(A))
    before = path.read_bytes()
    write(path, failed(A))
    assert path.read_bytes().startswith(before)
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("sync", [True, False])
def test_an_event_is_whole_and_on_the_disk_when_append_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    synced: list[bytes] = []
    real_write = os.write

    def fsync(handle: int) -> None:
        synced.append(os.pread(handle, 1 << 16, 0))

    with JournalWriter(path) as journal, monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda h, data: real_write(h, data[:3]))
        patch.setattr(os, "fsync", fsync)
        journal.append("begin", sync=sync, tracks=[A])
    line = json.dumps({"event": "begin", "tracks": [A]}).encode() + b"\n"
    assert path.read_bytes() == line
    assert synced == ([line] if sync else [])


def test_a_full_disk_is_told_in_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write(path, embedded(A))
    with JournalWriter(path) as journal, monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        told = refusal(lambda: journal.append("begin", tracks=[]))
    assert told.startswith(f"{path}: the disk is full")
    assert set(read_journal(path).done) == {A}


_TRACKS = st.sampled_from([A, B, C])
_GROUPS = st.lists(_TRACKS, unique=True)
_EVENTS = st.lists(
    st.one_of(
        _GROUPS.map(lambda tracks: begin(*tracks)),
        _GROUPS.map(lambda tracks: crashed(*tracks)),
        st.builds(embedded, _TRACKS, n=st.integers()),
        st.builds(failed, _TRACKS, attempts=st.integers(1, 9), path=st.text(max_size=3)),
    ),
    max_size=8,
)


@LAW
@given(_EVENTS, st.floats(0, 1))
def test_a_journal_cut_at_any_byte_says_what_its_whole_lines_say(
    events: list[Event], part: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, prefix = Path(folder) / "x", Path(folder) / "prefix"
        write(path, *events)
        content = path.read_bytes()
        cut = content[: round(part * len(content))]
        path.write_bytes(cut)
        # a line that lacks but its end is as good as whole
        whole = sum(cut.startswith(c) for c in _prefixes(content))
        write(prefix, *events[:whole])
        assert read_journal(path) == read_journal(prefix)
        write(path, embedded(A, n=0))
        write(prefix, embedded(A, n=0))
        assert read_journal(path) == read_journal(prefix)


def _prefixes(content: bytes) -> list[bytes]:
    lines = content.splitlines()
    return [b"\n".join(lines[: count + 1]) for count in range(len(lines))]


def test_a_second_writer_waits_for_the_first(path: Path) -> None:
    """As when a cluster gives up a node that still works, and starts the chunk on another."""
    second = threading.Thread(target=write, args=(path, embedded(B)), daemon=True)
    with heard(journal_module.logger) as told, JournalWriter(path) as first:
        second.start()
        assert "another process works on this chunk" in told.get(timeout=30).getMessage()
        assert set(read_journal(path).done) == set()
        event, fields = embedded(A)
        first.append(event, **fields)
    second.join(30)
    assert list(read_journal(path).done) == [A, B]
