"""The preview: when the plan goes on, when the library is scanned again, and what is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.failures import Reason, TrackError
from mert_backfill.health.jobs import verify_library
from mert_backfill.library.paths import PathMap
from mert_backfill.library.roots import Root
from mert_backfill.plan.chunks import discard_plan
from mert_backfill.plan.freshness import Change
from mert_backfill.plan.guess import Guess
from mert_backfill.plan.notes import time_note
from mert_backfill.plan.preview import take_preview
from mert_backfill.records.ledger import read_ledger
from mert_backfill.records.scan_state import ScanState
from mert_backfill.records.speed import Speed
from mert_backfill.store.tracks import TrackStore, open_track_store
from support import ROOT_NAME
from support.checks import refusal
from support.fakes import a_profile
from support.jobs import Workflow
from support.libraries import Library, changed

BAD = TrackError("decode", Reason.NOT_AUDIO, "bad")
NAMES = ["a.mp3", "b.mp3", "c.mp3"]
LATER_NS = 4_000_000_000_000_000_000


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path)
    library.add(*NAMES)
    return library


@pytest.fixture
def work(library: Library) -> Workflow:
    return Workflow(library)


def store_of(library: Library) -> TrackStore:
    return open_track_store(library.results, library.profile, ())


def vector(library: Library, name: str) -> Path:
    return store_of(library).vectors.path(library.id(name))


def age(library: Library) -> None:
    """Make all results older than anything that a test writes."""
    for path in library.results.folder.rglob("*"):
        os.utime(path, ns=(1, 1))


def write_list(library: Library, *lines: str) -> Path:
    path = library.folder / "list.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write_baseline(library: Library, *names: str) -> Path:
    path = library.folder / "data" / "meta.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"tracks": {str(library.music / name): {} for name in names}}))
    return path


def numbers(work: Workflow) -> tuple[int, int, int]:
    preview = work.preview()
    return preview.files_found, preview.tracks_pending, preview.chunks_remaining


# --- what is told


def test_the_preview_before_anything_has_run(work: Workflow) -> None:
    preview = work.preview()
    assert preview.change is Change.NO_PLAN
    assert str(preview) == "files found: 3, tracks pending: 3, chunks remaining: 2"
    assert not work.library.results.folder.exists()  # it wrote nothing


def test_the_preview_follows_the_work(work: Workflow) -> None:
    first, second = work.start()
    assert numbers(work) == (3, 3, 2)
    work.embed(second)
    assert numbers(work) == (3, 2, 1)
    work.embed(first)
    assert numbers(work) == (3, 0, 0)


def test_a_vector_without_its_chunks_table_counts_as_done(work: Workflow) -> None:
    work.start()
    store_of(work.library).vectors.write(work.library.id("a.mp3"), np.ones(4))
    assert numbers(work) == (3, 2, 2)


def test_the_limit_shortens_the_chunks_not_the_pending(library: Library) -> None:
    assert numbers(Workflow(library, limit=1)) == (3, 3, 1)
    assert numbers(Workflow(library, size=1)) == (3, 3, 3)


def test_lines_of_paths_file_that_name_nothing_are_told(library: Library) -> None:
    path = write_list(library, "music/a.mp3", "music/none.mp3", "music/nor this.mp3")
    told = str(Workflow(library, paths_file=path).preview()).splitlines()
    assert told == [
        f"{path}: 2 of 3 listed paths are not in the library, such as 'music/none.mp3'",
        "files found: 3, tracks pending: 1, chunks remaining: 1",
    ]


def test_how_long_it_takes_is_told_as_soon_as_it_is_known() -> None:
    ask = time_note(13_000, None, 2)
    assert ask.startswith("how long this takes is not known before ")
    assert "--config limit=10`" in ask
    assert time_note(99, None, 2, lambda: Guess(1.0, 2.0)) == ""
    assert time_note(100, None, 2, lambda: Guess(0.1, 0.2)) == ""
    guessed = time_note(13_000, None, 2, lambda: Guess(10.0, 43.2))
    assert guessed.startswith(
        "somewhere between 1 day 12 h and 6 days 12 h for 13,000 tracks, as fast "
    )
    assert guessed.endswith("--config limit=10` does ten, and then this line tells better")
    speed = Speed(10, 299.0)
    assert time_note(13_000, speed, 2) == (
        "about 2 days 6 h for 13,000 tracks at the speed of the last ones, 2 chunks at a time"
    )
    assert time_note(13_000, speed, 0).endswith("at the speed of the last ones")
    assert time_note(2, speed, 1) == ""


def test_how_long_it_takes_stands_above_the_counts(work: Workflow) -> None:
    lines = str(work.preview().timed(Speed(1, 100.0), 2)).splitlines()
    assert lines == [
        "about 2 min for 3 tracks at the speed of the last ones, 2 chunks at a time",
        "files found: 3, tracks pending: 3, chunks remaining: 2",
    ]


def write_rows(library: Library, rows: dict[str, Any]) -> Path:
    path = library.folder / "data" / "meta.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"tracks": rows}))
    return path


def test_links_to_folders_are_told(library: Library, work: Workflow, tmp_path: Path) -> None:
    assert work.preview().note == ""
    (library.music / "elsewhere").symlink_to(tmp_path)
    note = work.preview().note
    assert "links, which are not followed: 1, such as '" in note
    assert "library.roots" in note


@pytest.mark.parametrize(
    ("rows", "there", "refused", "told"),
    [
        (9, 0, False, True),  # made again before anyone has answered
        (10, 0, True, True),
        (20, 2, True, True),  # under a tenth is there
        (20, 3, False, True),
        (20, 18, False, True),
        (20, 19, False, False),  # one in twenty is nothing to tell
        (20, 20, False, False),
    ],
)
def test_vectors_on_a_disk_that_is_not_mounted(
    tmp_path: Path, rows: int, there: int, refused: bool, told: bool
) -> None:
    library = Library(tmp_path)
    library.add("new.mp3", *(f"{number:02d}.mp3" for number in range(rows)))
    (library.folder / "old").mkdir()
    refs = {f"{number:02d}.mp3": f"old/{number}.npy" for number in range(rows)}
    for name in list(refs.values())[rows - there :]:
        np.save(library.folder / name, np.ones(4, np.float16))
    path = write_rows(
        library, {str(library.music / name): {"embedding": ref} for name, ref in refs.items()}
    )
    work = Workflow(library, baseline=path)
    if refused:
        said = refusal(work.preview)
        assert "so nearly all would be made again" in said
        assert "accept_shrunken_library=true" in said
        work = Workflow(library, baseline=path, accept_shrunken_library=True)
    else:
        said = work.preview().note
    count = f"{rows - there} track{'s' if rows - there > 1 else ''}"
    assert (f"names vectors of {count} that are not there" in said) is told
    assert (str(library.folder / "old" / "0.npy") in said) is told
    assert ("meta.embedding_base or meta.path_map" in said) is told
    assert work.preview().tracks_pending == rows - there + 1


def test_to_have_each_track_twice_in_meta_json_is_refused(library: Library) -> None:
    rows = {f"C:\\Music\\{number}.mp3": {"embedding": f"{number}.npy"} for number in range(10)}
    path = write_rows(library, rows)
    refused = Workflow(library, baseline=path).preview().refusal
    assert refused.startswith("0 of 10 rows of meta.json belong to a file: ")
    assert "meta.path_map" in refused
    assert "accept_shrunken_library=true" in refused
    accepted = Workflow(library, baseline=path, accept_shrunken_library=True)
    assert accepted.preview().refusal == ""
    rows.pop("C:\\Music\\9.mp3")  # made again before anyone has answered
    write_rows(library, rows)
    assert Workflow(library, baseline=path).preview().refusal == ""


def test_a_library_that_is_mostly_new_to_meta_json_is_told(library: Library) -> None:
    path = write_rows(library, {str(library.music / "a.mp3"): {}})
    library.add(*(f"new {number:03}.mp3" for number in range(97)))
    assert "has no row" not in Workflow(library, baseline=path).preview().note
    library.add("new 097.mp3")
    note = Workflow(library, baseline=path).preview().note
    assert note.startswith("meta.json has no row for 100 of 101 tracks, such as '")
    assert "meta.baseline" in note
    assert "has no row" not in Workflow(library).preview().note


def test_whole_folders_that_went_since_the_last_scan_are_told(library: Library) -> None:
    for folder, tracks in (("House", 9), ("Live", 2)):
        (library.music / folder).mkdir()
        library.add(*(f"{folder}/{number}.mp3" for number in range(tracks)))
    work = Workflow(library, accept_shrunken_library=True)
    work.run()
    assert work.preview().note == ""
    for folder in ("House", "Live"):
        (library.music / folder).rename(library.folder / folder)
    assert work.preview().note == (
        f"2 folders that held music at the last scan hold none now, such as '{ROOT_NAME}/House' "
        "(9 tracks): moved, or a disk that is to be mounted? Their rows stay"
    )
    (library.folder / "House").rename(library.music / "House")  # two files are no folder to ask for
    assert work.preview().note == ""


def test_a_disk_that_is_not_mounted_any_more_is_told(library: Library) -> None:
    work = Workflow(library)
    work.run()
    away = str(library.music / "usb")
    replace(ScanState.read(library.results), mounts=[away, "/elsewhere"]).write(library.results)
    library.add("new.mp3")
    note = work.preview().note
    assert note.startswith("1 disk that was mounted at the last scan, but not now, such as ")
    assert f"'{away}'" in note


@pytest.mark.parametrize("fitting", [0, 1])
def test_rows_that_all_fit_no_file_are_told(library: Library, fitting: int) -> None:
    keys = ["C:\\Music\\a.mp3", "C:\\Music\\b.mp3"]
    keys[:fitting] = [str(library.music / "a.mp3")] * fitting
    path = write_rows(library, {key: {} for key in keys})
    preview = Workflow(library, baseline=path).preview()
    assert preview.tracks_pending == 3
    if fitting:
        assert preview.note == ""
    else:
        assert preview.note == (
            f"0 of 2 rows of meta.json belong to a file: they are written like '{keys[0]}', your "
            f"music is written like {str(library.music / 'a.mp3')!r}; is meta.path_map missing? "
            "See config/README.md"
        )


def test_vectors_that_windows_will_not_find_are_told(library: Library) -> None:
    path = write_rows(library, {"C:\\Music\\a.mp3": {}})
    music = ("C:/Music", str(library.music))
    preview = Workflow(library, baseline=path, path_map=PathMap([music])).preview()
    store = library.folder / "results" / "embeddings"
    assert preview.note == (
        f"new vectors go to '{store}', where Windows cannot open them: set "
        "meta.publish_embeddings_to to a folder beside your meta.json, and publish copies them "
        "there"
    )
    mapped = PathMap([music, ("C:/mert", str(library.folder))])
    assert Workflow(library, baseline=path, path_map=mapped).preview().note == ""
    copied = {"publish_embeddings_to": library.folder / "there"}
    assert (
        Workflow(library, baseline=path, path_map=PathMap([music]), **copied).preview().note == ""
    )


@pytest.mark.parametrize(
    ("sizes", "pending", "told"),
    [
        ([4, 4], 1, ""),
        ([8, 8], 3, "another model"),
        ([8], 3, "another model"),
        ([8, 4], 2, "1 track"),  # some are of this model: not a mistake
        ([8, 6], 3, "2 tracks"),
        ([], 3, ""),
    ],
)
@pytest.mark.parametrize("reembed", ["none", "invalid", "all"])
def test_vectors_of_another_size_are_told(
    library: Library, sizes: list[int], pending: int, told: str, reembed: str
) -> None:
    work = with_vectors(library, {name: np.ones(n) for name, n in zip(NAMES, sizes, strict=False)})
    work.settings = changed(work.settings, reembed=reembed)
    if reembed == "none":
        pending = len(NAMES) - len(sizes)
    elif reembed == "all":
        pending = len(NAMES)
    preview = work.preview()
    assert preview.tracks_pending == pending
    expected = (
        "your meta.json holds vectors of 8 numbers, this model makes 4: another model? "
        if told == "another model"
        else "meta.reembed is all: "
        if sizes and reembed == "all"
        else f"{told} whose vector cannot be used"
        if told and reembed == "invalid"
        else ""
    )
    assert preview.note.startswith(expected)
    assert expected or not preview.note
    assert not preview.refusal  # three tracks are made again before anyone has answered


def with_vectors(library: Library, vectors: dict[str, np.ndarray]) -> Workflow:
    """Return the steps of a library some of whose rows name vectors that another program made."""
    rows: dict[str, Any] = {str(file): {} for file in sorted(library.music.iterdir())}
    (library.folder / "theirs").mkdir(exist_ok=True)
    for name, vector in vectors.items():
        np.save(library.folder / "theirs" / f"{name}.npy", vector.astype(np.float16))
        rows[str(library.music / name)] = {"embedding": f"theirs/{name}.npy"}
    return Workflow(library, baseline=write_rows(library, rows), tracks=0)


@pytest.mark.parametrize(
    ("reembed", "mine", "refused"),
    [("invalid", 0, True), ("invalid", 2, False), ("all", 0, False), ("none", 0, False)],
)
def test_a_run_does_not_go_over_to_another_model_in_silence(
    library: Library, reembed: str, mine: int, refused: bool
) -> None:
    names = [f"{number:02}.mp3" for number in range(12)]
    library.add(*names)
    sizes = [4] * mine + [8] * (12 - mine)
    vectors = {name: np.ones(size) for name, size in zip(names, sizes, strict=True)}
    work = with_vectors(library, vectors)
    work.settings = changed(work.settings, reembed=reembed)
    refusal = work.preview().refusal
    assert bool(refusal) is refused
    if refused:
        assert refusal == (
            "your meta.json holds vectors of 8 numbers, this model makes 4: another model? Vectors "
            "of two models do not compare. Name the model that made them (model.name), or set "
            "meta.reembed to all to have them made again, or to none to leave them"
        )


# --- vectors that meta.json names


def test_a_damaged_vector_of_the_baseline_is_made_again(library: Library) -> None:
    work = with_vectors(library, {name: np.ones(4) for name in NAMES})
    assert work.run() == []
    theirs = library.folder / "theirs"
    (theirs / "a.mp3.npy").write_bytes(b"damaged")
    (theirs / "b.mp3.npy").unlink()
    preview = work.preview()
    assert (preview.change, preview.tracks_pending) == (Change.NAMED, 2)
    assert "1 track whose vector cannot be used (damaged, or of another size), such as '" in (
        preview.note
    )
    assert sorted(work.run()) == ["a.mp3", "b.mp3"]
    summary = json.loads(library.results.summary.read_text())
    assert summary["counts"]["missing_embedding_ref_total"] == 2
    assert summary["samples"]["embedding_invalid"] == [str(library.music / "a.mp3")]
    assert work.preview().plan_holds
    # that it comes back is seen, and nothing is done again
    np.save(theirs / "b.mp3.npy", np.ones(4, np.float16))
    assert work.preview().change is Change.NAMED
    assert work.run() == []


def test_what_verify_finds_in_the_baseline_is_made_again(
    library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    work = with_vectors(library, {name: np.ones(4) for name in NAMES})
    work.run()
    caplog.set_level("INFO")
    verify_library(work.settings, library.profile)
    assert "vectors that meta.json names: read 3, valid: 3, not there: 0" in caplog.text
    assert work.preview().plan_holds  # nothing new was found
    damaged = library.folder / "theirs" / "a.mp3.npy"
    stat = damaged.stat()
    damaged.write_bytes(bytes(stat.st_size))
    os.utime(damaged, ns=(stat.st_mtime_ns, stat.st_mtime_ns))  # as a disk damages it
    assert work.preview().plan_holds
    told = refusal(lambda: verify_library(work.settings, library.profile))
    assert told == (
        "1 vector that meta.json names cannot be used; run `snakemake --cores 2` to make again "
        "what has its file"
    )
    assert f"cannot be used: {damaged}" in caplog.text
    assert damaged.exists()  # it is not ours
    assert work.preview().change is Change.NAMED
    assert work.run() == ["a.mp3"]
    assert work.preview().plan_holds


def test_vectors_of_the_baseline_are_read_once(library: Library) -> None:
    work = with_vectors(library, {name: np.ones(4) for name in NAMES})
    theirs = [library.folder / "theirs" / f"{name}.npy" for name in NAMES]
    for keeps in (False, True):  # a preview reads, and keeps nothing; what a run reads is kept
        with OpenedFiles() as files:
            preview = work.preview()
        assert [files.opened[path] for path in theirs] == [1, 1, 1]
        if keeps:
            preview.remembered.write()
    library.add("new.mp3")
    with OpenedFiles() as files:
        assert work.run() == ["new.mp3"]
    assert not any(files.opened[path] for path in theirs)
    theirs[0].write_bytes(theirs[0].read_bytes())  # its time is another
    with OpenedFiles() as files:
        assert work.preview().change is Change.NAMED
    assert [files.opened[path] for path in theirs] == [1, 0, 0]


def test_all_ends_in_one_recipe_and_stops_there(library: Library) -> None:
    work = with_vectors(library, {name: np.ones(4) for name in NAMES})
    work.settings = changed(work.settings, reembed="all")
    assert work.preview().note == (
        "meta.reembed is all: 3 tracks whose vectors were not made here by this recipe and model "
        "get new ones; the old files stay"
    )
    assert sorted(work.run()) == NAMES
    assert numbers(work) == (3, 0, 0)
    library.add("new.mp3")
    assert work.run() == ["new.mp3"]
    assert numbers(work) == (4, 0, 0)
    assert len(list((library.folder / "theirs").iterdir())) == 3


# --- what is read


class OpenedFiles:
    """Counts what is opened and which folders are listed, while it is entered."""

    def __init__(self) -> None:
        self.opened: Counter[Path] = Counter()
        self.listed: Counter[Path] = Counter()

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        counts = {"open": self.opened, "os.scandir": self.listed, "os.listdir": self.listed}
        if event in counts and isinstance(arguments[0], str | os.PathLike):
            counts[event][Path(arguments[0])] += 1

    def __enter__(self) -> OpenedFiles:
        _LISTENERS.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _LISTENERS.remove(self)


_LISTENERS: list[OpenedFiles] = []


def tell(event: str, arguments: tuple[Any, ...]) -> None:
    for listener in _LISTENERS:
        listener.note(event, arguments)


# a hook stays for good, so there is one, which nobody hears but while a test listens
sys.addaudithook(tell)


def test_a_preview_reads_everything_once(library: Library) -> None:
    (library.music / "album").mkdir()
    library.add("album/d.mp3")
    lists = {}
    for name, line in (("exclude.txt", "music/c.mp3"), ("only.txt", "music"), ("none.txt", "x")):
        lists[name] = library.folder / name
        lists[name].write_text(f"{line}\n")
    baseline = write_baseline(library, "a.mp3")
    work = Workflow(
        library,
        baseline=baseline,
        exclude_file=lists["exclude.txt"],
        paths_file=lists["only.txt"],
        sidecars=("sections",),
        retry_failed=True,
        limit=3,
    )
    work.run({"b.mp3": BAD})
    library.add("new.mp3")
    vector(library, "a.mp3").write_bytes(b"damaged")
    with OpenedFiles() as files:
        assert work.preview().tracks_pending == 3
    journals = library.results.journals()
    assert len(journals) == 2
    once = [baseline, lists["exclude.txt"], lists["only.txt"], *journals]
    assert {path: files.opened[path] for path in once} == dict.fromkeys(once, 1)
    ours = {path: n for path, n in files.opened.items() if path.is_relative_to(library.folder)}
    assert max(ours.values()) == 1
    folders = [library.music, library.music / "album"]
    assert {folder: files.listed[folder] for folder in folders} == dict.fromkeys(folders, 1)
    assert not any(path.is_relative_to(library.music) for path in files.opened)


def test_a_preview_of_a_plan_that_holds_reads_no_rows_and_no_journals(library: Library) -> None:
    baseline = write_baseline(library, "a.mp3")
    work = Workflow(library, baseline=baseline)
    work.run()
    with OpenedFiles() as files:
        assert work.preview().plan_holds
    assert files.opened[baseline] == 0
    assert not any(files.opened[journal] for journal in library.results.journals())


def test_what_a_preview_imports_reaches_no_decoder_no_model_and_no_page() -> None:
    heavy = ["av", "jinja2", "librosa", "safetensors", "soundfile", "soxr", "torch", "transformers"]
    code = f"import mert_backfill.plan.preview, sys; print(set({heavy}) & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"


# --- what makes it scan again


def test_nothing_changes_when_nothing_changes(work: Workflow) -> None:
    work.run()
    one, other = work.preview(), work.preview()
    assert one == other
    assert one.plan_holds
    assert work.run() == []


def change_nothing(library: Library) -> dict[str, Any]:
    return {}


def add_file(library: Library) -> dict[str, Any]:
    library.add("new.mp3")
    return {}


def change_file(library: Library) -> dict[str, Any]:
    library.add("a.mp3", content="changed")
    return {}


def touch_file(library: Library) -> dict[str, Any]:
    os.utime(library.music / "a.mp3", ns=(LATER_NS, LATER_NS))
    return {}


def delete_file(library: Library) -> dict[str, Any]:
    (library.music / "a.mp3").unlink()
    return {}


def rename_file(library: Library) -> dict[str, Any]:
    (library.music / "a.mp3").rename(library.music / "z.mp3")
    return {}


def move_root(library: Library) -> dict[str, Any]:
    library.music.rename(library.folder / "moved")
    return {"roots": (Root(ROOT_NAME, library.folder / "moved"),)}


CHANGES: dict[str, Callable[[Library], dict[str, Any]]] = {
    "a new file": add_file,
    "a changed file": change_file,
    "a touched file": touch_file,
    "a deleted file": delete_file,
    "a renamed file": rename_file,
    "a moved root": move_root,
    "a baseline": lambda library: {"baseline": write_baseline(library)},
    "an exclude list": lambda library: {"exclude_file": write_list(library, "music/a.mp3")},
    "a paths list": lambda library: {"paths_file": write_list(library, "music/a.mp3")},
    "a limit": lambda library: {"limit": 1},
    "a chunk size": lambda library: {"size": 1},
    "sidecars": lambda library: {"sidecars": ("sections",)},
    "what is embedded again": lambda library: {"reembed": "all"},
    "a path map": lambda library: {"path_map": PathMap([("C:/Music", str(library.music))])},
    "an embedding base": lambda library: {"embedding_base": library.folder},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("when", ["planned", "finished"])
def test_what_changes_the_plan_makes_it_scan_again(
    library: Library, work: Workflow, change: str, when: str
) -> None:
    if when == "finished":
        work.run()
    else:
        work.start()
    before = work.preview()
    work.settings = changed(work.settings, **CHANGES[change](library))
    after = work.preview()
    assert before.plan_holds
    assert not after.plan_holds
    assert (before.change, after.change) == (Change.NONE, Change.LIBRARY)
    assert after.fingerprint != before.fingerprint
    assert after.key != before.key
    work.run()
    assert work.preview().plan_holds


@pytest.mark.parametrize(
    "change",
    [
        {"every": 1},
        {"runtime": None},
        {"stale_policy": "prune"},
        {"accept_shrunken_library": True},
        {"retry_failed": True},
    ],
)
def test_what_does_not_change_the_plan(work: Workflow, change: dict[str, Any]) -> None:
    work.run()
    before = work.preview()
    work.settings = changed(work.settings, **change)
    assert work.preview() == before


def test_another_model_makes_it_scan_again(library: Library, work: Workflow) -> None:
    work.run()
    other = take_preview(work.settings, a_profile(1))
    assert not other.plan_holds
    assert (other.tracks_pending, other.chunks_remaining) == (3, 2)


def test_the_contents_of_lists_and_baseline_count(library: Library) -> None:
    path, baseline = write_list(library, "music/a.mp3"), write_baseline(library, "a.mp3")
    work = Workflow(library, exclude_file=path, baseline=baseline)
    assert work.run() == ["b.mp3", "c.mp3"]
    assert work.preview().plan_holds
    write_list(library, "# nothing")
    assert not work.preview().plan_holds
    write_list(library, "music/a.mp3")
    assert work.preview().plan_holds
    os.utime(baseline, ns=(LATER_NS, LATER_NS))
    assert not work.preview().plan_holds


def test_a_new_track_is_the_only_one_left(library: Library, work: Workflow) -> None:
    work.run()
    library.add("new.mp3")
    assert numbers(work) == (4, 1, 1)
    assert work.run() == ["new.mp3"]
    assert numbers(work) == (4, 0, 0)


# --- plans that are half done


def test_an_unfinished_plan_goes_on(library: Library, work: Workflow) -> None:
    first, second = work.start()
    work.embed(first)
    assert work.start() == [second]
    assert work.preview().plan_holds


@pytest.mark.parametrize("cut", ["plan", "manifest", "chunk file", "state"])
def test_a_run_killed_while_planning_plans_again(
    library: Library, work: Workflow, cut: str
) -> None:
    work.start()
    gaps = library.results.gaps
    if cut == "plan":
        work.plan_file.unlink()
    elif cut == "manifest":  # a scan wrote it, its plan is still to come
        os.utime(gaps / "manifest.tsv", ns=(LATER_NS, LATER_NS))
    elif cut == "chunk file":
        next((gaps / "chunks").glob("*.tsv")).unlink()
    else:
        library.results.scan_state.write_text("{")
    assert not work.preview().plan_holds
    assert sorted(work.run()) == NAMES


def test_a_discarded_plan_is_made_again(library: Library, work: Workflow) -> None:
    discard_plan(library.results, "another")  # where there is none
    work.run()
    discard_plan(library.results, work.preview().fingerprint)
    assert not work.plan_file.exists()
    assert library.results.manifest.exists()
    discard_plan(library.results, "another")
    assert not library.results.manifest.exists()
    assert not work.preview().plan_holds


# --- a limit, run after run


def report(library: Library) -> None:
    """Write what a run that gets to its end writes last."""
    page = library.results.report
    page.parent.mkdir(exist_ok=True)
    page.touch()


def test_a_limit_takes_the_next_tracks_after_a_run_to_its_end(library: Library) -> None:
    limited = Workflow(library, limit=2)
    assert limited.run() == ["a.mp3", "b.mp3"]
    assert limited.run() == []  # killed before its report: the next call brings just that
    assert limited.preview().plan_holds
    report(library)
    assert numbers(limited) == (3, 1, 1)
    assert limited.preview().change is Change.NEXT
    assert limited.run() == ["c.mp3"]
    report(library)
    assert numbers(limited) == (3, 0, 0)
    assert limited.preview().plan_holds


def test_a_limit_that_was_interrupted_stays_with_its_tracks(library: Library) -> None:
    limited = Workflow(library, size=1, limit=2)
    first, second = limited.start()
    limited.embed(first)
    report(library)  # of the run before
    assert numbers(limited) == (3, 2, 1)
    assert limited.start() == [second]


def test_a_limit_comes_to_those_tried_before_last(library: Library) -> None:
    assert sorted(Workflow(library).run({"a.mp3": BAD})) == NAMES
    vector(library, "c.mp3").unlink()
    limited = Workflow(library, limit=1, retry_failed=True)
    assert limited.run() == ["c.mp3"]
    report(library)
    assert limited.run() == ["a.mp3"]


# --- vectors that are lost


def test_a_deleted_vector_is_made_again_and_just_that_one(library: Library, work: Workflow) -> None:
    work.run()
    for _ in range(3):  # each time anew
        vector(library, "b.mp3").unlink()
        assert numbers(work) == (3, 1, 1)
        assert work.preview().change is Change.LOST
        work.start()
        assert work.preview().plan_holds  # it is on its way
        assert work.run() == ["b.mp3"]
        assert work.preview().plan_holds
        assert numbers(work) == (3, 0, 0)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def make_nan(path: Path) -> None:
    np.save(path, np.full(4, np.nan, np.float16))


@pytest.mark.parametrize("damage", [cut_short, make_nan])
def test_a_vector_damaged_later_is_made_again(
    library: Library, work: Workflow, damage: Callable[[Path], None]
) -> None:
    work.run()
    age(library)
    before = vector(library, "b.mp3").read_bytes()
    damage(vector(library, "b.mp3"))
    assert work.run() == ["b.mp3"]
    assert vector(library, "b.mp3").read_bytes() == before
    assert work.preview().plan_holds


def test_a_vector_cut_short_is_seen_by_its_size_whatever_its_time(
    library: Library, work: Workflow
) -> None:
    work.run()
    cut_short(vector(library, "b.mp3"))
    age(library)
    assert numbers(work) == (3, 1, 1)


def test_a_sound_vector_with_a_new_time_is_no_loss(library: Library, work: Workflow) -> None:
    work.run()
    age(library)
    os.utime(vector(library, "b.mp3"), ns=(LATER_NS, LATER_NS))
    assert work.preview().plan_holds


def test_copied_vectors_are_read_once(library: Library, work: Workflow) -> None:
    work.run()
    age(library)
    paths = [vector(library, name) for name in NAMES]
    for path in paths:
        os.utime(path, ns=(LATER_NS, LATER_NS))
    with OpenedFiles() as files:
        preview = work.preview()
    assert all(files.opened[path] for path in paths)
    preview.remembered.write()  # as a run does
    with OpenedFiles() as files:
        assert work.preview().plan_holds
    assert not any(files.opened[path] for path in paths)
    make_nan(paths[1])
    assert work.run() == ["b.mp3"]


def test_a_lost_vector_of_a_track_that_is_left_out_is_not_looked_for_again_and_again(
    library: Library, work: Workflow
) -> None:
    work.run()
    work.settings = changed(work.settings, exclude_file=write_list(library, "music/b.mp3"))
    vector(library, "b.mp3").unlink()
    assert work.run() == []
    assert work.preview().plan_holds


def test_a_lost_vector_whose_track_fails_for_good_now_is_no_loss_any_more(
    library: Library, work: Workflow
) -> None:
    work.run()
    age(library)
    vector(library, "b.mp3").unlink()
    assert work.run({"b.mp3": BAD}) == ["b.mp3"]
    assert work.preview().plan_holds
    assert numbers(work) == (3, 0, 0)


def test_a_lost_sidecar_is_made_again(library: Library) -> None:
    work = Workflow(library, sidecars=("layers", "sections"))
    work.run()
    store = open_track_store(library.results, library.profile, ("layers", "sections"))
    store.sidecars[0].path(library.id("c.mp3")).unlink()
    assert work.run() == ["c.mp3"]
    assert store.is_complete(library.id("c.mp3"))
    assert work.preview().plan_holds


# --- failures


def test_failures_that_may_pass_keep_the_plan(library: Library, work: Workflow) -> None:
    busy = TrackError("decode", Reason.IO_ERROR, "busy")
    assert "1 of 2 tracks failed" in refusal(lambda: work.run({"a.mp3": busy}))
    assert work.preview().plan_holds
    assert work.run() == ["a.mp3", "c.mp3"]


def test_what_failed_alike_in_three_runs_is_tried_again_by_each_run(
    library: Library, work: Workflow
) -> None:
    errors = {"a.mp3": TrackError("decode", Reason.IO_ERROR, "busy")}
    for _ in range(2):
        assert "may pass" in refusal(lambda: work.run(errors))
    work.run(errors)
    assert work.preview().change is Change.NONE  # killed before its report
    report(library)
    for _ in range(2):
        assert work.preview().change is Change.RETRY
        assert numbers(work) == (3, 1, 1)
        assert work.run(errors) == ["a.mp3"]
        report(library)
    assert work.run() == ["a.mp3"]
    report(library)
    assert work.preview().change is Change.NONE
    assert work.run() == []


def test_a_twin_that_comes_later_gets_its_own_vector(library: Library, work: Workflow) -> None:
    decomposed, composed = "e\u0301.mp3", "\u00e9.mp3"
    library.add(decomposed)
    assert decomposed in work.run()
    library.add(composed)
    assert numbers(work)[1:] == (1, 1)
    assert work.run() == [composed]
    assert numbers(work)[1:] == (0, 0)
    assert work.preview().change is Change.NONE


def test_the_state_of_an_earlier_version_is_understood(library: Library, work: Workflow) -> None:
    work.run()
    path = library.results.scan_state
    values = json.loads(path.read_text())
    del values["holders"]
    path.write_text(json.dumps(values))
    assert work.preview().change is Change.NONE
    path.write_text("[]")
    assert work.preview().change is not Change.NONE


def test_retry_failed_tries_the_quarantined_once_a_run(library: Library, work: Workflow) -> None:
    work.run({"b.mp3": BAD})
    assert work.run() == []
    again = Workflow(library, retry_failed=True)
    for attempts in (2, 3):
        assert numbers(again) == (3, 1, 1)
        assert again.preview().change is Change.RETRY
        assert again.run({"b.mp3": BAD}) == ["b.mp3"]
        failures = read_ledger(library.results).failures
        assert failures[library.id("b.mp3")].attempts == attempts
    assert work.preview().plan_holds  # without the word nothing is left
    assert again.run() == ["b.mp3"]
    assert again.run() == []
    assert read_ledger(library.results).failures == {}


def test_a_retry_that_was_interrupted_goes_on(library: Library, work: Workflow) -> None:
    work.run({"a.mp3": BAD, "c.mp3": BAD})
    again = Workflow(library, retry_failed=True, size=1)
    first, second = again.start()
    assert again.embed(first, {"a.mp3": BAD}) == ["a.mp3"]
    assert again.start() == [second]  # and a.mp3 not for a third time


def test_paths_file_names_a_quarantined_track(library: Library, work: Workflow) -> None:
    work.run({"b.mp3": BAD})
    listed = Workflow(library, paths_file=write_list(library, "music/b.mp3"))
    assert listed.run() == ["b.mp3"]
    assert vector(library, "b.mp3").exists()


# --- refusals


def test_a_shrunken_library_is_refused(library: Library, work: Workflow) -> None:
    work.run()
    for name in ("a.mp3", "b.mp3"):
        (library.music / name).unlink()
    told = refusal(work.preview)
    assert "looks unmounted: audio files in it: 1; the last scan found 3" in told
    work.settings = changed(work.settings, accept_shrunken_library=True)
    assert numbers(work)[0] == 1


def test_a_missing_baseline_is_refused(library: Library) -> None:
    path = library.folder / "none.json"
    told = refusal(Workflow(library, baseline=path).preview)
    assert told.startswith(f"meta.baseline: {path}: No such file")
    assert told.endswith("correct the path, or set it to null")


def test_a_missing_list_is_refused(library: Library) -> None:
    path = library.folder / "none.txt"
    assert refusal(Workflow(library, paths_file=path).preview).startswith(f"{path}: there is no")


# --- what is published is what was audited


def test_a_frozen_preview_stays_with_the_results(library: Library, work: Workflow) -> None:
    def frozen() -> bool:
        preview = take_preview(work.settings, library.profile, frozen=True)
        return preview.plan_holds and preview.change is Change.PUBLISHING

    assert not frozen()
    work.run()
    library.add("new.mp3")
    assert not frozen()  # there is no meta.json to publish
    library.results.meta.parent.mkdir()
    library.results.meta.write_text("{}")
    assert frozen()
    assert not work.preview().plan_holds
