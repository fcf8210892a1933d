from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mert_backfill.demo.model import make_demo_model
from mert_backfill.errors import UserError
from mert_backfill.model.info import ModelInfo, inspect_model
from mert_backfill.model.source import ModelSource
from mert_backfill.recipes import CANONICAL
from mert_backfill.store.profile import check_profile, make_profile, write_profile
from support import model_files as files

ARCHITECTURE = {"hidden_size": 1024, "layer_norm_eps": 1e-5, "conv_kernel": [10, 3]}
INFO = ModelInfo(
    name="m-a-p/MERT-v1-330M",
    revision="0" * 40,
    folder=Path("somewhere"),
    architecture=ARCHITECTURE,
    weight_files=(Path("somewhere/pytorch_model.bin"),),
    weights_sha256="ab" * 32,
    hidden_size=1024,
    layers=24,
    masked_spec_embed=True,
    is_demo=False,
)


def test_name_and_fingerprint() -> None:
    profile = make_profile(CANONICAL, INFO)
    assert re.fullmatch(r"[0-9a-f]{64}", profile.fingerprint)
    assert profile.name == "canonical-" + profile.fingerprint[:8]
    assert profile.dimension == 1024


def test_the_fingerprint_never_changes_by_itself() -> None:
    # A change here gives every existing store a new name, so all tracks are embedded again.
    assert make_profile(CANONICAL, INFO).name == "canonical-e47f61dc"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "my/copy"},
        {"revision": None},
        {"folder": Path("elsewhere"), "weight_files": (Path("elsewhere/model.safetensors"),)},
        {"architecture": dict(reversed(ARCHITECTURE.items()))},
        {"is_demo": True},
    ],
)
def test_what_does_not_change_numbers_does_not_change_the_profile(change: dict[str, Any]) -> None:
    assert (
        make_profile(CANONICAL, replace(INFO, **change)).name == make_profile(CANONICAL, INFO).name
    )


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "ac" * 32},
        {"architecture": {**ARCHITECTURE, "layer_norm_eps": 1e-6}},
        {"architecture": {**ARCHITECTURE, "conv_kernel": [10, 2]}},
    ],
)
def test_what_changes_numbers_changes_the_profile(change: dict[str, Any]) -> None:
    assert (
        make_profile(CANONICAL, replace(INFO, **change)).name != make_profile(CANONICAL, INFO).name
    )


def test_other_weights_are_another_profile(tmp_path: Path) -> None:
    names = {
        make_profile(CANONICAL, files.inspect_folder(folder)).name
        for folder in (
            files.write_model(tmp_path / "a"),
            files.write_model(tmp_path / "b", seed=1),
            files.write_model(tmp_path / "renamed"),
        )
    }
    assert len(names) == 2


def test_profile_json_says_what_the_vectors_are(tmp_path: Path) -> None:
    path = tmp_path / "store" / "profile.json"
    profile = make_profile(CANONICAL, INFO)
    write_profile(path, profile)
    record = json.loads(path.read_text())
    assert record["profile"] == profile.name
    assert record["fingerprint"] == profile.fingerprint
    assert record["model"] == "m-a-p/MERT-v1-330M"
    assert record["revision"] == "0" * 40
    assert record["weights_sha256"] == "ab" * 32
    assert record["sample_rate"] == 24000
    assert record["dtype"] == "float16"
    assert record["dimension"] == 1024
    assert {"windows", "layer", "pooling", "decoder", "architecture"} <= set(record)
    assert "note" not in record


def test_a_demo_model_is_called_what_it_is(tmp_path: Path) -> None:
    make_demo_model(tmp_path / "demo")
    info = inspect_model(ModelSource("demo/mert", tmp_path / "demo", None))
    write_profile(tmp_path / "profile.json", make_profile(CANONICAL, info))
    record = json.loads((tmp_path / "profile.json").read_text())
    assert "mean nothing musically" in record["note"]


def test_check_accepts_its_own_file_and_none(tmp_path: Path) -> None:
    path, profile = tmp_path / "profile.json", make_profile(CANONICAL, INFO)
    check_profile(path, profile)
    write_profile(path, profile)
    check_profile(path, profile)
    check_profile(path, make_profile(CANONICAL, replace(INFO, name="renamed", revision=None)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights_sha256", "ac" * 32),
        ("fingerprint", "0" * 64),
        ("dimension", 768),
        ("windows", None),
        ("profile", "canonical-00000000"),
    ],
)
def test_check_refuses_an_edited_file(tmp_path: Path, key: str, value: object) -> None:
    path, profile = tmp_path / "profile.json", make_profile(CANONICAL, INFO)
    write_profile(path, profile)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UserError, match=rf"profile\.json: {key} is not that of canonical-"):
        check_profile(path, profile)


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_check_refuses_a_damaged_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"profile\.json: "):
        check_profile(path, make_profile(CANONICAL, INFO))
