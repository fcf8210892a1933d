"""The tables of a chunk, and which chunks are finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from mert_backfill.chunk.finish import finish_chunk
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.failures import Reason, TrackError
from mert_backfill.records.tracks import TRACKS_HEADER, finished_chunks
from mert_backfill.system.tables import read_jsonl, read_tsv
from support.checks import refusal
from support.fakes import D, FakeDecoder, FakeEncoder, a_profile
from support.libraries import Library

BAD = TrackError("decode", Reason.SILENT, "all zero")
BUSY = TrackError("decode", Reason.IO_ERROR, "OSError: busy")
DENIED = TrackError("stat", Reason.PERMISSION_DENIED, "PermissionError: no")
SLOW = TrackError("decode", Reason.DECODE_TIMEOUT, "no result within 10 s")


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path)
    library.add("a.mp3", "b.mp3", "c.mp3")
    return library


def run(job: ChunkJob, errors: Any = None) -> None:
    ChunkRun(job, FakeEncoder, FakeDecoder(errors)).run()


def table(job: ChunkJob) -> Path:
    return job.results.tracks_table(job.name)


def failed(job: ChunkJob) -> list[dict[str, Any]]:
    return list(read_jsonl(job.results.chunk_failures(job.name)))


def test_a_finished_chunk_has_a_row_a_track_in_order(library: Library) -> None:
    library.add("copy.mp3", content="audio of a.mp3")
    job = library.job("b.mp3", "a.mp3", "c.mp3", "copy.mp3")
    job.store.vectors.write(library.id("b.mp3"), np.ones(D))
    ChunkRun(job, lambda: FakeEncoder(1), FakeDecoder({"c.mp3": BAD})).run()
    finish_chunk(job)
    rows = read_tsv(table(job))
    assert tuple(rows[0]) == TRACKS_HEADER
    assert [(Path(row["path"]).name, row["status"]) for row in rows] == [
        ("b.mp3", "existing"),
        ("a.mp3", "embedded"),
        ("c.mp3", "failed"),
        ("copy.mp3", "reused"),
    ]
    frame = pandas.read_csv(table(job), sep="\t")
    assert frame["device"].isna().tolist() == [True, False, True, True]
    assert frame["duration_s"].isna().tolist() == [True, False, True, False]
    (failure,) = failed(job)
    assert (failure["path"], failure["reason"]) == (str(library.music / "c.mp3"), "silent")
    checkpoint = json.loads(job.checkpoint.read_text())
    assert checkpoint["status"] == "completed"
    assert checkpoint["counters"]["succeeded"] == 2


def test_no_failures_are_an_empty_file(library: Library) -> None:
    job = library.job("a.mp3")
    run(job)
    finish_chunk(job)
    assert (job.results.chunk_failures(job.name)).read_bytes() == b""


def test_failures_that_may_pass_keep_the_chunk_open(library: Library) -> None:
    job = library.job("a.mp3", "b.mp3", "c.mp3")
    run(job, {"a.mp3": BUSY, "c.mp3": DENIED})
    told = refusal(lambda: finish_chunk(job))
    assert told == (
        f"{job.name}: 2 of 3 tracks failed for reasons that may pass (1 io_error, "
        "1 permission_denied); all others are done, run the same command again to retry these "
        "(what fails alike in 3 runs no longer keeps meta.json from being made; "
        "library.exclude_file leaves it out)"
    )
    assert not table(job).exists()
    assert [record["reason"] for record in failed(job)] == ["io_error", "permission_denied"]
    assert json.loads(job.checkpoint.read_text())["status"] == "running"
    assert job.store.is_complete(library.id("b.mp3"))
    run(job)
    finish_chunk(job)
    assert [row["status"] for row in read_tsv(table(job))] == ["embedded"] * 3
    assert failed(job) == []


def test_what_fails_alike_in_three_runs_finishes_the_chunk(
    library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = library.job("a.mp3", "b.mp3")
    for number, error in enumerate((DENIED, BUSY, BUSY, DENIED, DENIED, DENIED)):
        for _ in range(3):  # Snakemake's own retries are no runs
            assert not table(job).exists(), number
            monkeypatch.setenv("MERT_BACKFILL_RUN", f"1 run-{number}")
            run(job, {"b.mp3": error})
            if number < 5:
                assert "retry these" in refusal(lambda: finish_chunk(job))
    finish_chunk(job)
    assert [row["status"] for row in read_tsv(table(job))] == ["embedded", "failed"]
    (record,) = failed(job)
    assert (record["reason"], record["permanent"]) == ("permission_denied", False)
    assert "list them in library.exclude_file" in caplog.text


def test_one_track_that_may_still_pass_keeps_the_chunk_open(library: Library) -> None:
    job = library.job("a.mp3", "b.mp3")
    for error in (None, None, BUSY):
        run(job, {"a.mp3": DENIED} | ({"b.mp3": error} if error else {}))
        if error is None:
            job.store.vectors.path(library.id("b.mp3")).unlink()
    assert "2 of 2 tracks failed" in refusal(lambda: finish_chunk(job))
    assert not table(job).exists()


def test_a_second_timeout_finishes_the_chunk(library: Library) -> None:
    job = library.job("a.mp3")
    run(job, {"a.mp3": [SLOW, SLOW]})
    finish_chunk(job)
    (record,) = failed(job)
    assert (record["permanent"], record["attempts"]) == (True, 2)


def test_a_failure_of_another_chunk_is_told_here_too(library: Library) -> None:
    run(library.job("a.mp3"), {"a.mp3": BAD})
    job = library.job("a.mp3", name="part002-89abcdef")
    run(job)
    finish_chunk(job)
    assert [record["reason"] for record in failed(job)] == ["silent"]
    assert [row["status"] for row in read_tsv(table(job))] == ["failed"]


def test_a_vector_that_vanishes_at_the_last_moment_is_no_success(library: Library) -> None:
    job = library.job("a.mp3")
    run(job)
    path = job.store.vectors.path(library.id("a.mp3"))
    path.unlink()
    told = refusal(lambda: finish_chunk(job))
    assert told == f"{path}: the vector vanished while the chunk ran; run the same command again"
    assert not table(job).exists()


def test_the_table_comes_last(library: Library) -> None:
    job = library.job("a.mp3")
    run(job)
    job.checkpoint.unlink()  # the step before fails
    with pytest.raises(FileNotFoundError):
        finish_chunk(job)
    assert not table(job).exists()


def test_finished_chunks_are_those_of_the_profile(library: Library) -> None:
    profile = library.profile.name
    job = library.job("a.mp3", sidecars=("sections",))
    assert finished_chunks(job.results, profile) == {}
    run(job)
    assert finished_chunks(job.results, profile) == {}
    finish_chunk(job)
    assert finished_chunks(job.results, profile) == {job.name: frozenset({"sections"})}
    assert finished_chunks(job.results, a_profile(1).name) == {}
    for content in ("", "{", "[]", '{"profile": "x"}'):
        job.checkpoint.write_text(content)
        assert finished_chunks(job.results, profile) == {}
