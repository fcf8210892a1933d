"""The audit for people: a page of Markdown, and one of HTML with charts."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from mert_backfill.failures import Failure
from mert_backfill.health.audit import LIBRARY_SUMS, ROW_SUMS, Audit, spell_sum
from mert_backfill.health.history import Entry
from mert_backfill.plan.gaps import SCAN_SUMS
from mert_backfill.system.atomic import write_text
from mert_backfill.system.tables import read_tsv

MAX_SAMPLES = 25
MAX_ROWS = 1000  # of a table in the HTML page; a browser gets slow with more
_MIN_SHARE = 0.5  # percent; so that one failure among 100,000 tracks can be seen
# what a track can be: the part of the library's counters, and its name on the page
_OUTCOMES = {
    "embedded": "embedded",
    "failed": "failed, tried again",
    "quarantined": "quarantined",
    "open": "open",
}
_CHART_WIDTH, _CHART_HEIGHT = 720.0, 200.0


@dataclass(frozen=True)
class Segment:
    """A part of a bar; `start` and `width` in percent."""

    outcome: str
    label: str
    count: int
    start: float
    width: float


@dataclass(frozen=True)
class Point:
    """A point of the progress chart, in the units of its viewBox."""

    x: float
    y: float
    label: str
    count: int


def write_audit_page(
    path: Path | str, audit: Audit, summary: Mapping[str, Any], profile: Mapping[str, Any]
) -> None:
    """Write ``audit.md``.

    Parameters
    ----------
    path : path
        The page.
    audit : Audit
        The audit.
    summary : mapping
        The content of ``gaps/summary.json``.
    profile : mapping
        The content of ``profile.json``.
    """
    record, library, scan = audit.as_record(), audit.library, summary["counts"]
    sections = [
        "# Audit",
        f"**{_headline(library)}**",
        f"Profile: {_literal(profile['profile'])}; model: {_literal(profile['model'])}.",
        *_note(profile, "> **Note:** {}"),
        "## Rows of meta.json",
        _table(
            ("counter", "baseline", "now", "difference"),
            [
                (f"`{name}`", record["baseline"][name], now, f"{record['delta'][name]:+d}")
                for name, now in record["current"].items()
            ],
        ),
        "`failed_total` counts every unresolved failure, `quarantined_total` those among them "
        "that are not tried again while the file is unchanged.",
        "## Tracks of the library",
        _table(
            ("tracks", "before", "now"),
            [(f"`{name}`", library["before"][name], now) for name, now in library["now"].items()],
        ),
        "## Last scan",
        _table(("counter", "files"), [(f"`{name}`", count) for name, count in scan.items()]),
        "## Sums",
        "Each was checked before this page was written.",
        "\n".join(
            f"- {where}: `{spell_sum(counters, total, parts)}`"
            for where, counters, sums in (
                ("rows at the baseline", record["baseline"], ROW_SUMS),
                ("rows now", record["current"], ROW_SUMS),
                ("library before", library["before"], LIBRARY_SUMS),
                ("library now", library["now"], LIBRARY_SUMS),
                ("last scan", scan, SCAN_SUMS),
            )
            for total, parts in sums
        ),
        "## Failures",
        *_failures_section(audit.failures),
        *_names_section(
            "Invalid embeddings",
            "These files exist but hold no usable vector, and an existing embedding is never "
            "replaced. The cure: delete them and run again.",
            "file",
            [str(file) for file in audit.current.invalid],
        ),
        *_names_section(
            "Stale rows",
            "The library holds no file for these rows; `meta.stale_policy` decides whether they "
            "stay.",
            "row",
            audit.current.stale,
        ),
        "## Where the results are",
        "- `../meta/meta.json`: the rebuilt meta.json; `snakemake --cores 1 publish` writes it "
        "over the live one\n"
        f"- `../embeddings/{profile['profile']}/`: the vectors\n"
        "- `report.html`: this page with charts\n"
        "- `progress.md`: the counters over time",
    ]
    write_text(path, "\n\n".join(sections) + "\n")


def write_report(
    path: Path | str,
    audit: Mapping[str, Mapping[str, int]],
    summary: Mapping[str, Any],
    history: Sequence[Entry],
    failures: Sequence[Failure],
    chunks: Sequence[Mapping[str, Any]],
    profile: Mapping[str, Any],
) -> None:
    """Write ``report.html``: one file that needs no network and runs no script.

    Parameters
    ----------
    path : path
        The page.
    audit : mapping
        The content of ``audit.json``.
    summary : mapping
        The content of ``gaps/summary.json``.
    history : sequence of mapping
        The entries of ``history.jsonl``, oldest first; the last one tells of this audit.
    failures : sequence of Failure
        The unresolved failures.
    chunks : sequence of mapping
        One `summarise_chunk` a finished chunk.
    profile : mapping
        The content of ``profile.json``.
    """
    library = history[-1]["library"]
    reasons = Counter(failure.reason for failure in failures).most_common()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # every value that is printed passes here, so no name can break the page or its encoding
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    page = environment.get_template("report.html.j2").render(
        audit=audit,
        headline=_headline(library),
        scan=summary["counts"],
        library=library,
        outcomes=_OUTCOMES,
        bars=[(when, stack_bar(library[when])) for when in ("before", "now")],
        points=progress_points(history),
        top=max(entry["library"]["now"]["tracks"] for entry in history),
        chart=(_CHART_WIDTH, _CHART_HEIGHT),
        reasons=reasons,
        failures=failures[:MAX_ROWS],
        failures_total=len(failures),
        chunks=chunks[-MAX_ROWS:],
        chunks_total=len(chunks),
        profile=profile,
        note=profile.get("note"),
        updated=history[-1]["when"],
    )
    write_text(path, page)


def summarise_chunk(tracks: Path | str, checkpoint: Path | str) -> dict[str, Any]:
    """Return one row of the report's chunk table.

    Parameters
    ----------
    tracks : path
        ``chunks/CHUNK.tracks.tsv``.
    checkpoint : path
        ``chunks/CHUNK.checkpoint.json``.

    Returns
    -------
    dict
        `name`, `tracks`, `embedded`, `existing`, `reused`, `failed`, `tracks_per_second` (None
        when not known), `seconds_decode` and `seconds_embed` (sums over the tracks).
    """
    rows = read_tsv(tracks)
    statuses = Counter(row["status"] for row in rows)
    progress = json.loads(Path(checkpoint).read_bytes())
    return {
        "name": Path(tracks).name.removesuffix(".tracks.tsv"),
        "tracks": len(rows),
        **{status: statuses[status] for status in ("embedded", "existing", "reused", "failed")},
        "tracks_per_second": progress.get("tracks_per_second"),
        **{
            name: sum(float(row[name] or 0) for row in rows)
            for name in ("seconds_decode", "seconds_embed")
        },
    }


def stack_bar(counters: Mapping[str, int]) -> list[Segment]:
    """Return a stacked bar of the library's counters; no part that exists is too thin to see.

    Parameters
    ----------
    counters : mapping
        ``tracks = embedded + failed + quarantined + open``.
    """
    counts = {outcome: counters[outcome] for outcome in _OUTCOMES if counters[outcome]}
    shares = {
        outcome: max(_MIN_SHARE, 100 * count / counters["tracks"])
        for outcome, count in counts.items()
    }
    scale = 100 / sum(shares.values()) if shares else 0
    segments, start = [], 0.0
    for outcome, share in shares.items():
        width = share * scale
        segments.append(Segment(outcome, _OUTCOMES[outcome], counts[outcome], start, width))
        start += width
    return segments


def progress_points(history: Sequence[Entry]) -> list[Point]:
    """Return the embedded tracks after each entry, with the start before the first.

    Runs are evenly spaced: hours of work and weeks of pause would else hide each other.
    """
    counts = [history[0]["library"]["before"]["embedded"]]
    counts += [entry["library"]["now"]["embedded"] for entry in history]
    labels = ["before", *(entry["when"] for entry in history)]
    top = max(1, *(entry["library"]["now"]["tracks"] for entry in history))
    return [
        Point(_CHART_WIDTH * index / len(history), _CHART_HEIGHT * (1 - count / top), label, count)
        for index, (label, count) in enumerate(zip(labels, counts, strict=True))
    ]


def visible(text: str) -> str:
    """Return `text` with everything escaped that cannot be seen or is not Unicode text."""
    return "".join(
        letter
        if letter.isprintable() or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _headline(library: Mapping[str, Mapping[str, int]]) -> str:
    before, now = library["before"], library["now"]
    closed = now["embedded"] - before["embedded"]
    return (
        f"Closed {closed:,} of {before['open']:,} gaps: {now['embedded']:,} of {now['tracks']:,} "
        f"tracks have an embedding, {before['embedded']:,} had one before."
    )


def _note(profile: Mapping[str, Any], form: str) -> list[str]:
    """Return what the profile says of its model, such as that it is the demo's."""
    return [form.format(_literal(profile["note"]))] if profile.get("note") else []


def _failures_section(failures: Sequence[Failure]) -> list[str]:
    if not failures:
        return ["None."]
    reasons = Counter(failure.reason for failure in failures).most_common()
    return [
        _table(("reason", "tracks"), [(f"`{reason}`", count) for reason, count in reasons]),
        "All of them are in `failures.tsv`; `retry_paths.txt` is the list to hand to `paths_file`.",
    ]


def _names_section(title: str, explanation: str, header: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    table = _table((header,), [(_literal(name),) for name in names[:MAX_SAMPLES]])
    more = [f"... and {len(names) - MAX_SAMPLES:,} more."] if len(names) > MAX_SAMPLES else []
    return [f"## {title} ({len(names):,})", explanation, table, *more]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _literal(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    shown = html.escape(visible(text), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#|~$!])", r"\\\1", shown)
