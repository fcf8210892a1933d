"""Damaged files of our own are found, never trusted, never unpickled, and made again."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mert_backfill
from mert_backfill.errors import UserError
from mert_backfill.health.rows import count_rows
from mert_backfill.health.verify import verify_store
from mert_backfill.library.listing import Listing
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.paths import PathMap, track_id
from mert_backfill.meta.publish import PublishInputs, publish_meta
from mert_backfill.meta.rebuild import rebuild_library
from mert_backfill.records.journal import JournalWriter, read_journal
from mert_backfill.records.journal_index import open_index
from mert_backfill.records.ledger import read_ledger
from mert_backfill.records.past import Sounds
from mert_backfill.records.tidied import ArchivedRow, archive_rows, read_archived, read_tidied
from mert_backfill.store.vectors import VectorState, vector_state
from support import ROOT_NAME
from support.fakes import D, FakeEncoder
from support.jobs import Workflow, failures, has_vector, make_job, plan_job, run_once, statuses
from support.libraries import Library, write_track
from support.meta_home import Home
from support.project import Project, add_track, make_project

Damage = Callable[[Path], object]


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def mark_of(path: Path) -> Path:
    return path.with_suffix(".unpickled")


def refill(path: Path, value: float) -> None:
    """Overwrite a vector with one value; its size stays."""
    vector = np.load(path, allow_pickle=False)
    np.save(path, np.full_like(vector, value))


def save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)


DAMAGES: dict[str, Damage] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 3),
    "cut in its header": lambda path: os.truncate(path, 40),
    "zero-length": lambda path: os.truncate(path, 0),
    "longer than it should be": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "of another shape": lambda path: save(path, np.ones((2, 3), np.float16)),
    "of another length": lambda path: save(path, np.ones(5, np.float16)),
    "NaN": lambda path: refill(path, np.nan),
    "infinite": lambda path: refill(path, np.inf),
    "all zero": lambda path: refill(path, 0),
    "of integers": lambda path: save(path, np.ones(D, np.int16)),
    "pickled": lambda path: save(path, np.array([Bomb(mark_of(path))] * D, object)),
    "a bare pickle": lambda path: np.array([Bomb(mark_of(path))], object).dump(path),
    "text": lambda path: path.write_text("not a vector", encoding="utf-8"),
    "a ZIP archive": lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)),
    "of a huge claimed shape": lambda path: path.write_bytes(
        re.sub(rb"\(\d+,\)", b"(9999999999999,)", path.read_bytes(), count=1)
    ),
}


NAMES = [f"{number}.wav" for number in range(len(DAMAGES))]


def test_the_bomb_is_one(tmp_path: Path) -> None:
    """Else the tests below would prove nothing."""
    path = tmp_path / "bomb.npy"
    DAMAGES["pickled"](path)
    np.load(path, allow_pickle=True)
    assert mark_of(path).exists()


@pytest.fixture(params=DAMAGES)
def damage(request: pytest.FixtureRequest) -> Damage:
    return DAMAGES[request.param]


def test_a_damaged_vector_is_made_again(tmp_path: Path, damage: Damage) -> None:
    """A vector in the store is truncated, zero-length, of another shape, NaN, zero, pickled or
    foreign -> it is found, never unpickled, and made again to the same bytes."""
    job = make_job(tmp_path, ["a.wav", "b.wav"])
    run_once(job)
    path = job.store.vectors.path(track_id(ROOT_NAME, "a.wav"))
    whole = path.read_bytes()
    damage(path)
    assert vector_state(path, D) is VectorState.INVALID
    encoder = FakeEncoder()
    run_once(job, encoder=encoder)
    assert encoder.windows_seen == 1
    assert path.read_bytes() == whole
    assert not mark_of(path).exists()


def test_a_damaged_vector_is_never_reused(tmp_path: Path, damage: Damage) -> None:
    """The vector of the same audio is damaged -> a copy of the track does not take it."""
    job = make_job(tmp_path, ["a.wav"])
    run_once(job)
    path = job.store.vectors.path(track_id(ROOT_NAME, "a.wav"))
    damage(path)
    second = make_job(tmp_path, ["b.wav"])
    assert second.roots == job.roots
    (tmp_path / "music" / "b.wav").write_bytes((tmp_path / "music" / "a.wav").read_bytes())
    run_once(second)
    assert statuses(second) == {"b.wav": "embedded"}
    assert not mark_of(path).exists()


def test_verify_sets_a_damaged_vector_aside(tmp_path: Path, damage: Damage) -> None:
    """A damaged vector whose size and time say nothing -> verify finds and renames it."""
    job = make_job(tmp_path, ["a.wav", "b.wav"])
    run_once(job)
    store = job.store.vectors
    (store.folder / "profile.json").write_text(json.dumps({"dimension": D}))
    path = store.path(track_id(ROOT_NAME, "a.wav"))
    status = path.stat()
    damage(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    damaged = path.read_bytes()
    result = verify_store(job.results.embeddings)
    assert (result.valid, result.damaged) == (1, (path,))
    assert not path.exists()
    assert path.with_name(f"{path.name}.damaged").read_bytes() == damaged
    assert verify_store(job.results.embeddings).damaged == ()
    assert not mark_of(path).exists()


def test_the_audit_counts_damaged_embeddings_of_the_baseline(tmp_path: Path) -> None:
    """meta.json refers to a damaged or pickled file -> the audit counts it as invalid."""
    rows: dict[str, Any] = {}
    for number, make in enumerate(DAMAGES.values()):
        path = tmp_path / f"{number}.npy"
        save(path, np.ones(D, np.float16))
        make(path)
        rows[f"/music/{number}.mp3"] = {"embedding": str(path)}
    meta = MetaFile({"tracks": rows}, path_map=PathMap())
    listing = Listing((), (), (), ())
    counted = count_rows(meta, listing, lambda path: vector_state(path, D))
    assert counted.counters.embedding_invalid == len(DAMAGES)
    assert not list(tmp_path.glob("*.unpickled"))


def test_damaged_embeddings_of_the_baseline_are_made_again(tmp_path: Path) -> None:
    """Vectors that meta.json names are damaged or pickled -> their tracks are pending and get
    vectors here; the old files stay."""
    library = Library(tmp_path)
    rows: dict[str, Any] = {}
    for number, make in enumerate(DAMAGES.values()):
        library.add(f"{number}.mp3")
        path = tmp_path / f"{number}.npy"
        save(path, np.ones(D, np.float16))
        make(path)
        rows[str(library.music / f"{number}.mp3")] = {"embedding": str(path)}
    before = {path: path.stat() for path in tmp_path.glob("*.npy") if not path.is_symlink()}
    (tmp_path / "meta.json").write_text(json.dumps({"tracks": rows}))
    work = Workflow(library, baseline=tmp_path / "meta.json")
    assert work.preview().tracks_pending == len(DAMAGES)
    assert len(work.run()) == len(DAMAGES)
    assert work.preview().tracks_pending == 0
    text = rebuild_library(work.settings, library.profile).text
    named = {row["embedding"] for row in json.loads(text)["tracks"].values()}
    assert len(named) == len(DAMAGES)
    assert all(vector_state(path, D) is VectorState.VALID for path in named)
    assert {path: path.stat() for path in before} == before
    assert not list(tmp_path.glob("*.unpickled"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with a baseline and a track for each damage, in which a run finished."""
    folder = tmp_path_factory.mktemp("damage") / "project"
    project = make_project(folder, chunking={"size": 100}, meta={"baseline": "data/meta.json"})
    for seed, name in enumerate([*NAMES, "untouched.wav"]):
        add_track(project.music / name, seed=seed)
    (folder / "data").mkdir()
    (folder / "data" / "meta.json").write_text('{"tracks": {}}', encoding="utf-8")
    project.run()
    return project


def test_a_damaged_rebuilt_meta_is_not_published(finished: Project) -> None:
    """results/meta/meta.json is damaged -> publish refuses; the live file stays as it is."""
    live, meta = finished.folder / "data" / "meta.json", finished.results / "meta" / "meta.json"
    before, status, whole = live.read_bytes(), meta.stat(), meta.read_bytes()
    meta.write_bytes(whole[:-20])
    os.utime(meta, ns=(status.st_atime_ns, status.st_mtime_ns))
    call = finished.snakemake("publish")
    assert call.code != 0
    assert "Traceback" not in call.output
    (error,) = call.errors
    assert "this is no meta.json with tracks, so it was not published" in error
    assert live.read_bytes() == before
    meta.write_bytes(whole)
    os.utime(meta, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_snakemake_verify(finished: Project) -> None:
    """`snakemake verify` on damaged vectors -> they are renamed to .damaged and the exit code
    is not 0; the next run makes them again."""
    whole = finished.vectors()
    for name, make in zip(NAMES, DAMAGES.values(), strict=True):
        make(finished.vector(name))
    call = finished.snakemake("verify")
    assert call.code != 0
    assert "Traceback" not in call.output
    (error,) = call.errors
    assert f"{len(NAMES)} damaged vectors renamed to end in .damaged" in error
    aside = {path.name for path in finished.results.rglob("*.damaged")}
    assert aside == {f"{finished.vector(name).name}.damaged" for name in NAMES}
    assert set(finished.vectors()) == {finished.vector("untouched.wav").name}

    call = finished.run()
    assert finished.statuses(call.chunks) == dict.fromkeys(NAMES, "embedded")
    assert finished.vectors() == whole
    assert not list(finished.results.rglob("*.unpickled"))


def test_snakemake_recheck(finished: Project) -> None:
    """`snakemake recheck` on vectors that an earlier version made of a part of the sound -> they
    are renamed to .superseded; the next run makes them again."""
    whole = finished.vectors()
    short, others = NAMES[0], {*NAMES[1:], "untouched.wav"}
    for journal in finished.results.glob("chunks/*.journal.jsonl"):
        lines = []
        for record in map(json.loads, journal.read_text(encoding="utf-8").splitlines()):
            if "row" in record:  # as before there were remarks
                del record["row"]["remark"]
                if record["row"]["path"].endswith(f"/{short}"):
                    record["row"]["duration_s"] = 0.1
            lines.append(json.dumps(record) + "\n")
        journal.write_text("".join(lines), encoding="utf-8")
    call = finished.snakemake("recheck")
    assert call.code == 0, call.output
    assert f"{short}': made of 0.1 s, of 1.0 s that there are" in call.output
    assert "1 vector made of less sound than there is, or of noise" in call.output
    (aside,) = finished.results.rglob("*.superseded")
    assert aside.name == f"{finished.vector(short).name}.superseded"
    assert set(finished.vectors()) == {finished.vector(name).name for name in others}

    call = finished.run()
    assert finished.statuses(call.chunks) == {short: "embedded"}
    assert finished.vectors() == whole


# --- journals and checkpoints -------------------------------------------------------------------


def test_a_journal_cut_anywhere_keeps_its_good_lines(tmp_path: Path) -> None:
    """A journal is cut in the middle of its last line -> the good lines count, and the next
    line stands alone."""
    job = make_job(tmp_path, ["a.wav", "b.wav"])
    run_once(job)
    whole = job.journal.read_bytes()
    *_, last = whole.splitlines(keepends=True)
    start = len(whole) - len(last)
    (done, _) = read_journal(job.journal).done
    for size in range(start, len(whole) - 1):
        job.journal.write_bytes(whole[:size])
        with JournalWriter(job.journal) as journal:
            journal.append("crashed", tracks=["x"])
        state = read_journal(job.journal)
        assert list(state.done) == [done]
        assert state.crashes == {"x": 1}


BAD_LINES = [
    b"",
    b"\0" * 200,
    b"\xff\xfe not text",
    b"[" * 100_000,
    b'{"event": "embedded"',
    b'{"event": "embedded", "row": 5, "profile": "x", "at": "y"}',
    b'{"event": "embedded", "row": {"track_id": ["list"]}, "profile": "x", "at": "y"}',
    b'{"event": "failed", "failure": {}}',
    b'{"event": "failed", "failure": 7}',
    b'{"event": "begin"}',
    b'{"event": "crashed", "tracks": 3}',
    b'{"event": {}}',
    b'{"no event": 1}',
    b"17",
    b'"text"',
    b'{"event": "embedded", "row": null, "at": 1e999}',
]


@pytest.mark.parametrize("line", BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_damaged_line_is_passed_over(tmp_path: Path, line: bytes) -> None:
    """A journal holds a line that is no record -> it is passed over, nothing is done twice."""
    write_track(tmp_path / "music" / "a.wav", seed=0)
    (tmp_path / "music" / "bad.wav").write_bytes(b"no audio")
    job = plan_job(tmp_path, ["a.wav", "bad.wav"])
    run_once(job)
    lines = job.journal.read_bytes().splitlines()
    job.journal.write_bytes(b"\n".join([line, *lines, line, b""]))
    state, ledger = read_journal(job.journal), read_ledger(job.results)
    assert list(state.done) == [track_id(ROOT_NAME, "a.wav")]
    assert list(state.failed) == list(ledger.failures) == [track_id(ROOT_NAME, "bad.wav")]
    sounds = Sounds(open_index(job.results), job.profile.name)
    done = state.done[track_id(ROOT_NAME, "a.wav")]
    assert list(sounds.tracks_with(done["pcm_sha256"])) == [done["track_id"]]
    encoder = FakeEncoder()
    run_once(job, encoder=encoder)
    assert encoder.windows_seen == 0
    assert failures(job)["bad.wav"]["attempts"] == 1


def test_a_lost_or_damaged_journal_costs_no_vector(tmp_path: Path) -> None:
    """A journal is lost, or all of it damaged -> the vectors in the store are what counts."""
    job = make_job(tmp_path, ["a.wav", "b.wav"])
    run_once(job)
    for damaged in (True, False):
        job.journal.write_bytes(b"\xff" * 1000) if damaged else job.journal.unlink()
        encoder = FakeEncoder()
        run_once(job, encoder=encoder)
        assert encoder.windows_seen == 0
        assert statuses(job) == {"a.wav": "existing", "b.wav": "existing"}


@pytest.mark.parametrize("content", [b"", b'{"status": "run', b"[]", b"\xff\xfe"])
def test_a_damaged_checkpoint_is_written_anew(tmp_path: Path, content: bytes) -> None:
    """A checkpoint file is damaged -> it is written anew; nothing depends on it."""
    job = make_job(tmp_path, ["a.wav"])
    run_once(job)
    job.checkpoint.write_bytes(content)
    run_once(job)
    assert json.loads(job.checkpoint.read_bytes())["status"] == "completed"
    assert has_vector(job, "a.wav")


# --- meta.json ----------------------------------------------------------------------------------

BAD_META = {
    "empty": b"",
    "cut": b'{"tracks": {"/a.mp3": {"artist": "X"',
    "not UTF-8": b'{"tracks": {"\xff": {}}}',
    "another document": b'{"rows": []}',
    "tracks that are a list": b'{"tracks": []}',
    "a row that is no object": b'{"tracks": {"/a.mp3": 1}}',
    "a key twice": b'{"tracks": {"/a.mp3": {}, "/a.mp3": {}}}',
    "zeros": bytes(500),
}


@pytest.mark.parametrize("kind", BAD_META)
def test_a_damaged_baseline_is_refused_and_not_touched(tmp_path: Path, kind: str) -> None:
    """The baseline meta.json is damaged -> refused in one line; it is never overwritten, by
    publish neither."""
    live, rebuilt = tmp_path / "meta.json", tmp_path / "rebuilt.json"
    live.write_bytes(BAD_META[kind])
    rebuilt.write_text('{"tracks": {}}', encoding="utf-8")
    with pytest.raises(UserError, match=r"meta\.json: meta\.baseline "):
        MetaFile.load(live, embedding_base=None, path_map=PathMap())
    with pytest.raises(UserError, match=r"meta\.json: it has changed since it was read"):
        publish_meta(PublishInputs(rebuilt, live, tmp_path / "base.json", "0" * 64, PathMap()))
    assert live.read_bytes() == BAD_META[kind]
    assert sorted(os.listdir(tmp_path)) == ["meta.json", "rebuilt.json"]


KILLED_PUBLISH = """
import os, sys
from pathlib import Path
from mert_backfill.library.paths import PathMap
from mert_backfill.meta.publish import PublishInputs, publish_meta

folder, ending, moment, sha256 = sys.argv[1:]
original = os.replace

def replace(source, target):
    if moment == "after" or not str(target).endswith(ending):
        original(source, target)
    if str(target).endswith(ending):
        os.kill(os.getpid(), 9)

os.replace = replace
rebuilt, live, base = (Path(folder, name) for name in ("rebuilt", "live/meta.json", "base"))
publish_meta(PublishInputs(rebuilt, live, base, sha256, PathMap()))
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("ending", [".bak", "meta.json"])
def test_a_publish_that_is_killed_leaves_a_whole_file(
    tmp_path: Path, ending: str, moment: str
) -> None:
    """`kill -9` in the middle of publish -> the live meta.json is the old or the new one, whole;
    what it was is in the backup, or still there; the next publish does the rest, and clears up."""
    old, new = b'{"tracks": {"/a": {"cues": [1]}}}', b'{"tracks": {"/a": {"cues": [1], "e": 1}}}'
    live, rebuilt = tmp_path / "live" / "meta.json", tmp_path / "rebuilt"
    live.parent.mkdir()
    live.write_bytes(old)
    rebuilt.write_bytes(new)
    sha256 = hashlib.sha256(old).hexdigest()
    command = [sys.executable, "-c", KILLED_PUBLISH, str(tmp_path), ending, moment, sha256]
    source = str(Path(mert_backfill.__file__).parents[1])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": source}, check=False)
    assert done.returncode == -signal.SIGKILL
    is_done = (ending, moment) == ("meta.json", "after")
    assert live.read_bytes() == (new if is_done else old)
    backups = [path.read_bytes() for path in live.parent.glob("*.bak")]
    assert backups == ([] if (ending, moment) == (".bak", "before") else [old])
    later = datetime(2100, 1, 1, tzinfo=UTC)  # a second has passed
    for left in live.parent.glob(".tmp-*"):  # as has an hour
        os.utime(left, (1, 1))
    inputs = PublishInputs(rebuilt, live, tmp_path / "base", sha256, PathMap())
    assert (publish_meta(inputs, now=later) is None) is is_done
    assert live.read_bytes() == new
    assert list(live.parent.glob(".tmp-*")) == []


@pytest.mark.parametrize("back", [False, True], ids=["tidy", "untidy"])
def test_a_tidy_that_is_killed_is_done_or_not(tmp_path: Path, back: bool) -> None:
    """`kill -9` in the middle of tidy or untidy, at each file that they write -> meta.json is as
    before or as after; no row is missing that is not on record; the next one does the rest."""
    home = Home(tmp_path)
    home.fill()
    before = home.meta()
    home.tidy()
    after = home.meta()
    names = ("archive.jsonl", "baseline.json", "tidied.jsonl", "meta.json", "source.json")
    for name, moment in itertools.product(names, ("before", "after")):
        home.tidy()
        if not back:
            home.untidy()
            home.results.archived_rows.unlink()
        killed_at(home.untidy if back else home.tidy, name, moment)
        assert home.meta() in (before, after)
        if home.meta() == after:
            assert len(read_tidied(home.results.tidied)) == 4
            assert len(read_archived(home.results.archived_rows)) == 1
        home.tidy()
        assert home.meta() == after
        home.untidy()
        assert home.meta() == before


def killed_at(work: Callable[[], object], name: str, moment: str) -> None:
    """Do some work in a process that dies at the file of a name, if it writes that."""
    process = os.fork()
    if process:
        os.waitpid(process, 0)
        return
    original = os.replace

    def replace(source: str, target: Path) -> None:
        if moment == "after" or Path(target).name != name:
            original(source, target)
        if Path(target).name == name:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "replace", replace)
            work()
    finally:
        os._exit(0)


def test_a_damaged_archive_keeps_what_it_holds(tmp_path: Path) -> None:
    """A line of the archive of rows is damaged -> it stays as it is, and rows are added."""
    archive = tmp_path / "archive.jsonl"
    archive.write_bytes(BAD_META["cut"])
    for _ in range(2):
        archive_rows(archive, [ArchivedRow("/a.mp3", '{"n": 1.50}', "gone", "now")])
    assert archive.read_bytes().startswith(BAD_META["cut"] + b"\n")
    assert read_archived(archive) == {("/a.mp3", '{"n":1.50}')}
    archive.unlink()
    archive.mkdir()
    with pytest.raises(UserError, match="may hold the only copy of rows"):
        archive_rows(archive, [ArchivedRow("/a.mp3", "{}", "gone", "now")])
