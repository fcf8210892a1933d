"""The process that holds the model; `mert_backfill.chunk.supervisor` starts and outlives it.

``python -m mert_backfill.chunk.worker`` reads a pickled `ChunkJob` and the path of the log
file from its standard input.
"""

from __future__ import annotations

import logging
import pickle
import signal
import sys
from dataclasses import replace
from functools import partial

from mert_backfill.audio.pool import DecoderPool
from mert_backfill.chunk.encoder import load_encoder
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.errors import UserError
from mert_backfill.model.embedding import DeviceLostError
from mert_backfill.settings import Runtime
from mert_backfill.store.vectors import VectorState
from mert_backfill.system.lifeline import die_with_parent
from mert_backfill.system.logs import configure_logging
from mert_backfill.system.machine import usable_cpus, wants_gpu
from mert_backfill.system.session import join_run

logger = logging.getLogger(__name__)

_CPU_DECODERS = 2
STOPPED = 3  # a user error: told already, nothing to restart
DEVICE_LOST = 4  # the device's context is poisoned: a new process can go on


def main() -> int:
    """Run the chunk that standard input describes; return the exit code."""
    job, parent, log = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our own parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the supervisor, which ends us
    die_with_parent(parent)
    configure_logging(log)
    try:
        join_run(job.of_the_run)
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
    job = fit_to_processors(job, usable_cpus())
    workers = decoders_of(job.runtime, job.threads)
    decoders = DecoderPool(
        workers,
        timeout_s=job.runtime.track_timeout_s,
        recipe=job.profile.recipe,
        wants_harmony=partial(lacks_harmony, job),
    )
    with decoders as pool:
        ChunkRun(job, lambda: load_encoder(job), pool).run()


def lacks_harmony(job: ChunkJob, track_id: str) -> bool:
    """Tell whether the harmony of a track is asked for and nowhere to be found."""
    harmonic = job.store.sidecar("harmonic")
    if harmonic is None or "harmonic" in job.theirs.get(track_id, ()):
        return False
    return harmonic.state(track_id) is not VectorState.VALID


def fit_to_processors(job: ChunkJob, usable: int) -> ChunkJob:
    """Return the job with no more threads than there are processors that may be used.

    ``--cores all`` does not know of a container's quota, nor a cluster's rule of what its job got.
    """
    if job.threads <= usable:
        return job
    logger.info(
        "%s: %d threads were meant for it, but it may use %d of the processors here, and does so",
        job.name,
        job.threads,
        usable,
    )
    return replace(job, threads=usable)


def decoders_of(runtime: Runtime, threads: int) -> int:
    """Return how many decoders keep the model busy.

    On a CPU the model takes 20 times as long for a track as a decoder. A second one is there for
    the file that takes its time. A GPU may be faster than all of them.
    """
    if runtime.decode_workers != "auto":
        return runtime.decode_workers
    return max(1, threads if wants_gpu(runtime.device) else min(threads, _CPU_DECODERS))


if __name__ == "__main__":
    sys.exit(main())
