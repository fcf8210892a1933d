"""One chunk with stand-ins for decoder and model: what is skipped, tried, told and left."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.outcomes import DecodedTrack
from mert_backfill.chunk.progress import Progress
from mert_backfill.chunk.run import ChunkRun, model_lengths
from mert_backfill.failures import Reason, TrackError
from mert_backfill.library import roots
from mert_backfill.library.roots import check_roots_are_there
from mert_backfill.recipes import RECIPES, Recipe
from mert_backfill.records.journal import JournalWriter, read_journal
from mert_backfill.records.ledger import Ledger, is_hopeless, read_ledger
from mert_backfill.records.manifest import PendingTrack
from mert_backfill.store.profile import make_profile
from mert_backfill.store.tracks import TrackStore
from mert_backfill.store.vectors import VectorState
from support.checks import refusal
from support.fakes import (
    CHUNK,
    LAYERS,
    D,
    FakeDecoder,
    FakeEncoder,
    a_failure,
    a_model,
    no_encoder,
    prepared,
)
from support.jobs import events
from support.libraries import Library

BAD = TrackError("decode", Reason.NOT_AUDIO, "LibsndfileError: bad")
BUSY = TrackError("decode", Reason.IO_ERROR, "OSError: busy")
SLOW = TrackError("decode", Reason.DECODE_TIMEOUT, "no result within 10 s")
CRASH = TrackError("decode", Reason.DECODER_CRASHED, "SIGSEGV")
MEMORY = TrackError("embed", Reason.OUT_OF_MEMORY, "OutOfMemoryError: no")


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


def run(
    job: ChunkJob,
    decoder: FakeDecoder | None = None,
    encoder: Callable[[], FakeEncoder] = FakeEncoder,
) -> Progress:
    return ChunkRun(job, encoder, decoder or FakeDecoder()).run()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_padded_recipe_fills_each_window_up_to_the_longest_of_its_track(
    library: Library, recipe: Recipe
) -> None:
    library.profile = make_profile(recipe, a_model())
    library.add("a.mp3", "b.mp3")
    encoder = FakeEncoder(tracks_per_batch=2)
    decoder = FakeDecoder(windows=("intro", "core", "late"))
    run(library.job("a.mp3", "b.mp3"), decoder, lambda: encoder)
    assert encoder.lengths == [[D] * 6 if recipe.name == "padded" else None]


def test_windows_are_filled_up_within_their_track(library: Library) -> None:
    library.add("a.mp3", "b.mp3")
    tracks = [
        DecodedTrack(
            library.row(name),
            0.1,
            replace(prepared(b"", "xyz"[: len(sizes)]), windows=tuple(map(np.zeros, sizes))),
        )
        for name, sizes in (("a.mp3", (10, 40, 5)), ("b.mp3", (7,)))
    ]
    assert model_lengths(tracks) == [40, 40, 40, 7]


def counters(progress: Progress) -> dict[str, int]:
    return {name: count for name, count in progress.counters.items() if count}


def checkpoint(job: ChunkJob) -> dict[str, Any]:
    return json.loads(job.checkpoint.read_text(encoding="utf-8"))


def crash(job: ChunkJob, *names: str, library: Library) -> None:
    """Note a death of the model's process with tracks in flight."""
    tracks = [library.id(name) for name in names]
    with JournalWriter(job.journal) as journal:
        journal.append("begin", tracks=tracks)
        journal.append("crashed", tracks=tracks)


# --- what becomes of the tracks


def test_every_track_gets_its_vector(library: Library) -> None:
    names = ["a.mp3", "b.mp3", "c.mp3"]
    library.add(*names)
    job, encoder = library.job(*names), FakeEncoder(tracks_per_batch=2)
    progress = run(job, encoder=lambda: encoder)
    assert counters(progress) == {"queued": 3, "succeeded": 3}
    assert encoder.batches == [2, 1]
    for name in names:
        stored = job.store.vectors.read(library.id(name))
        assert stored.tolist() == library.vector_of(name).tolist()
    row = read_journal(job.journal).done[library.id("a.mp3")]
    assert row["path"] == str(library.music / "a.mp3")
    assert (row["status"], row["device"], row["precision"]) == ("embedded", "cpu", "float32")
    assert (row["duration_s"], row["sample_rate"], row["seconds_decode"]) == (3.0, 44_100, 0.1)
    assert len(row["pcm_sha256"]) == 64


def test_the_vector_is_the_mean_of_the_windows(library: Library) -> None:
    library.add("a.mp3")
    job = library.job("a.mp3")
    run(job, FakeDecoder(windows=("intro", "core", "late")))
    stored = job.store.vectors.read(library.id("a.mp3"))
    assert stored.tolist() == (library.vector_of("a.mp3") + 1).tolist()


def test_sidecars_are_made_in_the_same_pass(library: Library) -> None:
    library.add("a.mp3")
    job, encoder = library.job("a.mp3", sidecars=("layers", "sections")), FakeEncoder()
    run(job, FakeDecoder(windows=("intro", "core")), lambda: encoder)
    arrays = job.store.read(library.id("a.mp3"))
    vector = library.vector_of("a.mp3")
    assert arrays.sidecars["sections"][:2].tolist() == [vector.tolist(), (vector + 1).tolist()]
    assert np.isnan(arrays.sidecars["sections"][2]).all()
    assert arrays.sidecars["layers"].shape == (3, LAYERS + 1, D)
    assert encoder.batches == [2]


def test_what_exists_is_skipped_and_the_model_is_not_loaded(library: Library) -> None:
    library.add("old.mp3", "known.mp3")
    known = library.job("known.mp3")
    run(known)
    job = library.job("old.mp3", "known.mp3")
    job.store.vectors.write(library.id("old.mp3"), np.ones(D))
    inode = job.store.vectors.path(library.id("old.mp3")).stat().st_ino
    decoder = FakeDecoder()
    progress = run(job, decoder, no_encoder)
    assert counters(progress) == {"queued": 2, "skipped_existing": 1, "skipped_checkpoint": 1}
    assert decoder.names == []
    assert job.store.vectors.path(library.id("old.mp3")).stat().st_ino == inode


def test_a_damaged_vector_is_made_again(library: Library) -> None:
    library.add("a.mp3")
    job = library.job("a.mp3")
    run(job)
    path = job.store.vectors.path(library.id("a.mp3"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert counters(run(job)) == {"queued": 1, "succeeded": 1}
    assert path.read_bytes() == whole


def test_the_same_audio_is_embedded_once_in_a_chunk(library: Library) -> None:
    library.add("a.mp3", "copy.mp3", content="one song")
    job, encoder = library.job("a.mp3", "copy.mp3"), FakeEncoder(tracks_per_batch=1)
    progress = run(job, encoder=lambda: encoder)
    assert counters(progress) == {"queued": 2, "succeeded": 2}
    assert encoder.batches == [1]
    assert events(job)[-1] == ("reused", ("copy.mp3",))
    done = read_journal(job.journal).done[library.id("copy.mp3")]
    assert (done["device"], done["seconds_embed"]) == (None, None)
    one, other = (job.store.vectors.path(library.id(n)) for n in ("a.mp3", "copy.mp3"))
    assert one.read_bytes() == other.read_bytes()


def test_audio_of_another_chunk_is_reused_without_a_model(library: Library) -> None:
    library.add("a.mp3", "renamed.mp3", content="one song")
    run(library.job("a.mp3"))
    job = library.job("renamed.mp3", name="part002-89abcdef")
    assert counters(run(job, encoder=no_encoder)) == {"queued": 1, "succeeded": 1}


@pytest.mark.parametrize("lost", ["vector", "profile", "sidecar"])
def test_what_cannot_be_reused_is_embedded(library: Library, lost: str) -> None:
    library.add("a.mp3", "renamed.mp3", content="one song")
    first = library.job("a.mp3")
    run(first)
    job = library.job("renamed.mp3", name="part002-89abcdef")
    if lost == "vector":
        job.store.vectors.path(library.id("a.mp3")).unlink()
    elif lost == "profile":
        with open(first.journal, encoding="utf-8") as file:
            text = file.read().replace(first.profile.name, "another")
        first.journal.write_text(text, encoding="utf-8")
    else:
        job = library.job("renamed.mp3", name="part002-89abcdef", sidecars=("sections",))
    encoder = FakeEncoder()
    run(job, encoder=lambda: encoder)
    assert encoder.batches == [1]
    assert job.store.is_complete(library.id("renamed.mp3"))


# --- failures


def test_a_failure_costs_its_track_only(library: Library) -> None:
    library.add("bad.mp3", "good.mp3")
    job = library.job("bad.mp3", "good.mp3")
    progress = run(job, FakeDecoder({"bad.mp3": BAD}))
    assert counters(progress) == {"queued": 2, "failed": 1, "succeeded": 1}
    failure = read_journal(job.journal).failed[library.id("bad.mp3")]
    stat = os.stat(library.music / "bad.mp3")
    assert (failure.stage, failure.reason, failure.error) == ("decode", "not_audio", BAD.error)
    assert (failure.size_bytes, failure.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert (failure.permanent, failure.attempts, failure.chunk) == (True, 1, CHUNK)
    assert failure.timestamp.endswith("+00:00")


def test_an_error_of_the_model_costs_its_track_only(library: Library) -> None:
    library.add("a.mp3", "b.mp3", "c.mp3")
    job = library.job("a.mp3", "b.mp3", "c.mp3")
    victim = library.vector_of("b.mp3").tolist()

    def answer(window: np.ndarray) -> np.ndarray | TrackError:
        return MEMORY if window.tolist() == victim else window

    decoder = FakeDecoder(windows=("intro", "core"))
    progress = run(job, decoder, lambda: FakeEncoder(3, answer))
    assert counters(progress) == {"queued": 3, "failed": 1, "succeeded": 2}
    for name in ("a.mp3", "c.mp3"):  # the windows of the others are not mixed up
        stored = job.store.vectors.read(library.id(name))
        assert stored.tolist() == (library.vector_of(name) + np.float16(0.5)).tolist()
    failure = read_journal(job.journal).failed[library.id("b.mp3")]
    assert (failure.stage, failure.reason, failure.permanent) == ("embed", "out_of_memory", False)


def test_a_vector_that_is_no_use_is_a_failure(library: Library) -> None:
    library.add("a.mp3")
    job = library.job("a.mp3")
    run(job, encoder=lambda: FakeEncoder(answer=np.zeros_like))
    failure = read_journal(job.journal).failed[library.id("a.mp3")]
    assert (failure.stage, failure.reason, failure.permanent) == ("embed", "embed_error", False)
    assert job.store.vectors.state(library.id("a.mp3")) is VectorState.MISSING


def test_the_hopeless_are_not_tried_again(library: Library) -> None:
    library.add("bad.mp3")
    job = library.job("bad.mp3")
    run(job, FakeDecoder({"bad.mp3": BAD}))
    decoder = FakeDecoder()
    assert counters(run(job, decoder, no_encoder)) == {"queued": 1, "skipped_checkpoint": 1}
    assert decoder.names == []


def test_transient_failures_are_tried_again_and_attempts_count_up(library: Library) -> None:
    library.add("a.mp3")
    job = library.job("a.mp3")
    for attempt in (1, 2, 3):
        run(job, FakeDecoder({"a.mp3": BUSY}))
        failure = read_journal(job.journal).failed[library.id("a.mp3")]
        assert (failure.attempts, failure.permanent) == (attempt, False)
    assert counters(run(job)) == {"queued": 1, "succeeded": 1}
    assert read_journal(job.journal).failed == {}


def test_a_released_track_is_tried_once_more(library: Library) -> None:
    library.add("bad.mp3")
    run(library.job("bad.mp3"), FakeDecoder({"bad.mp3": BAD}))
    job = library.job("bad.mp3", released={library.id("bad.mp3"): 1})
    run(job, FakeDecoder({"bad.mp3": BAD}))
    assert read_journal(job.journal).failed[library.id("bad.mp3")].attempts == 2
    decoder = FakeDecoder()
    run(job, decoder)  # the same release does not count twice
    assert decoder.names == []


def test_a_changed_file_is_tried_again_and_counted_anew(library: Library) -> None:
    library.add("a.mp3")
    run(library.job("a.mp3"), FakeDecoder({"a.mp3": BUSY}))
    run(library.job("a.mp3"), FakeDecoder({"a.mp3": BAD}))
    library.add("a.mp3", content="another file under the same name")
    job = library.job("a.mp3")
    run(job, FakeDecoder({"a.mp3": BAD}))
    assert read_journal(job.journal).failed[library.id("a.mp3")].attempts == 1
    library.add("a.mp3", content="and now a good one")
    assert counters(run(library.job("a.mp3"))) == {"queued": 1, "succeeded": 1}


def test_who_is_hopeless() -> None:
    row = PendingTrack("a" * 20, "/m/a.mp3", "missing_meta", "", 5, 7)
    failure = a_failure(row.track_id, size_bytes=5, mtime_ns=7, attempts=2)

    def hopeless(released: int = 0, **changes: Any) -> bool:
        changed = a_failure(row.track_id, **{**failure.as_record(), **changes})
        return is_hopeless(row, Ledger({row.track_id: changed}), {row.track_id: released})

    assert hopeless()
    assert hopeless(released=1)
    assert not hopeless(released=2)
    assert not hopeless(permanent=False)
    assert not hopeless(size_bytes=6)
    assert not hopeless(mtime_ns=8)
    assert not is_hopeless(row, Ledger(), {})


@pytest.mark.parametrize("error", [SLOW, CRASH])
def test_a_suspect_gets_a_second_chance_alone_and_last(library: Library, error: TrackError) -> None:
    library.add("a.mp3", "b.mp3", "c.mp3")
    job, decoder = library.job("a.mp3", "b.mp3", "c.mp3"), FakeDecoder({"a.mp3": [error]})
    assert counters(run(job, decoder)) == {"queued": 3, "succeeded": 3}
    assert decoder.asked == [["a.mp3", "b.mp3", "c.mp3"], ["a.mp3"]]


@pytest.mark.parametrize("errors", [[SLOW, SLOW], [CRASH, SLOW], [SLOW, CRASH]])
def test_a_suspect_is_quarantined_the_second_time(
    library: Library, errors: list[TrackError]
) -> None:
    library.add("a.mp3", "b.mp3")
    job = library.job("a.mp3", "b.mp3")
    progress = run(job, FakeDecoder({"a.mp3": errors}))
    assert counters(progress) == {"queued": 2, "failed": 1, "succeeded": 1}
    failure = read_journal(job.journal).failed[library.id("a.mp3")]
    assert (failure.permanent, failure.attempts) == (True, 2)
    assert failure.reason == errors[1].reason.value


def test_a_file_that_changes_between_two_timeouts_is_left_for_the_next_run(
    library: Library,
) -> None:
    """A download in progress: the second failure is the first one of the file as it is now."""
    library.add("a.mp3")
    job = library.job("a.mp3")

    class Growing(FakeDecoder):
        def decode(self, tracks: Any) -> Any:
            for result in super().decode(tracks):
                with open(library.music / "a.mp3", "a") as file:
                    file.write("more")
                yield result

    assert counters(run(job, Growing({"a.mp3": [SLOW, SLOW, SLOW]}))) == {"queued": 1, "failed": 1}
    failure = read_journal(job.journal).failed[library.id("a.mp3")]
    assert (failure.permanent, failure.attempts) == (False, 1)


# --- tracks that take the model's process down


def test_the_tracks_of_a_crash_are_tried_last_and_alone(library: Library) -> None:
    names = ["a.mp3", "b.mp3", "c.mp3", "d.mp3"]
    library.add(*names)
    job, decoder, encoder = library.job(*names), FakeDecoder(), FakeEncoder(tracks_per_batch=4)
    crash(job, "a.mp3", "c.mp3", library=library)
    assert counters(run(job, decoder, lambda: encoder)) == {"queued": 4, "succeeded": 4}
    assert decoder.asked == [["b.mp3", "d.mp3"], ["a.mp3"], ["c.mp3"]]
    assert encoder.batches == [2, 1, 1]


def test_who_crashes_twice_is_quarantined_and_the_others_are_not(library: Library) -> None:
    library.add("a.mp3", "killer.mp3")
    job = library.job("a.mp3", "killer.mp3")
    crash(job, "a.mp3", "killer.mp3", library=library)
    crash(job, "killer.mp3", library=library)
    decoder = FakeDecoder()
    assert counters(run(job, decoder)) == {"queued": 2, "succeeded": 1, "failed": 1}
    assert decoder.names == ["a.mp3"]
    failure = read_ledger(job.results).failures[library.id("killer.mp3")]
    assert (failure.stage, failure.reason) == ("embed", "embed_error")
    assert (failure.permanent, failure.attempts) == (True, 2)
    assert "the process died 2 times" in failure.error
    assert counters(run(job, FakeDecoder(), no_encoder))["skipped_checkpoint"] == 2


def test_an_old_crash_is_forgotten_with_the_vector_that_came_after_it(library: Library) -> None:
    library.add("a.mp3", "b.mp3")
    job = library.job("a.mp3", "b.mp3")
    crash(job, "a.mp3", library=library)
    run(job)
    job.store.vectors.path(library.id("a.mp3")).unlink()
    crash(job, "a.mp3", "b.mp3", library=library)
    assert counters(run(job)) == {"queued": 2, "skipped_checkpoint": 1, "succeeded": 1}


# --- kills, disks, drives


def test_the_journal_knows_of_a_vector_before_the_store(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add("a.mp3")
    job = library.job("a.mp3")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrackStore, "write", die)
        with pytest.raises(KeyboardInterrupt):
            run(job)
    track = library.id("a.mp3")
    assert events(job) == [("begin", ()), ("begin", (track,)), ("embedded", ("a.mp3",))]
    assert job.store.vectors.state(track) is VectorState.MISSING
    assert counters(run(job)) == {"queued": 1, "succeeded": 1}  # and nobody believes it alone
    assert job.store.is_complete(track)


def test_the_journal_knows_who_is_with_the_model(library: Library) -> None:
    library.add("a.mp3", "b.mp3", "c.mp3")
    job = library.job("a.mp3", "b.mp3", "c.mp3")
    seen: list[tuple[str, ...]] = []

    def answer(window: np.ndarray) -> np.ndarray:
        seen.append(read_journal(job.journal).in_flight)
        return window

    run(job, encoder=lambda: FakeEncoder(2, answer))
    a, b, c = (library.id(name) for name in ("a.mp3", "b.mp3", "c.mp3"))
    assert seen == [(a, b), (a, b), (c,)]
    assert read_journal(job.journal).in_flight == ()


def test_a_full_disk_stops_the_chunk_and_marks_nothing(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add("a.mp3", "b.mp3")
    job = library.job("a.mp3", "b.mp3")

    replace = os.replace

    def full(temporary: str, path: Path) -> None:
        if path.suffix == ".npy":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(temporary, path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        told = refusal(lambda: run(job))
    assert told.startswith(f"{job.store.vectors.path(library.id('a.mp3'))}: the disk is full")
    assert read_ledger(job.results).failures == {}
    assert counters(run(job)) == {"queued": 2, "succeeded": 2}


def test_another_write_error_is_the_tracks_own(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add("a.mp3")
    job = library.job("a.mp3")

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(TrackStore, "write", denied)
        assert counters(run(job)) == {"queued": 1, "failed": 1}
    state = read_journal(job.journal)
    failure = state.failed[library.id("a.mp3")]
    assert (failure.stage, failure.reason, failure.permanent) == ("write", "write_error", False)
    assert state.done == {}


class Vanishing(FakeDecoder):
    """Takes the music folder away as it comes to the first track."""

    def __init__(self, take_away: Callable[[], object]) -> None:
        super().__init__({"a.mp3": TrackError("stat", Reason.FILE_MISSING, "gone")})
        self._take_away = take_away

    def decode(self, tracks: Any) -> Any:
        for result in super().decode(tracks):
            self._take_away()
            yield result


@pytest.mark.parametrize("how", ["gone", "empty", "another device"])
def test_a_vanished_root_stops_the_chunk_and_marks_nothing(
    library: Library, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    library.add("a.mp3", "b.mp3")
    job = library.job("a.mp3", "b.mp3")

    def take_away() -> None:
        if how == "another device":
            monkeypatch.setattr(roots, "device_of", lambda root: -1)
            return
        library.music.rename(library.folder / "away")
        if how == "empty":
            library.music.mkdir()

    decoder = Vanishing(take_away)
    told = refusal(lambda: run(job, decoder))
    assert told.startswith(f"library.roots: 'lib' ({library.music}) has vanished; mount it again")
    assert read_ledger(job.results).failures == {}
    assert decoder.asked == [["a.mp3"]]


def test_a_missing_file_under_a_root_that_is_there_is_a_failure(library: Library) -> None:
    library.add("a.mp3", "b.mp3")
    job = library.job("a.mp3", "b.mp3")
    row = library.row("a.mp3")
    (library.music / "a.mp3").unlink()
    error = TrackError("stat", Reason.FILE_MISSING, "gone")
    assert counters(run(job, FakeDecoder({"a.mp3": error}))) == {
        "queued": 2, "failed": 1, "succeeded": 1,
    }  # fmt: skip
    failure = read_journal(job.journal).failed[row.track_id]
    assert (failure.size_bytes, failure.mtime_ns) == (row.size_bytes, row.mtime_ns)
    assert not failure.permanent


def test_a_root_that_is_gone_before_the_chunk_begins(library: Library) -> None:
    library.add("a.mp3")
    job = library.job("a.mp3")
    check_roots_are_there(job.roots)
    shutil.rmtree(library.music)
    assert "has vanished" in refusal(lambda: run(job))
    assert "has vanished" in refusal(lambda: check_roots_are_there(job.roots))
    assert not job.journal.exists()


# --- progress


def test_the_checkpoint_is_written_at_its_cadence(library: Library) -> None:
    names = [f"{number}.mp3" for number in range(5)]
    library.add(*names)
    job = library.job(*names, checkpoint_every=2)
    seen: list[tuple[int, int]] = []

    def look(progress: Progress) -> None:
        counted = checkpoint(job)["counters"]
        seen.append((progress.settled, counted["succeeded"] + counted["failed"]))

    ChunkRun(job, lambda: FakeEncoder(1), FakeDecoder({"2.mp3": BAD}), look).run()
    assert seen == [(1, 0), (2, 2), (3, 2), (4, 4), (5, 4)]
    assert checkpoint(job)["counters"] == {
        "queued": 5, "succeeded": 4, "failed": 1, "skipped_existing": 0, "skipped_checkpoint": 0,
    }  # fmt: skip


def test_the_checkpoint_says_what_is_left(library: Library) -> None:
    library.add("a.mp3", "b.mp3", "c.mp3", "d.mp3")
    job = library.job("a.mp3", "b.mp3", "c.mp3", "d.mp3", sidecars=("sections",))
    progress = Progress(job)
    progress.counters.update(queued=4, skipped_existing=1)
    progress.write()
    first = checkpoint(job)
    assert (first["chunk"], first["status"]) == (CHUNK, "running")
    assert (first["profile"], first["sidecars"]) == (library.profile.name, ["sections"])
    assert (first["tracks_per_second"], first["eta_s"]) == (None, None)
    progress.counters["succeeded"] = 1
    progress.started -= 10
    progress.write()
    second = checkpoint(job)
    assert second["tracks_per_second"] == pytest.approx(0.1, abs=0.01)
    assert second["eta_s"] == pytest.approx(20, abs=2)
    assert second["updated_at"] > first["updated_at"]
    progress.counters["failed"] = 2
    progress.write()
    assert checkpoint(job)["eta_s"] == 0.0
