"""What a running chunk counts, and its checkpoint file."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic

from mert_backfill.chunk.job import ChunkJob
from mert_backfill.records.checkpoint import COUNTERS, Checkpoint
from mert_backfill.records.journal import utc_now

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """Counts what happens, and writes the checkpoint file."""

    job: ChunkJob
    counters: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=monotonic)

    @property
    def settled(self) -> int:
        """Tracks that need no more work."""
        return self.worked + self.skipped

    @property
    def worked(self) -> int:
        """Tracks that this run has worked on."""
        return self.counters["succeeded"] + self.counters["failed"]

    @property
    def skipped(self) -> int:
        """Tracks that needed no work in this run."""
        return self.counters["skipped_existing"] + self.counters["skipped_checkpoint"]

    def count(self, outcome: str) -> None:
        """Count one track; write the checkpoint file when its time has come."""
        self.counters[outcome] += 1
        if self.worked % self.job.checkpoint_every == 0:
            self.write()
            # of a chunk the run tells; a calibration is no part of its plan
            level = logging.DEBUG if self.job.home is None else logging.INFO
            told = (self.job.name, self.settled, self.counters["queued"])
            logger.log(level, "%s: %d of %d tracks done", *told)

    def write(self) -> None:
        """Write the checkpoint file."""
        rate = self.worked / max(monotonic() - self.started, 1e-9)
        left = self.counters["queued"] - self.settled
        Checkpoint(
            chunk=self.job.name,
            profile=self.job.profile.name,
            sidecars=self.job.sidecars,
            status="running",
            counters={name: self.counters[name] for name in COUNTERS},
            updated_at=utc_now(),
            tracks_per_second=round(rate, 4) if self.worked else None,
            eta_s=round(left / rate, 1) if self.worked else (None if left else 0.0),
        ).write(self.job.checkpoint)
