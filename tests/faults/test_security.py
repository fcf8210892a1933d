"""Hostile input cannot run code, write outside results/, or exhaust the machine."""

from __future__ import annotations

import ast
import json
import os
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

import mert_backfill.library.meta_file as baseline_module
from mert_backfill.config import load_settings
from mert_backfill.config_file import read_config_file
from mert_backfill.errors import UserError
from mert_backfill.library.listing import list_library
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.paths import PathMap
from mert_backfill.meta.rebuild import RebuildInputs, rebuild_library, rebuild_meta
from mert_backfill.plan.inputs import read_inputs
from mert_backfill.plan.scan import write_scan
from mert_backfill.records.manifest import read_manifest
from mert_backfill.records.scan_state import ScanState
from mert_backfill.results import Results
from mert_backfill.store.named import NamedVectors
from mert_backfill.store.vectors import VectorState, VectorStore, shard_path, vector_state
from mert_backfill.system.atomic import write_text
from mert_backfill.system.locks import open_lock
from mert_backfill.system.remembered import Remembered
from mert_backfill.system.session import start_run
from support import REPO
from support.fakes import D, a_profile
from support.libraries import write_track
from support.project import Call, Project, add_track, make_project

PROFILE = a_profile()
SOURCES = sorted(path for folder in ("src", "workflow") for path in (REPO / folder).rglob("*.py"))
RULES = [
    REPO / "Snakefile",
    REPO / "workflow" / "Snakefile",
    *sorted((REPO / "workflow" / "rules").glob("*.smk")),
]


# --- what the source may not hold ---------------------------------------------------------------


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Yield file, full name and node of every call in the source."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path.name, ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    """Return the constant that a call gives for a keyword, None where there is none."""
    for found in call.keywords:
        if found.arg == name and isinstance(found.value, ast.Constant):
            return found.value.value
    return None


def test_there_is_source_to_look_at() -> None:
    assert len(SOURCES) > 40
    assert {"run.py", "weights.py", "preflight.py", "job.py"} <= {path.name for path in SOURCES}
    assert sum(1 for _ in calls()) > 1000


def test_no_code_comes_from_the_hub() -> None:
    """A model that asks for remote code -> the switch that allows it appears nowhere."""
    for path in [*SOURCES, *RULES, *(REPO / "config").iterdir()]:
        assert "trust_remote_code" not in path.read_text(encoding="utf-8"), path


def test_nothing_foreign_is_unpickled() -> None:
    """A pickle in a vector, model or message -> never loaded; the only one that is read comes
    through a pipe from the process that wrote it, our own parent."""
    pickles = {(file, name) for file, name, _ in calls() if name.startswith("pickle.")}
    assert pickles == {("worker.py", "pickle.load"), ("supervisor.py", "pickle.dumps")}
    for file, name, call in calls():
        if name in {"np.load", "numpy.load"} or name.endswith("format.read_array"):
            assert keyword(call, "allow_pickle") is False, (file, call.lineno)
        if name == "torch.load":
            assert keyword(call, "weights_only") is True, (file, call.lineno)
        assert keyword(call, "allow_pickle") is not True, (file, call.lineno)
        assert not re.search(r"\b(joblib|dill|marshal|shelve)\.", name), (file, call.lineno)


def test_yaml_is_loaded_safely() -> None:
    """YAML that asks for Python objects -> only the safe loader is used."""
    for file, name, call in calls():
        assert name not in {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}
        loader = [k.value for k in call.keywords if k.arg == "Loader"]
        assert [ast.unparse(value) for value in loader] in ([], ["yaml.SafeLoader"]), file


def test_nothing_goes_through_a_shell_or_an_interpreter() -> None:
    """A name that holds commands -> nothing goes through a shell, eval or exec."""
    forbidden = {
        "os.system",
        "os.popen",
        "subprocess.getoutput",
        "subprocess.getstatusoutput",
        "eval",
        "exec",
        "compile",
        "__import__",
        "shell",
    }
    started = set()
    for file, name, call in calls():
        assert name not in forbidden, (file, call.lineno)
        assert keyword(call, "shell") is None, (file, call.lineno)
        if name.startswith("subprocess."):
            started.add(file)
            assert isinstance(call.args[0], ast.List), (file, call.lineno)
    assert started == {"imports.py", "kernel_choice.py", "pool.py", "supervisor.py"}
    for path in RULES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(shell|run|wrapper|cwl|notebook):", text, re.MULTILINE), path


def test_no_name_of_a_track_is_part_of_the_workflow() -> None:
    """A name with braces or spaces -> names of tracks are no wildcards: rules know chunks only."""
    text = "".join(path.read_text(encoding="utf-8") for path in RULES)
    wildcards = set(re.findall(r"\{(?:wildcards\.)?([a-z]\w*)[,}]", text))
    assert wildcards <= {"chunk", "error"}


def test_pages_escape_by_default() -> None:
    """A name or tag that holds HTML -> the page's template escapes everything."""
    (environment,) = [call for _, name, call in calls() if name == "jinja2.Environment"]
    assert keyword(environment, "autoescape") is True
    parts = REPO / "src" / "mert_backfill" / "health" / "page"
    template = (parts / "report.html.j2").read_text("utf-8")
    assert not re.search(r"\|\s*safe|autoescape|Markup", template)
    for script in parts.glob("*.js"):
        told = script.read_text("utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|fetch", told)


def test_what_is_not_escaped_in_a_page_is_of_the_program() -> None:
    """HTML in a name reaches the page's script, style or charts -> only files of the program and
    drawings that were cleaned are printed as they are."""
    trusted = [ast.unparse(call.args[0]) for _, name, call in calls() if name == "Markup"]
    assert sorted(trusted) == ["drawing", "script", "style"]


# --- where files can be written -----------------------------------------------------------------


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every file outside results/."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and folder / "results" not in path.parents
    }


def test_paths_file_takes_nothing_from_outside_the_library(tmp_path: Path) -> None:
    """paths_file names files of the system, ../ or options -> only files of the library are
    ever taken, and a line is never an option."""
    write_track(tmp_path / "music" / "a.wav", 0)
    write_track(tmp_path / "music" / "-rf.wav", 1)
    write_track(tmp_path / "outside.wav", 2)
    lines = [
        "/etc/passwd",
        "../outside.wav",
        "outside.wav",
        "--config",
        "-rf.wav",
        "music/../..",
        "music/-rf.wav",
        "$(id)",
        "`id`",
        "music/a.wav\0x"[:11],
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    settings = load_settings(
        {
            "library": {"roots": [{"name": "lib", "path": "music"}], "paths_file": "list.txt"},
            "model": {"name": "."},
        },
        tmp_path,
    )
    before = snapshot(tmp_path)
    write_scan(settings, PROFILE, "key", "fingerprint")
    rows = read_manifest(settings.results.manifest)
    assert {Path(row.path).parent for row in rows} == {tmp_path / "music"}
    assert snapshot(tmp_path) == before


def test_meta_cannot_make_us_write_elsewhere(tmp_path: Path) -> None:
    """meta.json names paths outside the library, ../ or options -> they are carried along as
    text; nothing outside results/ is written, and what they point to is never replaced."""
    write_track(tmp_path / "music" / "a.wav", 0)
    target = tmp_path / "target.npy"
    target.write_bytes(b"precious")
    tracks = {
        "../../../../etc/passwd": {"embedding": "/etc/passwd"},
        "--help": {"embedding": "--output=/tmp/x"},
        "/": {"embedding": "/"},
        "": {"embedding": ""},
        "nul\0byte": {"embedding": "nul\0byte"},
        "x" * 5000: {"embedding": "y/" * 5000},
        str(tmp_path / "music" / "a.wav"): {"embedding": "../target.npy"},
        "~/.ssh/id_rsa": {"embedding": {"not": "text"}},
    }
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.json").write_text(json.dumps({"tracks": tracks}), encoding="utf-8")
    settings = load_settings(
        {
            "library": {"roots": [{"name": "lib", "path": "music"}]},
            "meta": {"baseline": "data/meta.json", "embedding_base": "data"},
            "model": {"name": "."},
        },
        tmp_path,
    )
    before = snapshot(tmp_path)
    write_scan(settings, PROFILE, "key", "fingerprint")
    assert ScanState.read(settings.results).fingerprint == "fingerprint"
    baseline = read_inputs(settings, PROFILE).baseline
    listing = list_library(settings.library.roots, settings.library.extensions)
    store = VectorStore(settings.results.store(PROFILE.name), D)
    named = NamedVectors(D, "invalid", Remembered(settings.results.remembered))
    rebuilt = rebuild_meta(
        RebuildInputs(baseline, listing.files, list(tracks), store, named, PROFILE, PathMap(), {})
    )
    write_text(settings.results.meta, rebuilt.text)
    assert json.loads(rebuilt.text)["tracks"] == tracks
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "identity", ["../../etc/passwd00000", "A" * 20, "", "0" * 19 + "/", "0" * 21]
)
def test_a_track_id_that_is_none_names_no_file(identity: str) -> None:
    """A chunk file was edited to hold ../ as a track's id -> no path is made of it."""
    with pytest.raises(ValueError, match="is not a track id"):
        shard_path(Path("store"), identity)


# --- bombs ----------------------------------------------------------------------------------------


def aliases(open_: str, close: str, key: str = "") -> str:
    """Return ten levels of ten aliases each: 10^10 values in a kilobyte of YAML."""
    levels = [f"a0: &a0 {open_}{key.format(0)}x{close}"]
    for level in range(1, 11):
        items = ", ".join(key.format(n) + f"*a{level - 1}" for n in range(10))
        levels.append(f"a{level}: &a{level} {open_}{items}{close}")
    return "\n".join(levels) + "\n"


YAML_BOMBS = {
    "lists of aliases": aliases("[", "]"),
    "mappings of aliases": aliases("{", "}", "k{}: "),
    "merged mappings": "a0: &a0 {x: 1}\n"
    + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12)),
    "a list that holds itself": "a: &a [*a]\n",
    "a mapping that holds itself": "a: &a {k: *a}\n",
    "5,000 levels": "a: " + "[" * 5000 + "]" * 5000 + "\n",
    "two megabytes": "a: " + "x" * 2_000_000 + "\n",
}


@pytest.mark.parametrize("kind", YAML_BOMBS)
def test_a_yaml_bomb_is_refused(tmp_path: Path, kind: str) -> None:
    """A YAML bomb in config/config.yaml -> refused in one line, in no time."""
    path = tmp_path / "config.yaml"
    path.write_text(YAML_BOMBS[kind], encoding="utf-8")
    started = time.monotonic()
    with pytest.raises(UserError, match=r"config\.yaml: holds far more values than"):
        read_config_file(path)
    assert time.monotonic() - started < 20


def test_an_ordinary_config_is_no_bomb(tmp_path: Path) -> None:
    for path in (REPO / "config").glob("*.yaml"):
        read_config_file(path)
    (tmp_path / "aliases.yaml").write_text("a: &a {x: 1}\nb: *a\nc: [*a, *a]\n", encoding="utf-8")
    held = {"a": {"x": 1}, "b": {"x": 1}, "c": [{"x": 1}, {"x": 1}]}
    assert read_config_file(tmp_path / "aliases.yaml") == held


@pytest.mark.parametrize("kind", ["lists of aliases", "a list that holds itself"])
def test_a_bomb_that_snakemake_let_through_is_refused(tmp_path: Path, kind: str) -> None:
    """A YAML bomb of lists in a --configfile -> refused before it is written out."""
    with pytest.raises(UserError, match="holds far more values"):
        load_settings(yaml.safe_load(YAML_BOMBS[kind]), tmp_path)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("bombs") / "project")
    add_track(project.music / "a.wav")
    return project


def refused(call: Call) -> str:
    assert call.code != 0
    assert "Traceback" not in call.output
    (error,) = call.errors
    return error


def test_snakemake_with_a_yaml_bomb_comes_to_an_end(project: Project) -> None:
    """`snakemake` with a YAML bomb as its config -> one line, no hang, no traceback."""
    path = project.folder / "config" / "config.yaml"
    plain = path.read_text(encoding="utf-8")
    path.write_text(plain + YAML_BOMBS["mappings of aliases"], encoding="utf-8")
    assert "holds far more values" in refused(project.snakemake("-n"))
    path.write_text(plain, encoding="utf-8")


JSON_BOMBS = {
    "nested lists": '{"tracks": ' + "[" * 500_000,
    "nested objects": '{"tracks": {"/a.mp3": ' + '{"a":' * 500_000,
    "a number of a million digits": '{"tracks": {"/a.mp3": {"n": ' + "9" * 1_000_000 + "}}}",
}


@pytest.mark.parametrize("kind", JSON_BOMBS)
def test_a_json_bomb_is_refused(tmp_path: Path, kind: str) -> None:
    """A JSON bomb as the baseline -> refused in one line."""
    path = tmp_path / "meta.json"
    path.write_text(JSON_BOMBS[kind], encoding="utf-8")
    with pytest.raises(UserError, match=r"meta\.json: meta\.baseline (is|has)"):
        MetaFile.load(path, embedding_base=None, path_map=PathMap())


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, baseline_module.MAX_BYTES + 1)  # a hole: no disk is needed


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (huge, "has 1,000,000,001 bytes, at most 1,000,000,000 are read"),
        (os.mkfifo, "is not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a file"),
        (lambda path: path.mkdir(), "is not a file"),
    ],
    ids=["more than 1 GB", "FIFO", "device", "folder"],
)
def test_a_baseline_without_end_is_not_read(
    tmp_path: Path, make: Callable[[Path], object], text: str
) -> None:
    """The baseline is larger than 1 GB, a FIFO, a device or a folder -> refused unread."""
    path = tmp_path / "meta.json"
    make(path)
    with pytest.raises(UserError, match=text):
        MetaFile.load(path, embedding_base=None, path_map=PathMap())


def test_snakemake_with_a_json_bomb_comes_to_an_end(project: Project) -> None:
    """`snakemake` with a JSON bomb or 1 GB as its baseline -> one line and no traceback."""
    project.configure(meta={"baseline": "meta.json"})
    path = project.folder / "meta.json"
    path.write_text(JSON_BOMBS["nested objects"], encoding="utf-8")
    assert "is nested too deeply" in refused(project.snakemake())
    huge(path)
    assert "at most 1,000,000,000 are read" in refused(project.snakemake())
    project.configure()


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (
            "/m/a" + "\u0301\u0323" * 500_000 + ".mp3",
            r"has 1,000,008 characters, .* at most 32,767",
        ),
        ("/m/" + "./" * 70_000 + "a.mp3", r"has 140,008 characters"),
        ("/m/a" + "\u0301\u0323" * 1000 + ".mp3", r"has a letter with over 30 accents"),
    ],
)
def test_a_key_that_is_no_path_is_refused_at_once(tmp_path: Path, key: str, problem: str) -> None:
    """A key of meta.json is longer than any path, or has a letter with a thousand accents ->
    refused in one line, at once: putting accents in order takes time that grows with their
    square, and no list could hold the key."""
    path = tmp_path / "meta.json"
    path.write_text(json.dumps({"tracks": {key: {}}}), encoding="utf-8")
    started = time.monotonic()
    with pytest.raises(UserError, match=problem) as caught:
        MetaFile.load(path, embedding_base=None, path_map=PathMap())
    assert len(str(caught.value)) < 500
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "ref", ["x/" * 2000 + "a.npy", "a" + "\u0301\u0323" * 500_000, "./" * 20_000 + "x"]
)
def test_a_reference_that_is_no_path_names_nothing(tmp_path: Path, ref: str) -> None:
    """An `embedding` of meta.json is 2,000 folders deep, or longer than any path -> it names
    nothing; the row stays as it is."""
    meta = MetaFile(
        {"tracks": {"/a.mp3": {"embedding": ref}}}, embedding_base=tmp_path, path_map=PathMap()
    )
    assert meta.embedding_path("/a.mp3") is None
    assert json.loads(meta.text.text)["tracks"]["/a.mp3"] == {"embedding": ref}


def test_a_deep_reference_is_looked_for_step_by_step(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["Ordner"] * 100)
    folder.mkdir(parents=True)
    (folder / "a.npy").touch()
    ref = "ORDNER\\" * 100 + "A.npy"
    meta = MetaFile(
        {"tracks": {"/a.mp3": {"embedding": ref}, "/b.mp3": {"embedding": "x/" + ref}}},
        embedding_base=tmp_path,
        path_map=PathMap(),
    )
    assert meta.embedding_path("/a.mp3") == folder / "a.npy"
    assert not meta.has_embedding("/b.mp3")


def test_a_sparse_vector_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    """A .npy that meta.json names claims a billion numbers, and takes no room on the disk ->
    it is no vector, and its gigabytes are not read."""
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (10**9,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2 * 10**9)
    tracemalloc.start()
    try:
        assert vector_state(path, D) is VectorState.INVALID
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [".state/run.lock", "benchmarks/scan_library.tsv", "logs/embed_chunk/c.log", "chunks/c.jsonl"],
)
def test_no_file_is_written_through_a_link_in_results(tmp_path: Path, place: str) -> None:
    """A file that is opened in place in results/ is a link -> refused before the run; what it
    points to is as it was."""
    victim = tmp_path / "victim.txt"
    victim.write_text("precious", encoding="utf-8")
    link = tmp_path / "results" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    with pytest.raises(UserError, match=f"{link.name}: is a link, and nothing is written through"):
        start_run(Results(tmp_path / "results"))
    with pytest.raises(UserError, match="is a link"):
        open_lock(link)
    assert victim.read_text(encoding="utf-8") == "precious"


def test_what_is_made_of_a_private_meta_is_private(tmp_path: Path) -> None:
    """The live meta.json is its owner's alone -> so are the rebuilt one and the archive."""
    live = tmp_path / "data" / "meta.json"
    live.parent.mkdir()
    rows = {"/gone.mp3": {"cues": [1]}, str(tmp_path / "music" / "a.mp3"): {}}
    live.write_text(json.dumps({"tracks": rows}), encoding="utf-8")
    live.chmod(0o600)
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "a.mp3").touch()
    settings = load_settings(
        {
            "library": {"roots": [{"name": "lib", "path": "music"}]},
            "meta": {"baseline": "data/meta.json", "stale_policy": "archive"},
            "model": {"name": "."},
        },
        tmp_path,
    )
    rebuild_library(settings, PROFILE)
    for path in (settings.results.meta, settings.results.archived_rows):
        assert path.stat().st_mode & 0o777 == 0o600, path
