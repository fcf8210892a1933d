"""The whole configuration as typed values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mert_backfill.library.paths import PathMap
from mert_backfill.library.roots import Root
from mert_backfill.model.source import ModelSource
from mert_backfill.results import Results


@dataclass(frozen=True)
class Runtime:
    """What changes speed but not results. Times in seconds."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["float32", "bfloat16", "float16"]
    batch_size: int | None
    decode_workers: int | None
    track_timeout_s: float


@dataclass(frozen=True)
class Settings:
    """The whole configuration; every path is absolute."""

    roots: tuple[Root, ...]
    extensions: frozenset[str]
    exclude_file: Path | None
    paths_file: Path | None
    baseline: Path | None
    embedding_base: Path | None
    path_map: PathMap
    stale_policy: Literal["keep", "archive", "prune"]
    chunk_size: int
    limit: int | None
    checkpoint_every: int
    model: ModelSource
    profile: str
    duration_s: int
    sidecars: tuple[Literal["sections", "layers"], ...]
    runtime: Runtime
    retry_failed: bool
    accept_shrunken_library: bool
    results: Results
