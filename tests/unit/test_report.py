import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mert_backfill.errors import visible
from mert_backfill.failures import Failure
from mert_backfill.health.audit import Audit
from mert_backfill.health.audit_page import write_audit_page
from mert_backfill.health.charts import progress_points, stack_bar
from mert_backfill.health.counts import LibraryCounters, RowCounters, TrackCounters
from mert_backfill.health.history import HistoryEntry
from mert_backfill.health.report import MAX_ROWS, ReportInputs, write_report
from mert_backfill.health.rows import RowAudit
from mert_backfill.recipes import CANONICAL
from mert_backfill.records.checkpoint import Checkpoint
from mert_backfill.records.summary import Summary
from mert_backfill.records.tracks import ChunkSummary, summarise_chunk
from mert_backfill.store.profile import Profile
from mert_backfill.system.tables import write_tsv

HOSTILE = '/m/<script>alert(1)</script> |a| `b`\n*c* \udcff & "q" \u202egpj.exe [x](http://e) .mp3'
PROFILE = Profile(
    recipe=CANONICAL,
    name="canonical-0123abcd",
    fingerprint="0123abcd" * 8,
    identity={},
    dimension=64,
    layers=4,
    model_name="demo/mert",
    revision=None,
)
SCAN = {
    "audio_files_found": 24,
    "junk_files_total": 1,
    "excluded_audio_files_total": 0,
    "quarantined_total": 2,
    "audio_files_scanned": 21,
    "already_embedded_total": 8,
    "pending_embedding_total": 13,
    "missing_meta_total": 9,
    "missing_embedding_ref_total": 4,
}
SUMMARY = Summary(SCAN, {})
BEFORE = RowCounters(
    tracks_total=15,
    embedding_ok=8,
    embedding_gap_total=7,
    missing_embedding_ref=5,
    embedding_file_missing=1,
    embedding_invalid=1,
)
NOW = replace(
    BEFORE,
    tracks_total=24,
    embedding_ok=21,
    embedding_gap_total=3,
    missing_embedding_ref=2,
    embedding_file_missing=0,
    failed_total=1,
    quarantined_total=1,
)
LIBRARY = LibraryCounters(
    before=TrackCounters(tracks=23, embedded=8, open=15),
    now=TrackCounters(tracks=23, embedded=21, quarantined=1, open=1),
)
ENTRY = HistoryEntry("2026-11-22T12:00:00+00:00", NOW, RowCounters(), LIBRARY)
CHUNK = ChunkSummary(
    name="part001-0123abcd",
    tracks=6,
    embedded=4,
    existing=1,
    reused=0,
    failed=1,
    tracks_per_second=0.75,
    seconds_decode=1.25,
    seconds_embed=1234.5,
)


def failure(path: str = HOSTILE, **changes: Any) -> Failure:
    values: dict[str, Any] = {
        "path": path,
        "track_id": "0" * 20,
        "chunk": "part001-0123abcd",
        "stage": "decode",
        "reason": "not_audio",
        "error": "Error: <b>bad</b>",
        "permanent": True,
        "attempts": 2,
        "size_bytes": 5,
        "mtime_ns": 7,
        "timestamp": "2026-11-22T12:00:00+00:00",
    }
    return Failure(**values | changes)


def audit(
    invalid: int = 0,
    stale: tuple[str, ...] = (),
    failures: int = 1,
    remarks: dict[str, str] | None = None,
) -> Audit:
    paths = tuple(Path(f"/e/{number}.npy") for number in range(invalid))
    return Audit(
        RowAudit(BEFORE, (), ()),
        RowAudit(NOW, paths, stale),
        LIBRARY,
        tuple(failure() for _ in range(failures)),
        remarks or {},
        SUMMARY,
    )


class Page(HTMLParser):
    """Collects tags, attributes and text; fails on tags that do not nest."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def report(path: Path, **changes: Any) -> Page:
    values: dict[str, Any] = {
        "audit": audit().record,
        "summary": SUMMARY,
        "history": [ENTRY],
        "failures": [failure()],
        "chunks": [CHUNK],
        "profile": PROFILE,
    }
    write_report(path, ReportInputs(**values | changes))
    return Page(path.read_text(encoding="utf-8"))


def test_report_holds_the_numbers_and_shows_hostile_names_as_text(tmp_path: Path) -> None:
    page = report(tmp_path / "report.html")
    assert "Closed 13 of 15 gaps: 21 of 23 tracks have an embedding" in page.text
    assert visible(HOSTILE) in page.text
    assert "Error: <b>bad</b>" in page.text
    assert "1,234.5" in page.text
    assert {"script", "b"}.isdisjoint(page.tags)


def test_report_needs_nothing_from_outside(tmp_path: Path) -> None:
    page = report(tmp_path / "report.html")
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(page.tags)
    assert {"src", "href", "xlink:href", "onload"}.isdisjoint(dict(page.attributes))
    style = (tmp_path / "report.html").read_text(encoding="utf-8").split("</style>")[0]
    assert not re.search(r"url\(|@import", style)
    assert "default-src 'none'" in style


def test_a_note_of_the_profile_is_shown_on_both_pages(tmp_path: Path) -> None:
    profile = replace(PROFILE, is_demo=True)
    note = profile.note
    assert note is not None
    assert PROFILE.note is None
    assert note not in report(tmp_path / "report.html").text
    assert note in report(tmp_path / "report.html", profile=profile).text
    write_audit_page(tmp_path / "audit.md", audit(), profile)
    assert f"> **Note:** {note}" in (tmp_path / "audit.md").read_text()


def test_an_empty_run_makes_a_page(tmp_path: Path) -> None:
    entry = replace(ENTRY, library=LibraryCounters(TrackCounters(), TrackCounters()))
    page = report(tmp_path / "report.html", history=[entry], failures=[], chunks=[])
    assert "Closed 0 of 0 gaps" in page.text
    assert "None has finished yet." in page.text


def test_long_tables_are_cut_and_say_so(tmp_path: Path) -> None:
    failures = [failure(f"/m/{number}.mp3") for number in range(MAX_ROWS + 1)]
    chunk = replace(CHUNK, tracks_per_second=None)
    page = report(tmp_path / "r.html", failures=failures, chunks=[chunk] * (MAX_ROWS + 2))
    assert f"The first {MAX_ROWS} of {MAX_ROWS + 1}" in page.text
    assert f"The last {MAX_ROWS} of {MAX_ROWS + 2} finished chunks" in page.text
    assert f"/m/{MAX_ROWS}.mp3" not in page.text


def test_bars_fill_the_width_and_hide_nothing() -> None:
    tracks = TrackCounters(tracks=100_000, embedded=99_998, failed=0, quarantined=1, open=1)
    segments = stack_bar(tracks)
    assert [(part.outcome, part.count) for part in segments] == [
        ("embedded", 99_998),
        ("quarantined", 1),
        ("open", 1),
    ]
    assert segments[0].start == 0
    assert sum(part.width for part in segments) == pytest.approx(100)
    for one, two in pairwise(segments):
        assert one.start + one.width == pytest.approx(two.start)
    assert all(part.width > 0.4 for part in segments)


def test_progress_starts_before_the_first_run() -> None:
    later = replace(LIBRARY, now=replace(LIBRARY.now, embedded=23))
    points = progress_points([ENTRY, replace(ENTRY, library=later)])
    assert [point.count for point in points] == [8, 21, 23]
    assert [point.label for point in points] == ["before", ENTRY.when, ENTRY.when]
    assert points[0].x == 0
    assert points[2].y == pytest.approx(0)
    assert points[0].y > points[1].y > points[2].y


def test_chunk_is_summed_up(tmp_path: Path) -> None:
    tracks = tmp_path / "part001-0123abcd.tracks.tsv"
    rows = [("embedded", 0.5, 2), ("embedded", 0.25, 1), ("failed", None, None), ("reused", 1, 0)]
    write_tsv(tracks, ("status", "seconds_decode", "seconds_embed"), rows)
    Checkpoint("c", "p", (), "completed", {}, "2026", 1.5, 0.0).write(tmp_path / "c.json")
    summary = summarise_chunk(tracks, tmp_path / "c.json")
    assert summary == ChunkSummary(
        name="part001-0123abcd",
        tracks=4,
        embedded=2,
        existing=0,
        reused=1,
        failed=1,
        tracks_per_second=1.5,
        seconds_decode=1.75,
        seconds_embed=3.0,
    )
    (tmp_path / "c.json").write_bytes(b"{")
    assert summarise_chunk(tracks, tmp_path / "c.json") == replace(summary, tracks_per_second=None)


def test_markdown_holds_counters_and_sums(tmp_path: Path) -> None:
    path = tmp_path / "audit.md"
    write_audit_page(path, audit(), PROFILE)
    text = path.read_text()
    assert "**Closed 13 of 15 gaps: 21 of 23 tracks" in text
    assert "| `embedding_ok` | 8 | 21 | +13 |" in text
    assert "- rows now: `tracks_total (24) = embedding_ok (21) + embedding_gap_total (3)`" in text
    assert "audio_files_scanned (21) = already_embedded_total (8) + pending" in text
    assert "| `not_audio` | 1 | not music, whatever its name says | look what it is; " in text
    assert "Remarks" not in text
    assert "Invalid embeddings" not in text
    assert "Stale rows" not in text


def test_markdown_lists_every_remark_and_says_what_it_means(tmp_path: Path) -> None:
    path = tmp_path / "audit.md"
    remarks = {f"/m/cut {number}.mp3": "cut_short" for number in range(30)}
    write_audit_page(path, audit(remarks=remarks), PROFILE)
    text = path.read_text(encoding="utf-8")
    assert "## Remarks (30)" in text
    assert "| `cut_short` | 30 | embedded, but its sound ends before" in text
    for number in range(30):
        assert f"| `cut_short` | /m/cut {number}.mp3 |" in text


def test_markdown_lists_at_most_25_names_and_escapes_them(tmp_path: Path) -> None:
    path = tmp_path / "audit.md"
    write_audit_page(path, audit(invalid=26, stale=(HOSTILE,), failures=0), PROFILE)
    text = path.read_text(encoding="utf-8")
    assert text.count("/e/") == 25
    assert "## Invalid embeddings (26)" in text
    assert "... and 1 more." in text
    assert "delete them, and run `snakemake --cores 2`" in text
    row = next(line for line in text.splitlines() if "alert" in line)
    assert row == (
        "| /m/&lt;script&gt;alert\\(1\\)&lt;/script&gt; \\|a\\| \\`b\\`\\\\n\\*c\\* \\\\udcff "
        '&amp; "q" \\\\u202egpj.exe \\[x\\]\\(http://e\\) .mp3 |'
    )


def test_visible_leaves_letters_of_all_kinds() -> None:
    assert visible("Ärger 東京\u3000e\u0301 😀 \\") == "Ärger 東京\u3000e\u0301 😀 \\"
    assert visible("\0\x1b\x85\u2028") == "\\x00\\x1b\\x85\\u2028"
