"""The process in which files are decoded, and what it says to the pool that started it.

A message to the worker is a line of JSON: a path, and whether its harmony is wanted. The answer is
a line of JSON too, followed by the samples of each window as they lie in memory.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from mert_backfill.audio.prepared import PreparedTrack
from mert_backfill.audio.tags import read_tags
from mert_backfill.errors import one_line
from mert_backfill.failures import Reason, TrackError
from mert_backfill.recipes import RECIPES, Recipe
from mert_backfill.system.lifeline import die_with_parent
from mert_backfill.tags import Tags

Prepare = Callable[[str, Recipe], PreparedTrack]

READY = b"ready\n"
# Stopping is the pool's business: a signal to the whole process group must not look like a
# crash of the decoder.
SHIELDED_SIGNALS = {signal.SIGINT, signal.SIGTERM} | (
    {signal.SIGHUP} if hasattr(signal, "SIGHUP") else set()
)


def send_request(stream: io.BufferedRWPair, path: str, *, harmony: bool) -> None:
    """Ask a worker for the file at `path`, and for its harmony where that is wanted."""
    _send_line(stream, [path, harmony])
    stream.flush()


def send_answer(stream: io.BufferedRWPair, answer: PreparedTrack | TrackError) -> None:
    """Send what became of a file."""
    _send_line(stream, _header(answer))
    if isinstance(answer, PreparedTrack):
        for window in answer.windows:
            stream.write(np.ascontiguousarray(window, dtype=np.float32).data)
    stream.flush()


def receive_answer(stream: io.BufferedRWPair) -> PreparedTrack | TrackError:
    """Return what became of a file.

    Raises
    ------
    EOFError, OSError
        The worker is gone.
    """
    header = _receive_line(stream)
    if "reason" in header:
        return TrackError(header["stage"], Reason(header["reason"]), header["error"])
    return PreparedTrack(
        window_names=tuple(header["window_names"]),
        windows=tuple(_receive_window(stream, length) for length in header["lengths"]),
        duration_s=header["duration_s"],
        sample_rate=header["sample_rate"],
        pcm_sha256=header["pcm_sha256"],
        remark=header["remark"],
        tags=Tags(**header["tags"]),
        # NaN, as JSON does not know it but Python does, where the track has none
        harmony=None if header["harmony"] is None else np.array(header["harmony"], np.float32),
        seconds_harmonic=header["seconds_harmonic"],
    )


def _header(answer: PreparedTrack | TrackError) -> dict[str, object]:
    if isinstance(answer, TrackError):
        return {"stage": answer.stage, "reason": answer.reason.value, "error": answer.error}
    return {
        "window_names": answer.window_names,
        "lengths": [len(window) for window in answer.windows],
        "duration_s": answer.duration_s,
        "sample_rate": answer.sample_rate,
        "pcm_sha256": answer.pcm_sha256,
        "remark": answer.remark,
        "tags": asdict(answer.tags),
        "harmony": None if answer.harmony is None else answer.harmony.tolist(),
        "seconds_harmonic": answer.seconds_harmonic,
    }


def _send_line(stream: io.BufferedRWPair, value: object) -> None:
    stream.write(json.dumps(value).encode() + b"\n")


def _receive_line(stream: io.BufferedRWPair) -> Any:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return json.loads(line)


def _receive_window(stream: io.BufferedRWPair, length: int) -> np.ndarray:
    window = np.empty(length, dtype=np.float32)
    if stream.readinto(window.data) < window.nbytes:
        raise EOFError
    return window


def main() -> None:
    """Answer the pool until it closes the connection."""
    handle, parent_pid, memory_limit_bytes, recipe, prepare_name = sys.argv[1:]
    die_with_parent(int(parent_pid))
    for number in SHIELDED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    prepare = _find(prepare_name)
    _limit_resources(int(memory_limit_bytes))
    with socket.socket(fileno=int(handle)) as connection, connection.makefile("rwb") as stream:
        stream.write(READY)
        stream.flush()
        _silence()
        while True:
            try:
                path, harmony = _receive_line(stream)
                answer = _prepare_or_error(
                    prepare_with_harmony if harmony else prepare, path, RECIPES[recipe]
                )
                send_answer(stream, answer)
            except (EOFError, ConnectionError):
                return


def _find(name: str) -> Prepare:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def prepare_with_harmony(path: str, recipe: Recipe) -> PreparedTrack:
    """Import what tells the harmony, and do it."""
    return _find("mert_backfill.audio.harmony:prepare_with_harmony")(path, recipe)


def _limit_resources(memory_limit_bytes: int) -> None:
    """Cap what the process may take beyond what it has now; 0 means no cap."""
    if sys.platform != "linux":  # others have no such limit, or do not keep it
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))  # a crash is expected, not debugged
    if memory_limit_bytes:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
        limit = pages * resource.getpagesize() + memory_limit_bytes
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _silence() -> None:
    """Send what native decoders print about damaged files to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _prepare_or_error(prepare: Prepare, path: str, recipe: Recipe) -> PreparedTrack | TrackError:
    try:
        return replace(prepare(path, recipe), tags=read_tags(path))
    except TrackError as error:
        return error
    except MemoryError as error:
        return TrackError("decode", Reason.OUT_OF_MEMORY, one_line(error))
    except Exception as error:  # a mistake of ours, not proven to be the file's
        return TrackError("decode", Reason.DECODER_CRASHED, one_line(error))


if __name__ == "__main__":
    main()
