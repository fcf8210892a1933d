"""What a chunk learns of all journals, and the index that spares it reading them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mert_backfill.errors import UserError
from mert_backfill.failures import Failure
from mert_backfill.records import journal_index
from mert_backfill.records.journal_index import open_index
from mert_backfill.records.ledger import read_ledger
from mert_backfill.records.origins import origin_told
from mert_backfill.records.past import Sounds, failures_of, read_past
from mert_backfill.results import Results
from mert_backfill.system import tables
from mert_backfill.system.tables import read_jsonl
from support.journals import Journals

A, B, C = "a" * 20, "b" * 20, "c" * 20
TRACKS = (A, B, C)


@pytest.fixture
def written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the index written for each line that it does not cover."""
    monkeypatch.setattr(journal_index, "_WORTH_WRITING", 0)


def sounds_of(results: Results, profile: str = "p") -> dict[str, list[str]]:
    """Return the tracks of each sound that the tracks have."""
    sounds = Sounds(open_index(results), profile)
    found = {f"hash of {track}": list(sounds.tracks_with(f"hash of {track}")) for track in TRACKS}
    return {sound: tracks for sound, tracks in found.items() if tracks}


def plain_sounds(results: Results, profile: str = "p") -> dict[str, list[str]]:
    """Return the same without any index."""
    found: dict[str, dict[str, None]] = {}
    for path in results.journals():
        for record in read_jsonl(path):
            made = origin_told(record, profile)
            if made is not None and made.sound is not None:
                found.setdefault(made.sound, {})[made.track_id] = None
    return {sound: list(tracks) for sound, tracks in found.items()}


def made(sound: str, track: str, minute: int) -> dict[str, Any]:
    row = {"track_id": track, "pcm_sha256": sound}
    return {"event": "embedded", "row": row, "profile": "p", "at": Journals.at(minute)}


def plain_failures(results: Results) -> dict[str, Failure]:
    return dict(read_ledger(results).failures)


@contextmanager
def lines_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Count the lines of journals that are parsed."""
    numbers, parse = count(), tables.parse_record
    with monkeypatch.context() as patch:
        patch.setattr(journal_index, "parse_record", lambda line: (next(numbers), parse(line))[1])
        yield lambda: next(numbers)


# --- what is found


def test_only_vectors_of_the_profile_can_be_reused(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    journals.embedded("a", A, 1)
    journals.embedded("b", B, 1, profile="q")
    journals.embedded("b", C, 1, event="reused")
    assert sounds_of(journals.results, "p") == {f"hash of {A}": [A], f"hash of {C}": [C]}
    assert sounds_of(journals.results, "q") == {f"hash of {B}": [B]}


def test_tracks_with_the_same_audio_stand_together_once(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    for track in (A, B, A):
        journals.embedded("a", track, 1, pcm_sha256="same")
    sounds = Sounds(open_index(journals.results), "p")
    assert list(sounds.tracks_with("same")) == [A, B]
    for track in (B, C):
        sounds.learn(made("same", track, 2))
    assert list(sounds.tracks_with("same")) == [B, C, A]


def test_a_chunk_knows_its_own_journal_and_all_others(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    journals.failed("other", A, 1, attempts=1)
    journals.failed("own", A, 2, attempts=2)
    journals.failed("own", B, 1)
    journals.embedded("other", B, 2)
    journals.failed("other", C, 1)  # not a track of this chunk
    past = read_past(journals.results, "own", [A, B], "p", since_ns=0)
    assert set(past.state.failed) == {A, B}
    assert {track: failure.attempts for track, failure in past.ledger.failures.items()} == {A: 2}
    assert list(past.sounds.tracks_with(f"hash of {B}")) == [B]
    journals.embedded("own", C, 3)
    again = read_past(journals.results, "own", [C], "p", since_ns=0)
    assert list(again.sounds.tracks_with(f"hash of {C}")) == [C]


def test_a_chunk_reads_its_own_journal_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals = Journals(tmp_path)
    for minute in range(9):
        journals.embedded("own", A, minute)
    journals.embedded("other", B, 1)
    with lines_read(monkeypatch) as lines:
        read_past(journals.results, "own", [], "p", since_ns=0)
        assert lines() == 1  # that of the other one: its own it has read by then


def test_sounds_that_share_a_number_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_index, "_sound_key", lambda profile, pcm_sha256: 7)
    journals = Journals(tmp_path)
    for track in TRACKS:
        journals.embedded("a", track, 1)
    assert sounds_of(journals.results) == {f"hash of {track}": [track] for track in TRACKS}


def test_there_need_be_nothing(tmp_path: Path) -> None:
    results = Results(tmp_path / "none")
    assert failures_of(results, TRACKS) == {}
    assert sounds_of(results) == {}
    assert not results.folder.exists()


# --- what is read, and what is not


def test_what_is_covered_is_not_read_again(
    tmp_path: Path, written_at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals = Journals(tmp_path)
    for minute in range(40):
        journals.embedded(f"chunk{minute % 4}", A, minute)
    with lines_read(monkeypatch) as lines:
        open_index(journals.results)
        assert lines() == 40
    journals.embedded("chunk2", B, 50)
    journals.embedded("chunk9", C, 50)
    with lines_read(monkeypatch) as lines:
        index = open_index(journals.results)
        assert lines() == 2
        assert len(list(index.of_track(B))) == 1
        assert lines() == 4  # the count itself, and the line that was asked for


def test_the_index_is_written_when_it_is_worth_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals = Journals(tmp_path)
    journals.embedded("a", A, 1)
    index = journals.results.journal_index
    open_index(journals.results)
    assert not index.exists()
    monkeypatch.setattr(journal_index, "_WORTH_WRITING", os.path.getsize(journals.path("a")) - 1)
    open_index(journals.results)
    written = index.stat().st_ino
    journals.embedded("b", B, 1)
    monkeypatch.setattr(journal_index, "_WORTH_WRITING", os.path.getsize(journals.path("b")))
    open_index(journals.results)
    assert index.stat().st_ino == written


def test_an_index_that_cannot_be_written_is_no_harm(
    tmp_path: Path, written_at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    journals = Journals(tmp_path)
    journals.embedded("a", A, 1)
    journals.results.state.write_text("no folder")
    assert sounds_of(journals.results) == {f"hash of {A}": [A]}
    (told,) = caplog.messages
    assert told.startswith(f"{journals.results.journal_index}: cannot be written (")


def test_a_full_disk_is_told_as_anywhere(
    tmp_path: Path, written_at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals = Journals(tmp_path)
    journals.embedded("a", A, 1)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("numpy.savez", full)
    with pytest.raises(UserError, match="the disk is full"):
        open_index(journals.results)


# --- whatever happens to index and journals


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "flipped", "another file", "version"])
def test_a_damaged_index_is_made_again(
    tmp_path: Path, written_at_once: None, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    journals = Journals(tmp_path)
    for track in TRACKS:
        journals.embedded("a", track, 1)
    index = journals.results.journal_index
    open_index(journals.results)
    whole = index.read_bytes()
    middle = len(whole) // 3
    if damage == "version":
        monkeypatch.setattr(journal_index, "_VERSION", 2)
    else:
        flipped = bytes([whole[middle] ^ 1])
        index.write_bytes(
            {
                "cut": whole[:middle],
                "empty": b"",
                "noise": bytes(range(256)) * 9,
                "flipped": whole[:middle] + flipped + whole[middle + 1 :],
                "another file": b"\x93NUMPY\x01\x00v\x00",
            }[damage]
        )
    assert sounds_of(journals.results) == plain_sounds(journals.results)
    with lines_read(monkeypatch) as lines:
        open_index(journals.results)
        assert lines() == 0


@pytest.mark.parametrize("loss", ["cut", "begun anew", "gone", "same size"])
def test_a_journal_that_is_no_longer_what_was_read_is_read_again(
    tmp_path: Path, written_at_once: None, loss: str
) -> None:
    """A power cut takes the end of a journal that another node had read, or a user the journal."""
    journals = Journals(tmp_path)
    journals.embedded("b", C, 1)
    journals.failed("a", A, 1)
    journals.embedded("a", B, 1)
    assert set(sounds_of(journals.results)) == {f"hash of {B}", f"hash of {C}"}
    path = journals.path("a")
    (first, second) = path.read_bytes().splitlines(keepends=True)
    path.unlink()
    if loss == "cut":
        path.write_bytes(first + second[:-9])
        journals.failed("a", B, 2)
        journals.embedded("a", A, 2)
    elif loss == "begun anew":
        for minute in range(9):
            journals.embedded("a", A, minute)
    elif loss == "same size":
        path.write_bytes(second.replace(B.encode(), A.encode()) + first)
        os.utime(path, ns=(1, 1))
    expected = {} if loss == "gone" else {f"hash of {A}": [A]}
    for _ in range(2):  # the second time from the index alone
        assert sounds_of(journals.results) == {f"hash of {C}": [C], **expected}
        assert failures_of(journals.results, TRACKS) == plain_failures(journals.results)


def test_a_line_that_is_not_whole_yet_is_read_when_it_is(
    tmp_path: Path, written_at_once: None
) -> None:
    """Of a line that another node is writing its beginning may be seen first, or zeros."""
    journals = Journals(tmp_path)
    for track in TRACKS:
        journals.embedded("a", track, 1)
    path = journals.path("a")
    whole = path.read_bytes()
    first, second, third = whole.splitlines(keepends=True)
    for seen in (first + second[:30], first + second[:-1], first + b"\0" * len(second) + third):
        path.write_bytes(seen)
        assert sounds_of(journals.results) == plain_sounds(journals.results)
    path.write_bytes(whole)
    assert sounds_of(journals.results) == {f"hash of {track}": [track] for track in TRACKS}


def test_what_the_index_says_counts_only_if_the_journal_says_it(
    tmp_path: Path, written_at_once: None
) -> None:
    journals = Journals(tmp_path)
    journals.embedded("a", A, 1)
    journals.failed("a", B, 1)
    index = open_index(journals.results)
    path = journals.path("a")
    path.write_bytes(path.read_bytes().replace(b'"p"', b'"q"').replace(b'"failed"', b'"passed"'))
    assert list(index.of_sound("p", f"hash of {A}")) == []
    assert list(index.of_track(B)) == []
    path.unlink()
    assert list(index.of_track(A)) == []


def test_an_older_index_that_is_written_last_loses_nothing(
    tmp_path: Path, written_at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two chunks read at the same time: the one that has read less is the last to write."""
    journals = Journals(tmp_path)
    journals.embedded("a", A, 1)
    save, late = journal_index._save, []
    with monkeypatch.context() as patch:
        patch.setattr(journal_index, "_save", lambda *what: late.append(what))
        open_index(journals.results)
    journals.embedded("a", B, 2)
    journals.failed("b", C, 2)
    open_index(journals.results)
    newer = journals.results.journal_index.read_bytes()
    for arguments in late:
        save(*arguments)
    assert len(journals.results.journal_index.read_bytes()) < len(newer)
    assert sounds_of(journals.results) == plain_sounds(journals.results)
    assert failures_of(journals.results, TRACKS) == plain_failures(journals.results)


class Disk:
    """Journals and their index, and what can happen to them."""

    def __init__(self, folder: Path) -> None:
        self.journals = Journals(folder)
        self._ticks = count(1)

    def embed(self, chunk: str, track: str, minute: int) -> None:
        self.journals.embedded(chunk, track, minute)
        self._touch(self.journals.path(chunk))

    def fail(self, chunk: str, track: str, minute: int) -> None:
        self.journals.failed(chunk, track, minute, attempts=minute)
        self._touch(self.journals.path(chunk))

    def tear(self, chunk: str, track: str, minute: int) -> None:
        self.journals.results.chunks.mkdir(parents=True, exist_ok=True)
        with open(self.journals.path(chunk), "ab") as file:
            file.write(f'{{"event": "failed", "failure": {{"{track}"'.encode()[: minute + 1])

    def cut(self, chunk: str, track: str, minute: int) -> None:
        path = self.journals.path(chunk)
        if path.exists():
            path.write_bytes(path.read_bytes()[: -minute or None])
            self._touch(path)

    def lose(self, chunk: str, track: str, minute: int) -> None:
        self.journals.path(chunk).unlink(missing_ok=True)

    def lose_index(self, chunk: str, track: str, minute: int) -> None:
        self.journals.results.journal_index.unlink(missing_ok=True)

    def spoil_index(self, chunk: str, track: str, minute: int) -> None:
        path = self.journals.results.journal_index
        if path.exists():
            data = bytearray(path.read_bytes())
            data[minute * len(data) // 60] ^= 255
            path.write_bytes(data)

    def read(self, chunk: str, track: str, minute: int) -> None:
        open_index(self.journals.results, besides=self.journals.path(chunk))

    def _touch(self, path: Path) -> None:
        """Give a file a time of its own: what happens here happens within one tick."""
        tick = next(self._ticks)
        os.utime(path, ns=(tick, tick))


STEPS = st.tuples(
    st.sampled_from([name for name in vars(Disk) if not name.startswith("_")]),
    st.sampled_from(["x", "y"]),
    st.sampled_from(TRACKS),
    st.integers(0, 59),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=14), st.sampled_from([0, 400, 2**20]))
def test_the_index_says_what_the_journals_say(
    steps: list[tuple[str, str, str, int]], worth_writing: int
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_index, "_WORTH_WRITING", worth_writing)
        disk = Disk(Path(folder))
        results = disk.journals.results
        for step, chunk, track, minute in steps:
            getattr(disk, step)(chunk, track, minute)
            assert failures_of(results, TRACKS) == plain_failures(results)
            assert sounds_of(results) == plain_sounds(results)
