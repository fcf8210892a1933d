"""Runs a chunk in a process of its own, and outlives that process.

When the process that holds the model dies (a crash in a native library, the kernel's
out-of-memory killer, a poisoned CUDA context), the tracks that were with it are noted in the
journal and a new process goes on; see `mert_backfill.chunk.run.ChunkRun` for how the culprit is
found. A death that nobody witnesses, such as ``kill -9`` of everything or a power cut, accuses
no track.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
from pathlib import Path

from mert_backfill.chunk.finish import finish_chunk
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.worker import DEVICE_LOST, STOPPED
from mert_backfill.errors import UserError
from mert_backfill.records.journal import JournalWriter, read_journal
from mert_backfill.system.children import python_command, python_environment

logger = logging.getLogger(__name__)

_WORKER = "mert_backfill.chunk.worker"
_IDLE_DEATHS = 2  # deaths in a row without a track to blame, after which it is no use


class ChunkStopped(Exception):
    """The chunk stopped with an error that its process has told already."""


def run_chunk(job: ChunkJob, log: Path | None) -> None:
    """Embed a chunk and write its tables.

    Parameters
    ----------
    job : ChunkJob
        What to do.
    log : Path or None
        The log file that the model's process appends to.

    Raises
    ------
    UserError
        Tracks failed for reasons that may pass, or the process cannot run at all.
    ChunkStopped
        The process stopped with a user error, and has told it.
    """
    settle_tracks(job, log)
    finish_chunk(job)


def settle_tracks(job: ChunkJob, log: Path | None) -> None:
    """Do as `run_chunk`, but write no tables: journal and store tell what became of the tracks."""
    idle_deaths = 0
    while (code := _run_process(job, log)) != 0:
        if code == STOPPED:
            raise ChunkStopped
        if code != DEVICE_LOST and code > 0:
            raise UserError(f"{job.name}: the embedding process cannot start (exit code {code})")
        blamed = read_journal(job.journal).in_flight
        idle_deaths = 0 if blamed else idle_deaths + 1
        told = _describe(code)
        if idle_deaths > _IDLE_DEATHS:
            raise UserError(
                f"{job.name}: the embedding process {told} {idle_deaths} times before it reached a "
                f"track; free some memory, or see {log}"
            )
        logger.warning("%s: the embedding process %s; going on", job.name, told)
        with JournalWriter(job.journal) as journal:
            journal.append("crashed", tracks=list(blamed))


def _run_process(job: ChunkJob, log: Path | None) -> int:
    # the process inherits the mask, so that Ctrl-C does not reach it before it can ignore it
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process = subprocess.Popen(
        [*python_command(_WORKER)],
        stdin=subprocess.PIPE,
        env=python_environment(_WORKER),
    )
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        process.communicate(pickle.dumps((job, os.getpid(), log)))
        return process.returncode
    finally:
        if process.poll() is None:  # Ctrl-C: what is done is safe, the rest is for the next run
            process.kill()
            process.wait()


def _describe(code: int) -> str:
    if code == DEVICE_LOST:
        return "lost its device"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:
        return f"died of signal {-code}"
