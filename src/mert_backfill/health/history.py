"""The audits of all runs that changed something."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mert_backfill.health.audit import Audit
from mert_backfill.health.counts import LibraryCounters, RowCounters
from mert_backfill.system.tables import read_jsonl, write_jsonl


@dataclass(frozen=True)
class HistoryEntry:
    """An entry of ``history.jsonl``.

    Attributes
    ----------
    when : str
        UTC, ISO 8601.
    counters : RowCounters
        Those of ``current`` in audit.json.
    difference : RowCounters
        The difference to the counters of the entry before; of the first entry, to the baseline.
    library : LibraryCounters
        The tracks of the library at the baseline and then.
    """

    when: str
    counters: RowCounters
    difference: RowCounters
    library: LibraryCounters

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> HistoryEntry:
        """Read an entry back.

        Raises
        ------
        AttributeError, KeyError, TypeError, ValueError
            It is no entry.
        """
        return cls(
            when=str(record["when"]),
            counters=RowCounters.from_record(record["counters"]),
            difference=RowCounters.from_record(record["difference"]),
            library=LibraryCounters.from_record(record["library"]),
        )

    def as_record(self) -> dict[str, Any]:
        """Return the entry as it is written."""
        return asdict(self)


def read_history(path: Path | str) -> list[HistoryEntry]:
    """Return the entries of ``history.jsonl``, oldest first, without lines that are damaged."""
    entries = []
    for record in read_jsonl(path):
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            entries.append(HistoryEntry.from_record(record))
    return entries


def append_entry(path: Path | str, audit: Audit, now: datetime | None = None) -> list[HistoryEntry]:
    """Append an audit to ``history.jsonl``, unless it says the same as the last entry.

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
    list of HistoryEntry
        Every entry, oldest first, the new one included.
    """
    history = read_history(path)
    counters = audit.current.counters
    last = history[-1] if history else None
    if last and (last.counters, last.library) == (counters, audit.library):
        return history
    entry = HistoryEntry(
        when=(now or datetime.now(UTC)).isoformat(timespec="seconds"),
        counters=counters,
        difference=counters.minus(last.counters if last else audit.baseline.counters),
        library=audit.library,
    )
    history.append(entry)
    write_jsonl(path, [entry.as_record() for entry in history])
    return history
