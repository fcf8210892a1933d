"""The configuration: what is refused, in which line, and what is made of the rest."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mert_backfill.config import SHORT_NAMES, load_settings
from mert_backfill.errors import visible
from mert_backfill.library.paths import PathMap
from mert_backfill.results import Results
from mert_backfill.settings import Settings
from support import REPO
from support.checks import refusal
from support.config_docs import MANUAL, SCHEMA, make_schema, manual, schema_file
from support.libraries import changed

# the same examples every time, and no clock: the machine may be busy
LAW = settings(derandomize=True, deadline=None, max_examples=60)

DEFAULTS = yaml.safe_load((REPO / "config" / "config.yaml").read_text(encoding="utf-8"))
PARTS = make_schema()["properties"]
COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """Return a folder that holds the demo model's."""
    (tmp_path / "demo" / "mert").mkdir(parents=True)
    return tmp_path


def load(workdir: Path, config: dict[str, Any] | None = None) -> Settings:
    return load_settings(config or {}, workdir)


def line(workdir: Path, config: dict[str, Any]) -> str:
    return refusal(lambda: load(workdir, config))


def test_the_shipped_file_holds_every_key_and_its_default(workdir: Path) -> None:
    shipped, defaults = load(workdir, DEFAULTS), load(workdir)
    nothing = PathMap()
    assert shipped.meta.path_map.pairs == defaults.meta.path_map.pairs == nothing.pairs
    assert changed(shipped, path_map=nothing) == changed(defaults, path_map=nothing)
    sections = {k: v["properties"] for k, v in PARTS.items() if "properties" in v}
    assert {k: set(v) for k, v in DEFAULTS.items() if isinstance(v, dict)} == {
        k: set(v) for k, v in sections.items()
    }
    assert set(DEFAULTS) == set(PARTS)


def test_schema_and_manual_say_what_the_code_does() -> None:
    """They are made by `make config-docs`."""
    assert SCHEMA.read_text(encoding="utf-8") == schema_file()
    text = MANUAL.read_text(encoding="utf-8")
    assert text == manual(text)


def test_the_defaults_are_those_of_the_contract(workdir: Path) -> None:
    found = load(workdir)
    assert [(root.name, root.path) for root in found.library.roots] == [
        ("demo", workdir / "demo/music")
    ]
    assert found.library.extensions == {
        ".wav", ".flac", ".mp3", ".m4a", ".aiff", ".aif", ".ogg", ".opus",
    }  # fmt: skip
    assert (found.library.exclude_file, found.library.paths_file, found.meta.baseline) == (
        None,
        None,
        None,
    )
    assert (found.chunking.size, found.chunking.limit, found.checkpointing.every) == (500, None, 50)
    assert (found.embedding.profile, found.embedding.duration_s, found.meta.stale_policy) == (
        "canonical",
        120,
        "keep",
    )
    assert (found.runtime.device, found.runtime.precision) == ("auto", "float32")
    assert (found.runtime.batch_size, found.runtime.decode_workers) == ("auto", "auto")
    assert found.runtime.track_timeout_s == 120.0
    assert (found.retry_failed, found.accept_shrunken_library) == (False, False)
    assert found.results == Results(workdir / "results")


def test_the_configuration_is_not_changed(workdir: Path) -> None:
    config = {**copy.deepcopy(DEFAULTS), "limit": "3"}
    before = copy.deepcopy(config)
    load(workdir, config)
    assert config == before


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"limt": 3}, "config: unknown key limt; did you mean limit?"),
        ({"chekpoint": 3}, "config: unknown key chekpoint; did you mean checkpointing?"),
        ({"volume": 3}, "config: unknown key volume; known here: accept_calibration, "),
        ({"retry_faild": True}, "config: unknown key retry_faild; did you mean retry_failed?"),
        (
            {"chunking": {"sise": 3}},
            "config: unknown key chunking.sise; did you mean size?",
        ),
        (
            {"library": {"roots": [{"name": "a", "path": "b", "paht": "c"}]}},
            "config: unknown key library.roots.0.paht; did you mean path?",
        ),
        (
            {"embedding": {"duration_s": 90}},
            "config: embedding.duration_s: 90 is refused, the recipes are defined on the first "
            "120 seconds; set it to 120",
        ),
        (
            {"embedding": {"profile": "whole", "sidecars": ["sections"]}},
            "config: embedding.sidecars: whole has one window and no sections; take sections out",
        ),
        (
            {"model": {"revision": "main"}},
            "config: model.revision: 'main' does not pin a commit; give the 40 hex digits of one",
        ),
        (
            {"runtime": {"batch_size": "lots"}},
            "config: runtime.batch_size: 'lots' is neither auto nor a whole number that makes "
            "sense; see config/README.md",
        ),
    ],
)
def test_a_refusal_names_the_key_and_the_cure(
    workdir: Path, config: dict[str, Any], told: str
) -> None:
    assert line(workdir, config).startswith(told)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("library.roots", []),
        ("library.roots", "music"),
        ("library.roots.0", {"name": "a"}),
        ("library.extensions", []),
        ("library.extensions", [".mp3", ".mp3"]),
        ("library.extensions.0", "mp3"),
        ("library.exclude_file", ["a"]),
        ("meta.baseline", {}),
        ("meta.path_map", {"from": "C:/", "to": "/mnt/c"}),
        ("meta.path_map.0", {"from": "C:/"}),
        ("meta.stale_policy", "delete"),
        ("chunking.size", 0),
        ("chunking.size", 2.5),
        ("chunking.size", True),
        ("chunking.size", None),
        ("chunking.limit", 0),
        ("chunking.limit", "ten"),
        ("checkpointing.every", -1),
        ("model.name", ""),
        ("model.name", None),
        ("model.revision", COMMIT[:-1]),
        ("model.revision", COMMIT.upper()),
        ("embedding.profile", "mine"),
        ("embedding.duration_s", "121"),
        ("embedding.sidecars", ["vectors"]),
        ("embedding.sidecars", ["layers", "layers"]),
        ("runtime.device", "gpu"),
        ("runtime.precision", "int8"),
        ("runtime.batch_size", 0),
        ("runtime.decode_workers", -2),
        ("runtime.decode_workers", 1000),
        ("runtime.track_timeout_s", 0),
        ("runtime.track_timeout_s", "soon"),
        ("retry_failed", "perhaps"),
        ("retry_failed", 1),
        ("library", []),
    ],
)
def test_an_impossible_value_is_refused_by_its_key(workdir: Path, key: str, value: Any) -> None:
    nested = value
    for part in reversed(key.split(".")):
        nested = [nested] if part == "0" else {part: nested}
    assert isinstance(nested, dict)
    told = line(workdir, nested)
    assert told.startswith(f"config: {key}"), told
    assert not jsonschema.Draft202012Validator(make_schema()).is_valid(nested)


@pytest.mark.parametrize(
    ("key", "value"), [("name", "a/b"), ("name", "a\\b"), ("name", "a\nb"), ("path", "")]
)
def test_an_impossible_root_is_refused(workdir: Path, key: str, value: str) -> None:
    root = {"name": "a", "path": "b", key: value}
    told = line(workdir, {"library": {"roots": [root]}})
    assert told.startswith(f"config: library.roots.0.{key}: ")


def test_short_names_reach_their_section(workdir: Path) -> None:
    given = {"chunking": {"size": 7}, "limit": "10", "checkpoint_every": "3", "paths_file": "l.txt"}
    found = load(workdir, given)
    assert (found.chunking.size, found.chunking.limit, found.checkpointing.every) == (7, 10, 3)
    assert found.library.paths_file == workdir / "l.txt"
    for name, path in SHORT_NAMES.items():
        assert line(workdir, {name: {}}).startswith(f"config: {'.'.join(path)}: ")


def test_a_short_name_does_not_mend_a_broken_section(workdir: Path) -> None:
    told = line(workdir, {"library": 5, "paths_file": "list.txt"})
    assert told.startswith("config: library: 5 is not a section of `key: value`")


def test_a_path_that_is_not_utf8_keeps_its_bytes(workdir: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    root = {"name": "a", "path": name}
    found = load(workdir, {"library": {"roots": [root]}, "paths_file": name})
    assert found.library.roots[0].path == found.library.paths_file == workdir / name


@pytest.mark.parametrize("word", ["true", "True", "TRUE", True])
def test_words_of_the_command_line_are_understood(workdir: Path, word: Any) -> None:
    found = load(workdir, {"retry_failed": word, "accept_shrunken_library": "false"})
    assert (found.retry_failed, found.accept_shrunken_library) == (True, False)


@pytest.mark.parametrize("word", ["null", "None", "", None])
def test_nothing_can_be_said_in_words(workdir: Path, word: Any) -> None:
    config = {"limit": word, "paths_file": word, "meta": {"baseline": word}}
    found = load(workdir, {**config, "chunking": {"limit": 4}})
    assert (found.chunking.limit, found.library.paths_file, found.meta.baseline) == (
        None,
        None,
        None,
    )


def test_numbers_in_words_and_names_in_numbers(workdir: Path) -> None:
    runtime = {"batch_size": "16", "decode_workers": "auto", "track_timeout_s": "7.5"}
    config = {"paths_file": 2026, "runtime": runtime, "embedding": {"duration_s": "120"}}
    found = load(workdir, config)
    assert found.library.paths_file == workdir / "2026"
    assert (found.runtime.batch_size, found.runtime.decode_workers) == (16, "auto")
    assert found.runtime.track_timeout_s == 7.5
    assert found.embedding.duration_s == 120
    root = {"name": "true", "path": "10"}
    (read,) = load(workdir, {"library": {"roots": [root]}}).library.roots
    assert (read.name, read.path) == ("true", workdir / "10")


def test_paths_start_at_the_working_directory_and_at_home(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    roots = [{"name": "a", "path": "../a"}, {"name": "b", "path": "~/b"}]
    pair = {"from": "C:/Music", "to": "mapped"}
    found = load(workdir, {"library": {"roots": roots}, "meta": {"path_map": [pair]}})
    assert [root.path for root in found.library.roots] == [workdir.parent / "a", Path("/home/me/b")]
    assert found.meta.path_map.to_local("C:/Music/x.mp3") == str(workdir / "mapped" / "x.mp3")


def test_extensions_count_in_any_case(workdir: Path) -> None:
    assert load(workdir, {"library": {"extensions": [".MP3"]}}).library.extensions == {".mp3"}


def test_the_order_of_sidecars_means_nothing(workdir: Path) -> None:
    one, other = (
        load(workdir, {"embedding": {"sidecars": kinds}}).embedding.sidecars
        for kinds in (["sections", "layers"], ["layers", "sections"])
    )
    assert one == other == ("layers", "sections")


def test_two_roots_of_one_name_are_refused(workdir: Path) -> None:
    roots = [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]
    assert line(workdir, {"library": {"roots": roots}}) == (
        "config: library.roots: two roots are named 'a'; rename one"
    )


@pytest.mark.parametrize("inner", ["x/y", "x", "link/y"])
def test_a_root_inside_another_is_refused(workdir: Path, inner: str) -> None:
    (workdir / "x").mkdir()
    (workdir / "link").symlink_to("x")
    for paths in (("x", inner), (inner, "x")):
        roots = [{"name": name, "path": path} for name, path in zip("ab", paths, strict=True)]
        told = line(workdir, {"library": {"roots": roots}})
        assert "lies inside" in told
        assert "its tracks would be embedded twice, remove one" in told


def test_roots_with_a_common_beginning_are_fine(workdir: Path) -> None:
    roots = [{"name": "a", "path": "x"}, {"name": "b", "path": "x2"}]
    assert len(load(workdir, {"library": {"roots": roots}}).library.roots) == 2


def test_a_hub_id_needs_a_commit(workdir: Path) -> None:
    name = "m-a-p/MERT-v1-330M"
    told = line(workdir, {"model": {"name": name}})
    assert told.startswith(f"config: model.name: there is no folder {workdir / name}, ")
    assert "needs model.revision" in told
    found = load(workdir, {"model": {"name": name, "revision": COMMIT}}).model
    assert (found.name, found.folder, found.revision) == (name, None, COMMIT)


def test_a_folder_goes_before_a_hub_id(workdir: Path) -> None:
    (workdir / "m-a-p" / "MERT").mkdir(parents=True)
    found = load(workdir, {"model": {"name": "m-a-p/MERT"}}).model
    assert found.folder == workdir / "m-a-p" / "MERT"


@pytest.mark.parametrize("name", ["./mert", "../a/b", "/a/b", "a/b/c", "mert", "a b/c"])
def test_a_model_that_is_neither_folder_nor_hub_id(workdir: Path, name: str) -> None:
    told = line(workdir, {"model": {"name": name, "revision": COMMIT}})
    assert told.startswith("config: model.name: there is no folder ")
    assert told.endswith("correct the path")


OWN = {"library": {"roots": [{"name": "main", "path": "/music"}]}}
DEMO_MODEL = {"model": {"name": "demo/mert"}}


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize(
    ("config", "given"),
    [
        (OWN, {}),
        (OWN, OWN),
        ({**OWN, **DEMO_MODEL}, OWN),
        (
            {**OWN, "model": {"name": "demo/mert", "revision": COMMIT}},
            {"model": {"revision": COMMIT}},
        ),
    ],
)
def test_music_of_ones_own_is_refused_to_the_demo_model(
    workdir: Path, config: dict[str, Any], given: dict[str, Any], made: bool
) -> None:
    if not made:
        (workdir / "demo" / "mert").rmdir()
    told = refusal(lambda: load_settings(config, workdir, given=given))
    assert told.startswith("config: model.name: demo/mert is the demo model")
    assert "'main' (/music) is music of your own; set model.name" in told


@pytest.mark.parametrize(
    ("config", "given"),
    [
        ({}, {}),
        ({"library": {"roots": [{"name": "some", "path": "demo/music/House"}]}}, {}),
        ({**OWN, **DEMO_MODEL}, DEMO_MODEL),
        ({**OWN, "model": {"name": "./demo/mert"}}, {}),
        ({**OWN, "model": {"name": "."}}, {}),
        (OWN, None),  # a job of a call that was checked
    ],
)
def test_the_demo_model_serves_the_demo_and_who_means_it(
    workdir: Path, config: dict[str, Any], given: dict[str, Any] | None
) -> None:
    assert load_settings(config, workdir, given=given).model.folder is not None


_SECTIONS = sorted(key for key, part in PARTS.items() if "properties" in part)


@LAW
@given(st.sampled_from([None, *_SECTIONS]), st.text(max_size=12), st.none() | st.integers())
def test_no_unknown_key_passes(section: str | None, key: str, value: object) -> None:
    known = PARTS if section is None else PARTS[section]["properties"]
    if key in known or (section is None and key in SHORT_NAMES):
        return
    config = {key: value} if section is None else {section: {key: value}}
    told = refusal(lambda: load(Path("nowhere"), config))
    assert told.startswith("config: unknown key")
    assert visible(" ".join(key.split())) in told
