"""One run at a time in a results folder, and jobs that never outlive their run.

Snakemake's own lock is a file that survives ``kill -9``, so the next run would need
``--unlock``; and jobs of a killed run go on writing as orphans. Here a run holds an advisory
lock (flock), which the kernel releases however the process ends. Each job holds a second,
shared lock and watches the process of its run: when that is gone, the job ends at once. A new
run takes the first lock, then waits until nobody holds the second.

A job on a cluster node does not see its run's process. When the run is killed it goes on, which
is no loss, until the lock's file says that another run has taken over.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from mert_backfill.errors import UserError
from mert_backfill.results import Results
from mert_backfill.system.atomic import stop_if_disk_full
from mert_backfill.system.locks import (
    is_held,
    link_refused,
    lock_file,
    lock_file_soon,
    open_lock,
)
from mert_backfill.system.tables import read_json

# "PID TOKEN", handed down to jobs: the process to watch, and what the run wrote into its lock
RUN_VARIABLE = "MERT_BACKFILL_RUN"
UNTOLD = "untold"  # the token of a job on a node that its run's environment did not reach
LOOK_EVERY_S = 5.0
ORPHAN_PATIENCE_S = 120.0
held: list[IO[str]] = []  # open as long as this process lives, and so locked


@dataclass(frozen=True)
class RunRecord:
    """What the last run wrote into its lock.

    Attributes
    ----------
    pid, host : int, str
        Its process, and where that was.
    started : str
        UTC, ISO 8601.
    token : str
        What tells it from other runs.
    chunks_at_a_time : int
        How many chunks it works on at the same time.
    """

    pid: int
    host: str
    started: str
    token: str
    chunks_at_a_time: int = 1

    @classmethod
    def read(cls, results: Results) -> RunRecord | None:
        """Return the record of the last run; None when there is none, or it is being written."""
        try:
            values = read_json(results.run_lock)
            return cls(**{name: values[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError):
            return None


def run_at_work(results: Results) -> RunRecord | None:
    """Return the record of the run that is at work in `results`; takes no lock.

    Where locks cannot be asked for, a run counts as at work while its process exists here.
    """
    record = RunRecord.read(results)
    held = is_held(results.run_lock)
    if record is None or held is False:
        return None
    if held is None and not (record.host == socket.gethostname() and _exists(record.pid)):
        return None
    return record


def start_run(results: Results, *, chunks_at_a_time: int = 1) -> None:
    """Make this process the one run that works in `results`, and wait for orphans to end.

    Parameters
    ----------
    results : Results
        The results folder.
    chunks_at_a_time : int > 0
        For who asks how long it will take.

    Raises
    ------
    UserError
        Another run works there, or orphans of a killed run do not end.
    """
    refuse_links(results)
    path = results.run_lock
    lock = open_lock(path)
    if not lock_file_soon(lock.fileno(), path):
        raise UserError(
            f"another run {_describe(lock)} is working in {results.folder}; wait for it"
        )
    token = os.urandom(8).hex()
    record = RunRecord(
        pid=os.getpid(),
        host=socket.gethostname(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        token=token,
        chunks_at_a_time=chunks_at_a_time,
    )
    with stop_if_disk_full(path):
        lock.truncate(0)
        os.write(lock.fileno(), json.dumps(asdict(record)).encode())
        os.fsync(lock.fileno())  # so that jobs on other nodes read it
    held.append(lock)
    _wait_for_orphans(results)
    os.environ[RUN_VARIABLE] = f"{os.getpid()} {token}"


def refuse_links(results: Results) -> None:
    """Refuse links where files are opened in place, by us or by Snakemake, to be written to.

    All other files are replaced, which leaves alone what a link points to.

    Raises
    ------
    UserError
        There is one.
    """
    folders = [results.state, results.chunks, results.logs, results.benchmarks]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        raise link_refused(entry.path)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
        except OSError:  # not there, or for those who write there to tell
            continue


def start_remote_job() -> None:
    """Make this process the one that the job started by it watches (on a cluster node)."""
    token = os.environ.get(RUN_VARIABLE, f"0 {UNTOLD}").split(" ")[1]
    os.environ[RUN_VARIABLE] = f"{os.getpid()} {token}"


def current_run() -> str | None:
    """Return what tells the run that this process works for from others; None where unknown."""
    _, _, token = os.environ.get(RUN_VARIABLE, "").partition(" ")
    return token if token not in {"", UNTOLD} else None


def join_run(results: Results) -> None:
    """Tie this job to the run that started it; it ends when that has ended.

    Raises
    ------
    UserError
        The run is gone already, or another one has taken over.
    """
    value = os.environ.get(RUN_VARIABLE)
    if value is None:  # called by hand, without a run to be tied to
        return
    pid, token = value.split(" ")
    path = results.jobs_lock
    jobs = open_lock(path)
    held.append(jobs)
    lock_file(jobs.fileno(), path, shared=True, wait=True)
    run = results.run_lock
    if _watch(int(pid), run, token) or token not in {UNTOLD, _token_of(run)}:
        raise UserError("the run that started this job has ended; nothing was written")


def _wait_for_orphans(results: Results) -> None:
    path = results.jobs_lock
    with open_lock(path) as jobs:
        deadline = time.monotonic() + ORPHAN_PATIENCE_S
        told = False
        while not lock_file(jobs.fileno(), path):
            if time.monotonic() > deadline:
                raise UserError(
                    f"jobs of an earlier run still work in {results.folder}; end them (see "
                    f"`fuser {path}`, on a cluster its queue), then run the same command again"
                )
            if not told:
                print("waiting for jobs of a killed run to end", file=sys.stderr, flush=True)
                told = True
            time.sleep(0.05)


def _describe(lock: IO[str]) -> str:
    lock.seek(0)
    try:
        owner = json.load(lock)
        return f"(process {owner['pid']} on {owner['host']}, since {owner['started']})"
    except (ValueError, KeyError, TypeError):
        return "(starting just now)"


def _token_of(path: Path) -> str | None:
    try:
        return read_json(path)["token"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _watch(pid: int, run: Path, token: str) -> bool:
    """End this process as soon as process `pid` ends or another run has locked the file `run`.

    Returns
    -------
    bool
        True when process `pid` is gone already.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except (AttributeError, OSError):  # unknown to this system, or not allowed in this sandbox
        handle = None

    def wait() -> None:
        while not (_ended(handle, pid) or is_taken_over(run, token)):
            pass
        os._exit(1)

    threading.Thread(target=wait, name="watch-run", daemon=True).start()
    return handle is None and not _exists(pid)


def _ended(handle: int | None, pid: int) -> bool:
    """Wait a moment for a process to end."""
    if handle is None:
        time.sleep(0.5)
        return not _exists(pid)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(LOOK_EVERY_S * 1000))


def is_taken_over(run: Path, token: str) -> bool:
    """Tell, here and to the user, whether the lock file `run` names another run than `token`."""
    if token == UNTOLD or _token_of(run) in {None, token}:  # None: it is being written
        return False
    print("error: another run has taken over; this job ends, nothing is lost", file=sys.stderr)
    return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
