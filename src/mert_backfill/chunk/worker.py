"""The process that holds the model; `mert_backfill.chunk.supervisor` starts and outlives it.

``python -m mert_backfill.chunk.worker`` reads a pickled `ChunkJob` and the path of the log
file from its standard input.
"""

from __future__ import annotations

import logging
import pickle
import signal
import sys

import numpy as np
from tqdm import tqdm

from mert_backfill.audio.pool import DecoderPool
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.progress import Progress
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.errors import UserError
from mert_backfill.model.embedding import DeviceLostError, WindowEncoder
from mert_backfill.model.heap import keep_few_kernels
from mert_backfill.model.precision import GUARD_SECONDS, GUARD_WINDOWS, guard_precision
from mert_backfill.records.manifest import read_manifest
from mert_backfill.system.lifeline import die_with_parent
from mert_backfill.system.logs import configure_logging
from mert_backfill.system.session import join_run

logger = logging.getLogger(__name__)

STOPPED = 3  # a user error: told already, nothing to restart
DEVICE_LOST = 4  # the device's context is poisoned: a new process can go on


def main() -> int:
    """Run the chunk that standard input describes; return the exit code."""
    job, parent, log = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our own parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the supervisor, which ends us
    die_with_parent(parent)
    configure_logging(log)
    try:
        join_run(job.results)
        _run(job)
    except UserError as error:
        logger.error("error: %s", error)
        return STOPPED
    except DeviceLostError as error:
        logger.warning("%s: the device was lost (%s); starting a new process", job.name, error)
        return DEVICE_LOST
    except Exception as error:
        logger.exception("%s: internal error: %s; the traceback is in %s", job.name, error, log)
        return STOPPED
    return 0


def _run(job: ChunkJob) -> None:
    def make_encoder() -> WindowEncoder:
        # torch takes seconds to import, and a chunk may have nothing for it
        from mert_backfill.model.encoder import Encoder, choose_device, processor_name

        device = choose_device(job.runtime.device)
        if device == "cpu":
            keep_few_kernels(job.runtime.precision)

        def make(precision: str) -> Encoder:
            return Encoder(
                job.model,
                device=device,
                precision=precision,
                batch_size=job.runtime.batch_size,
                threads=job.threads,
            )

        if job.runtime.precision != "float32":
            guard_precision(
                job.results.precision_checks,
                job.profile.name,
                job.runtime.precision,
                f"{device} ({processor_name(device)})",
                lambda: _some_windows(job),
                make,
            )
        encoder = make(job.runtime.precision)
        logger.info("%s: model loaded on %s, %s", job.name, device, encoder.precision)
        return encoder

    workers = job.runtime.decode_workers or max(1, job.threads)
    bar = tqdm(unit="track", desc=job.name, disable=not sys.stderr.isatty(), leave=False)

    def show(progress: Progress) -> None:
        bar.total = progress.counters["queued"]
        bar.update(progress.settled - bar.n)

    with bar, DecoderPool(workers, timeout_s=job.runtime.track_timeout_s) as pool:
        ChunkRun(job, make_encoder, pool, show).run()


def _some_windows(job: ChunkJob) -> list[np.ndarray]:
    """Return the beginnings of some windows of the library, each of another track."""
    manifest = read_manifest(job.results.manifest)
    tracks = ((row.track_id, row.path) for row in manifest)
    found: list[np.ndarray] = []
    with DecoderPool(1, timeout_s=job.runtime.track_timeout_s) as pool:
        for result in pool.decode(tracks):
            if result.prepared is not None:
                longest = max(result.prepared.windows, key=len)
                found.append(longest[: GUARD_SECONDS * job.model.sample_rate])
            if len(found) == GUARD_WINDOWS:
                break
    return found


if __name__ == "__main__":
    sys.exit(main())
