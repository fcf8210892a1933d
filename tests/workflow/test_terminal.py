"""What a terminal shows: one line for two chunks at a time, Ctrl-C in one sentence, errors last."""

from __future__ import annotations

import re

import pytest

from support.kill_loop import make_library
from support.project import Project, add_track, user_environment
from support.terminal import Terminal, screen_lines

LINE = re.compile(r"\d+ of 9 tracks done(, 1 failed)?(, [\d.]+ per minute, about [^,]+ left)?")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return eight tracks of 20 s and a broken one, in chunks of four."""
    folder = tmp_path_factory.mktemp("terminal")
    make_library(folder, tracks=8, seconds=20)
    return Project(folder)


def terminal(project: Project, *arguments: str) -> Terminal:
    return Terminal(project.command(*arguments), project.folder, user_environment())


def test_an_interrupted_run_and_the_one_that_goes_on(project: Project) -> None:
    run = terminal(project)
    run.wait_until(lambda text: "\n" in text and "tracks done, 1 failed" in text)
    run.press_ctrl_c()
    assert run.wait() == 1
    assert re.fullmatch(
        r"Stopped\. \d of 9 done, nothing lost\. Go on with the same command\.", run.last_line
    )
    assert not re.search("Traceback|Error in rule|Exception|Terminating", run.written)

    again = terminal(project)
    assert again.wait() == 0
    assert len(project.vectors()) == 8
    assert again.last_line == (
        "8 of 9 tracks have a vector (89 %), 1 failed (1 not_audio); see results/audit/audit.md"
    )
    drawn = [line for line in again.drawn if "tracks done" in line]
    assert drawn
    assert all(LINE.fullmatch(line) for line in drawn), drawn
    assert not any("tracks done" in line for line in again.lines)  # it is taken away at the end
    for line in again.lines:
        assert line.count("part00") <= 1


def test_an_error_is_the_last_thing_on_the_screen(project: Project) -> None:
    run = terminal(project, "publish")
    assert run.wait() == 1
    assert run.last_line.startswith("error: meta.baseline: ")
    assert len(run.lines) < 8


def test_ctrl_c_twice_ends_at_once_in_one_sentence(project: Project) -> None:
    add_track(project.music / "more.wav")
    run = terminal(project)
    run.wait_until(lambda text: "Scanning the library" in text)
    run.press_ctrl_c()
    run.press_ctrl_c()
    run.wait()
    assert run.last_line.startswith("Stopped. ")
    assert "Traceback" not in run.written


def test_what_a_screen_shows_of_a_text() -> None:
    text = "a line\r\n12 of 49\r\r\x1b[Kanother\r\nlong line\rshort\r\n\x1b[2F\x1b[Jend\r\n"
    assert screen_lines(text) == ["a line", "end", ""]
    assert screen_lines("long line\rshort\r\n") == ["shortline", ""]
