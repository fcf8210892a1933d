"""What of a run is for a person, and what is drawn where."""

from __future__ import annotations

import atexit
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.logging import logger as snakemake_logger

from mert_backfill.health.status import ChunkCounts, Status, StatusReader, TrackCounts
from mert_backfill.results import Results
from mert_backfill.system.logs import ERASE
from mert_backfill_snakemake.call import Call
from mert_backfill_snakemake.screen import backlog, ending
from mert_backfill_snakemake.screen import run as run_module
from mert_backfill_snakemake.screen.backlog import BacklogLine
from mert_backfill_snakemake.screen.messages import Messages
from mert_backfill_snakemake.screen.run import Screen, open_screen
from mert_backfill_snakemake.screen.terminal import Terminal

AT_WORK = Status(True, ChunkCounts(2, 0, 2, 0), TrackCounts(9, 3, 1, 5), 4.0, 75.0, {"silent": 1})


class Stream(io.StringIO):
    """A terminal, or a file."""

    def __init__(self, *, live: bool) -> None:
        super().__init__()
        self.live = live

    def isatty(self) -> bool:
        return self.live


def a_handler_of_snakemake() -> logging.Handler:
    handler = logging.StreamHandler(io.StringIO())
    handler.name = "DefaultStreamHandler"
    return handler


@pytest.fixture
def handlers() -> Iterator[list[logging.Handler]]:
    """Give Snakemake's logger its own handler, and leave it as it was."""
    before, level = snakemake_logger.handlers[:], snakemake_logger.level
    snakemake_logger.setLevel(logging.INFO)
    snakemake_logger.handlers[:] = [a_handler_of_snakemake()]
    yield snakemake_logger.handlers
    snakemake_logger.handlers[:] = before
    snakemake_logger.setLevel(level)


@pytest.fixture
def stream() -> Stream:
    return Stream(live=False)


def messages(stream: Stream, **options: Any) -> Messages:
    options = {"shows": False, "jobs_are_here": True, **options}
    listening = Messages(Terminal(stream), **options)
    listening.listen(quiet=True, is_interrupted=lambda: False)
    return listening


def say(text: str | None = "", level: int = logging.INFO, **fields: Any) -> None:
    snakemake_logger.log(level, text, extra=fields)


def test_a_line_that_is_redrawn_eats_no_message() -> None:
    stream = Stream(live=True)
    terminal = Terminal(stream)
    terminal.show("1 of 9")
    terminal.print("a message")
    terminal.show("2 of 9")
    terminal.show("")
    assert stream.getvalue() == (
        "\r\x1b[K1 of 9\r\r\x1b[Ka message\n\r\x1b[K1 of 9\r\r\x1b[K2 of 9\r\r\x1b[K\r"
    )


def test_a_file_gets_lines_without_codes(stream: Stream) -> None:
    terminal = Terminal(stream)
    terminal.print("a message")
    assert stream.getvalue() == "a message\n"
    stream.close()
    terminal.print("nobody is looking any more")


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("live", [True, False])
def test_what_a_run_says_is_what_a_person_needs(live: bool) -> None:
    stream = Stream(live=live)
    listening = messages(stream)
    say("Building DAG of jobs...")
    say("Job stats:\n...", event="run_info", stats={"all": 1})
    say(event="job_info", rule_name="scan_library", rule_msg="Scanning the library")
    chunk = {"chunk": "part001-00000000"}
    begins: dict[str, Any] = {
        "rule_name": "embed_chunk",
        "rule_msg": "Embedding chunk part001-00000000",
    }
    say(event="job_info", jobid=3, wildcards=chunk, **begins)
    say(event="job_info", jobid=4, rule_name="of_a_user", rule_msg=None)
    say("Finished jobid: 4 (Rule: of_a_user)", event="job_finished", job_id=4)
    say("Finished jobid: 3 (Rule: embed_chunk)", event="job_finished", job_id=3)
    say(None)
    say("Nothing to be done (all requested files are present and up to date).")
    say("the clock of the file system is off", logging.WARNING)
    say("Exiting because a job execution failed. Look above", logging.ERROR)
    say("RuleException:\nCalledProcessError in file ...", logging.ERROR, event="error")
    say("No rule to produce nonsense", logging.ERROR, event="error")
    chunk_begins = [] if live else ["Embedding chunk part001-00000000"]
    chunk_ends = [] if live else ["Finished chunk part001-00000000 (Rule: embed_chunk)"]
    assert stream.getvalue().replace(ERASE, "").splitlines() == [
        "Scanning the library",
        *chunk_begins,
        "of_a_user",
        *chunk_ends,
        "Nothing to be done (all requested files are present and up to date).",
        "the clock of the file system is off",
        "No rule to produce nonsense",
    ]
    assert listening.has_error
    assert listening.failed == []


@pytest.mark.usefixtures("handlers")
def test_a_preview_keeps_its_table_once_and_the_names_of_the_chunks(stream: Stream) -> None:
    listening = messages(stream, shows=True)
    for _ in range(2):
        say("Job stats:\nembed_chunk  2\n", event="run_info", stats={"embed_chunk": 2})
    say(event="job_info", rule_name="embed_chunk", wildcards={"chunk": "part001-00000000"})
    say(event="job_info", rule_name="report", wildcards={})
    say("This was a dry-run (flag -n).")
    assert stream.getvalue() == "Job stats:\nembed_chunk  2\nThis was a dry-run (flag -n).\n"
    assert listening.chunks == ["part001-00000000"]


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("log", "here", "told"),
    [
        ("2026-01-01 00:00:00,000 ERROR error: it is full\n", True, ""),
        ("2026-01-01 00:00:00,000 ERROR error: it is full\n", False, "error: it is full\n"),
        ("2026-01-01 00:00:00,000 INFO all is well\n", True, ""),
        (None, False, "error: audit failed; see "),
    ],
)
def test_the_error_of_a_job_is_told_once(
    tmp_path: Path, stream: Stream, log: str | None, here: bool, told: str
) -> None:
    path = tmp_path / "audit.log"
    if log is not None:
        path.write_text(log)
    listening = messages(stream, jobs_are_here=here)
    say("", logging.ERROR, event="job_error", rule_name="audit", log=[str(path)])
    assert stream.getvalue().startswith(told)
    assert bool(stream.getvalue()) == bool(told)
    assert listening.failed == ["audit"]


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("returned non-zero exit status 1.", ""),
        ("returned non-zero exit status 130.", ""),
        ("returned non-zero exit status 137.", "error: a job was killed (exit status 137): "),
        ("died with <Signals.SIGKILL: 9>.", "error: a job was killed (died with <Signals.SIGKILL"),
    ],
)
def test_a_job_that_died_could_not_say_so(stream: Stream, how: str, told: str) -> None:
    messages(stream)
    text = f"RuleException:\nCalledProcessError in file x, line 3:\nCommand 'y' {how}"
    say(text, logging.ERROR, event="error")
    assert stream.getvalue().startswith(told)
    assert bool(stream.getvalue()) == bool(told)


def test_with_verbose_snakemake_says_all_itself(
    handlers: list[logging.Handler], stream: Stream
) -> None:
    own = handlers[0]
    listening = Messages(Terminal(stream), shows=False, jobs_are_here=True)
    listening.listen(quiet=False, is_interrupted=lambda: False)
    say("", logging.ERROR, event="job_error", rule_name="audit", log=[])
    assert handlers == [own, listening]
    assert stream.getvalue() == ""
    assert listening.failed == ["audit"]


@pytest.mark.parametrize("live", [True, False])
def test_the_line_of_the_backlog(monkeypatch: pytest.MonkeyPatch, live: bool) -> None:
    stream = Stream(live=live)
    looks: Iterator[Status | ValueError] = iter(
        [AT_WORK, ValueError("a file that is being replaced"), Status(), AT_WORK]
    )
    seen = threading.Event()

    def read(self: object, now: float) -> Status:
        status = next(looks, None)
        if isinstance(status, ValueError):
            raise status
        if status is None:
            seen.set()
        return status or Status()

    monkeypatch.setattr(StatusReader, "read", read)
    monkeypatch.setattr(backlog, "_LIVE_S", 0.001)
    monkeypatch.setattr(backlog, "_LOG_S", 0.001)
    line = BacklogLine(Results(Path("none")), Terminal(stream))
    line.start()
    assert seen.wait(30)
    line.end()
    assert not line.is_alive()
    told = "3 of 9 tracks done, 1 failed, 4 per minute, about 75 s left"
    assert stream.getvalue().count(told) == 2
    assert ("\n" in stream.getvalue()) != live


# --- from the first line to the last


class Workflow(SimpleNamespace):
    """The workflow of a call on one machine."""

    resource_settings = SimpleNamespace(nodes=None)
    output_settings = SimpleNamespace(verbose=False, debug_dag=False)
    modifier = SimpleNamespace(is_main_snakefile=lambda: True)


@pytest.fixture
def screen(
    monkeypatch: pytest.MonkeyPatch, handlers: list[logging.Handler]
) -> Iterator[tuple[Screen, Stream]]:
    """Return the screen of a run, and what it is drawn on."""
    stream = Stream(live=False)
    monkeypatch.setattr(run_module, "Terminal", lambda: Terminal(stream))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(atexit, "register", lambda *_: None)
    monkeypatch.setattr(run_module, "BacklogLine", lambda *_: SimpleNamespace(start=int, end=int))
    monkeypatch.setattr(ending, "after_a_run", lambda settings: "46 of 49")
    monkeypatch.setattr(ending, "after_failed_chunks", lambda settings: "Not finished")
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    workflow: Any = Workflow()
    screen = open_screen(workflow, Call())
    assert screen
    yield screen, stream
    signal.signal(signal.SIGINT, heard)


SETTINGS: Any = SimpleNamespace(results=Results(Path("none")))
PREVIEW: Any = "files found: 1"


def last_words(screen: tuple[Screen, Stream]) -> list[str]:
    screen[0]._end()
    screen[0]._end()
    return screen[1].getvalue().splitlines()


def test_a_run_ends_with_how_it_went(screen: tuple[Screen, Stream]) -> None:
    screen[0].begin(SETTINGS, PREVIEW)
    assert last_words(screen) == ["files found: 1", "46 of 49"]


def test_a_run_that_left_chunks_open_says_so(screen: tuple[Screen, Stream]) -> None:
    screen[0].begin(SETTINGS, PREVIEW)
    say("", logging.ERROR, event="job_error", rule_name="embed_chunk", log=[])
    assert last_words(screen)[-1] == "Not finished"


def test_an_error_is_the_last_thing(screen: tuple[Screen, Stream]) -> None:
    screen[0].begin(SETTINGS, PREVIEW)
    say("No rule to produce nonsense", logging.ERROR, event="error")
    assert last_words(screen)[-1] == "No rule to produce nonsense"


def test_what_was_refused_before_it_began_says_no_more(screen: tuple[Screen, Stream]) -> None:
    assert last_words(screen) == []


def test_the_first_ctrl_c_ends_in_order_and_the_second_at_once(
    screen: tuple[Screen, Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen[0].begin(SETTINGS, PREVIEW)
    started: list[object] = []
    monkeypatch.setattr(
        threading, "Timer", lambda *a: SimpleNamespace(start=lambda: started.append(a))
    )
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert started == [(10.0, screen[0]._end_at_once)]

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit) as end:
        signal.raise_signal(signal.SIGINT)
    assert end.value.code == 1
    told = "Stopped. Nothing is lost. Go on with the same command."
    assert screen[1].getvalue().splitlines() == ["files found: 1", told]
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)  # says nothing more
    assert screen[1].getvalue().splitlines()[-1] == told


def test_a_preview_ends_with_the_first_chunks_and_its_counts(
    screen: tuple[Screen, Stream], handlers: list[logging.Handler]
) -> None:
    handlers[:] = [a_handler_of_snakemake()]
    workflow: Any = Workflow()
    preview = Screen(workflow, Call(shows=True, is_preview=True))
    preview.begin(SETTINGS, PREVIEW)
    for number in range(20):
        chunk = {"chunk": f"part{number:03}-00000000"}
        say(event="job_info", rule_name="embed_chunk", wildcards=chunk)
    preview._end()
    first, *_, more, counts = screen[1].getvalue().splitlines()
    assert first.startswith("chunks to do: part000-00000000, part001-")
    assert more.endswith("part015-00000000, and 4 more")
    assert counts == "files found: 1"


def test_the_screen_of_a_module_is_that_of_the_other_workflow(
    handlers: list[logging.Handler],
) -> None:
    workflow: Any = Workflow(modifier=SimpleNamespace(is_main_snakefile=lambda: False))
    before = handlers[:]
    assert open_screen(workflow, Call()) is None
    assert handlers == before


def test_the_last_line_names_the_page_as_it_is_shortest_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "results" / "audit" / "audit.md"
    monkeypatch.setenv("PWD", str(tmp_path))
    assert ending.shown(page) == "results/audit/audit.md"
    monkeypatch.setenv("PWD", str(tmp_path / "elsewhere"))
    assert ending.shown(page) == str(page)
    monkeypatch.delenv("PWD")
    assert ending.shown(page) == str(page)
