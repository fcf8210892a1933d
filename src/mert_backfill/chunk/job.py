"""Everything that a chunk needs to know."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mert_backfill.library.roots import Root
from mert_backfill.model.info import ModelInfo
from mert_backfill.records.manifest import MISSING_SIDECAR, PendingTrack
from mert_backfill.results import Results
from mert_backfill.settings import Runtime
from mert_backfill.store.profile import Profile
from mert_backfill.store.sidecars import SidecarKind
from mert_backfill.store.tracks import Need, TrackStore, open_track_store

# What a chunk takes at its peak with MERT-v1-330M in float32, by recipe (in MB): the model's
# process and its decoders, see benchmarks/README.md. A window of 120 s takes 4.6 GB in the model.
MEMORY_MB = {"canonical": 4500, "padded": 4500, "whole": 6000}
# what two decoders take more that tell the harmony too: 0.5 GB each at 44.1 kHz
HARMONY_MB = 1000


@dataclass(frozen=True)
class ChunkJob:
    """Everything that a chunk needs to know.

    Attributes
    ----------
    name : str
        ``partNNN-HASH``.
    results : Results
        The results folder.
    released : mapping
        Tracks that are to be tried again although they failed for good, and after how many
        attempts they were released.
    threads : int
        Threads of the model's arithmetic.
    home : Results or None
        The results folder of the run where `results` is another: its locks, and what is known of
        this machine.
    theirs : mapping
        Track id to the kinds of sidecar that its row has already.
    """

    name: str
    results: Results
    roots: tuple[Root, ...]
    model: ModelInfo
    profile: Profile
    runtime: Runtime
    checkpoint_every: int
    sidecars: tuple[SidecarKind, ...]
    released: Mapping[str, int]
    threads: int
    theirs: Mapping[str, Collection[str]] = field(default_factory=dict)
    home: Results | None = None

    @property
    def of_the_run(self) -> Results:
        """The results folder of the run."""
        return self.home or self.results

    def need(self, row: PendingTrack) -> Need:
        """Return what has to be kept of a track of the chunk."""
        theirs = frozenset(self.theirs.get(row.track_id, ()))
        return Need(vector=row.reason != MISSING_SIDECAR, besides=theirs)

    @property
    def table(self) -> Path:
        """The chunk file, a slice of the manifest."""
        return self.results.chunk_file(self.name)

    @property
    def journal(self) -> Path:
        """The chunk's journal."""
        return self.results.journal(self.name)

    @property
    def checkpoint(self) -> Path:
        """The chunk's checkpoint file."""
        return self.results.checkpoint(self.name)

    @property
    def store(self) -> TrackStore:
        """The store of the chunk's profile."""
        return open_track_store(self.results, self.profile, self.sidecars)
