"""The command `mert-backfill`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mert_backfill
from mert_backfill_snakemake.cli import app, main

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
