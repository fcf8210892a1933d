"""The tables of the report: rows that a person can search and sort."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Literal

from mert_backfill.errors import visible
from mert_backfill.failures import ADVICE, Failure
from mert_backfill.health.audit import AuditRecord
from mert_backfill.health.charts import OUTCOMES
from mert_backfill.health.coverage import FolderCoverage
from mert_backfill.health.progress import Stock, since_when, work_rows
from mert_backfill.health.wording import ROW_WORDS, SCAN_WORDS, explain_calibration
from mert_backfill.records.atlas import DuplicateRow
from mert_backfill.records.calibration import Calibration
from mert_backfill.records.summary import Summary
from mert_backfill.records.tracks import ChunkSummary, TrackRow
from mert_backfill.words import duration

Cell = str | int | float | None

SHOWN = 50  # rows of a page; of most tables that is all that is there without a script
SHOWN_FAILURES = 1000  # without a script
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Column:
    """A column; `kind` says how its cells look, and how they are sorted.

    A ``name`` is a path, shown as the file and its folder; a ``detail`` is a text in the
    background; a ``decimal`` has two places.
    """

    label: str
    kind: Literal["name", "text", "detail", "code", "count", "decimal"] = "text"

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return self.kind in ("count", "decimal")


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes
    ----------
    name : str
        Of the element.
    caption : str
        What its rows are.
    columns : tuple of Column
        Its columns.
    rows : tuple of tuple
        All rows; texts are such as can be shown.
    shown : int
        How many of them the page holds as it is; its script shows all.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    shown: int = SHOWN


def failures_table(failures: Sequence[Failure]) -> Table:
    """Return every unresolved failure, with what it means and what to do."""
    rows = (
        (
            failure.path,
            *ADVICE.get(failure.reason, ("", "")),
            failure.reason,
            failure.error,
            failure.attempts,
            "when it changes" if failure.permanent else "next run",
        )
        for failure in failures
    )
    columns = (
        Column("track", "name"),
        Column("what is wrong"),
        Column("what to do"),
        Column("reason", "code"),
        Column("error", "detail"),
        Column("attempts", "count"),
        Column("tried again", "detail"),
    )
    caption = "All of them are in failures.tsv."
    return _table("failures", caption, columns, rows, SHOWN_FAILURES)


def reasons_table(failures: Sequence[Failure]) -> Table:
    """Return the failures by reason, the most frequent first."""
    counts = Counter(failure.reason for failure in failures)
    rows = (
        (reason, count, *ADVICE.get(reason, ("", ""))) for reason, count in counts.most_common()
    )
    columns = (
        Column("reason", "code"),
        Column("tracks", "count"),
        Column("what it means"),
        Column("what to do"),
    )
    return _table("reasons", "By reason.", columns, rows)


def remarks_table(remarks: Mapping[str, str]) -> Table:
    """Return what is odd about tracks that have their vector all the same."""
    rows = ((path, *ADVICE.get(remark, ("", "")), remark) for path, remark in remarks.items())
    columns = (
        Column("track", "name"),
        Column("what is odd"),
        Column("what to do"),
        Column("remark", "code"),
    )
    caption = "These tracks have a vector, but something is odd about their sound."
    return _table("remarks", caption, columns, rows)


def calibration_table(calibration: Calibration | None) -> Table:
    """Return the baseline's rows that were embedded again, by the recipe of their vectors."""
    made = calibration.by_recipe() if calibration else []
    columns = (
        Column("recipe", "code"),
        Column("rows", "count"),
        Column("vectors from"),
        Column("to"),
        Column("largest distance", "decimal"),
    )
    caption = explain_calibration(calibration) if calibration else ""
    return _table("calibration", caption, columns, map(astuple, made))


def work_table(stock: Stock) -> Table:
    """Return what was done in the day before the audit, and in all."""
    caption = "Chunks that ended; of two at a time the time counts once."
    if stock.seconds_left is not None:
        caption += f" About {duration(stock.seconds_left)} left at the speed of the last ones."
    columns = (Column("what"), Column(f"since {since_when(stock)}"), Column("in all"))
    return _table("work", caption, columns, work_rows(stock))


def folders_table(folders: Sequence[FolderCoverage]) -> Table:
    """Return the folders of the library, the largest gaps first."""
    sums: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    names = ("tracks", *OUTCOMES, "embedded_before")
    for row in folders:
        sums[row.place].update({name: getattr(row, name) for name in names})
    gaps = sorted(sums.items(), key=lambda item: item[1]["embedded"] - item[1]["tracks"])
    rows: list[Sequence[Cell]] = [
        (
            "/".join(place),
            counts["tracks"],
            counts["tracks"] - counts["embedded"],
            *(counts[name] for name in ("embedded_before", *OUTCOMES)),
        )
        for place, counts in gaps
    ]
    columns = (
        Column("folder", "name"),
        Column("tracks", "count"),
        Column("gap", "count"),
        Column("embedded before", "count"),
        *(Column(label, "count") for label in OUTCOMES.values()),
    )
    return _table("folders", "Tracks by folder, the largest gaps first.", columns, rows)


def copies_table(tracks: Sequence[TrackRow]) -> Table:
    """Return the tracks of which another one has the same sound, group by group."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for track in tracks:
        if track.pcm_sha256:
            groups[track.pcm_sha256].append(track.path)
    copies = [paths for paths in groups.values() if len(paths) > 1]
    rows = ((path, number) for number, paths in enumerate(copies, 1) for path in paths)
    columns = (Column("track", "name"), Column("group", "count"))
    caption = "Tracks whose first two minutes are the same, sample for sample."
    return _table("copies", caption, columns, rows)


def duplicates_table(rows: Sequence[DuplicateRow]) -> Table:
    """Return the near-duplicates of the atlas, group by group, the one to keep first."""
    cells = (
        (row.path, row.group, row.proposal, row.evidence, row.size_bytes / _MEGABYTE, row.cosine)
        for row in rows
    )
    columns = (
        Column("track", "name"),
        Column("group", "count"),
        Column("proposal"),
        Column("why"),
        Column("MB", "decimal"),
        Column("cosine", "decimal"),
    )
    spare = sum(row.spare_bytes or 0 for row in rows) / _MEGABYTE
    caption = (
        f"Tracks that sound the same; those to spare take {spare:,.1f} MB. Listen before you "
        "delete: nothing here does. All of them are in meta/near_duplicates.tsv."
    )
    return _table("duplicates", caption, columns, cells)


def chunks_table(chunks: Sequence[ChunkSummary]) -> Table:
    """Return the finished chunks, the last one first."""
    rows = (
        (
            chunk.name,
            chunk.tracks,
            chunk.embedded,
            chunk.existing,
            chunk.reused,
            chunk.failed,
            chunk.tracks_per_second,
            chunk.seconds_decode,
            chunk.seconds_embed,
        )
        for chunk in reversed(chunks)
    )
    numbers = ("tracks", "embedded", "existing", "reused", "failed")
    columns = (
        Column("chunk", "code"),
        *(Column(name, "count") for name in numbers),
        Column("tracks per s", "decimal"),
        Column("s decoding", "decimal"),
        Column("s in the model", "decimal"),
    )
    caption = "Finished chunks of the last plan, the last one first; seconds are sums over tracks."
    return _table("chunks", caption, columns, rows)


def rows_table(audit: AuditRecord) -> Table:
    """Return the counters of the audit that count anything, in words and as its files name them."""
    before, now, delta = audit.as_record().values()
    rows = (
        (ROW_WORDS[name], before[name], now[name], f"{change:+,}" if change else None, name)
        for name, change in delta.items()
        if before[name] or now[name]
    )
    columns = (
        Column("rows"),
        Column("baseline", "count"),
        Column("now", "count"),
        Column("difference"),
        Column("in audit.json", "code"),
    )
    return _table("rows", "Rows of meta.json", columns, rows, len(before))


def scan_table(summary: Summary) -> Table:
    """Return the counters of the last scan that count anything, likewise."""
    counts = summary.counts
    rows = ((SCAN_WORDS.get(name, name), counts[name], name) for name in counts if counts[name])
    columns = (Column("files"), Column("count", "count"), Column("in summary.json", "code"))
    return _table("scan", "What the last scan found", columns, rows, len(counts))


def _table(
    name: str,
    caption: str,
    columns: tuple[Column, ...],
    rows: Iterable[Sequence[Cell]],
    shown: int = SHOWN,
) -> Table:
    clean = tuple(
        tuple(visible(cell) if isinstance(cell, str) else cell for cell in row) for row in rows
    )
    return Table(name, caption, columns, clean, shown)
