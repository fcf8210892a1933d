"""Bad input: one line that names the culprit, an exit code, and nothing done or lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import ROOT_NAME
from support.project import Call, Project, add_track, make_project

ROOTS: dict[str, Any] = {"roots": [{"name": ROOT_NAME, "path": "music"}]}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("template") / "project")
    for seed in range(4):
        add_track(project.music / f"{seed}.wav", seed=seed)
    return project


@pytest.fixture
def project(template: Project, tmp_path: Path) -> Project:
    return template.copy(tmp_path / "project")


def refused(call: Call) -> str:
    """Return the one line in which a call was refused before any job."""
    assert call.code != 0
    assert call.jobs == []
    assert "Traceback" not in call.output
    (error,) = call.errors
    return error


def break_model(project: Project, name: str, **changes: Any) -> None:
    path = project.folder / "model" / name
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes), encoding="utf-8")


def empty_root(project: Project) -> None:
    shutil.rmtree(project.music)
    project.music.mkdir()


def break_baseline(project: Project) -> None:
    (project.folder / "cut.json").write_text('{"tracks": {')
    project.configure(meta={"baseline": "cut.json"})


def make_paths_file_a_folder(project: Project) -> None:
    (project.folder / "list.txt").mkdir()
    project.configure(library={**ROOTS, "paths_file": "list.txt"})


CASES: dict[str, tuple[Callable[[Project], object], str]] = {
    "a tab": (
        lambda p: (p.folder / "config" / "config.yaml").write_text("library:\n\troots: []\n"),
        "config.yaml, line 2: a tab",
    ),
    "unknown key": (lambda p: p.configure(chunking={"sise": 3}), "chunking.sise"),
    "wrong type": (lambda p: p.configure(chunking={"size": "many"}), "chunking.size"),
    "impossible value": (lambda p: p.configure(checkpointing={"every": 0}), "checkpointing.every"),
    "other duration": (lambda p: p.configure(embedding={"duration_s": 90}), "embedding.duration_s"),
    "hub id without revision": (
        lambda p: p.configure(model={"name": "m-a-p/MERT-v1-330M"}),
        "model.revision",
    ),
    "missing model": (lambda p: p.configure(model={"name": "./no/model"}), "model.name"),
    "demo model by default": (
        lambda p: p.configure(model={"name": "demo/mert"}),
        "demo/mert is the demo model",
    ),
    "no preprocessor": (
        lambda p: (p.folder / "model" / "preprocessor_config.json").unlink(),
        "preprocessor_config.json",
    ),
    "no weights": (lambda p: (p.folder / "model" / "pytorch_model.bin").unlink(), "model"),
    "CQT features": (
        lambda p: break_model(p, "config.json", feature_extractor_cqt=True),
        "feature_extractor_cqt",
    ),
    "missing root": (
        lambda p: p.configure(library={"roots": [{"name": "usb", "path": "nowhere"}]}),
        "'usb'",
    ),
    "empty root": (empty_root, "looks unmounted"),
    "missing baseline": (lambda p: p.configure(meta={"baseline": "no.json"}), "no.json"),
    "broken baseline": (
        break_baseline,
        "cut.json",
    ),
    "missing paths_file": (
        lambda p: p.configure(library={**ROOTS, "paths_file": "no.txt"}),
        "no.txt",
    ),
    "paths_file that is no text": (
        make_paths_file_a_folder,
        "list.txt",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_before_anything_runs(project: Project, case: str) -> None:
    break_it, culprit = CASES[case]
    break_it(project)
    assert culprit in refused(project.snakemake())
    assert project.results_files() == set()


@pytest.mark.parametrize("value", ["limit=0", "limit=ten", "retry_failed=perhaps", "limmit=3"])
def test_bad_values_on_the_command_line(project: Project, value: str) -> None:
    name = {"limit": "chunking.limit"}.get(value.split("=")[0], value.split("=")[0])
    assert name in refused(project.snakemake("--config", value))
    assert not project.results.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--config", "chunking.size=5"], "write --config 'chunking={size: 5}'"),
        (["--configfile", "own.yaml"], "own.yaml, line 2: a tab"),
        (["--configfile", "no.yaml"], "there is no file "),
        (["--configfile", "good.yaml", "publish"], "publish --configfile "),
    ],
)
def test_what_snakemake_reads_before_the_workflow(
    project: Project, words: list[str], told: str
) -> None:
    (project.folder / "own.yaml").write_text("chunking:\n\tsize: 5\n")
    (project.folder / "good.yaml").write_text("chunking: {size: 5}\n")
    paths = [str(project.folder / word) if word.endswith(".yaml") else word for word in words]
    assert told in refused(project.snakemake(*paths))
    assert not project.results.exists()


def test_a_windows_path_that_yaml_takes_for_something_else(project: Project) -> None:
    own = project.folder / "own.yaml"
    own.write_text('meta:\n  path_map: [{from: "D:\\New", to: music}]\n')
    told = refused(project.snakemake("--configfile", str(own)))
    assert f"{own}, line 2: " in told
    assert "single quotes" in told


@pytest.mark.parametrize("damage", ["cut", "other architecture"])
def test_damaged_weights_are_refused_before_the_first_track(project: Project, damage: str) -> None:
    weights = project.folder / "model" / "pytorch_model.bin"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-5000])
    else:
        break_model(project, "config.json", num_hidden_layers=5)
    call = project.snakemake()
    assert call.code != 0
    assert "embed_chunk" not in call.output
    assert "Traceback" not in call.output
    (error,) = call.errors
    assert str(weights.parent) in error
    assert not list(project.results.rglob("*.journal.jsonl"))
    assert not list(project.results.rglob("*.npy"))


def test_a_library_that_shrank_is_refused_unless_it_is_meant(project: Project) -> None:
    project.run("--until", "scan_library")
    before = {path: path.read_bytes() for path in (project.results / "gaps").iterdir()}
    for seed in range(3):
        (project.music / f"{seed}.wav").unlink()
    error = refused(project.snakemake("--until", "scan_library"))
    assert "looks unmounted" in error
    assert "accept_shrunken_library=true" in error
    assert {path: path.read_bytes() for path in before} == before
    project.run("--until", "scan_library", "--config", "accept_shrunken_library=true")
    assert project.pending() == ["3.wav"]
