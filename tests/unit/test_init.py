"""`mert-backfill init`: what it finds, and the config file that it writes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mert_backfill.config import load_settings
from mert_backfill.config_file import read_config_file
from mert_backfill.demo.model import make_demo_model
from mert_backfill.library.listing import Listing
from mert_backfill.library.roots import Root
from mert_backfill.model import source
from mert_backfill_snakemake.cli import main
from mert_backfill_snakemake.first_config import Model, config_text
from mert_backfill_snakemake.first_look import MetaLook, Music

COMMIT = "0123456789" * 4
NAMES = ("House/One.mp3", "House/Two.mp3", "Ambient/Kõue.flac", "root.mp3")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder with music; the hub knows one commit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(source, "newest_revision", lambda name: COMMIT)
    for name in NAMES:
        (tmp_path / "Music" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "Music" / name).write_text(name)
    return tmp_path


@pytest.fixture
def init(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """Return what init prints; an error is its only line."""

    def told(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["mert-backfill", "init", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        if isinstance(end.value.code, str):
            return [end.value.code]
        assert end.value.code == 0
        return capsys.readouterr().out.splitlines()

    return told


def write_meta(home: Path, rows: dict[str, Any], vectors: tuple[str, ...] = (), d: int = 4) -> None:
    folder = home / "rbassist" / "data"
    (folder / "embeddings").mkdir(parents=True)
    for name in vectors:
        np.save(folder / "embeddings" / name, np.ones(d, np.float16))
    (folder / "meta.json").write_text(json.dumps({"tracks": rows}), encoding="utf-8")


def test_music_alone(home: Path, init: Callable[..., list[str]]) -> None:
    printed = init("Music")
    assert printed == [
        f"music: 4 files in {home}/Music (3 mp3, 1 flac)",
        f"model: m-a-p/MERT-v1-330M, commit {COMMIT}",
        "written: my-library.yaml; look into it, then type: mert-backfill preview",
    ]
    config = read_config_file(home / "my-library.yaml")
    settings = load_settings(config, home, given=config)
    assert settings.library.roots == (Root("main", home / "Music"),)
    assert settings.meta.baseline is None
    assert settings.model.revision == COMMIT
    (again,) = init("Music")
    assert again.startswith("error: my-library.yaml: it exists, and is not overwritten")


def test_a_meta_json_of_windows(home: Path, init: Callable[..., list[str]]) -> None:
    base = "C:\\Users\\me\\"
    rows = {
        f"{base}Music\\House\\ONE.mp3": {"embedding": f"{base}rbassist\\data\\embeddings\\1.npy"},
        f"{base}Music\\Ambient\\Kõue.flac": {"embedding": "data\\embeddings\\2.npy"},
        f"{base}Music\\root.mp3": {"embedding": "data\\embeddings\\gone.npy"},
        f"{base.upper()}MUSIC\\HOUSE\\TWO.MP3": {},
        "D:\\sold.mp3": {"bpm": 1},
    }
    write_meta(home, rows, ("1.npy", "2.npy"), 768)
    printed = init("Music", "--meta", "rbassist/data/meta.json", "--output", "other.yaml")
    assert printed == [
        f"music: 4 files in {home}/Music (3 mp3, 1 flac)",
        "meta.json: 5 rows, of which 4 belong to a file:",
        f"  C:/Users/me/Music is {home}/Music here (meta.path_map)",
        f"  C:/Users/me is {home} here (meta.path_map)",
        "vectors: 3 rows name one, there: 2, of 768 numbers each",
        f"model: m-a-p/MERT-v1-95M, which makes vectors of 768 numbers, commit {COMMIT}",
        "written: other.yaml; look into it, then type: mert-backfill preview --configfile "
        "other.yaml",
    ]
    config = read_config_file(home / "other.yaml")
    meta = load_settings(config, home, given=config).meta
    assert meta.path_map.to_local(f"{base}Music\\House\\ONE.mp3") == f"{home}/Music/House/ONE.mp3"
    assert meta.publish_embeddings_to == home / "rbassist" / "data" / "embeddings-mert"


def test_references_that_start_elsewhere(home: Path, init: Callable[..., list[str]]) -> None:
    write_meta(home, {f"{home}/Music/root.mp3": {"embedding": "embeddings/1.npy"}}, ("1.npy",))
    printed = init("Music", "--meta", "rbassist/data/meta.json", "--model", f"a/b@{COMMIT}")
    assert "meta.json: 1 row, of which 1 belong to a file" in printed
    assert "vectors: 1 row names one, there: 1, of 4 numbers each" in printed
    config = read_config_file(home / "my-library.yaml")
    settings = load_settings(config, home, given=config)
    assert settings.meta.embedding_base == home / "rbassist" / "data"
    assert (settings.model.name, settings.model.revision) == ("a/b", COMMIT)


def test_a_model_of_another_size_is_noted(home: Path, init: Callable[..., list[str]]) -> None:
    make_demo_model(home / "model")
    write_meta(home, {"x.mp3": {"embedding": "data/embeddings/1.npy"}}, ("1.npy",), 1024)
    printed = init("Music", "--meta", "rbassist/data/meta.json", "--model", "model")
    assert f"model: {home}/model, which makes vectors of 64 numbers" in printed
    assert "  note: the vectors of meta.json have 1,024: is it another model?" in printed
    assert any("write it into meta.path_map" in line for line in printed)  # nothing fits x.mp3


def test_several_folders_get_names_of_their_own(home: Path, init: Callable[..., list[str]]) -> None:
    for name in ("a/Music/1.mp3", "b/Music/2.mp3"):
        (home / name).parent.mkdir(parents=True)
        (home / name).touch()
    init("a/Music", "b/Music")
    roots = read_config_file(home / "my-library.yaml")["library"]["roots"]
    assert [root["name"] for root in roots] == ["Music", "Music-2"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "there is no folder"),
        (["empty"], "no audio file is in there"),
        (["Music", "--meta", "none.json"], "there is no such file"),
        (["Music", "--model", "no model"], "there is no such folder, and it is no hub id"),
        (["Music", "--output", "Music/root.mp3/x.yaml"], "cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    home: Path, init: Callable[..., list[str]], arguments: list[str], told: str
) -> None:
    (home / "empty").mkdir()
    (line,) = init(*arguments)
    assert line.startswith("error: ")
    assert told in line
    assert not (home / "my-library.yaml").exists()


@pytest.mark.parametrize("model", ["a/b", None])
def test_without_the_hub_the_revision_is_left_to_write(
    home: Path,
    init: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    model: str | None,
) -> None:
    monkeypatch.setattr(source, "newest_revision", lambda name: None)
    printed = init("Music", *(["--model", model] if model else []))
    assert "could not be looked up" in printed[2]
    assert read_config_file(home / "my-library.yaml")["model"]["revision"] is None


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(min_size=1, max_size=5))
def test_whatever_a_path_holds_yaml_reads_it_back(path: str, prefix: str) -> None:
    music = Music((Root("main", Path(f"/{path}")),), Listing((), (), (), ()))
    meta = MetaLook(Path(f"/{path}"), ((prefix, path),), Path(path), 1, 1, 1, 1, Counter(), True)
    text = config_text(music, meta, Model(path, revision=prefix))
    config = yaml.safe_load(text)
    assert config["library"]["roots"] == [{"name": "main", "path": str(Path(f"/{path}"))}]
    assert config["meta"]["path_map"] == [{"from": prefix, "to": path}]
    assert config["meta"]["embedding_base"] == str(Path(path))
    assert config["model"] == {"name": path, "revision": prefix}
