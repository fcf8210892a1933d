"""The audits of all runs that changed something, and the progress that they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mert_backfill.health.audit import Audit
from mert_backfill.system.atomic import write_text
from mert_backfill.system.tables import read_jsonl, write_jsonl

Entry = Mapping[str, Any]
# columns of progress.md: a counter of audit.json, and what it is called there
_COLUMNS = {
    "tracks_total": "rows",
    "embedding_ok": "embedded",
    "embedding_gap_total": "gap",
    "failed_total": "failed",
    "quarantined_total": "of them quarantined",
}


def read_history(path: Path | str) -> list[Entry]:
    """Return the entries of ``history.jsonl``, oldest first, without lines that are damaged."""
    needed = {"when", "counters", "difference", "library"}
    return [record for record in read_jsonl(path) if record.keys() >= needed]


def append_entry(path: Path | str, audit: Audit, now: datetime | None = None) -> list[Entry]:
    """Append an audit to ``history.jsonl``, unless it says the same as the last entry.

    An entry holds ``when`` (UTC, ISO 8601), ``counters`` (those of ``current`` in audit.json),
    ``difference`` (to the counters of the entry before; of the first entry, to the baseline)
    and ``library`` (see `Audit`).

    Parameters
    ----------
    path : path
        The history; it need not exist.
    audit : Audit
        The audit of this run.
    now : datetime, optional
        The time of the entry.

    Returns
    -------
    list of mapping
        Every entry, oldest first, the new one included.
    """
    history = read_history(path)
    counters = audit.current.counters
    last = history[-1] if history else None
    if last and (last["counters"], last["library"]) == (counters, audit.library):
        return history
    before = last["counters"] if last else audit.baseline.counters
    history.append(
        {
            "when": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
            "counters": counters,
            "difference": {name: count - before.get(name, 0) for name, count in counters.items()},
            "library": audit.library,
        }
    )
    write_jsonl(path, history)
    return history


def write_progress(path: Path | str, history: Sequence[Entry]) -> None:
    """Write ``progress.md``, the history as a table."""
    lines = [
        "# Progress",
        "",
        "One line a run that changed something; the counters are those of `audit.json`, with the "
        "difference to the line before.",
        "",
        f"| when (UTC) | {' | '.join(_COLUMNS.values())} |",
        f"| --- |{' ---: |' * len(_COLUMNS)}",
    ]
    for entry in history:
        cells = [_cell(entry, name) for name in _COLUMNS]
        lines.append(f"| {entry['when']} | {' | '.join(cells)} |")
    write_text(path, "\n".join(lines) + "\n")


def _cell(entry: Entry, name: str) -> str:
    count, difference = entry["counters"][name], entry["difference"][name]
    return f"{count} ({difference:+d})" if difference else f"{count}"
