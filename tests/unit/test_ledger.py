"""The ledger: the last outcome of every track over all journals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mert_backfill.records.ledger import Ledger, read_ledger
from mert_backfill.records.manifest import MISSING_META, PendingTrack
from mert_backfill.results import Results
from support.fakes import a_failure
from support.journals import Journals

A, B, C = "a" * 20, "b" * 20, "c" * 20


def pending(track: str) -> PendingTrack:
    """Return a track with the file of which `a_failure` tells."""
    failure = a_failure(track)
    return PendingTrack(track, failure.path, MISSING_META, "", failure.size_bytes, failure.mtime_ns)


def quarantined(ledger: Ledger) -> set[str]:
    return {track for track in (A, B, C) if ledger.quarantined(pending(track)) is not None}


def test_the_folder_need_not_exist(tmp_path: Path) -> None:
    assert read_ledger(Results(tmp_path / "none")) == Ledger({})


def test_the_last_outcome_wins_whatever_the_order_of_the_journals(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    journals.embedded("z", A, 1)  # failed later, in a journal that is read first
    journals.failed("a", A, 2)
    journals.failed("z", B, 1)  # recovered later, in a journal that is read first
    journals.embedded("a", B, 2)
    journals.failed("a", C, 3, attempts=3)
    journals.failed("z", C, 2, attempts=2)
    failures = read_ledger(journals.results).failures
    assert set(failures) == {A, C}
    assert failures[C].attempts == 3


def test_only_permanent_failures_are_quarantined(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    journals.failed("a", A, 1)
    journals.failed("a", B, 1, permanent=False, reason="io_error")
    assert set(read_ledger(journals.results).failures) == {A, B}
    assert quarantined(read_ledger(journals.results)) == {A}


def test_a_file_that_changed_since_is_not_quarantined(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    journals.failed("a", A, 1)
    track = pending(A)
    ledger = read_ledger(journals.results)
    assert ledger.quarantined(track) == ledger.failures[A]
    for change in ({"size_bytes": 6}, {"mtime_ns": 8}, {"track_id": B}):
        assert ledger.quarantined(replace(track, **change)) is None


def test_a_transient_failure_after_a_permanent_one_ends_the_quarantine(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    journals.failed("a", A, 1)
    journals.failed("b", A, 2, permanent=False, reason="io_error")
    assert quarantined(read_ledger(journals.results)) == set()


def test_the_last_remark_counts(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    journals.embedded("z", A, 2, remark="cut_short")
    journals.embedded("a", A, 1)  # rows of the first versions know no remark
    journals.embedded("a", B, 1, remark="cut_short")
    journals.embedded("a", B, 2, remark="")
    journals.embedded("a", C, 1, remark="cut_short")
    journals.failed("a", C, 2)
    assert read_ledger(journals.results).remarks == {A: "cut_short"}


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    journals.failed("a", A, 1)
    with open(journals.results.journal("a"), "ab") as file:
        for line in (b"{", b"\xff", b'{"event": "failed"}', b'{"event": "embedded", "row": 1}'):
            file.write(line + b"\n")
        file.write(b'{"event": "failed", "failure": {"track')
    journals.embedded("a", B, 1)
    (journals.results.chunks / "notes.jsonl").write_text("not a journal")
    ledger = read_ledger(journals.results)
    assert set(ledger.failures) == {A}
