"""The first run: every file of the contract, with numbers that were counted by hand."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.library.paths import track_id
from support.checks import read_frame
from support.project import (
    DANGLING,
    DRIFT,
    EMBEDDED,
    EMPTY,
    FAILING,
    INTRO,
    JUNK,
    KICK,
    KICK_COPY,
    LATIN1,
    NEWLINE,
    OTHER_INTRO,
    SECONDS,
    TRACKS,
    Finished,
    Project,
)

MANIFEST = ["track_id", "path", "reason", "meta_key", "size_bytes", "mtime_ns"]
TRACK_COLUMNS = [
    "track_id",
    "path",
    "status",
    "seconds_decode",
    "seconds_embed",
    "duration_s",
    "sample_rate",
    "pcm_sha256",
    "device",
    "precision",
    "remark",
]
FAILURE_KEYS = [
    "path",
    "track_id",
    "chunk",
    "stage",
    "reason",
    "error",
    "permanent",
    "attempts",
    "size_bytes",
    "mtime_ns",
    "timestamp",
]
AUDIT_KEYS = {
    "tracks_total",
    "embedding_ok",
    "embedding_gap_total",
    "missing_embedding_ref",
    "embedding_file_missing",
    "embedding_invalid",
    "stale_track_path_total",
    "bare_path_total",
    "junk_path_total",
    "duplicate_normalized_path_keys",
    "failed_total",
    "quarantined_total",
}


@pytest.fixture(scope="module")
def done(finished: Finished) -> Project:
    assert finished.run.code == 0, finished.run.output
    return finished.project


@pytest.fixture(scope="module")
def chunks(done: Project) -> list[str]:
    return sorted(path.stem for path in (done.results / "gaps" / "chunks").iterdir())


def failure_records(done: Project, chunk: str) -> list[dict[str, Any]]:
    text = (done.results / "chunks" / f"{chunk}.failed.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_preview_counts_and_writes_nothing(finished: Finished) -> None:
    line = "files found: 14, tracks pending: 13, chunks remaining: 2"
    assert finished.preview.code == 0
    assert line in finished.preview.output.splitlines()
    assert finished.written_by_preview == []


def test_python_files_beside_the_results_are_not_run(finished: Finished) -> None:
    assert finished.run.code == 0
    assert (finished.project.folder / "tqdm.py").is_file()
    assert not (finished.project.folder / "RAN").exists()


def test_the_run_does_each_job_once(finished: Finished, chunks: list[str]) -> None:
    expected = Counter(
        {
            "scan_library": 1,
            "plan_chunks": 1,
            "preflight": 1,
            "embed_chunk": 2,
            "rebuild_meta": 1,
            "audit": 1,
            "report": 1,
            "all": 1,
        }
    )
    assert Counter(finished.run.jobs) == expected
    assert finished.run.chunks == chunks
    assert "Traceback" not in finished.run.output


def test_the_counters_are_those_of_a_hand_count(done: Project) -> None:
    summary = done.read_json("gaps/summary.json")
    assert summary["counts"] == {
        "audio_files_found": 14,
        "junk_files_total": 1,
        "excluded_audio_files_total": 0,
        "quarantined_total": 0,
        "audio_files_scanned": 13,
        "already_embedded_total": 0,
        "pending_embedding_total": 13,
        "missing_meta_total": 13,
        "missing_embedding_ref_total": 0,
        "changed_since_embedded_total": 0,
        "stale_meta_paths_total": 0,
        "duplicate_meta_keys_total": 0,
        "linked_folders_total": 0,
    }
    samples = summary["samples"]
    assert samples["junk_files"] == [str(done.music / JUNK)]
    assert samples["not_regular"] == [str(done.music / DANGLING)]
    assert set(samples["pending_embedding"]) == {str(done.music / name) for name in TRACKS}


def test_the_manifest_names_each_pending_track_as_it_is_spelled(done: Project) -> None:
    path = done.results / "gaps" / "manifest.tsv"
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        header, *rows = csv.reader(file, delimiter="\t")
    assert header == MANIFEST
    assert {row[1] for row in rows} == {str(done.music / name) for name in TRACKS}
    for identity, name, reason, key, size, mtime in rows:
        relative = name.removeprefix(f"{done.music}/")
        assert identity == track_id("lib", relative)
        assert (reason, key) == ("missing_meta", "")
        status = (done.music / relative).stat()
        assert (int(size), int(mtime)) == (status.st_size, status.st_mtime_ns)
    table = read_frame(path)
    assert list(table["path"]) == [row[1] for row in rows]
    assert str(done.music / LATIN1).encode("utf-8", "surrogateescape") in path.read_bytes()


def test_the_pending_paths_leave_out_names_that_a_line_cannot_hold(done: Project) -> None:
    text = (
        (done.results / "gaps" / "pending_embedding_paths.txt")
        .read_bytes()
        .decode("utf-8", "surrogateescape")
    )
    expected = {str(done.music / name) for name in TRACKS if name != NEWLINE}
    assert set(text.split("\n")) == {*expected, ""}


def test_chunks_are_slices_of_the_manifest(done: Project, chunks: list[str]) -> None:
    assert [name[:7] for name in chunks] == ["part001", "part002"]
    assert all(re.fullmatch(r"part\d{3}-[0-9a-f]{8}", name) for name in chunks)
    slices = [done.read_tsv(f"gaps/chunks/{name}.tsv") for name in chunks]
    assert [len(part) for part in slices] == [8, 5]
    assert [row for part in slices for row in part] == done.read_tsv("gaps/manifest.tsv")


def test_one_vector_for_each_track_that_can_be_embedded(done: Project) -> None:
    assert re.fullmatch(r"canonical-[0-9a-f]{8}", done.profile())
    assert set(done.vectors()) == {f"{track_id('lib', name)}.npy" for name in EMBEDDED}
    dimension = json.loads((done.folder / "model" / "config.json").read_bytes())["hidden_size"]
    for name in EMBEDDED:
        vector = np.load(done.vector(name), allow_pickle=False)
        assert (vector.shape, vector.dtype) == ((dimension,), np.float16)
        assert np.isfinite(vector).all()
        assert vector.any()
    assert done.vector(INTRO).read_bytes() != done.vector(OTHER_INTRO).read_bytes()
    assert done.vector(KICK).read_bytes() == done.vector(KICK_COPY).read_bytes()


def test_the_profile_says_what_made_the_vectors(done: Project) -> None:
    profile = done.read_json(f"embeddings/{done.profile()}/profile.json")
    assert profile["profile"] == done.profile()
    assert profile["fingerprint"].startswith(done.profile().removeprefix("canonical-"))
    assert profile["sample_rate"] == 24000
    assert profile["dtype"] == "float16"
    assert re.fullmatch(r"[0-9a-f]{64}", profile["weights_sha256"])
    assert "nothing musically" in profile["note"]


def test_the_tables_of_the_chunks_say_what_became_of_each_track(
    done: Project, chunks: list[str]
) -> None:
    rows = [row for name in chunks for row in done.read_tsv(f"chunks/{name}.tracks.tsv")]
    assert all(list(row) == TRACK_COLUMNS for row in rows)
    statuses = done.statuses(chunks)
    assert Counter(statuses.values()) == {"embedded": 9, "reused": 1, "failed": 3}
    assert {name for name in statuses if statuses[name] == "failed"} == set(FAILING)
    # the copy lies beside the original in one chunk; the one that is decoded first is embedded
    assert {statuses[KICK], statuses[KICK_COPY]} == {"embedded", "reused"}
    by_path = {row["path"].removeprefix(f"{done.music}/"): row for row in rows}
    for name, seconds in SECONDS.items():
        # AAC and mp3 pad the end
        assert float(by_path[name]["duration_s"]) == pytest.approx(seconds, abs=0.1)
        assert by_path[name]["sample_rate"] == "22050"
        assert re.fullmatch(r"[0-9a-f]{64}", by_path[name]["pcm_sha256"])
    embedded = [row for row in rows if row["status"] == "embedded"]
    assert {(row["device"], row["precision"]) for row in embedded} == {("cpu", "float32")}
    assert all(float(row["seconds_embed"]) > 0 for row in embedded)


def test_each_chunk_has_its_failures(done: Project, chunks: list[str]) -> None:
    first, second = (failure_records(done, name) for name in chunks)
    assert [len(first), len(second)] == [2, 1]
    for record, chunk in [*((r, chunks[0]) for r in first), *((r, chunks[1]) for r in second)]:
        assert list(record) == FAILURE_KEYS
        name = record["path"].removeprefix(f"{done.music}/")
        assert record["reason"] == FAILING[name]
        assert record["track_id"] == track_id("lib", name)
        assert (record["permanent"], record["attempts"]) == (True, 1)
        assert record["chunk"] == chunk
        assert record["size_bytes"] == (done.music / name).stat().st_size
        assert record["timestamp"].endswith("+00:00")
    assert second[0]["stage"] == "stat"
    assert second[0]["path"] == str(done.music / EMPTY)


def test_each_chunk_has_a_checkpoint_file(done: Project, chunks: list[str]) -> None:
    expected = [(8, 6, 2), (5, 4, 1)]
    for name, (queued, succeeded, failed) in zip(chunks, expected, strict=True):
        checkpoint = done.read_json(f"chunks/{name}.checkpoint.json")
        assert (checkpoint["chunk"], checkpoint["status"]) == (name, "completed")
        assert checkpoint["counters"] == {
            "queued": queued,
            "succeeded": succeeded,
            "failed": failed,
            "skipped_existing": 0,
            "skipped_checkpoint": 0,
        }
        assert checkpoint["eta_s"] == 0
        assert {"updated_at", "tracks_per_second"} <= checkpoint.keys()


def test_the_journal_has_one_outcome_a_track(done: Project, chunks: list[str]) -> None:
    outcomes: Counter[str] = Counter()
    for name in chunks:
        text = (done.results / "chunks" / f"{name}.journal.jsonl").read_text(encoding="utf-8")
        outcomes.update(json.loads(line)["event"] for line in text.splitlines())
    assert (outcomes["embedded"], outcomes["reused"], outcomes["failed"]) == (9, 1, 3)


def test_meta_has_a_row_for_each_vector(done: Project) -> None:
    rows = done.read_json("meta/meta.json")["tracks"]
    assert set(rows) == {str(done.music / name) for name in EMBEDDED}
    for name in EMBEDDED:
        row = rows[str(done.music / name)]
        assert row["embedding"] == str(done.vector(name))
        assert row["embedding_source"] == "baseline"
        assert row["embedding_profile"] == done.profile()
        assert row["title"] == Path(name).stem.removeprefix("01 - ") or name in {INTRO, OTHER_INTRO}
    assert rows[str(done.music / DRIFT)]["artist"] == ""


def test_the_audit_balances(done: Project) -> None:
    audit = done.read_json("audit/audit.json")
    assert list(audit) == ["baseline", "current", "delta"]
    assert audit["baseline"] == dict.fromkeys(AUDIT_KEYS, 0)
    current = dict.fromkeys(AUDIT_KEYS, 0) | {
        "tracks_total": 10,
        "embedding_ok": 10,
        "failed_total": 3,
        "quarantined_total": 3,
    }
    assert audit["current"] == audit["delta"] == current
    (entry,) = map(
        json.loads, (done.results / "audit" / "history.jsonl").read_text("utf-8").splitlines()
    )
    assert entry["counters"] == current
    for page in ("audit.md", "progress.md", "report.html"):
        assert (done.results / "audit" / page).stat().st_size > 0


def test_failures_can_be_handed_to_paths_file(done: Project) -> None:
    failures = done.failures()
    assert {name: row["reason"] for name, row in failures.items()} == FAILING
    assert {row["permanent"] for row in failures.values()} == {"true"}
    lines = (done.results / "audit" / "retry_paths.txt").read_text("utf-8").splitlines()
    listed = {line for line in lines if not line.startswith("#")}
    assert listed == {str(done.music / name) for name in FAILING}


def test_the_report_needs_no_network_and_names_the_demo_model(done: Project) -> None:
    page = (done.results / "audit" / "report.html").read_text(encoding="utf-8")
    assert "nothing musically" in page
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page)
    assert "nothing musically" in (done.results / "audit" / "audit.md").read_text("utf-8")


def test_each_rule_and_chunk_has_a_log_and_a_benchmark(done: Project, chunks: list[str]) -> None:
    rules = ["scan_library", "plan_chunks", "preflight", "rebuild_meta", "audit", "report"]
    names = {*rules, *(f"embed_chunk/{chunk}" for chunk in chunks)}
    files = done.results_files()
    assert {f"logs/{name}.log" for name in names} <= files
    assert {f"benchmarks/{name}.tsv" for name in names} <= files


def test_no_temporary_file_is_left(done: Project) -> None:
    assert [path for path in done.results.rglob("*") if path.name.startswith(".tmp-")] == []
