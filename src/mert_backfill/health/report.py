"""The audit for people: a page of Markdown, and one of HTML with charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from mert_backfill.failures import Failure
from mert_backfill.health.charts import (
    CHART_HEIGHT,
    CHART_WIDTH,
    OUTCOMES,
    progress_points,
    stack_bar,
)
from mert_backfill.health.history import Entry
from mert_backfill.health.wording import headline, visible
from mert_backfill.records.summary import Summary
from mert_backfill.system.atomic import write_text

MAX_ROWS = 1000  # of a table in the HTML page; a browser gets slow with more


def write_report(
    path: Path | str,
    audit: Mapping[str, Mapping[str, int]],
    summary: Summary,
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
    summary : Summary
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
        headline=headline(library),
        scan=summary.counts,
        library=library,
        outcomes=OUTCOMES,
        bars=[(when, stack_bar(library[when])) for when in ("before", "now")],
        points=progress_points(history),
        top=max(entry["library"]["now"]["tracks"] for entry in history),
        chart=(CHART_WIDTH, CHART_HEIGHT),
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
