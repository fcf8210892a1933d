"""The encoder of a chunk: on its device, in a precision that is proven there."""

from __future__ import annotations

import importlib.metadata
import logging

import numpy as np

from mert_backfill import recipes
from mert_backfill.audio.pool import DecoderPool
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.model.embedding import WindowEncoder
from mert_backfill.model.heap import keep_few_kernels
from mert_backfill.model.kernel_choice import (
    PLAIN,
    Kernels,
    Shape,
    find_kernels,
)
from mert_backfill.model.precision import GUARD_SECONDS, GUARD_WINDOWS, guard_precision
from mert_backfill.records.manifest import read_manifest
from mert_backfill.system.machine import cpu_name

logger = logging.getLogger(__name__)


def load_encoder(job: ChunkJob) -> WindowEncoder:
    """Load the model of a chunk.

    Raises
    ------
    UserError
        The device is not there, the weights are damaged, or the precision does not give the
        same vectors.
    """
    # torch takes seconds to import, and a chunk may have nothing for it
    from mert_backfill.model.encoder import Encoder, choose_device, processor_name

    device = choose_device(job.runtime.device)
    kernels = PLAIN
    if device == "cpu":
        kernels = _cpu_kernels(job)
        keep_few_kernels(job.runtime.precision, kernels)

    def make(precision: str) -> Encoder:
        return Encoder(
            job.model,
            device=device,
            precision=precision,
            batch_size=None if job.runtime.batch_size == "auto" else job.runtime.batch_size,
            threads=job.threads,
            kernels=kernels if precision == job.runtime.precision else PLAIN,
        )

    if job.runtime.precision != "float32":
        computed_by = ", ".join(filter(None, (processor_name(device), kernels.name)))
        guard_precision(
            job.of_the_run.precision_checks,
            job.profile.name,
            job.runtime.precision,
            f"{device} ({computed_by})",
            lambda: guard_windows(job),
            make,
        )
    encoder = make(job.runtime.precision)
    logger.debug("%s: model loaded on %s, %s", job.name, encoder.device, encoder.precision)
    return encoder


def _cpu_kernels(job: ChunkJob) -> Kernels:
    return find_kernels(
        job.of_the_run.kernel_choices,
        Shape.of(job.model.architecture),
        job.runtime.precision,
        processor=cpu_name(),
        torch=importlib.metadata.version("torch"),
    )


def guard_windows(job: ChunkJob) -> list[np.ndarray]:
    """Return the beginnings of some windows of the library, each of another track.

    Returns
    -------
    list of np.ndarray [shape=(n,), dtype=float32]
        Fewer than the guard would like when the library has not more.
    """
    # a calibration may be asked for where nothing is pending
    manifest = read_manifest(job.of_the_run.manifest) or read_manifest(job.table)
    tracks = ((row.track_id, row.path) for row in manifest)
    found: list[np.ndarray] = []
    decoder = DecoderPool(1, timeout_s=job.runtime.track_timeout_s, recipe=job.profile.recipe)
    with decoder as pool:
        for result in pool.decode(tracks):
            if result.prepared is not None:
                longest = max(result.prepared.windows, key=len)
                found.append(longest[: GUARD_SECONDS * recipes.SAMPLE_RATE])
            if len(found) == GUARD_WINDOWS:
                break
    return found
