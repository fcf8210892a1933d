"""Everything that a chunk needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mert_backfill.library.roots import Root
from mert_backfill.model.info import ModelInfo
from mert_backfill.results import Results
from mert_backfill.settings import Runtime
from mert_backfill.store.profile import Profile
from mert_backfill.store.sidecars import SidecarKind
from mert_backfill.store.tracks import TrackStore, open_track_store

# What a chunk takes at its peak with MERT-v1-330M in float32, by recipe (in MB): the model's
# process and its decoders, see benchmarks/README.md. A window of 120 s takes 4.6 GB in the model.
MEMORY_MB = {"canonical": 4500, "padded": 4500, "whole": 6000}


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
    home: Results | None = None

    @property
    def of_the_run(self) -> Results:
        """The results folder of the run."""
        return self.home or self.results

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
