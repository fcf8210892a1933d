"""The command `mert-backfill`."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mert_backfill
from mert_backfill.failures import Failure
from mert_backfill.health.failure_lists import write_failures
from mert_backfill.hints import CALL_VARIABLE, command, current_caller
from mert_backfill.results import Results
from mert_backfill.system.tables import write_jsonl
from mert_backfill_snakemake.cli import app, front, main

ROOT = Path(__file__).resolve().parents[2]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["mert-backfill", *arguments])
    main()


def test_a_good_file_is_said_to_be_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "music").mkdir()
    file = tmp_path / "mine.yaml"
    file.write_text(
        "library: {roots: [{name: m, path: music}]}\nmodel: {name: model}\n", encoding="utf-8"
    )
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, "check-config", str(file), "--directory", str(tmp_path))
    assert end.value.code == 0
    assert capsys.readouterr().out == f"{file}: all is well\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("libary: {}\n", "libary"),
        ("library: {roots: 3\n", "mine.yaml, line 1: "),
        ("library: {roots: [{name: m, path: music}]}\n", "demo/mert is the demo model"),
        (None, "mine.yaml"),
    ],
)
def test_a_bad_file_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, told: str
) -> None:
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, "check-config", str(file))
    assert isinstance(end.value.code, str)  # printed, and the exit code is 1
    assert end.value.code.startswith("error: ")
    assert told in end.value.code
    assert "\n" not in end.value.code


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    dynamic = project["tool"]["setuptools"]["dynamic"]
    assert dynamic["version"] == {"attr": "mert_backfill.__version__"}
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"mert-backfill {mert_backfill.__version__}\n"


def test_it_says_what_it_can_do_without_importing_what_a_run_needs() -> None:
    code = (
        "import sys; from mert_backfill_snakemake import cli; "
        "print({'snakemake', 'torch', 'soundfile', 'av'} & {*sys.modules})"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert printed == "set()\n"
    assert "check-config" in CliRunner().invoke(app, []).output


# --- what stands for a line of Snakemake


@pytest.fixture
def line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Return what a command prints; it has to become Snakemake with just these words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CALL_VARIABLE, "")
    monkeypatch.setattr(front, "usable_cpus", lambda: 4)
    (tmp_path / "my-library.yaml").touch()
    became: list[list[str]] = []

    def become(program: str, words: list[str]) -> None:
        became.append(words)
        raise SystemExit(3)

    monkeypatch.setattr(os, "execv", become)

    def told(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            call(monkeypatch, *arguments)
        assert end.value.code == 3
        printed = capsys.readouterr().out
        assert [words[1:3] for words in became] == [["-P", "-m"]]
        became.clear()
        return printed.replace(f" -s {ROOT / 'Snakefile'}", "").removesuffix("\n")

    return told


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("preview", "-n --cores 4"),
        ("run", "--cores 4"),
        ("run --limit 10", "--cores 4 --config limit=10"),
        ("run --cores 2 --config paths_file=x.txt", "--cores 2 --config paths_file=x.txt"),
        ("retry", "--cores 4 --config retry_failed=true"),
        ("calibrate", "--cores 4 calibrate"),
        ("verify", "--cores 1 verify"),
        ("recheck", "--cores 4 recheck"),
        ("triage", "--cores 1 triage"),
        ("tidy relink,merge", "--cores 1 tidy --config apply=relink,merge"),
        ("tidy", "--cores 1 tidy"),
        ("untidy", "--cores 1 untidy"),
        ("publish", "--cores 1 publish"),
        ("undo", "--cores 1 unpublish"),
        ("atlas", "--cores 4 atlas"),
    ],
)
def test_a_command_prints_the_line_of_snakemake_that_it_stands_for(
    line: Callable[..., str], command: str, words: str
) -> None:
    start, config, entries = words.partition(" --config")
    wanted = f"snakemake {start} --configfile my-library.yaml{config}{entries}"
    assert line(*command.split()) == wanted


def test_what_is_told_later_is_a_command_of_the_front(line: Callable[..., str]) -> None:
    printed = line("run", "--configfile", "my own.yaml", "--directory", "d", "--config", "limit=1")
    assert printed == (
        "snakemake --cores 4 --directory d --configfile 'my own.yaml' --config limit=1"
    )
    assert current_caller().process == os.getpid()
    told = command("publish", cores=1)
    assert told == "mert-backfill publish --directory d --configfile 'my own.yaml'"


def test_without_a_config_file_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"no my-library\.yaml: make one with `mert-backfill init"):
        call(monkeypatch, "run")


def test_each_command_has_an_example() -> None:
    for one in app.registered_commands:
        assert (one.epilog or "").startswith("Example: mert-backfill "), one.name


# --- failures


def failure(name: str, reason: str, permanent: bool) -> Failure:
    return Failure(
        f"/music/House/{name}", name, "part001-x", "decode", reason, "E", permanent, 1, 1, 1, "t"
    )


def test_failures_are_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = [
        failure("[red]cut.mp3", "decode_error", True),
        failure("b\x1b[2J.mp3", "decode_error", True),
        failure("c.mp3", "io_error", False),
    ]
    write_failures(Results(tmp_path / "results").failures, found)
    call_to_its_end(monkeypatch, "failures")
    assert capsys.readouterr().out.splitlines() == [
        "2 tracks: damaged, or a download that broke off (decode_error)",
        "what to do: get it again",
        "  /music/House/[red]cut.mp3",
        r"  /music/House/b\x1b[2J.mp3",
        "",
        "1 track: the drive could not read it (io_error)",
        "what to do: check the drive; get it again",
        "  /music/House/c.mp3",
        "",
        "2 tracks quarantined: left alone until the file changes. To try again all the same: "
        "mert-backfill retry",
        "The others are tried again by each run.",
    ]


def test_failures_of_a_run_at_work_are_those_of_its_journals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(tmp_path / "results")
    call_to_its_end(monkeypatch, "failures", "--directory", str(tmp_path))
    assert capsys.readouterr().out == "No track failed.\n"
    write_failures(results.failures, [])
    os.utime(results.failures, ns=(1, 1))
    record = {"event": "failed", "failure": failure("a.mp3", "silent", True).as_record()}
    write_jsonl(results.journal("part001-0123abcd"), [record])
    call_to_its_end(monkeypatch, "failures", "--directory", str(tmp_path))
    assert "  /music/House/a.mp3" in capsys.readouterr().out


def call_to_its_end(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, *arguments)
    assert end.value.code == 0
