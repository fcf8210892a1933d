"""The report: the audit for people, as one page of HTML with charts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from mert_backfill.errors import visible
from mert_backfill.failures import Failure
from mert_backfill.health import report_tables as tables
from mert_backfill.health.audit import AuditRecord
from mert_backfill.health.charts import (
    OUTCOMES,
    PALETTE,
    Chart,
    coverage_chart,
    draw,
    formats_chart,
    gap_chart,
    in_light,
    lengths_chart,
    progress_chart,
    time_chart,
)
from mert_backfill.health.counts import LibraryCounters
from mert_backfill.health.coverage import FolderCoverage
from mert_backfill.health.history import HistoryEntry
from mert_backfill.health.progress import Stock
from mert_backfill.health.report_map import Atlas, map_data
from mert_backfill.health.report_tables import Table
from mert_backfill.health.wording import headline
from mert_backfill.hints import command
from mert_backfill.library.roots import Root
from mert_backfill.records.calibration import Calibration
from mert_backfill.records.summary import Summary
from mert_backfill.records.tracks import ChunkSummary, TrackRow
from mert_backfill.results import Results
from mert_backfill.store.profile import Profile
from mert_backfill.system.atomic import write_text
from mert_backfill.words import local_time

_PARTS = Path(__file__).parent / "page"


@dataclass(frozen=True)
class ReportInputs:
    """What the page shows.

    Attributes
    ----------
    audit : AuditRecord
        The content of ``audit.json``.
    summary : Summary
        The content of ``gaps/summary.json``.
    history : sequence of HistoryEntry
        The entries of ``history.jsonl``, oldest first; the last one tells of this audit.
    folders : sequence of FolderCoverage
        The content of ``folders.tsv``.
    failures : sequence of Failure
        The unresolved failures.
    remarks : mapping
        Path to what is odd about the sound of a track that has its vector all the same.
    tracks : sequence of TrackRow
        The tracks of all finished chunks, each once.
    chunks : sequence of ChunkSummary
        The finished chunks of the plan, the last one last.
    profile : Profile
        The profile of the store.
    roots : sequence of Root
        The music roots.
    atlas : Atlas or None
        The atlas, if one was drawn.
    calibration : Calibration or None
        Which recipe made the vectors of the baseline.
    stock : Stock or None
        What was done so far, and how long the rest takes.
    """

    audit: AuditRecord
    summary: Summary
    history: Sequence[HistoryEntry]
    folders: Sequence[FolderCoverage]
    failures: Sequence[Failure]
    remarks: Mapping[str, str]
    tracks: Sequence[TrackRow]
    chunks: Sequence[ChunkSummary]
    profile: Profile
    roots: Sequence[Root]
    atlas: Atlas | None
    calibration: Calibration | None = None
    stock: Stock | None = None


def write_report(results: Results, inputs: ReportInputs) -> None:
    """Write ``report.html``, one file that needs no network, and its charts as files."""
    drawings = [(chart, draw(chart)) for chart in make_charts(inputs)]
    for chart, drawing in drawings:
        write_text(results.chart(chart.name), in_light(drawing))
    write_text(results.report, render_page(inputs, drawings))


def make_charts(inputs: ReportInputs) -> list[Chart]:
    """Return the charts, in the order of the page."""
    return [
        gap_chart(
            # what was published since counts as there before by now
            LibraryCounters(inputs.history[0].library.before, inputs.history[-1].library.now)
        ),
        progress_chart(inputs.history),
        coverage_chart(inputs.folders),
        formats_chart(inputs.folders),
        lengths_chart(inputs.tracks),
        time_chart(inputs.tracks),
    ]


def render_page(inputs: ReportInputs, drawings: Sequence[tuple[Chart, str]]) -> str:
    """Return the page.

    Parameters
    ----------
    inputs : ReportInputs
        What it shows.
    drawings : sequence of (Chart, str)
        Its charts, drawn.
    """
    library = inputs.history[-1].library
    style = _palette_css() + _part("page.css")
    atlas = inputs.atlas
    on_map = map_data(atlas, inputs.roots, inputs.tracks) if atlas else None
    scripts = [_part("tables.js"), *([_vega(), _part("map.js")] if atlas else [])]
    failures, chunks = tables.failures_table(inputs.failures), tables.chunks_table(inputs.chunks)
    lists = [
        ("Remarks", tables.remarks_table(inputs.remarks)),
        (
            "The same sound twice",
            tables.duplicates_table(atlas.duplicates)
            if atlas
            else tables.copies_table(inputs.tracks),
        ),
        ("Which recipe made the old vectors", tables.calibration_table(inputs.calibration)),
        ("Folders", tables.folders_table(inputs.folders)),
        *([("Work done", tables.work_table(inputs.stock))] if inputs.stock else []),
    ]
    live = [failures, *(table for _, table in lists), chunks]
    return _template().render(
        policy=_policy(style, scripts),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        table_data={table.name: _data(table) for table in live},
        on_map=on_map,
        about=atlas and atlas.about,
        atlas_command=command("atlas"),
        headline=headline(library, inputs.history[0].library.before),
        library=library.as_record(),
        outcomes=OUTCOMES,
        charts=[(chart, Markup(drawing)) for chart, drawing in drawings],
        reasons=tables.reasons_table(inputs.failures),
        failures=failures,
        lists=lists,
        counters=[tables.rows_table(inputs.audit), tables.scan_table(inputs.summary)],
        chunks=chunks,
        profile=inputs.profile,
        updated=local_time(inputs.history[-1].when),
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # every value that is printed passes here, so no name can break the page or its encoding
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.filters["as_kind"] = _as_kind
    environment.filters["local"] = local_time
    environment.filters["folder"] = lambda path: path[: path.rfind("/") + 1]
    environment.filters["file"] = lambda path: path[path.rfind("/") + 1 :]
    return environment.get_template("report.html.j2")


def _policy(style: str, scripts: Iterable[str]) -> str:
    """Return a policy that lets the browser run and apply what is in the page, and nothing else."""
    hashes = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; script-src {hashes}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _vega() -> str:
    """Return the script that draws the map, Vega and all that it needs."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace(
        "</script", "<\\/script"
    )


def _palette_css() -> str:
    light = "".join(f"--{name}:{colours[0]};" for name, colours in PALETTE.items())
    dark = "".join(f"--{name}:{colours[1]};" for name, colours in PALETTE.items())
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _data(table: Table) -> dict[str, Any]:
    columns = [{"label": column.label, "kind": column.kind} for column in table.columns]
    return {"columns": columns, "rows": table.rows}


def _as_kind(value: tables.Cell, kind: str) -> str:
    if value is None:
        return ""
    return {"count": "{:,}", "decimal": "{:,.2f}"}.get(kind, "{}").format(value)
