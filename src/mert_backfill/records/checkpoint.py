"""The checkpoint file of a chunk: how far it is, for people and programs that look on.

Nothing is resumed from it: what is done is in the store and in the journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mert_backfill.system.tables import read_json, write_json

COUNTERS = ("queued", "succeeded", "failed", "skipped_existing", "skipped_checkpoint")


@dataclass(frozen=True)
class Checkpoint:
    """The content of ``chunks/CHUNK.checkpoint.json``.

    Attributes
    ----------
    chunk, profile : str
        What was embedded, and under which profile.
    sidecars : tuple of str
        The kinds of sidecar that were asked for.
    status : str
        ``running``, or ``completed`` once the chunk's tables are written.
    counters : mapping
        The number of tracks for each of `COUNTERS`.
    updated_at : str
        UTC, ISO 8601.
    tracks_per_second, eta_s : float or None
        Speed of the tracks that needed work, and seconds left; None when not known yet.
    """

    chunk: str
    profile: str
    sidecars: tuple[str, ...]
    status: Literal["running", "completed"]
    counters: Mapping[str, int]
    updated_at: str
    tracks_per_second: float | None
    eta_s: float | None

    @classmethod
    def read(cls, path: Path | str) -> Checkpoint:
        """Read a checkpoint file; keys that this version does not know are passed over.

        Raises
        ------
        OSError
            It cannot be read.
        ValueError
            It is not a checkpoint file.
        """
        try:
            values = read_json(path)
            known: dict[str, Any] = {name: values[name] for name in cls.__dataclass_fields__}
            known["sidecars"] = tuple(known["sidecars"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: is not a checkpoint file") from error
        return cls(**known)

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        write_json(path, asdict(self))
