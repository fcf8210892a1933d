"""One run at a time, and jobs that end with their run: with real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

from mert_backfill.results import Results
from mert_backfill.system import session
from mert_backfill.system.session import (
    RUN_VARIABLE,
    UNTOLD,
    is_taken_over,
    join_run,
    start_remote_job,
    start_run,
)
from support.checks import refusal

DEADLINE_S = 30.0

RUN = """
import os, sys
from pathlib import Path
from mert_backfill.results import Results
from mert_backfill.system.session import RUN_VARIABLE, start_run
start_run(Results(Path(sys.argv[1])))
print(os.environ[RUN_VARIABLE], flush=True)
sys.stdin.read()
"""
JOB = """
import sys
from pathlib import Path
from mert_backfill.system import session
from mert_backfill.errors import UserError
from mert_backfill.results import Results
from mert_backfill.system.session import join_run
session.LOOK_EVERY_S = 0.05
try:
    join_run(Results(Path(sys.argv[1])))
except UserError as error:
    print("refused:", error, flush=True)
    sys.exit(7)
print("joined", flush=True)
sys.stdin.read()
"""


class Process:
    """A process that says a line as soon as it is where it should be, and then waits."""

    def __init__(self, code: str, results: Path, run: str | None = None) -> None:
        environment = {k: v for k, v in os.environ.items() if k != RUN_VARIABLE}
        if run is not None:
            environment[RUN_VARIABLE] = run
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(results)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def end(self) -> int:
        """Let it go on to its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.code()

    def code(self) -> int:
        return self.process.wait(DEADLINE_S)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder for results; this process forgets its locks in the end."""
    monkeypatch.setenv(RUN_VARIABLE, "")  # so that it is taken back, whatever the test sets
    monkeypatch.delenv(RUN_VARIABLE)
    held: list[IO[str]] = []
    monkeypatch.setattr(session, "held", held)
    yield tmp_path / "results"
    for lock in held:
        lock.close()


@contextlib.contextmanager
def process(code: str, results: Path, run: str | None = None) -> Iterator[Process]:
    started = Process(code, results, run)
    try:
        yield started
    finally:
        started.kill()
        for stream in (started.process.stdin, started.process.stdout, started.process.stderr):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def test_a_second_run_is_refused_and_told_whom_to_wait_for(results: Path) -> None:
    with process(RUN, results) as run:
        assert run.said.startswith(f"{run.process.pid} ")
        told = refusal(lambda: start_run(Results(results)))
        assert told.startswith(f"another run (process {run.process.pid} on ")
        assert f"is working in {results}; wait for it" in told
        assert RUN_VARIABLE not in os.environ
        lock = json.loads((results / ".state" / "run.lock").read_text())
        assert lock["pid"] == run.process.pid  # the one refused wrote nothing
        start_run(Results(results.parent / "other"))  # is a folder of its own


@pytest.mark.parametrize("kill", [True, False])
def test_a_lock_is_gone_with_its_process(results: Path, kill: bool) -> None:
    with process(RUN, results) as run:
        if kill:
            run.kill()
            assert run.code() == -signal.SIGKILL
        else:
            assert run.end() == 0
    start_run(Results(results))
    pid, token = os.environ[RUN_VARIABLE].split(" ")
    assert int(pid) == os.getpid()
    lock = json.loads((results / ".state" / "run.lock").read_text())
    assert (lock["pid"], lock["token"]) == (os.getpid(), token)


def test_a_damaged_lock_file_is_no_obstacle(results: Path) -> None:
    (results / ".state").mkdir(parents=True)
    (results / ".state" / "run.lock").write_bytes(b'{"pid": 1, "host": "\xff' + b"x" * 500)
    start_run(Results(results))
    assert json.loads((results / ".state" / "run.lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("remote", [False, True])
def test_a_job_ends_with_its_run(results: Path, remote: bool) -> None:
    with process(RUN, results) as run:
        handed_down = f"{run.process.pid} {UNTOLD}" if remote else run.said
        with process(JOB, results, handed_down) as job:
            assert job.said == "joined"
            run.kill()
            assert job.code() == 1


def test_a_job_without_a_run_is_tied_to_nothing(results: Path) -> None:
    join_run(Results(results))
    assert not results.exists()


def test_a_job_of_a_run_that_is_gone_is_refused(results: Path) -> None:
    with process(RUN, results) as run:
        pass
    with process(JOB, results, run.said) as job:
        if job.said:  # else it ended even before it could be refused
            assert job.said == (
                "refused: the run that started this job has ended; nothing was written"
            )
        assert job.code() in {1, 7}


def test_a_job_of_another_run_is_refused(results: Path) -> None:
    """Its run has died, and its process number is that of another process by now."""
    with process(RUN, results) as run:
        pid, _ = run.said.split(" ")
        with process(JOB, results, f"{pid} 0123456789abcdef") as job:
            assert job.said.startswith("refused: the run that started this job has ended")
            assert job.code() == 7


@pytest.mark.parametrize("told", [False, True])
def test_the_job_of_a_remote_job_watches_that_one(
    results: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """It knows the run's token where the environment comes along, as by sbatch --export=ALL."""
    with process(RUN, results) as run:
        if told:
            monkeypatch.setenv(RUN_VARIABLE, run.said)
        start_remote_job()
        token = run.said.split()[1] if told else UNTOLD
        assert os.environ[RUN_VARIABLE] == f"{os.getpid()} {token}"
        with process(JOB, results, os.environ[RUN_VARIABLE]) as job:
            assert job.said == "joined"
            assert job.end() == 0


def test_a_remote_job_goes_on_without_its_run_until_another_takes_over(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with process(RUN, results) as run:
        handed_down = f"{os.getpid()} {run.said.split()[1]}"  # this process is the one on the node
        with process(JOB, results, handed_down) as job, process(JOB, results, handed_down) as other:
            run.kill()
            assert (job.said, other.said) == ("joined", "joined")
            assert other.end() == 0
            start_run(Results(results))  # waits for the job
            assert job.code() == 1
            assert job.process.stderr is not None
            assert "another run has taken over" in job.process.stderr.read()
    with process(JOB, results, handed_down) as late:  # one that had not left the queue
        assert late.said.startswith("refused: the run that started this job has ended")


def test_a_damaged_lock_file_ends_no_job(results: Path) -> None:
    with process(RUN, results) as run:
        lock = results / ".state" / "run.lock"
        token = run.said.split()[1]
        assert not is_taken_over(lock, token)
        for content in (b"", b'{"pid": 1', b"\xff"):
            lock.write_bytes(content)
            assert not is_taken_over(lock, token)
        lock.write_text('{"token": "another"}')
        assert is_taken_over(lock, token)
        assert not is_taken_over(lock, UNTOLD)


def test_a_run_waits_for_the_jobs_of_a_killed_one(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is bound to a run that lives, so that it goes on although its folder's run died."""
    with process(JOB, results, f"{os.getpid()} {UNTOLD}") as job:
        assert job.said == "joined"
        naps: list[float] = []

        def nap(seconds: float) -> None:
            naps.append(seconds)
            job.kill()

        # the module's own clock only: waiting for a process sleeps too
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=nap)
        monkeypatch.setattr(session, "time", clock)
        start_run(Results(results))
    assert len(naps) == 1
    assert capsys.readouterr().err == "waiting for jobs of a killed run to end\n"
    assert RUN_VARIABLE in os.environ


def test_a_run_does_not_wait_for_ever(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ORPHAN_PATIENCE_S", 0.0)
    with process(JOB, results, f"{os.getpid()} {UNTOLD}") as job:
        assert job.said == "joined"
        told = refusal(lambda: start_run(Results(results)))
    assert told.startswith(f"jobs of an earlier run still work in {results}; end them")
    assert str(results / ".state" / "jobs.lock") in told


def test_jobs_work_side_by_side(results: Path) -> None:
    with (
        process(RUN, results) as run,
        process(JOB, results, run.said) as one,
        process(JOB, results, run.said) as other,
    ):
        assert (one.said, other.said) == ("joined", "joined")
        assert (one.end(), other.end()) == (0, 0)


def test_a_folder_that_cannot_be_written_is_told(results: Path) -> None:
    results.write_text("a file where the folder should be")
    told = refusal(lambda: start_run(Results(results)))
    assert told.startswith(f"{results / '.state'}: cannot be written (")
    assert told.endswith("free space there, or make the folder writable")
