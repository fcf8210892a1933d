"""The report: the audit for people, as one page of HTML with charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from mert_backfill.errors import visible
from mert_backfill.failures import Failure
from mert_backfill.health.audit import AuditRecord
from mert_backfill.health.charts import (
    CHART_HEIGHT,
    CHART_WIDTH,
    OUTCOMES,
    progress_points,
    stack_bar,
)
from mert_backfill.health.history import HistoryEntry
from mert_backfill.health.wording import headline
from mert_backfill.records.summary import Summary
from mert_backfill.records.tracks import ChunkSummary
from mert_backfill.store.profile import Profile
from mert_backfill.system.atomic import write_text

MAX_ROWS = 1000  # of a table in the HTML page; a browser gets slow with more


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
    failures : sequence of Failure
        The unresolved failures.
    chunks : sequence of ChunkSummary
        The finished chunks, the last one last.
    profile : Profile
        The profile of the store.
    """

    audit: AuditRecord
    summary: Summary
    history: Sequence[HistoryEntry]
    failures: Sequence[Failure]
    chunks: Sequence[ChunkSummary]
    profile: Profile


def write_report(path: Path | str, inputs: ReportInputs) -> None:
    """Write ``report.html``: one file that needs no network and runs no script."""
    history, failures, chunks = inputs.history, inputs.failures, inputs.chunks
    library = history[-1].library
    write_text(
        path,
        _template().render(
            audit=inputs.audit.as_record(),
            headline=headline(library),
            scan=inputs.summary.counts,
            library=library.as_record(),
            outcomes=OUTCOMES,
            bars=[("before", stack_bar(library.before)), ("now", stack_bar(library.now))],
            points=progress_points(history),
            top=max(entry.library.now.tracks for entry in history),
            chart=(CHART_WIDTH, CHART_HEIGHT),
            reasons=Counter(failure.reason for failure in failures).most_common(),
            failures=failures[:MAX_ROWS],
            failures_total=len(failures),
            chunks=chunks[-MAX_ROWS:],
            chunks_total=len(chunks),
            profile=inputs.profile,
            updated=history[-1].when,
        ),
    )


def _template() -> jinja2.Template:
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
    return environment.get_template("report.html.j2")
