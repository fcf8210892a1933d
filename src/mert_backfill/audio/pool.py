"""Decoding in separate processes that may crash, hang or leak.

Each thread of the pool owns one worker process and speaks to it alone; the threads and the
consumer share two queues. A worker that does anything but answer is killed and costs the track
it had; the next track gets a fresh one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait

from mert_backfill.audio.prepared import DecodeResult, PreparedTrack
from mert_backfill.audio.worker import (
    READY,
    SHIELDED_SIGNALS,
    Prepare,
    receive_answer,
    send_request,
)
from mert_backfill.errors import UserError
from mert_backfill.failures import Reason, TrackError
from mert_backfill.recipes import CANONICAL, Recipe
from mert_backfill.system.children import python_command, python_environment

DEFAULT_MEMORY_LIMIT_BYTES = 3 << 30

# for what tells the harmony, beside the decoding: ten times what 120 s at 192 kHz take
HARMONY_TIMEOUT_S = 300.0
_START_TIMEOUT_S = 120.0
_END_TIMEOUT_S = 10.0
_WORKER = "mert_backfill.audio.worker"
# a name: the decoders' libraries are imported by the workers only
_PREPARE_TRACK = ("mert_backfill.audio.decode", "prepare_track")
_POLL_S = 0.01
PATIENCE_S = 5.0  # for a process that is ending, so that its exit code can be told
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class DecoderPool:
    """Decodes tracks ahead of their consumer, in processes that it starts and ends.

    A context manager: its processes and threads live until the end of the ``with`` block.

    Parameters
    ----------
    workers : int > 0
        Number of processes; they start when there is something to decode.
    timeout_s : float > 0
        How long one track may take (in seconds) before its worker is killed; its harmony may take
        `HARMONY_TIMEOUT_S` more.
    memory_limit_bytes : int or None
        How much a worker may take beyond what it starts with (Linux only); None is no limit.
    ahead : int > 0, optional
        How many tracks may be decoded or in decoding and not yet taken by the consumer; by
        default two a worker, at least 2.
    recipe : Recipe
        What is to be made of the tracks.
    wants_harmony : callable
        Tells for a track id whether its harmony is wanted too.
    prepare : callable, optional
        What a worker does with a path and the recipe, instead of
        `mert_backfill.audio.decode.prepare_track`. A function at the top of a module that the
        worker can import.
    """

    def __init__(
        self,
        workers: int,
        *,
        timeout_s: float,
        memory_limit_bytes: int | None = DEFAULT_MEMORY_LIMIT_BYTES,
        ahead: int | None = None,
        recipe: Recipe = CANONICAL,
        wants_harmony: Callable[[str], bool] = lambda track_id: False,
        prepare: Prepare | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._wants_harmony = wants_harmony
        self._ahead = ahead or max(2, 2 * workers)
        module, function = (prepare.__module__, prepare.__name__) if prepare else _PREPARE_TRACK
        self._worker_arguments = [
            str(memory_limit_bytes or 0),
            recipe.name,
            f"{module}:{function}",
        ]
        self._environment = {**python_environment(_WORKER, module), **_ONE_THREAD}
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"decoder-{number}", daemon=True)
            for number in range(workers)
        ]
        # when one end is closed, the other wakes every thread that waits for its worker
        self._open_end, self._closing = socket.socketpair()

    def __enter__(self) -> DecoderPool:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, those in the middle of a track too, and wait for the threads."""
        self._forget_tasks()
        for _ in self._threads:
            self._tasks.put(None)
        self._open_end.close()
        for thread in self._threads:
            thread.join()
        self._closing.close()

    def decode(self, tracks: Iterable[tuple[str, str]]) -> Iterator[DecodeResult]:
        """Yield the result of each track, in the order in which they are done.

        One call at a time; what is not yet decoded when the consumer stops is forgotten.

        Parameters
        ----------
        tracks : iterable of (str, str)
            Track id and path. Pulled in the consumer's thread, at most `ahead` before it.

        Raises
        ------
        UserError
            No worker can be started.
        """
        results: queue.SimpleQueue[DecodeResult | Exception] = queue.SimpleQueue()
        pending = iter(tracks)
        try:
            outstanding = self._submit(pending, self._ahead, results)
            while outstanding:
                if not any(thread.is_alive() for thread in self._threads):
                    raise RuntimeError("the pool is not open; decode inside its with block")
                result = results.get()
                outstanding += self._submit(pending, 1, results) - 1
                if isinstance(result, Exception):
                    raise result
                yield result
        finally:
            self._forget_tasks()

    def _submit(
        self,
        pending: Iterator[tuple[str, str]],
        count: int,
        results: queue.SimpleQueue[DecodeResult | Exception],
    ) -> int:
        """Hand `count` tracks to the threads, or as many as there are; return how many."""
        submitted = 0
        for track_id, path in itertools.islice(pending, count):
            self._tasks.put(_Task(track_id, path, self._wants_harmony(track_id), results))
            submitted += 1
        return submitted

    def _forget_tasks(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._tasks.get_nowait()

    def _serve(self) -> None:
        """Take tasks and have them done by this thread's own worker."""
        if hasattr(signal, "pthread_sigmask"):
            # workers inherit it, so that nothing reaches them before they can ignore it
            signal.pthread_sigmask(signal.SIG_BLOCK, SHIELDED_SIGNALS)
        worker: _Worker | None = None
        try:
            while (task := self._tasks.get()) is not None:
                try:
                    if worker is not None and not worker.is_running():
                        worker.end()
                        worker = None
                    if worker is None:
                        worker = _Worker(self._worker_arguments, self._environment, self._closing)
                    start = time.monotonic()
                    answer = worker.ask(task, self._timeout_s)
                    task.answer(time.monotonic() - start, answer)
                except Exception as error:  # whatever it is, the consumer must not wait for ever
                    if worker is not None:
                        worker.end()
                    task.results.put(error)
        finally:
            if worker is not None:
                worker.end()


@dataclass(frozen=True)
class _Task:
    track_id: str
    path: str
    harmony: bool
    results: queue.SimpleQueue[DecodeResult | Exception]

    def answer(self, seconds: float, answer: PreparedTrack | TrackError) -> None:
        if isinstance(answer, TrackError):
            self.results.put(DecodeResult(self.track_id, seconds, None, answer))
        else:
            seconds -= answer.seconds_harmonic or 0.0
            self.results.put(DecodeResult(self.track_id, seconds, answer, None))


class _Worker:
    """One process and the connection to it, in the hands of one thread."""

    def __init__(
        self, arguments: list[str], environment: dict[str, str], closing: socket.socket
    ) -> None:
        self._closing = closing
        self._socket, theirs = socket.socketpair()
        self._stream = self._socket.makefile("rwb")
        with theirs:
            # a plain command: multiprocessing would run the main module again, which may be
            # a Snakemake script
            handle, parent = str(theirs.fileno()), str(os.getpid())
            self._process = subprocess.Popen(
                [*python_command(_WORKER), handle, parent, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
                process_group=0,  # its own, so that what it starts ends with it
            )
        with contextlib.suppress(OSError):
            if self._wait(_START_TIMEOUT_S) and self._stream.readline() == READY:
                return
        self.end(PATIENCE_S)
        raise UserError(
            f"the decoding process cannot start: {self._how_it_ended()}; see what it printed "
            "above, and check that soundfile and soxr can be imported"
        )

    def ask(self, task: _Task, timeout_s: float) -> PreparedTrack | TrackError:
        """Return what became of a file; a process that does not answer is ended."""
        if task.harmony:
            timeout_s += HARMONY_TIMEOUT_S
        deadline = time.monotonic() + timeout_s
        try:
            send_request(self._stream, task.path, harmony=task.harmony)
            if not self._wait(timeout_s):
                raise TimeoutError
            # an answer may end in the middle, with somebody left who holds the connection
            self._socket.settimeout(max(PATIENCE_S, deadline - time.monotonic()))
            answer = receive_answer(self._stream)
            self._socket.settimeout(None)
        except TimeoutError:
            self.end()
            text = f"no result within {timeout_s:g} s"
            return TrackError("decode", Reason.DECODE_TIMEOUT, text)
        except (EOFError, OSError):
            self.end(PATIENCE_S)
            return TrackError("decode", Reason.DECODER_CRASHED, self._how_it_ended())
        if isinstance(answer, TrackError) and answer.reason is Reason.OUT_OF_MEMORY:
            self.end()  # what fills its memory may be a leak
        return answer

    def is_running(self) -> bool:
        return not _has_ended(self._process)

    def end(self, patience_s: float = 0.0) -> None:
        """Close the connection and see the process end: by itself in `patience_s`, or killed.

        What it may have started is killed with it.
        """
        with contextlib.suppress(OSError):  # closing sends what it was never sent
            self._stream.close()
        self._socket.close()
        if self._process.returncode is not None:
            return
        deadline = time.monotonic() + patience_s
        while not _has_ended(self._process) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        with contextlib.suppress(ProcessLookupError):
            # before the process is waited for: until then nobody else can have its number
            os.killpg(self._process.pid, signal.SIGKILL)
        # a process that hangs in a dead network drive cannot be killed; leave it behind
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_TIMEOUT_S)

    def _wait(self, timeout_s: float) -> bool:
        """Wait until the process has said something (or died); tell whether it has."""
        ready = wait([self._socket, self._closing], timeout_s)
        if self._closing in ready:
            self.end()
            raise RuntimeError("the pool was closed")
        return bool(ready)

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        if code is None:
            return "the decoding process does not end"
        if code < 0:
            return f"the decoding process was ended by {signal.Signals(-code).name}"
        return f"the decoding process ended with exit code {code}"


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process has ended; its exit code stays to be collected where that can be."""
    if process.returncode is not None:
        return True
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return process.poll() is not None
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, ended) is not None
