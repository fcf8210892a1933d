"""Processes that crash, hang, leak or are killed cost one track at most."""

from __future__ import annotations

import json
import multiprocessing
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from mutagen.id3 import TIT2, TPE1
from mutagen.wave import WAVE

from mert_backfill.audio.pool import DecoderPool
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.supervisor import run_chunk
from mert_backfill.errors import UserError
from mert_backfill.records.journal import read_journal
from mert_backfill.records.track_notes import read_track_notes
from mert_backfill.tags import Tags
from support.audio_files import id3_bomb, music, write_audio, write_m4a
from support.bad_decoders import misbehave
from support.jobs import failures, injected_environment, make_job, run_once, statuses

TRACKS = {"a.wav": 2400, "culprit.wav": 2500, "b.wav": 2400, "c.wav": 2400, "d.wav": 2400}
OTHERS = set(TRACKS) - {"culprit.wav"}


def run_with_pool(job: ChunkJob) -> None:
    with DecoderPool(
        2, timeout_s=job.runtime.track_timeout_s, memory_limit_bytes=1 << 29, prepare=misbehave
    ) as pool:
        run_once(job, pool)


# --- decoders ---------------------------------------------------------------------------------


def test_a_decoder_that_crashes_or_is_killed_costs_one_track(tmp_path: Path) -> None:
    """A decoder segfaults or is killed -> that track is tried again alone, then quarantined
    as decoder_crashed; all others get their vectors."""
    job = make_job(tmp_path, ["a.wav", "segfault.wav", "b.wav", "killed.wav", "c.wav"])
    run_with_pool(job)
    expected = dict.fromkeys(["a.wav", "b.wav", "c.wav"], "embedded")
    assert statuses(job) == expected | dict.fromkeys(["segfault.wav", "killed.wav"], "failed")
    for name, signal in (("segfault.wav", "SIGSEGV"), ("killed.wav", "SIGKILL")):
        record = failures(job)[name]
        assert (record["reason"], record["stage"]) == ("decoder_crashed", "decode")
        assert (record["permanent"], record["attempts"]) == (True, 2)
        assert signal in record["error"]


def test_a_decoder_that_crashes_once_costs_nothing(tmp_path: Path) -> None:
    """A decoder crashes once -> the second try gives the vector, and no failure is left."""
    job = make_job(tmp_path, ["a.wav", "once.wav"])
    run_with_pool(job)
    assert statuses(job) == {"a.wav": "embedded", "once.wav": "embedded"}
    assert failures(job) == {}


def test_a_decoder_that_hangs_costs_one_track(tmp_path: Path) -> None:
    """A decoder hangs -> it is killed after track_timeout_s; the track is tried again alone,
    then quarantined as decode_timeout."""
    job = make_job(tmp_path, ["a.wav", "hang.wav", "b.wav"])
    runtime = type(job.runtime)(**{**vars(job.runtime), "track_timeout_s": 0.5})
    job = ChunkJob(**{**vars(job), "runtime": runtime})
    run_with_pool(job)
    assert statuses(job) == {"a.wav": "embedded", "hang.wav": "failed", "b.wav": "embedded"}
    record = failures(job)["hang.wav"]
    assert (record["reason"], record["permanent"]) == ("decode_timeout", True)
    assert record["attempts"] == 2


def test_tags_are_noted_where_files_are_decoded(tmp_path: Path) -> None:
    """A tag unpacks to a gigabyte -> it is read in the decoder's process, within a limit of 256
    MiB; the track has no tags, and gets its vector all the same."""
    job = make_job(tmp_path, ["plain.wav", "tagged.wav", "bomb.mp3"])
    music_folder = tmp_path / "music"
    tagged = WAVE(music_folder / "tagged.wav")
    tagged.add_tags()
    tags = tagged.tags
    assert tags is not None
    tags.add(TPE1(text="Artist"))
    tags.add(TIT2(text="Title"))
    tagged.save()
    bomb = write_audio(
        music_folder / "bomb.mp3", music(0.1, 24_000, 1, seed=9), 24_000, format="WAV"
    )
    bomb.write_bytes(id3_bomb(1 << 30) + bomb.read_bytes())
    with DecoderPool(1, timeout_s=60, memory_limit_bytes=1 << 30) as pool:
        run_once(job, pool)
    assert statuses(job) == dict.fromkeys(["plain.wav", "tagged.wav", "bomb.mp3"], "embedded")
    done = read_journal(job.journal).done.values()
    names = {row["track_id"]: Path(row["path"]).name for row in done}
    assert {names[track]: note.tags for track, note in read_track_notes(job.results).items()} == {
        "plain.wav": Tags(),
        "tagged.wav": Tags("Artist", "Title"),
        "bomb.mp3": Tags(),
    }


def test_a_decoder_that_leaks_is_stopped_by_its_limit(tmp_path: Path) -> None:
    """A decoder leaks without bound -> its memory limit ends it; the track is tried again
    alone, then quarantined as out_of_memory: it keeps nothing else from being done."""
    job = make_job(tmp_path, ["a.wav", "leak.wav", "b.wav"])
    run_with_pool(job)
    assert statuses(job) == {"a.wav": "embedded", "leak.wav": "failed", "b.wav": "embedded"}
    record = failures(job)["leak.wav"]
    assert (record["reason"], record["permanent"]) == ("out_of_memory", True)
    assert record["attempts"] == 2


def test_an_index_that_asks_for_all_memory_costs_one_track(tmp_path: Path) -> None:
    """A small m4a whose index claims 2,147,483,647 entries -> out_of_memory, twice, then
    quarantined; all others are done."""
    job = make_job(tmp_path, ["a.wav", "greedy.wav"])
    content = bytearray(write_m4a(tmp_path / "x.m4a", music(2, 16000, 1), 16000).read_bytes())
    struct.pack_into(">I", content, content.rindex(b"stts") + 8, 0x7FFFFFFF)
    (job.roots[0].path / "greedy.wav").write_bytes(content)
    run_with_pool(job)
    assert statuses(job) == {"a.wav": "embedded", "greedy.wav": "failed"}
    record = failures(job)["greedy.wav"]
    assert (record["reason"], record["permanent"]) == ("out_of_memory", True)


# --- the process that holds the model -----------------------------------------------------------


def give_orders(
    monkeypatch: pytest.MonkeyPatch, folder: Path, how: str, times: int = 99, length: int = 2500
) -> None:
    """Have the encoder of every process that is started from now on misbehave."""
    marks = folder / "marks"
    marks.mkdir()
    orders: dict[str, Any] = {"how": how, "times": times, "lengths": [length], "marks": str(marks)}
    for name, value in injected_environment(DEADLY=json.dumps(orders)).items():
        monkeypatch.setenv(name, value)


def deaths(folder: Path) -> int:
    return len(os.listdir(folder / "marks"))


@pytest.mark.parametrize("how", ["SIGSEGV", "device"])
def test_the_track_that_kills_the_model_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """One track takes the model's process down whenever it is tried -> all that were in the
    same batch are tried alone; the culprit is quarantined as embed_error, the others get
    their vectors."""
    job = make_job(tmp_path, TRACKS)
    give_orders(monkeypatch, tmp_path, how)
    run_chunk(job, tmp_path / "log.txt")
    assert statuses(job) == dict.fromkeys(OTHERS, "embedded") | {"culprit.wav": "failed"}
    record = failures(job)["culprit.wav"]
    assert (record["reason"], record["stage"]) == ("embed_error", "embed")
    assert (record["permanent"], record["attempts"]) == (True, 2)
    assert deaths(tmp_path) == 2


def test_a_model_process_that_is_killed_once_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel kills the model's process for lack of memory, once -> a new process does
    the rest, and no track is marked."""
    job = make_job(tmp_path, TRACKS)
    give_orders(monkeypatch, tmp_path, "SIGKILL", times=1)
    run_chunk(job, tmp_path / "log.txt")
    assert statuses(job) == dict.fromkeys(TRACKS, "embedded")
    assert failures(job) == {}
    assert deaths(tmp_path) == 1


def test_deaths_before_any_track_end_the_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's process dies each time before it reaches a track -> the chunk stops after
    three deaths with one line, and no track is marked."""
    job = make_job(tmp_path, TRACKS)
    give_orders(monkeypatch, tmp_path, "start")
    with pytest.raises(UserError, match="died of SIGKILL 3 times before it reached a track"):
        run_chunk(job, tmp_path / "log.txt")
    assert read_journal(job.journal).failed == {}


def test_kills_that_nobody_sees_accuse_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 of everything, three times with the same track in the model -> nobody is
    accused; the next run embeds them all."""
    job = make_job(tmp_path, TRACKS)
    give_orders(monkeypatch, tmp_path, "all", times=3)
    for number in range(1, 4):
        # a process of its own for the supervisor, since it is killed
        process = multiprocessing.get_context("spawn").Process(
            target=run_chunk, args=(job, tmp_path / "log.txt")
        )
        process.start()
        process.join(60)
        assert process.exitcode == -9
        assert deaths(tmp_path) == number
    run_chunk(job, tmp_path / "log.txt")
    assert statuses(job) == dict.fromkeys(TRACKS, "embedded")
    assert failures(job) == {}
