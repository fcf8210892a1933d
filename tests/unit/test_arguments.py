"""Mistakes in --config and --configfile are told in one line, with the words to type instead."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mert_backfill.errors import UserError
from mert_backfill_snakemake.arguments import check_arguments, exit_on_mistakes
from support.checks import refusal

# the same examples every time, and no clock: the machine may be busy
LAW = settings(derandomize=True, deadline=None, max_examples=200)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text("chunking: {size: 5}\n")
    (tmp_path / "your own.yaml").write_text("a: 1\n")
    (tmp_path / "tab.yaml").write_text("a:\n\tb: 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-n", "--config", "chunking.size=5"], "write --config 'chunking={size: 5}'"),
        (["-C", "limit=3", "runtime.device="], "write --config 'runtime={device: null}'"),
        (["--config=chunking.limit=5"], "--config chunking.limit=5: a key within a section is"),
        (["--config", "chunking.limit=5"], "write --config limit=5"),
        (["--config", "a.b.c=5"], "write --config 'a={b: {c: 5}}'"),
        (["--config", "limit"], "--config limit has no value; write limit=VALUE"),
        (["--configfile", "none.yaml"], "there is no file none.yaml; correct the path"),
        (["--configfile", "my.yaml", "tab.yaml"], "tab.yaml, line 2: a tab"),
        (["--configfiles", "tab.yaml", "-n"], "tab.yaml, line 2: a tab"),
        (["--configfile=tab.yaml"], "tab.yaml, line 2: a tab"),
    ],
)
def test_a_mistake_is_told_with_its_cure(words: list[str], told: str) -> None:
    assert told in refusal(lambda: check_arguments(words))


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (
            ["--cores", "1", "--configfile", "my.yaml", "publish"],
            "snakemake --cores 1 publish --configfile my.yaml",
        ),
        (
            ["--configfile", "your own.yaml", "verify", "--cores", "2", "--config", "limit=1"],
            "snakemake --cores 2 verify --config limit=1 --configfile 'your own.yaml'",
        ),
        (["--config", "limit=1", "publish", "-n"], "snakemake -n publish --config limit=1"),
    ],
)
def test_a_target_behind_an_option_that_takes_it(words: list[str], instead: str) -> None:
    target = "verify" if "verify" in words else "publish"
    told = refusal(lambda: check_arguments(words))
    assert told.startswith(f"{target} stands behind --config")
    assert told.endswith(f"a target goes before it: {instead}")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-n"],
        ["--cores", "2", "publish"],
        ["publish", "--configfile", "my.yaml", "your own.yaml", "--cores", "2"],
        ["--configfile", "my.yaml", "--config", "limit=3", "paths_file=a.b/c.txt", "-n"],
        ["--configfile=my.yaml", "publish"],
        ["--config", "chunking={size: 5}"],
        ["--config=limit=3", "publish"],
    ],
)
def test_what_is_right_passes(words: list[str]) -> None:
    check_arguments(words)


def test_a_mistake_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    exit_on_mistakes(["-n"])
    with pytest.raises(SystemExit, match=r"^error: --config limit has no value"):
        exit_on_mistakes(["--config", "limit"])


_WORD = st.sampled_from(
    ["--config", "--configfile", "-C", "-n", "--", "-", "a=1", "a.b=", "=", ".", "a", "my.yaml", ""]
)


@LAW
@given(st.lists(_WORD | st.text(max_size=4).filter(lambda text: "\0" not in text), max_size=6))
def test_whatever_is_typed_passes_or_is_told(words: list[str]) -> None:
    with suppress(UserError):
        check_arguments(words)
