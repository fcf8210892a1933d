"""Files that say the same thing twice agree: pins, defaults, the manual."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mert_backfill.config import SHORT_NAMES, load_settings
from support import REPO
from support.config_docs import keys, make_schema

KEYS = dict(keys(make_schema()))
ENVIRONMENTS = sorted((REPO / "envs").glob("*.yaml"))


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def pins(lines: list[str]) -> dict[str, str]:
    """Return name and version of requirements that are all pinned."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9_-]+)==([0-9][\w.]*)", line)
        assert match, f"{line!r} is not pinned"
        found[match[1].lower().replace("-", "_")] = match[2]
    return found


def requirements(name: str) -> dict[str, str]:
    lines = (REPO / name).read_text(encoding="utf-8").splitlines()
    return pins([line for line in lines if line and not line.startswith(("#", "-r "))])


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def as_numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]  # without "post1"


def test_there_is_an_environment() -> None:
    assert ENVIRONMENTS


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.name)
def test_environments_pin_what_requirements_pin(path: Path) -> None:
    wanted = requirements("requirements.txt")
    environment = read_yaml(path)
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    by_pip = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    for item in conda:
        assert re.fullmatch(r"[a-z0-9_-]+=\d+(\.\d+)+", item), f"{item!r} is not pinned"
    assert pins([line for part in by_pip for line in part]).items() <= wanted.items()


def test_the_main_environment_holds_everything() -> None:
    pip_part = read_yaml(REPO / "envs/embed.yaml")["dependencies"][-1]["pip"]
    assert pins(pip_part) == requirements("requirements.txt")


def test_development_pins_add_to_those_of_a_run() -> None:
    text = (REPO / "requirements-dev.txt").read_text(encoding="utf-8")
    assert "-r requirements.txt" in text.splitlines()
    assert not requirements("requirements-dev.txt").keys() & requirements("requirements.txt").keys()


def test_the_package_needs_what_requirements_pin() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
    lines = project["project"]["dependencies"]
    needed = dict(line.replace("-", "_").split(">=") for line in lines)
    wanted = requirements("requirements.txt")
    assert {*needed, "setuptools"} == wanted.keys()  # which builds it
    for name, lowest in needed.items():
        assert as_numbers(lowest) <= as_numbers(wanted[name]), name


def test_config_yaml_is_the_defaults_of_the_schema() -> None:
    defaults = {key: part["default"] for key, part in KEYS.items()}
    assert flat(read_yaml(REPO / "config/config.yaml")) == defaults


def test_config_yaml_tells_the_short_names() -> None:
    lines = (REPO / "config/config.yaml").read_text(encoding="utf-8").splitlines()
    for short, path in SHORT_NAMES.items():
        (line,) = (line for line in lines if line.strip().startswith(f"{path[-1]}:"))
        assert f"[{short}]" in line


@pytest.mark.parametrize(("key", "part"), [pytest.param(k, p, id=k) for k, p in KEYS.items()])
def test_the_manual_explains_every_key(key: str, part: Mapping[str, Any]) -> None:
    manual = (REPO / "config/README.md").read_text(encoding="utf-8")
    line = re.search(rf"^\| `{re.escape(key)}` \|(.*)$", manual, re.M)
    assert line, f"config/README.md has no line for {key}"
    default = part["default"]
    shown = default if isinstance(default, str) else json.dumps(default)
    assert isinstance(default, list) or f"`{shown}`" in line[1]


def test_the_manual_knows_no_key_that_does_not_exist() -> None:
    manual = (REPO / "config/README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([a-z_.]+)` \|", manual, re.M))
    assert named == KEYS.keys()


def test_demo_configuration_is_valid(tmp_path: Path) -> None:
    (tmp_path / "demo/mert").mkdir(parents=True)
    base, overlay = (read_yaml(REPO / "config" / name) for name in ("config.yaml", "demo.yaml"))
    merged = {
        key: {**value, **overlay.get(key, {})} if isinstance(value, dict) else value
        for key, value in base.items()
    }
    assert overlay.keys() <= base.keys()
    settings = load_settings(merged, tmp_path)
    assert settings.chunking.size == 6
    assert settings.meta.baseline == tmp_path / "demo/meta.json"
    key = r"c:\users\DJ\music\House\x.mp3"
    assert settings.meta.path_map.to_local(key) == str(tmp_path / "demo/music/House/x.mp3")


def test_profiles_resume_without_unlock() -> None:
    for name in ("default", "slurm"):
        profile = read_yaml(REPO / "profiles" / name / "config.yaml")
        assert profile["nolock"] is True
        assert profile["rerun-incomplete"] is True
        assert profile["rerun-triggers"] == ["mtime", "input", "params"]
        # one of profiles/default would hold for a cluster too: common.smk sets it
        assert "resources" not in profile


def test_ci_script_can_be_run() -> None:
    assert os.access(REPO / ".ci/run", os.X_OK)


def test_each_target_is_described_where_targets_are_listed() -> None:
    files = [REPO / "Snakefile", *sorted((REPO / "workflow").rglob("*.smk"))]
    for path in files:
        text = path.read_text(encoding="utf-8")
        rules = re.findall(r"^(?:rule|checkpoint) \w+:\n(.*)", text, re.MULTILINE)
        assert all(line.startswith('    """') for line in rules), path
