"""A library that is embedded under kills at random moments, and what must hold after each."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
import yaml

from mert_backfill.demo.model import make_demo_model
from mert_backfill.store.vectors import VectorState, vector_state
from support import REPO
from support.project import HEARS_CTRL_C, user_environment

CREATED_AT = re.compile(rb'("created_at": )"[0-9T:.+-]+"')
TIMED_COLUMNS = {"seconds_decode", "seconds_embed"}
Store = dict[str, tuple[int, bytes]]


def make_library(folder: Path, tracks: int, seconds: float) -> None:
    """Make a music folder, a model and a configuration with chunks of four tracks."""
    music = folder / "music"
    music.mkdir(parents=True)
    for number in range(tracks):
        noise = np.random.default_rng(number).standard_normal(round(seconds * 16000))
        soundfile.write(music / f"track {number:02d}.wav", 0.1 * noise, 16000)
    (music / "broken.mp3").write_bytes(b"this is no audio")
    make_demo_model(folder / "model")
    config = {
        "library": {"roots": [{"name": "music", "path": "music"}]},
        "model": {"name": "model"},
        "chunking": {"size": 4},
        "checkpointing": {"every": 1},
    }
    (folder / "config").mkdir()
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))


def start(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start the command that a user types to resume, in a process group of its own."""
    command = [*HEARS_CTRL_C, sys.executable, "-m", "snakemake", "-s", str(REPO / "Snakefile")]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*command, "--directory", folder, "--cores", "2", "--rerun-incomplete"],
            env=user_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def finish(folder: Path, log: Path) -> None:
    """Run to the end."""
    process = start(folder, log)
    code = process.wait(timeout=300)
    assert code == 0, log.read_text(errors="replace")[-3000:]


def kill_loop(folder: Path, kills: int, seed: int, latest_s: float = 12.0) -> None:
    """Kill the run `kills` times, checking the store after each.

    Runs that get to their end, or are ended by Ctrl-C, come on top of those. After one that
    gets to its end the next begins anew, in an empty results folder.
    """
    random_ = random.Random(seed)
    log = folder / "log.txt"
    before: Store = {}
    killed = 0
    while killed < kills:
        process = start(folder, log)
        try:
            code = process.wait(timeout=random_.uniform(1.0, latest_s))
        except subprocess.TimeoutExpired:
            way = random_.choice(["group", "main", "interrupt", "power"])
            end(process, way, folder, random_)
            killed += way != "interrupt"
        else:
            assert code == 0, f"after {killed} kills: {log.read_text(errors='replace')[-3000:]}"
            check_tables(folder)
            check_store(before, read_store(folder))
            before = {}
            shutil.rmtree(folder / "results")
            shutil.rmtree(folder / ".snakemake")
            continue
        now = read_store(folder)
        check_store(before, now)
        before = now


def end(process: subprocess.Popen[bytes], way: str, folder: Path, random_: random.Random) -> None:
    """End a run: everything at once, only its main process, by Ctrl-C, or as a power cut does."""
    if way == "interrupt":
        os.killpg(process.pid, signal.SIGINT)
    elif way == "main":
        os.kill(process.pid, signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=120)
    if way == "power":  # what was being written and had not been flushed to the disk
        line = b'{"event": "embedded", "row": {"track_id": "00000000000000000000", "path": "'
        for path in sorted((folder / "results" / "chunks").glob("*.journal.jsonl")):
            with path.open("ab") as file:
                file.write(line[: random_.randrange(1, len(line))])
        for shard in sorted((folder / "results" / "embeddings").glob("*/??")):
            (shard / ".tmp-cut").write_bytes(b"\x93NUMPY")


def check_tables(folder: Path) -> None:
    """Check that a finished run ended with the files of an uninterrupted one."""
    found, expected = tables(folder), tables(folder, "reference")
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        assert found[name] == content, name


def read_store(folder: Path) -> Store:
    """Return inode and bytes of every vector."""
    return {
        path.name: (path.stat().st_ino, path.read_bytes())
        for path in (folder / "results" / "embeddings").rglob("*.npy")
        if not path.name.startswith(".")
    }


def check_store(before: Store, now: Store) -> None:
    """Check that vectors only ever appear, and are not written twice."""
    for name, vector in before.items():
        assert now.get(name) == vector, f"{name} was lost, changed or written again"


def check_vectors(folder: Path, dimension: int) -> int:
    """Check that every vector is whole; return how many there are."""
    paths = list((folder / "results" / "embeddings").rglob("*.npy"))
    for path in paths:
        assert vector_state(path, dimension) is VectorState.VALID, path
    return len(paths)


def tables(folder: Path, results: str = "results") -> dict[str, object]:
    """Return all that must not depend on how often a run was cut short."""
    base = folder / results
    found: dict[str, object] = {
        str(path.relative_to(base)): path.read_bytes()
        for path in [
            *sorted((base / "embeddings").rglob("[!.]*.*")),
            *sorted((base / "gaps" / "chunks").glob("*.tsv")),
            base / "gaps" / "manifest.tsv",
            base / "gaps" / "summary.json",
            base / "audit" / "audit.json",
            base / "audit" / "retry_paths.txt",
        ]
        if path.is_file()
    }
    meta = base / "meta" / "meta.json"
    if meta.is_file():  # but for when each vector was made
        found["meta/meta.json"] = CREATED_AT.sub(rb"\1", meta.read_bytes())
    for path in sorted((base / "chunks").glob("*.tracks.tsv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        found[path.name] = [
            {key: value for key, value in row.items() if key not in TIMED_COLUMNS} for row in rows
        ]
    for path in sorted((base / "chunks").glob("*.failed.jsonl")):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        found[path.name] = [{**record, "timestamp": None} for record in records]
    return found
