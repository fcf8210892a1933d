from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mert_backfill.audio import pool as pool_module
from mert_backfill.audio.decode import prepare_track
from mert_backfill.audio.pool import DecoderPool
from mert_backfill.audio.prepared import DecodeResult, PreparedTrack
from mert_backfill.errors import UserError
from mert_backfill.failures import Reason, TrackError
from mert_backfill.recipes import Recipe
from support.audio_files import music, write_audio

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux only")

# --- what workers do with a path in these tests ---------------------------------------------


def obey(path: str, recipe: Recipe) -> PreparedTrack:
    """Do what the path says; the sampling rate of the answer is the worker's process id."""
    match path:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "hang":
            threading.Event().wait()
        case "leak":
            return PreparedTrack(("core",), (np.ones(1 << 30, np.float32),), 1.0, 0, "")
        case "bug":
            raise LookupError("surprise")
        case "modules":
            raise TrackError("decode", Reason.NOT_AUDIO, " ".join(sys.modules))
        case "threads":
            raise TrackError("decode", Reason.NOT_AUDIO, os.environ["OMP_NUM_THREADS"])
        case "shutdown":
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(os.getpid(), number)
        case "chatter":
            os.write(1, b"chatter\n")
            os.write(2, b"chatter\n")
        case "half":
            os.write(int(sys.argv[1]), b'{"window_names": ')
            threading.Event().wait()
        case _ if path.startswith("fork"):
            child = os.fork()
            if not child:
                threading.Event().wait()
            if path.startswith("fork and crash "):
                Path(path.removeprefix("fork and crash ")).write_text(str(child))
                os.kill(os.getpid(), signal.SIGSEGV)
            return PreparedTrack((), (), 0.1, child, path)
        case _ if path.startswith("touch "):
            Path(path.removeprefix("touch ")).touch()
    window = np.arange(1000, dtype=np.float32)
    return PreparedTrack(("intro", "core"), (window, window[:10]), 0.1, os.getpid(), path)


def tracks(*paths: str) -> list[tuple[str, str]]:
    return [(f"id {path}", path) for path in paths]


def run(*paths: str, workers: int = 1, timeout_s: float = 30.0) -> list[DecodeResult]:
    with DecoderPool(workers, timeout_s=timeout_s, prepare=obey) as pool:
        return list(pool.decode(tracks(*paths)))


def process_id(result: DecodeResult) -> int:
    assert result.prepared is not None
    return result.prepared.sample_rate


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    # a zombie that its new parent has not collected yet is gone too
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


def eventually(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.01)
    return True


# --- good tracks ------------------------------------------------------------------------------


def test_answers_arrive_as_they_were_made() -> None:
    (result,) = run("some/pa\nth \udcff")
    assert result.track_id == "id some/pa\nth \udcff"
    assert result.error is None
    assert result.seconds > 0
    prepared = result.prepared
    assert prepared is not None
    assert prepared.window_names == ("intro", "core")
    assert prepared.pcm_sha256 == "some/pa\nth \udcff"
    assert [window.tolist() for window in prepared.windows] == [
        list(range(1000)),
        list(range(10)),
    ]
    assert all(w.dtype == np.float32 and w.flags.writeable for w in prepared.windows)


def test_real_files_give_the_same_in_the_pool(tmp_path: Path) -> None:
    paths = {
        name: str(write_audio(tmp_path / name, music(3, seed=seed), 44100))
        for seed, name in enumerate(["a.wav", "b.mp3", "c.m4a", "d.flac", "e.ogg"])
    }
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"nothing")
    for workers in (1, 3):
        with DecoderPool(workers, timeout_s=60) as pool:
            results = {r.track_id: r for r in pool.decode([*paths.items(), ("x", str(broken))])}
        error = results.pop("x").error
        assert error is not None
        assert (error.stage, error.reason) == ("decode", Reason.NOT_AUDIO)
        assert results.keys() == paths.keys()
        for name, result in results.items():
            expected = prepare_track(paths[name])
            assert result.prepared is not None
            assert result.prepared.pcm_sha256 == expected.pcm_sha256
            np.testing.assert_array_equal(result.prepared.windows[0], expected.windows[0])


def test_one_worker_does_all_good_tracks() -> None:
    assert len({process_id(result) for result in run("a", "b", "c", "d")}) == 1


def test_no_tracks_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    assert run() == []


def test_pool_decodes_again() -> None:
    with DecoderPool(2, timeout_s=30, prepare=obey) as pool:
        for _ in range(2):
            assert {r.track_id for r in pool.decode(tracks("a", "b", "c"))} == {
                "id a",
                "id b",
                "id c",
            }


def test_workers_are_light_and_single_threaded() -> None:
    modules, threads = run("modules", "threads")
    assert modules.error is not None
    loaded = set(modules.error.error.split())
    assert "soundfile" in loaded
    assert not loaded & {"torch", "transformers", "snakemake", "librosa", "numba", "pandas"}
    assert threads.error is not None
    assert threads.error.error == "1"


# --- bad tracks cost one track each -----------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "reason", "text"),
    [
        ("crash", Reason.DECODER_CRASHED, "SIGSEGV"),
        ("exit", Reason.DECODER_CRASHED, "exit code 3"),
        ("hang", Reason.DECODE_TIMEOUT, "1 s"),
    ],
)
def test_a_lost_worker_costs_one_track(path: str, reason: Reason, text: str) -> None:
    before, lost, after = run("a", path, "b", timeout_s=1)
    assert lost.prepared is None
    assert lost.error is not None
    assert (lost.error.stage, lost.error.reason) == ("decode", reason)
    assert text in lost.error.error
    assert process_id(before) != process_id(after)
    assert is_gone(process_id(before))


def test_an_answer_that_stops_in_the_middle_costs_one_track(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "PATIENCE_S", 0.1)
    before, lost, after = run("a", "half", "b", timeout_s=1)
    assert lost.error is not None
    assert lost.error.reason is Reason.DECODE_TIMEOUT
    assert process_id(before) != process_id(after)
    assert is_gone(process_id(before))


@linux_only
def test_what_a_decoder_starts_ends_with_it() -> None:
    (result,) = run("fork")
    assert eventually(lambda: is_gone(process_id(result)))


@linux_only
def test_a_decoder_that_dies_and_leaves_a_child_costs_one_track(tmp_path: Path) -> None:
    number = tmp_path / "child"
    lost, after = run(f"fork and crash {number}", "a", timeout_s=1)
    assert lost.error is not None  # the child holds the connection, so only time tells
    assert lost.error.reason is Reason.DECODE_TIMEOUT
    assert eventually(lambda: is_gone(int(number.read_text())))
    assert after.prepared is not None


def test_many_crashes_among_good_tracks() -> None:
    paths = ["crash", "a", "crash", "b", "c", "crash"]
    results = run(*paths, workers=2)
    assert sorted(r.track_id for r in results) == sorted(f"id {path}" for path in paths)
    assert sum(r.error is not None for r in results) == 3


@linux_only
def test_memory_is_capped() -> None:
    with DecoderPool(1, timeout_s=60, memory_limit_bytes=1 << 30, prepare=obey) as pool:
        before, lost, after = pool.decode(tracks("a", "leak", "b"))
    assert lost.error is not None
    assert (lost.error.stage, lost.error.reason) == ("decode", Reason.OUT_OF_MEMORY)
    assert process_id(before) != process_id(after)


def test_a_mistake_in_the_code_is_not_held_against_the_file_at_once() -> None:
    (result,) = run("bug")
    assert result.error is not None
    assert result.error.reason is Reason.DECODER_CRASHED
    assert "surprise" in result.error.error


def test_a_worker_killed_while_idle_costs_nothing() -> None:
    with DecoderPool(1, timeout_s=30, ahead=1, prepare=obey) as pool:
        (first,) = pool.decode(tracks("a"))
        os.kill(process_id(first), signal.SIGKILL)
        assert eventually(lambda: is_gone(process_id(first)))
        (second,) = pool.decode(tracks("b"))
    assert process_id(second) != process_id(first)


def test_signals_to_the_group_are_no_crash() -> None:
    shielded, after = run("shutdown", "a")
    assert process_id(shielded) == process_id(after)


def test_native_chatter_is_not_seen(capfd: pytest.CaptureFixture[str]) -> None:
    run("chatter")
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_cannot_start_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(obey, "__module__", "no_such_module")
    with pytest.raises(UserError, match=r"cannot start.*exit code 1"):
        run("a", "b")
    assert "no_such_module" in capfd.readouterr().err


# --- bounded, lazy, and gone at the end -------------------------------------------------------


@pytest.mark.parametrize(("workers", "ahead", "bound"), [(1, None, 2), (3, None, 6), (2, 3, 3)])
def test_tracks_are_pulled_as_they_are_taken(workers: int, ahead: int | None, bound: int) -> None:
    pulled = 0

    def endless() -> Iterator[tuple[str, str]]:
        nonlocal pulled
        while True:
            pulled += 1
            yield str(pulled), "a"

    with DecoderPool(workers, timeout_s=30, ahead=ahead, prepare=obey) as pool:
        results = pool.decode(endless())
        for taken in range(1, 10):
            next(results)
            assert pulled == taken + bound


def test_workers_go_on_while_the_consumer_is_busy(tmp_path: Path) -> None:
    marks = [tmp_path / str(number) for number in range(10)]
    with DecoderPool(1, timeout_s=30, ahead=4, prepare=obey) as pool:
        results = pool.decode(tracks("a", *(f"touch {mark}" for mark in marks)))
        next(results)
        assert eventually(lambda: marks[3].exists())
        assert sum(mark.exists() for mark in marks) == 4  # and no further
        assert len(list(results)) == 10


def test_an_error_of_the_iterable_reaches_the_consumer() -> None:
    def broken() -> Iterator[tuple[str, str]]:
        yield "1", "a"
        raise ZeroDivisionError

    with (
        DecoderPool(1, timeout_s=30, ahead=1, prepare=obey) as pool,
        pytest.raises(ZeroDivisionError),
    ):
        list(pool.decode(broken()))


def test_decoding_outside_the_with_block_is_refused() -> None:
    with pytest.raises(RuntimeError, match="with block"):
        next(DecoderPool(1, timeout_s=1, prepare=obey).decode(tracks("a")))


@linux_only
def test_early_stop_leaves_nothing_behind() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def children() -> set[int]:
        return {
            int(child)
            for thread in Path("/proc/self/task").iterdir()
            for child in (thread / "children").read_text().split()
        }

    gc.collect()  # what tests before left
    before = descriptors(), threading.active_count(), children()
    start = time.monotonic()
    with DecoderPool(2, timeout_s=600, ahead=6, prepare=obey) as pool:
        results = pool.decode(tracks("a", "hang", "hang", "a", "a"))
        worker = process_id(next(results))
    del results
    assert is_gone(worker)
    assert (descriptors(), threading.active_count(), children()) == before
    assert time.monotonic() - start < 30


@linux_only
def test_early_stop_while_a_worker_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "started"
    (tmp_path / "never_ready.py").write_text(
        "import os, pathlib, threading\n"
        f"pathlib.Path({str(started)!r}).write_text(str(os.getpid()))\n"
        "threading.Event().wait()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(obey, "__module__", "never_ready")

    def stopping() -> Iterator[tuple[str, str]]:
        yield "1", "a"
        assert eventually(lambda: started.exists() and bool(started.read_text()))
        raise ZeroDivisionError

    with (
        pytest.raises(ZeroDivisionError),
        DecoderPool(1, timeout_s=30, ahead=2, prepare=obey) as pool,
    ):
        list(pool.decode(stopping()))
    assert is_gone(int(started.read_text()))


def test_early_stop_forgets_what_was_not_decoded() -> None:
    with DecoderPool(1, timeout_s=30, ahead=5, prepare=obey) as pool:
        for _ in pool.decode(tracks("a", "b", "c", "d")):
            break
        assert [r.track_id for r in pool.decode(tracks("x"))] == ["id x"]


# --- the end of the parent --------------------------------------------------------------------

# as Snakemake writes its scripts: no guard against being imported
SCRIPT = """
import sys
sys.path[:0] = {path!r}
print("started", flush=True)
from mert_backfill.audio.pool import DecoderPool
from test_pool import obey
with DecoderPool(1, timeout_s=600, prepare=obey) as pool:
    for result in pool.decode([("1", "a"), ("2", "hang")]):
        print(result.prepared.sample_rate, flush=True)
"""


@linux_only
def test_workers_die_with_a_killed_parent_and_do_not_run_its_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(path=sys.path))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        worker = int(parent.stdout.readline())
        assert not is_gone(worker)
        parent.kill()
        assert parent.stdout.read() == ""
    assert eventually(lambda: is_gone(worker))


@linux_only
def test_die_with_parent_when_the_parent_is_gone_already() -> None:
    code = "from mert_backfill.system.lifeline import die_with_parent; die_with_parent(0)"
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGKILL
