"""A small library with the difficulties of a real one, and the real Snakemake to run on it.

Thirteen tracks, counted by hand: nine that are embedded, a byte copy of one of them, and three
that fail for good. A junk file and a dangling link lie between them. In chunks of eight that
makes two: Ambient and House, then Odd.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from mert_backfill.demo.model import make_demo_model
from mert_backfill.library.paths import track_id
from mert_backfill.system.tables import read_tsv
from support import REPO, ROOT_NAME
from support.audio_files import music, write_audio

RATE = 22050
# a shell has whatever it starts in the background ignore Ctrl-C, and so tests that it starts
HEARS_CTRL_C = ("env", "--default-signal=INT")
DEADLINE_S = 300  # for one call; generous, since test machines are shared

INTRO, OTHER_INTRO = "House/01 - Intro.wav", "Ambient/01 - Intro.wav"
KICK, KICK_COPY = "House/Kick.mp3", "House/Kick copy.mp3"
DRIFT, TAPE = "Ambient/Drift.m4a", "Ambient/Tape.flac"
QUOTED, NEWLINE, TAB = 'Odd/it\'s "{x}".wav', "Odd/two\nlines.wav", "Odd/tab\there.ogg"
LATIN1 = os.fsdecode(b"Odd/caf\xe9.wav")  # not UTF-8
BROKEN, SILENT, EMPTY = "House/Broken.mp3", "Ambient/Silence.wav", "Odd/Empty.wav"
JUNK, DANGLING = "House/._Kick.mp3", "Odd/dangling.wav"

SECONDS = {
    INTRO: 2.0,
    KICK: 3.0,
    OTHER_INTRO: 1.0,
    DRIFT: 4.0,
    TAPE: 1.5,
    QUOTED: 1.0,
    NEWLINE: 1.2,
    TAB: 2.0,
    LATIN1: 1.0,
}
EMBEDDED = (*SECONDS, KICK_COPY)
FAILING = {BROKEN: "not_audio", SILENT: "silent", EMPTY: "empty_file"}
TRACKS = (*EMBEDDED, *FAILING)


def make_library(folder: Path) -> None:
    """Write the thirteen tracks, a junk file and a dangling link below `folder`."""
    for seed, (name, seconds) in enumerate(SECONDS.items()):
        add_track(folder / name, seconds, seed)
    shutil.copyfile(folder / KICK, folder / KICK_COPY)
    (folder / BROKEN).write_bytes(b"this is no audio\n" * 100)
    write_audio(folder / SILENT, np.zeros((RATE, 1), np.float32), RATE)
    (folder / EMPTY).touch()
    (folder / JUNK).write_bytes(b"\x00\x05\x16\x07")
    (folder / DANGLING).symlink_to("nowhere.wav")


def add_track(path: Path, seconds: float = 1.0, seed: int = 100) -> None:
    """Write a track of its own sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # not every encoder takes every name
    plain = write_audio(
        path.with_name(f"plain{path.suffix}"), music(seconds, RATE, seed=seed), RATE
    )
    plain.rename(path)


def make_project(folder: Path, **changes: Any) -> Project:
    """Return a project with the demo model and, yet, no music; `changes` go into its config."""
    make_demo_model(folder / "model")
    project = Project(folder)
    project.configure(**changes)
    return project


@dataclass(frozen=True)
class Call:
    """A finished call of Snakemake: its exit code, all that it printed, and its log."""

    code: int
    output: str
    log: str = ""

    @property
    def jobs(self) -> list[str]:
        """The rules of the jobs that were done, in order."""
        return re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)$", self.log, re.MULTILINE)

    @property
    def chunks(self) -> list[str]:
        """The chunks that were begun, or that a preview lists."""
        begun = re.findall(r"^Job \d+: Embedding chunk (\S+)$", self.log, re.MULTILINE)
        _, _, listed = self.output.partition("\nchunks to do: ")
        listed = listed.partition("\nfiles found: ")[0]
        return sorted({*begun, *re.findall(r"part\d+-[0-9a-f]{8}", listed)})

    @property
    def errors(self) -> list[str]:
        """The lines in which the workflow tells an error."""
        return [line for line in self.output.splitlines() if line.startswith("error: ")]

    @property
    def nothing_to_do(self) -> bool:
        """Whether Snakemake found all up to date."""
        return self.code == 0 and "Nothing to be done" in self.output and not self.jobs


@dataclass(frozen=True)
class Project:
    """A working directory: ``music``, ``model``, ``config`` and, in time, ``results``."""

    folder: Path

    @property
    def music(self) -> Path:
        return self.folder / "music"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def configure(self, **changes: Any) -> None:
        """Write config/config.yaml; each of `changes` replaces a whole section."""
        values: dict[str, Any] = {
            "library": {"roots": [{"name": ROOT_NAME, "path": "music"}]},
            "chunking": {"size": 8},
            "checkpointing": {"every": 2},
            "model": {"name": "model"},
            "runtime": {"device": "cpu"},
            **changes,
        }
        path = self.folder / "config" / "config.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(values), encoding="utf-8")

    def command(self, *arguments: str, repo: Path = REPO) -> list[str]:
        """Return the command line of Snakemake on this folder."""
        start = [sys.executable, "-m", "snakemake", "-s", str(repo / "Snakefile")]
        return [*start, "--directory", str(self.folder), "--cores", "2", *arguments]

    def snakemake(
        self, *arguments: str, repo: Path = REPO, environment: Mapping[str, str] | None = None
    ) -> Call:
        """Call Snakemake as a user would, but for what `environment` adds to it."""
        before = self.logs()
        done = subprocess.run(
            self.command(*arguments, repo=repo),
            env={**user_environment(), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=DEADLINE_S,
        )
        output = done.stdout.decode("utf-8", "replace")
        return Call(done.returncode, output, self.log_since(before))

    def logs(self) -> set[Path]:
        """Return the logs of Snakemake, one a run."""
        return {*(self.folder / ".snakemake" / "log").glob("*")}

    def log_since(self, before: set[Path]) -> str:
        """Return what Snakemake has logged in other files than those that were there before."""
        return "".join(path.read_text(errors="replace") for path in self.logs() - before)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start Snakemake in a process group of its own, and do not wait for it."""
        return subprocess.Popen(
            [*HEARS_CTRL_C, *self.command(*arguments)],
            env=user_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def run(self, *arguments: str) -> Call:
        """Call Snakemake; the call has to succeed."""
        call = self.snakemake(*arguments)
        assert call.code == 0, call.output
        return call

    def read_json(self, name: str) -> Any:
        """Read a JSON file below results/."""
        return json.loads((self.results / name).read_bytes())

    def read_tsv(self, name: str) -> list[dict[str, str]]:
        """Read a table below results/."""
        return read_tsv(self.results / name)

    def counts(self) -> dict[str, int]:
        """Return the counters of the last scan."""
        return self.read_json("gaps/summary.json")["counts"]

    def pending(self) -> list[str]:
        """Return the tracks of the manifest, as paths below the root."""
        return self._below(row["path"] for row in self.read_tsv("gaps/manifest.tsv"))

    def statuses(self, chunks: Sequence[str]) -> dict[str, str]:
        """Return the status of each track of some chunks, by its path below the root."""
        rows = [row for name in chunks for row in self.read_tsv(f"chunks/{name}.tracks.tsv")]
        return dict(
            zip(self._below(r["path"] for r in rows), (r["status"] for r in rows), strict=True)
        )

    def failures(self) -> dict[str, dict[str, str]]:
        """Return the unresolved failures of the audit, by path below the root."""
        rows = self.read_tsv("audit/failures.tsv")
        return dict(zip(self._below(row["path"] for row in rows), rows, strict=True))

    def profile(self) -> str:
        """Return the name of the store, of which there has to be one."""
        (folder,) = (self.results / "embeddings").iterdir()
        return folder.name

    def vector(self, name: str, profile: str | None = None) -> Path:
        """Return where the vector of a track lies."""
        identity = track_id(ROOT_NAME, name)
        store = self.results / "embeddings" / (profile or self.profile())
        return store / identity[:2] / f"{identity}.npy"

    def vectors(self, profile: str | None = None) -> dict[str, bytes]:
        """Return the content of every vector file, by its name."""
        store = self.results / "embeddings" / (profile or self.profile())
        return {path.name: path.read_bytes() for path in store.glob("*/*.npy")}

    def results_files(self) -> set[str]:
        """Return the files below results/, without the locks and notes in .state."""
        found = (path for path in self.results.rglob("*") if path.is_file())
        names = {path.relative_to(self.results).as_posix() for path in found}
        return {name for name in names if not name.startswith(".state/")}

    def copy(self, folder: Path) -> Project:
        """Copy all, times included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def _below(self, paths: Iterable[str]) -> list[str]:
        return [path.removeprefix(f"{self.music}/") for path in paths]


class Finished(NamedTuple):
    """A finished project, not to be touched, and what was seen on the way to it."""

    project: Project
    preview: Call
    written_by_preview: list[str]
    run: Call


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until a condition is true; it has to come true while the process runs."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def stopped(process: subprocess.Popen[str]) -> Iterator[None]:
    """Keep a process from doing anything."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def user_environment() -> dict[str, str]:
    """Return the environment of a user, who has not put src on Python's path."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
