"""The supervisor, over processes that really die; the model's own is a script here."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.chunk.supervisor import ChunkStopped, run_chunk
from mert_backfill.records.journal import read_journal
from mert_backfill.system.tables import read_jsonl
from support.checks import refusal
from support.fakes import FakeDecoder, FakeEncoder
from support.jobs import events
from support.libraries import Library

SEGFAULT = "kill -SEGV $$"
OUT_OF_MEMORY = "kill -KILL $$"
DEVICE_LOST = "exit 4"
STOPPED = "exit 3"
DONE = "exit 0"


class Script:
    """Stands for the interpreter: each time it is started it does the next of its steps."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "interpreter"
        self._steps = folder / "steps"
        self.path.write_text(
            "#!/bin/sh\n"
            "cat > /dev/null\n"
            f'step=$(head -n 1 "{self._steps}")\n'
            f'sed -i 1d "{self._steps}"\n'
            'eval "$step"\n'
        )
        self.path.chmod(0o755)

    def will(self, *steps: str) -> None:
        self._steps.write_text("".join(f"{step}\n" for step in steps))

    @property
    def left(self) -> list[str]:
        return self._steps.read_text().splitlines()


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path)
    library.add("a.mp3", "b.mp3")
    return library


@pytest.fixture
def job(library: Library) -> ChunkJob:
    """Return a job whose work is done already, so that only the processes matter."""
    job = library.job("a.mp3", "b.mp3")
    ChunkRun(job, FakeEncoder, FakeDecoder()).run()
    job.journal.unlink()
    return job


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Script(tmp_path)
    monkeypatch.setattr(sys, "executable", str(script.path))
    return script


def handing_over(job: ChunkJob, *tracks: str) -> str:
    """Return a step that hands tracks to the model."""
    named = ", ".join(f'"{track}"' for track in tracks)
    line = f'{{"event": "begin", "tracks": [{named}]}}'
    return f"echo '{line}' >> '{job.journal}'"


def is_finished(job: ChunkJob) -> bool:
    return job.results.tracks_table(job.name).exists()


def test_a_process_that_ends_well_finishes_the_chunk(job: ChunkJob, script: Script) -> None:
    script.will(DONE, SEGFAULT)
    run_chunk(job, None)
    assert is_finished(job)
    assert script.left == [SEGFAULT]


@pytest.mark.parametrize(
    ("death", "told"),
    [
        (SEGFAULT, "died of SIGSEGV"),
        (OUT_OF_MEMORY, "died of SIGKILL"),
        (DEVICE_LOST, "lost its device"),
    ],
)
def test_a_death_is_noted_with_its_tracks_and_the_chunk_goes_on(
    library: Library,
    job: ChunkJob,
    script: Script,
    caplog: pytest.LogCaptureFixture,
    death: str,
    told: str,
) -> None:
    track = library.id("a.mp3")
    script.will(f"{handing_over(job, track)}; {death}", DONE)
    with caplog.at_level(logging.WARNING):
        run_chunk(job, None)
    assert read_journal(job.journal).crashes == {track: 1}
    assert caplog.messages == [f"{job.name}: the embedding process {told}; going on"]
    assert is_finished(job)


def test_a_death_without_a_track_accuses_nobody(job: ChunkJob, script: Script) -> None:
    script.will(SEGFAULT, DONE)
    run_chunk(job, None)
    assert events(job) == [("crashed", ())]


def test_deaths_before_any_track_end_it(job: ChunkJob, script: Script) -> None:
    script.will(OUT_OF_MEMORY, OUT_OF_MEMORY, OUT_OF_MEMORY, DONE)
    told = refusal(lambda: run_chunk(job, Path("chunk.log")))
    assert told == (
        f"{job.name}: the embedding process died of SIGKILL 3 times before it reached a track; "
        "free some memory, or see chunk.log"
    )
    assert script.left == [DONE]
    assert not is_finished(job)


def test_deaths_with_tracks_to_blame_do_not_end_it(
    library: Library, job: ChunkJob, script: Script
) -> None:
    killer = f"{handing_over(job, library.id('a.mp3'))}; {SEGFAULT}"
    script.will(SEGFAULT, SEGFAULT, killer, SEGFAULT, SEGFAULT, killer, DONE)
    run_chunk(job, None)
    assert read_journal(job.journal).crashes == {library.id("a.mp3"): 2}
    assert is_finished(job)


def test_an_error_that_was_told_is_not_told_again(job: ChunkJob, script: Script) -> None:
    script.will(STOPPED, DONE)
    with pytest.raises(ChunkStopped):
        run_chunk(job, None)
    assert script.left == [DONE]
    assert not job.journal.exists()


@pytest.mark.parametrize("code", [1, 2, 127])
def test_a_process_that_cannot_start_is_told(job: ChunkJob, script: Script, code: int) -> None:
    script.will(f"exit {code}", DONE)
    told = refusal(lambda: run_chunk(job, None))
    assert told == f"{job.name}: the embedding process cannot start (exit code {code})"
    assert script.left == [DONE]


def test_the_real_process_decodes_records_and_ends(library: Library, tmp_path: Path) -> None:
    """Without torch: what lies there under the names of songs is text."""
    job = library.job("a.mp3", "b.mp3")
    log = tmp_path / "chunk.log"
    run_chunk(job, log)
    records = list(read_jsonl(job.results.chunk_failures(job.name)))
    assert [(Path(r["path"]).name, r["reason"], r["attempts"]) for r in records] == [
        ("a.mp3", "not_audio", 1),
        ("b.mp3", "not_audio", 1),
    ]
    assert is_finished(job)
    assert "a.mp3" in log.read_text()


def test_the_real_process_tells_its_user_errors(
    library: Library, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = library.job("a.mp3", "b.mp3")
    library.music.rename(tmp_path / "away")
    with pytest.raises(ChunkStopped):
        run_chunk(job, tmp_path / "chunk.log")
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: library.roots: 'lib' ({library.music}) has vanished")
    assert "has vanished" in (tmp_path / "chunk.log").read_text()
