"""docs/first-hour.md: its commands, run in their order, print what it says that they print."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from mert_backfill.demo.model import make_demo_model
from mert_backfill.library.roots import Root
from mert_backfill.records.owner import Owner
from mert_backfill.results import Results
from support import REPO
from support.audio_files import write_audio
from support.project import DEADLINE_S, RATE, add_track, user_environment

HOME = "/home/me"  # what the document calls the folder of the test
SKIPPED = ("git", "cd", "make", "source")
TRACKS = (
    "House/Mara Linn - Night Bus.mp3",
    "House/Mara Linn - Last Stop.mp3",
    "House/Delta Ray - Ferry.flac",
    "House/Delta Ray - Harbour.flac",
    "Ambient/Ilves - Kevad.ogg",
    "Ambient/Ilves - Sügis.ogg",
    "Ambient/Tape Hiss.wav",
    "Live/Encore.m4a",
    "Live/Intro.wav",
)
COPY, BROKEN, SILENT = "Live/Night Bus.mp3", "House/broken download.mp3", "Ambient/Pause.wav"
WINDOWS = "C:\\Users\\me\\"
ROWS: dict[str, dict[str, Any]] = {
    "Music\\House\\Mara Linn - Night Bus.mp3": {"bpm": 124, "cues": [1.5]},
    "Music\\Ambient\\Ilves - Kevad.ogg": {"tags": ["dawn"]},
    "Music\\Sold.mp3": {"bpm": 120},
}


class Step(NamedTuple):
    """A command, and the lines that it prints; ``...`` stands for any number of others."""

    command: str
    printed: list[str]


def steps() -> Iterator[Step]:
    text = (REPO / "docs" / "first-hour.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *printed = part.splitlines()
            if not command.startswith(SKIPPED):
                yield Step(command, [line for line in printed if line.strip()])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder with twelve tracks, a meta.json from Windows, a model, and a demo."""
    folder = tmp_path_factory.mktemp("hour")
    for seed, name in enumerate(TRACKS):
        add_track(folder / "Music" / name, 1 + seed / 10, seed)
    shutil.copyfile(folder / "Music" / TRACKS[0], folder / "Music" / COPY)
    (folder / "Music" / BROKEN).write_bytes(b"not what it seems\n" * 50)
    write_audio(folder / "Music" / SILENT, np.zeros((RATE, 1), np.float32), RATE)
    make_demo_model(folder / "MERT-v1-330M")
    data = folder / "rbassist" / "data"
    data.mkdir(parents=True)
    rows = {WINDOWS + key: row for key, row in ROWS.items()}
    (data / "meta.json").write_text(json.dumps({"tracks": rows}), encoding="utf-8")
    demo = (Root("demo", folder / "demo" / "music"),)
    Owner(demo, "", True, (), "snakemake --cores 2").write(Results(folder / "results"))
    return folder


def call(command: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line of the document with this checkout's `mert-backfill`."""
    shim = home / "bin" / "mert-backfill"
    if not shim.exists():
        shim.parent.mkdir()
        code = f"import sys; sys.path.insert(0, {str(REPO / 'src')!r})"
        start = "from mert_backfill_snakemake.cli import main; main()"
        shim.write_text(f"#!{sys.executable}\n{code}\n{start}\n")
        shim.chmod(0o755)
    search = f"{shim.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**user_environment(), "PATH": search, "HOME": str(home), "COLUMNS": "200"}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
    )


def plain(line: str, home: Path) -> str:
    """Return a line without what differs from call to call: places, times, speeds, hashes."""
    line = line.replace(f" -s {REPO / 'Snakefile'}", "").replace(str(home), HOME)
    line = re.sub(r"\b[0-9a-f]{8,}\b", "HASH", line)
    line = re.sub(r"\d{4}-?\d\d-?\d\d[T ]?[\d:+Z]*", "TIME", line)
    line = re.sub(r"--cores \d+", "--cores ALL", line)
    return re.sub(" +", " ", re.sub(r"-?\b\d+\.\d+\b", "NUMBER", line)).rstrip()


def test_the_first_hour_goes_as_it_is_written(home: Path) -> None:
    for step in steps():
        done = call(step.command, home)
        assert done.returncode == 0, (step.command, done.stdout)
        printed = iter([plain(line, home) for line in done.stdout.splitlines()])
        for line in step.printed:
            assert line == "..." or plain(line, home) in printed, (step, line, done.stdout)
    assert (home / "demo" / "results" / ".state").is_dir()
    published = json.loads((home / "rbassist" / "data" / "meta.json").read_bytes())["tracks"]
    night_bus = published[WINDOWS + "Music\\House\\Mara Linn - Night Bus.mp3"]
    assert (night_bus["bpm"], night_bus["cues"]) == (124, [1.5])
    assert night_bus["embedding"].startswith("data\\embeddings-mert\\")
    assert len((home / "like-night-bus.m3u8").read_text(encoding="utf-8").splitlines()) > 5
