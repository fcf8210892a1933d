"""The summary of a scan, ``gaps/summary.json``: its counters, and some paths for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.system.tables import read_json, write_json

SAMPLE_SIZE = 25


@dataclass(frozen=True)
class Summary:
    """What a scan counted.

    Attributes
    ----------
    counts : mapping
        The counters, by name.
    samples : mapping
        At most 25 paths (or keys of the baseline) for each counter that stands for a list.
    """

    counts: Mapping[str, int]
    samples: Mapping[str, Sequence[str]]

    @property
    def pending(self) -> int:
        """All tracks that need work, whether or not a limit keeps them out of the plan."""
        missing_sidecars = self.counts.get("missing_sidecar_total", 0)
        return self.counts["pending_embedding_total"] + missing_sidecars

    @property
    def needs_model(self) -> bool:
        """Whether any of them needs more than its sound."""
        return self.pending > self.counts.get("missing_harmonic_only_total", 0)


def write_summary(path: Path | str, summary: Summary) -> None:
    """Write a summary as JSON."""
    write_json(path, asdict(summary))


def read_summary(path: Path | str) -> Summary:
    """Read a summary.

    Raises
    ------
    UserError
        The file is missing, or was not written by `write_summary`.
    """
    try:
        document = read_json(path)
        return Summary(dict(document["counts"]), dict(document["samples"]))
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file; run `{command()}`") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: this is not the summary of a scan; delete it and run `{command()}`"
        ) from error
