"""The commands that people are told to type."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mert_backfill.hints import CALL_VARIABLE, Caller, announce_caller, command, current_caller
from mert_backfill_snakemake.call import call_of


@pytest.fixture(autouse=True)
def _no_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CALL_VARIABLE, "")  # so that it is put back


def called(**flags: Any) -> Caller:
    return call_of(flags).caller


def test_a_command_holds_the_options_of_the_run() -> None:
    caller = called(
        snakefile="/opt/mert/Snakefile",
        directory="my music",
        profile=["slow", "fast"],
        cores=8,
        configfile=["my-library.yaml", "more.yaml"],
        config=["limit=10", "paths_file=x", "chunking={size: 5}"],
    )
    start = "-s /opt/mert/Snakefile --directory 'my music' --profile slow --profile fast"
    end = "--configfile my-library.yaml more.yaml --config 'chunking={size: 5}'"
    assert caller.command() == f"snakemake --cores 8 {start} {end}"
    assert caller.command("publish", cores=1) == f"snakemake --cores 1 {start} publish {end}"
    told = caller.command(config="retry_failed=true")
    assert told == f"snakemake --cores 8 {start} {end} retry_failed=true"


def test_jobs_on_a_cluster_need_no_cores_of_this_machine() -> None:
    assert called(jobs=40, profile=["x"]).command("verify", cores=1) == (
        "snakemake --profile x verify"
    )


def test_a_module_of_another_workflow_may_have_renamed_the_targets() -> None:
    assert Caller(cores=2, rules="mert_*").command("verify") == "snakemake --cores 2 mert_verify"


def test_who_came_by_the_front_is_told_commands_of_the_front() -> None:
    caller = Caller(front=True, files=("my own.yaml",))
    assert caller.command() == "mert-backfill run --configfile 'my own.yaml'"
    assert caller.command("unpublish", cores=1) == "mert-backfill undo --configfile 'my own.yaml'"
    assert caller.command(config="retry_failed=true") == (
        "mert-backfill retry --configfile 'my own.yaml'"
    )
    assert caller.command("tidy", cores=1, config="apply=merge") == (
        "mert-backfill tidy --configfile 'my own.yaml' --config apply=merge"
    )
    caller = Caller(front=True, cores=3, options=("--directory", "x"))
    assert caller.command(config="limit=1") == (
        "mert-backfill run --directory x --cores 3 --config limit=1"
    )
    assert caller.command("publish", cores=1) == "mert-backfill publish --directory x"


def test_jobs_tell_what_their_run_was_called_with() -> None:
    announce_caller(Caller(cores=4, files=("a.yaml",), process=os.getpid()))
    code = "from mert_backfill.hints import command; print(command('publish', cores=1))"
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert printed == "snakemake --cores 1 publish --configfile a.yaml\n"


@pytest.mark.parametrize("damaged", ["", "{", "[]", "{}", '{"unknown": 1}', '{"options": 3}'])
def test_an_unknown_caller_gets_the_plain_command(
    damaged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CALL_VARIABLE, damaged)
    assert command("verify", cores=1) == "snakemake --cores 1 verify"


_WORDS = st.lists(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"])))


@given(files=_WORDS, entries=_WORDS, option=st.text("ab '\"$`;\\", min_size=1))
def test_a_shell_reads_what_was_given(files: list[str], entries: list[str], option: str) -> None:
    announce_caller(Caller(options=("-s", option), files=tuple(files), entries=tuple(entries)))
    assert current_caller().files == tuple(files)
    words = shlex.split(command("publish"))
    wanted = ["snakemake", "-s", option, "publish"]
    wanted += ["--configfile", *files] if files else []
    assert words == [*wanted, *(["--config", *entries] if entries else [])]


def test_control_codes_of_a_name_reach_no_terminal() -> None:
    assert "\x1b" not in Caller(files=("\x1b[2J.yaml",)).command()
