"""Unresolved failures and remarks: tables for people and programs, and a list to try again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mert_backfill.failures import Failure
from mert_backfill.hints import command
from mert_backfill.system.atomic import write_text
from mert_backfill.system.tables import read_tsv, write_tsv


def write_failures(path: Path | str, failures: Sequence[Failure]) -> None:
    """Write failure records as TSV; booleans read ``true`` and ``false`` as in JSON."""
    header = list(Failure.__dataclass_fields__)
    records = [failure.as_record() for failure in failures]
    rows = [[_as_in_json(record[name]) for name in header] for record in records]
    write_tsv(path, header, rows)


def read_failures(path: Path | str) -> list[Failure]:
    """Read the failure records of a file that `write_failures` wrote."""
    return [
        Failure.from_record(
            {
                **row,
                "permanent": row["permanent"] == "true",
                **{name: int(row[name]) for name in ("attempts", "size_bytes", "mtime_ns")},
            }
        )
        for row in read_tsv(path)
    ]


def write_remarks(path: Path | str, remarks: Mapping[str, str]) -> None:
    """Write what is odd about which file."""
    write_tsv(path, ("path", "remark"), list(remarks.items()))


def read_remarks(path: Path | str) -> dict[str, str]:
    """Read what `write_remarks` wrote: path to remark."""
    return {row["path"]: row["remark"] for row in read_tsv(path)}


def write_retry_paths(path: Path | str, failures: Sequence[Failure]) -> None:
    """Write the paths of failed tracks as a list that ``paths_file`` takes."""
    paths = list(dict.fromkeys(failure.path for failure in failures))
    listed = [name for name in paths if "\n" not in name and "\r" not in name]
    lines = [f"# to try these again: {command(config='paths_file=results/audit/retry_paths.txt')}"]
    if len(listed) < len(paths):
        lines.append(
            f"# {len(paths) - len(listed)} more have a line break in their name, which no list "
            "can hold; retry_failed=true tries those too"
        )
    # quotes keep the spaces at the ends of a name
    lines += [f'"{name}"' if name != name.strip() else name for name in listed]
    write_text(path, "\n".join(lines) + "\n")


def _as_in_json(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
