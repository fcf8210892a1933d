import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from mert_backfill.health.audit import Audit
from mert_backfill.health.counts import LibraryCounters, RowCounters, TrackCounters
from mert_backfill.health.history import append_entry, read_history
from mert_backfill.health.rows import RowAudit
from mert_backfill.records.summary import Summary

NAMES = (
    "tracks_total",
    "embedding_ok",
    "embedding_gap_total",
    "failed_total",
    "quarantined_total",
)
NOON = datetime(2026, 11, 22, 12, 0, 0, 123, tzinfo=UTC)


def rows(*counts: int) -> RowAudit:
    return RowAudit(RowCounters(**dict(zip(NAMES, counts, strict=True))), (), ())


AUDIT = Audit(
    baseline=rows(10, 2, 8, 0, 0),
    current=rows(12, 9, 3, 2, 1),
    library=LibraryCounters(
        before=TrackCounters(tracks=12, embedded=2, failed=0, quarantined=0, open=10),
        now=TrackCounters(tracks=12, embedded=9, failed=1, quarantined=1, open=1),
    ),
    failures=(),
    remarks={},
    summary=Summary({}, {}),
)


def test_first_entry_differs_from_the_baseline(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = append_entry(path, AUDIT, NOON)
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry.as_record() for entry in history] == written
    assert written == [
        {
            "when": "2026-11-22T12:00:00+00:00",
            "counters": AUDIT.current.counters.as_record(),
            "difference": RowCounters(
                **dict(zip(NAMES, (2, 7, -5, 2, 1), strict=True))
            ).as_record(),
            "library": {
                "before": {"tracks": 12, "embedded": 2, "failed": 0, "quarantined": 0, "open": 10},
                "now": {"tracks": 12, "embedded": 9, "failed": 1, "quarantined": 1, "open": 1},
            },
        }
    ]


def test_a_run_that_changed_nothing_appends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_entry(path, AUDIT, NOON)
    before = path.read_bytes(), path.stat().st_ino
    assert len(append_entry(path, AUDIT, datetime(2030, 1, 1, tzinfo=UTC))) == 1
    assert (path.read_bytes(), path.stat().st_ino) == before


def test_next_entry_differs_from_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_entry(path, AUDIT, NOON)
    history = append_entry(path, replace(AUDIT, current=rows(12, 11, 1, 1, 1)), NOON)
    difference = RowCounters(**dict(zip(NAMES, (0, 2, -2, -1, 0), strict=True)))
    assert history[1].difference == difference


def test_a_damaged_line_is_dropped_and_the_good_ones_count(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_entry(path, AUDIT, NOON)
    whole = path.read_text()
    path.write_text(
        whole + '{"foreign": 1}\n{"when": 1, "counters": []}\n' + whole[: len(whole) // 2]
    )
    assert len(append_entry(path, AUDIT, NOON)) == 1
    assert len(append_entry(path, replace(AUDIT, current=AUDIT.baseline), NOON)) == 2
    assert [entry.counters.embedding_ok for entry in read_history(path)] == [9, 2]
