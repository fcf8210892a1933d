"""One run at a time in a results folder, and jobs that never outlive their run.

Snakemake's own lock is a file that survives ``kill -9``, so the next run would need
``--unlock``; and jobs of a killed run go on writing as orphans. Here a run holds an advisory
lock (flock), which the kernel releases however the process ends. Each job holds a second,
shared lock and watches the process of its run: when that is gone, the job ends at once. A new
run takes the first lock, then waits until nobody holds the second.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: WSL2 is the supported way there
    fcntl = None  # type: ignore[assignment]

from mert_backfill.atomic import stop_if_disk_full
from mert_backfill.errors import UserError

RUN_VARIABLE = "MERT_BACKFILL_RUN"  # "PID TOKEN" of the run, handed down to its jobs
REMOTE = "remote"  # the token of a job on another node: no lock of this machine to compare with
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_ORPHAN_PATIENCE_S = 120.0
_held: list[IO[str]] = []  # open as long as this process lives, and so locked


def start_run(results: Path) -> None:
    """Make this process the one run that works in `results`, and wait for orphans to end.

    Raises
    ------
    UserError
        Another run works there, or orphans of a killed run do not end.
    """
    lock = _open(results / ".state" / "run.lock")
    if not _lock(lock, shared=False):
        raise UserError(f"another run {_describe(lock)} is working in {results}; wait for it")
    token = os.urandom(8).hex()
    record = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "token": token,
    }
    with stop_if_disk_full(lock.name):
        lock.truncate(0)
        os.write(lock.fileno(), json.dumps(record).encode())
    _held.append(lock)
    _wait_for_orphans(results)
    os.environ[RUN_VARIABLE] = f"{os.getpid()} {token}"


def start_remote_job() -> None:
    """Make this process the one that the job started by it watches (on a cluster node)."""
    os.environ[RUN_VARIABLE] = f"{os.getpid()} {REMOTE}"


def join_run(results: Path) -> None:
    """Tie this job to the run that started it; it ends when the run's process does.

    Raises
    ------
    UserError
        The run is gone already, or another one has taken over.
    """
    value = os.environ.get(RUN_VARIABLE)
    if value is None:  # called by hand, without a run to be tied to
        return
    pid, token = value.split(" ")
    jobs = _open(results / ".state" / "jobs.lock")
    _held.append(jobs)
    _lock(jobs, shared=True, wait=True)
    gone = _watch(int(pid))
    if not gone and token != REMOTE:
        gone = _token_of(results / ".state" / "run.lock") != token
    if gone:
        raise UserError("the run that started this job has ended; nothing was written")


def _wait_for_orphans(results: Path) -> None:
    jobs = _open(results / ".state" / "jobs.lock")
    with jobs:
        deadline = time.monotonic() + _ORPHAN_PATIENCE_S
        told = False
        while not _lock(jobs, shared=False):
            if time.monotonic() > deadline:
                raise UserError(
                    f"jobs of an earlier run still work in {results}; end them (see "
                    f"`fuser {jobs.name}`), then run the same command again"
                )
            if not told:
                print("waiting for jobs of a killed run to end", file=sys.stderr, flush=True)
                told = True
            time.sleep(0.05)


def _open(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a+", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be written ({error.strerror}); free space there, or make the "
            "folder writable"
        ) from error


def _lock(file: IO[str], *, shared: bool, wait: bool = False) -> bool:
    if fcntl is None:
        return True
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, operation if wait else operation | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            print(
                f"warning: {file.name}: this file system has no locks; make sure that no second "
                "run works here",
                file=sys.stderr,
            )
            return True
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def _describe(lock: IO[str]) -> str:
    lock.seek(0)
    try:
        owner = json.load(lock)
        return f"(process {owner['pid']} on {owner['host']}, since {owner['started']})"
    except (ValueError, KeyError, TypeError):
        return "(starting just now)"


def _token_of(path: Path) -> str | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["token"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _watch(pid: int) -> bool:
    """End this process as soon as process `pid` ends; return True when it is gone already."""
    if hasattr(os, "pidfd_open"):
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        except OSError:  # no such call in this kernel, or not allowed in this sandbox
            handle = None
    else:
        handle = None

    def wait() -> None:
        if handle is not None:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            poll.poll()
        else:
            while _exists(pid):
                time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=wait, name="watch-run", daemon=True).start()
    return handle is None and not _exists(pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
