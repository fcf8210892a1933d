import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mert_backfill.errors import visible
from mert_backfill.health.audit import Audit
from mert_backfill.health.audit_page import write_audit_page
from mert_backfill.health.charts import (
    Chart,
    coverage_chart,
    draw,
    in_light,
    progress_chart,
    stack_bar,
    time_chart,
)
from mert_backfill.health.counts import LibraryCounters, TrackCounters
from mert_backfill.health.coverage import (
    FolderCoverage,
    count_folders,
    read_folders,
    write_folders,
)
from mert_backfill.health.findings import same_sound
from mert_backfill.health.origins import Origin
from mert_backfill.health.progress import take_stock
from mert_backfill.health.report import write_report
from mert_backfill.health.report_tables import (
    SHOWN_FAILURES,
    copies_table,
    folders_table,
    work_table,
)
from mert_backfill.health.rows import RowAudit
from mert_backfill.health.wording import headline
from mert_backfill.library.listing import AudioFile
from mert_backfill.library.meta_file import count_unseen
from mert_backfill.library.roots import Root
from mert_backfill.records.batches import Batch
from mert_backfill.records.calibration import CalibratedRow, Calibration
from mert_backfill.records.checkpoint import Checkpoint
from mert_backfill.records.tracks import ChunkSummary, TrackRow, read_tracks, summarise_chunk
from mert_backfill.results import Results
from mert_backfill.system.tables import write_tsv
from support.report_inputs import (
    BEFORE,
    ENTRY,
    FOLDERS,
    HOSTILE,
    LIBRARY,
    NOW,
    PROFILE,
    SUMMARY,
    failure,
    report_inputs,
    track,
)


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
    """Collects tags, attributes, scripts and text; fails on tags that do not nest."""

    VOID = frozenset({"meta", "link", "img", "br", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    @property
    def policy(self) -> str:
        """The rules for what a browser may run and load."""
        return next(value for _, value in self.attributes if value and "default-src" in value)

    @property
    def data(self) -> Any:
        """What the script of the tables reads."""
        return json.loads(self.inside["script"][0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in self.inside:
            self.inside[self._open[-1]][-1] += data
        else:
            self.text += data


def report(folder: Path, **changes: Any) -> Page:
    write_report(Results(folder), report_inputs(**changes))
    return Page((folder / "audit" / "report.html").read_text(encoding="utf-8"))


def test_report_holds_the_numbers_and_shows_hostile_names_as_text(tmp_path: Path) -> None:
    page = report(tmp_path, remarks={HOSTILE: "cut_short"})
    assert "Closed 13 of 14 gaps: 21 of 23 tracks have a vector, 8 had one before." in page.text
    assert page.text.count(visible(HOSTILE)) == 2
    assert "Error: <b>bad</b>" in page.text
    assert "not music, whatever its name says" in page.text
    assert "1,234.50" in page.text
    assert {"b", "a"}.isdisjoint(page.tags)
    assert page.data["failures"]["rows"][0][0] == visible(HOSTILE)


def test_only_its_own_script_and_style_may_run(tmp_path: Path) -> None:
    page = report(tmp_path)
    data, *scripts = page.inside["script"]
    assert "<" not in data
    assert [dict(page.attributes).get(name) for name in ("src", "href", "style")] == [None] * 3
    assert {"link", "img", "iframe", "object", "form"}.isdisjoint(page.tags)
    assert not any(name.startswith("on") for name, _ in page.attributes)
    for kind, texts in (("script", scripts), ("style", page.inside["style"])):
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in texts]
        wanted = " ".join(f"'sha256-{digest.decode()}'" for digest in hashes)
        assert f"{kind}-src {wanted};" in page.policy
    assert page.policy.startswith("default-src 'none';")
    assert "unsafe" not in page.policy
    assert not re.search(r"url\(|@import", "".join(page.inside["style"]))


def test_a_note_of_the_profile_is_shown_on_both_pages(tmp_path: Path) -> None:
    profile = replace(PROFILE, is_demo=True)
    note = profile.note
    assert note is not None
    assert PROFILE.note is None
    assert note not in report(tmp_path).text
    assert note in report(tmp_path, profile=profile).text
    write_audit_page(tmp_path / "audit.md", audit(), profile)
    assert f"> **Note:** {note}" in (tmp_path / "audit.md").read_text()


def test_an_empty_run_makes_a_page(tmp_path: Path) -> None:
    entry = replace(ENTRY, library=LibraryCounters(TrackCounters(), TrackCounters()))
    nothing: dict[str, Any] = dict.fromkeys(("folders", "failures", "tracks", "chunks"), ())
    page = report(tmp_path, history=[entry], remarks={}, **nothing)
    assert "No gap is left: 0 of 0 tracks have a vector." in page.text
    assert "No chunk has finished yet." in page.text
    assert "Remarks" not in page.text


def test_without_a_script_long_tables_are_cut_and_say_so(tmp_path: Path) -> None:
    failures = [failure(f"/m/{number}.mp3") for number in range(SHOWN_FAILURES + 1)]
    page = report(tmp_path, failures=failures)
    assert "The first 1,000 of 1,001." in page.text
    assert f"/m/{SHOWN_FAILURES - 1}.mp3" in page.text
    assert f"/m/{SHOWN_FAILURES}.mp3" not in page.text
    assert page.data["failures"]["rows"][-1][0] == f"/m/{SHOWN_FAILURES}.mp3"


def test_folders_with_the_largest_gaps_come_first(tmp_path: Path) -> None:
    assert [row[:3] for row in folders_table(FOLDERS[::-1]).rows] == [
        ("main/Techno/<i>&", 9, 1),
        ("main/House", 14, 1),
    ]
    page = report(tmp_path)
    assert "main/Techno/<i>&" in page.text
    assert "i" not in page.tags


def test_tracks_with_one_sound_are_listed_together() -> None:
    tracks = [track(1), track(2), track(3, pcm_sha256=f"{1:064x}"), track(4, pcm_sha256="")]
    table = copies_table([*tracks, track(5, pcm_sha256="")])
    assert table.rows == (("/m/1.mp3", 1), ("/m/3.mp3", 1))


def test_folders_are_counted_by_root_folder_and_format(tmp_path: Path) -> None:
    names = ("Ä\udcff/a.MP3", "Ä\udcff/b.mp3", "c.flac")
    files = [AudioFile("main", f"/m/{name}", name, 1, 1) for name in names]
    was, now = ["embedded", "open", "open"], ["embedded", "quarantined", "open"]
    folders = count_folders(files, [Root("main", Path("/m"))], was, now)
    assert folders == (
        FolderCoverage("main", "Ä\udcff", "mp3", 2, 1, 1, 0, 1, 0),
        FolderCoverage("main", "", "flac", 1, 0, 0, 0, 0, 1),
    )
    write_folders(tmp_path / "folders.tsv", folders)
    assert tuple(read_folders(tmp_path / "folders.tsv")) == folders


def test_a_chart_is_drawn_of_shapes_and_text_only() -> None:
    """What a folder is called reaches the page as text."""
    drawing = draw(coverage_chart(FOLDERS))
    assert "Techno/&lt;i&gt;&amp;" in drawing
    assert set(re.findall(r"<(\w+)", drawing)) <= {"svg", "g", "path", "text", "line", "rect"}
    assert "style=" not in drawing
    assert "var(--" in drawing
    assert "var(--" not in in_light(drawing)


def words(chart: Chart) -> list[str]:
    """Return the texts of a chart as it is drawn."""
    return re.findall(r">([^<>]+)</text>", draw(chart))


def test_time_is_told_for_a_track_of_each_format() -> None:
    tracks = [track(1), track(2, path="/m/a.flac", seconds_embed=8.0), track(3, status="reused")]
    chart = time_chart(tracks)
    assert words(chart)[:4] == ["flac", "mp3", "8.50", "2.50"]
    assert "model took 91 %" in chart.caption


def test_bars_fill_the_width_and_hide_nothing() -> None:
    tracks = TrackCounters(tracks=100_000, embedded=99_998, failed=0, quarantined=1, open=1)
    segments = stack_bar(tracks)
    assert [(part.outcome, part.count) for part in segments] == [
        ("embedded", 99_998),
        ("quarantined", 1),
        ("open", 1),
    ]
    assert segments[0].start == 0
    assert segments[-1].end == pytest.approx(100)
    assert all(one.end == two.start for one, two in pairwise(segments))
    assert all(part.end - part.start > 0.4 for part in segments)


def test_progress_starts_before_the_first_run() -> None:
    later = replace(LIBRARY, now=replace(LIBRARY.now, embedded=23))
    chart = progress_chart([ENTRY, replace(ENTRY, library=later)])
    assert [point["tracks"] for point in chart.spec["data"]["values"]] == [8, 21, 23]
    assert {"before", "22 Nov 2026"} < {*words(chart)}


def test_chunk_is_summed_up(tmp_path: Path) -> None:
    tracks = tmp_path / "part001-0123abcd.tracks.tsv"
    rows = [("embedded", 0.5, 2), ("embedded", 0.25, 1), ("failed", None, None), ("reused", 1, 0)]
    header = ("status", "seconds_decode", "seconds_embed", "track_id", "path", "duration_s")
    table = [(*row, "id", "/m/a.mp3", None, "") for row in rows]
    write_tsv(tracks, (*header, "pcm_sha256"), table)
    Checkpoint("c", "p", (), "completed", {}, "2026", 1.5, 0.0).write(tmp_path / "c.json")
    read = read_tracks(tracks)
    assert read[0] == TrackRow("id", "/m/a.mp3", "embedded", 0.5, 2.0, None, "")
    summary = summarise_chunk("part001-0123abcd", read, tmp_path / "c.json")
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
    again = summarise_chunk("part001-0123abcd", read, tmp_path / "c.json")
    assert again == replace(summary, tracks_per_second=None)


def test_markdown_holds_counters_and_sums(tmp_path: Path) -> None:
    path = tmp_path / "audit.md"
    write_audit_page(path, audit(), PROFILE)
    text = path.read_text()
    assert (
        "**Closed 13 of 14 gaps: 21 of 23 tracks have a vector, 8 had one before. 1 track failed"
        in text
    )
    assert "| with a vector that can be used | `embedding_ok` | 8 | 21 | +13 |" in text
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
        assert f"| `/m/cut {number}.mp3` | `cut_short` |" in text


def test_markdown_lists_at_most_25_names_and_escapes_them(tmp_path: Path) -> None:
    path = tmp_path / "audit.md"
    write_audit_page(path, audit(invalid=26, stale=(HOSTILE,), failures=0), PROFILE)
    text = path.read_text(encoding="utf-8")
    assert text.count("/e/") == 25
    assert "## Invalid embeddings (26)" in text
    assert "... and 1 more." in text
    assert "made again by `snakemake --cores 2`, unless" in text
    row = next(line for line in text.splitlines() if "alert" in line)
    assert row == (
        "| /m/&lt;script&gt;alert\\(1\\)&lt;/script&gt; \\|a\\| \\`b\\`\\\\n\\*c\\* \\\\udcff "
        '&amp; "q" \\\\u202egpj.exe \\[x\\]\\(http://e\\) .mp3 |'
    )


def test_visible_leaves_letters_of_all_kinds() -> None:
    assert visible("Ärger 東京\u3000e\u0301 😀 \\") == "Ärger 東京\u3000e\u0301 😀 \\"
    assert visible("\0\x1b\x85\u2028") == "\\x00\\x1b\\x85\\u2028"


# --- words


def library(before: TrackCounters, now: TrackCounters) -> LibraryCounters:
    return LibraryCounters(before, now)


def test_the_headline_counts_the_gaps_that_can_be_closed() -> None:
    before = TrackCounters(tracks=50, embedded=3, open=47)
    now = TrackCounters(tracks=50, embedded=46, quarantined=3, open=1)
    assert headline(library(before, now)) == (
        "Closed 43 of 44 gaps: 46 of 50 tracks have a vector, 3 had one before. 3 tracks failed "
        "for good."
    )


def test_after_publishing_the_success_stays_in_sight() -> None:
    start = TrackCounters(tracks=50, embedded=3, open=47)
    published = TrackCounters(tracks=50, embedded=48, quarantined=2)
    assert headline(library(published, published), start) == (
        "Closed 45 of 45 gaps: 48 of 50 tracks have a vector, 3 had one before. 2 tracks failed "
        "for good."
    )
    done = TrackCounters(tracks=1, embedded=1)
    assert headline(library(done, done)) == "No gap is left: 1 of 1 tracks have a vector."


def test_markdown_leaves_out_rows_of_zeros_and_keeps_windows_paths(tmp_path: Path) -> None:
    path = tmp_path / "audit.md"
    name = "C:\\Users\\me\\deleted_last_year.mp3"
    made = datetime(2026, 11, 22, 13, 5, tzinfo=UTC)
    write_audit_page(path, audit(stale=(name,)), PROFILE, now=made)
    text = path.read_text(encoding="utf-8")
    assert f"| `{name}` |" in text
    assert "Made on 2026-11-22 13:05." in text
    assert "bare_path_total" not in text
    assert "| tracks failed" not in text


def test_markdown_names_what_failed_and_says_what_quarantined_means(tmp_path: Path) -> None:
    path = tmp_path / "audit.md"
    failures = (failure("/m/House/a.mp3"), failure("/m/b`|.mp3", permanent=False))
    write_audit_page(path, replace(audit(), failures=failures), PROFILE)
    text = path.read_text(encoding="utf-8")
    assert "| `/m/House/a.mp3` | `not_audio` |" in text
    assert "| /m/b\\`\\|.mp3 | `not_audio` |" in text
    assert "1 track failed for good and will be left alone until the file changes" in text
    assert "`snakemake --cores 2 --config retry_failed=true`" in text
    assert "The others are tried again by each run." in text


def test_markdown_lists_one_sound_in_several_files_and_vectors_out_of_sight(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.md"
    found = replace(audit(), same_sound=(("/m/a.mp3", "/m/b.mp3", "/m/c.mp3"),), unseen=1)
    write_audit_page(path, found, PROFILE)
    text = path.read_text(encoding="utf-8")
    assert "## The same sound (1 sound in several files)" in text
    assert "| `/m/a.mp3` | `/m/c.mp3` |" in text
    assert "1 new vector lies where Windows cannot open them" in text


def test_what_lies_out_of_sight_of_windows_is_counted() -> None:
    rows = {
        "C:\\a.mp3": {"embedding": "/home/me/results/a.npy"},
        "C:\\b.mp3": {"embedding": "data\\b.npy"},
        "C:\\c.mp3": {"embedding": "C:\\c.npy"},
        "C:\\d.mp3": {},
    }
    assert count_unseen(rows) == 1
    rows = {"/m/a.mp3": {"embedding": "/home/me/results/a.npy"}}
    assert count_unseen(rows) == 0


def test_one_sound_in_several_files_is_found() -> None:
    files = [AudioFile("r", f"/m/{name}", name, 1, 1) for name in "abcd"]
    assert same_sound(files, {"a": "x", "b": "y", "d": "x", "gone": "y"}) == (("/m/a", "/m/d"),)


def test_both_pages_tell_which_recipe_made_the_old_vectors(tmp_path: Path) -> None:
    rows = (
        CalibratedRow(
            "a", "/a", "whole", {"canonical": 0.7, "whole": 0.0041}, "2025-11-01T00:00:00+00:00"
        ),
        CalibratedRow("b", "/b", "canonical", {"canonical": 0.01}, "2026-01-02T00:00:00+00:00"),
    )
    found = Calibration(PROFILE.name, "demo/mert", "mixture", rows)
    page = report(tmp_path, calibration=found)
    assert "2 baseline vectors were made by several recipes: 1 whole, 1 canonical." in page.text
    assert "2025-11-01" in page.text
    origins = (Origin("canonical", "ours", 5), Origin("unknown", "unknown", 3))
    told = replace(audit(), calibration=found, origins=origins)
    write_audit_page(tmp_path / "audit.md", told, PROFILE)
    text = (tmp_path / "audit.md").read_text(encoding="utf-8")
    assert "because that was accepted" in text
    assert "| whole | 1 | 2025-11-01 | 2025-11-01 | 0.00 |" in text
    assert "| canonical | ours | 5 |\n| unknown | unknown | 3 |" in text
    write_audit_page(tmp_path / "audit.md", replace(told, calibration=None), PROFILE)
    assert "accepted" not in (tmp_path / "audit.md").read_text(encoding="utf-8")


def test_the_page_says_what_was_done_and_how_long_the_rest_takes(tmp_path: Path) -> None:
    at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    batches = [
        Batch("part001-0123abcd", "2026-11-20T12:00:00+00:00", 3600, embedded=90),
        Batch("part002-0123abcd", at.isoformat(), 1800, embedded=9, failed={"silent": 1}),
    ]
    stock = take_stock(TrackCounters(tracks=120, embedded=100, open=20), batches, at)
    page = report(tmp_path, stock=stock)
    assert "Work done" in page.text
    assert "About 18 min left at the speed of the last ones." in page.text
    assert work_table(stock).rows[0] == ("tracks embedded", "9", "99")
    assert work_table(stock).rows[-1] == ("time at work", "30 min", "1 h 30 min")
    assert "Work done" not in report(tmp_path, stock=take_stock(stock.tracks, [], at)).text
