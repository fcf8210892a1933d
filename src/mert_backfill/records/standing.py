"""What the last audit found, in short: how each run ends, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from mert_backfill.results import Results
from mert_backfill.system.tables import read_json, write_json


@dataclass(frozen=True)
class Standing:
    """The tracks of the library.

    Attributes
    ----------
    tracks, embedded : int
        All of them, and those that have a vector.
    failures : mapping
        Those that failed, by reason.
    remarks : int
        Those with a vector, of whose sound there is something to remark.
    """

    tracks: int
    embedded: int
    failures: Mapping[str, int]
    remarks: int

    @property
    def failed(self) -> int:
        """Tracks that failed."""
        return sum(self.failures.values())

    @property
    def open(self) -> int:
        """Tracks that have neither failed nor a vector."""
        return self.tracks - self.embedded - self.failed

    @classmethod
    def read(cls, results: Results) -> Standing | None:
        """Read the record of the last audit; None when there is none."""
        try:
            values = read_json(results.standing)
            return cls(**{name: values[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, results: Results) -> None:
        """Write the record atomically."""
        write_json(results.standing, asdict(self))
