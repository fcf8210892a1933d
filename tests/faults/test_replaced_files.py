"""Another song under an old name: each track ends with the vector of the sound that it has now."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.failures import Reason, TrackError
from mert_backfill.records.manifest import FILE_CHANGED, read_manifest
from mert_backfill.store.sidecars import SidecarStore
from mert_backfill.store.tracks import TrackStore, open_track_store
from mert_backfill.store.vectors import VectorState, VectorStore
from mert_backfill.system.tables import read_tsv
from support.fakes import FakeDecoder, FakeEncoder, no_encoder
from support.jobs import Workflow, run_once, statuses
from support.libraries import Library

NAMES = ["a.mp3", "b.mp3", "c.mp3"]
LATER_NS = 4_000_000_000_000_000_000
BAD = TrackError("decode", Reason.NOT_AUDIO, "bad")
BUSY = TrackError("decode", Reason.IO_ERROR, "busy")
TOLD = {
    1: "1 track changed on disk since it was embedded: it is decoded, ",
    2: "2 tracks changed on disk since they were embedded: they are decoded, ",
}


class Killed(BaseException):
    """What no code expects."""


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path)
    library.add(*NAMES)
    return library


@pytest.fixture
def work(library: Library) -> Workflow:
    """Return the steps of a library whose three tracks are embedded."""
    work = Workflow(library, size=1)
    assert sorted(work.run()) == NAMES
    return work


def store(library: Library, *sidecars: Any) -> TrackStore:
    return open_track_store(library.results, library.profile, sidecars)


def swap(library: Library, one: str = "a.mp3", other: str = "b.mp3") -> None:
    paths = [library.music / one, library.music / other]
    aside = library.folder / "aside"
    paths[0].rename(aside)
    paths[1].rename(paths[0])
    aside.rename(paths[1])


def touch(library: Library, *names: str) -> None:
    for name in names:
        os.utime(library.music / name, ns=(LATER_NS, LATER_NS))


def replace(library: Library, name: str = "a.mp3") -> None:
    library.add(name, content="another song")


def all_right(library: Library, names: list[str] = NAMES) -> None:
    """Check that each track has the vector of the sound that its file has now."""
    vectors = store(library).vectors
    for name in names:
        assert np.array_equal(vectors.read(library.id(name)), library.vector_of(name)), name


def settled(work: Workflow) -> bool:
    preview = work.preview()
    return preview.plan_holds and preview.tracks_pending == 0 and not preview.note


def pending(library: Library) -> dict[str, str]:
    rows = read_manifest(library.results.manifest)
    return {Path(row.path).name: row.reason for row in rows}


def by_earlier_version(library: Library) -> None:
    """Take out of the journals what earlier versions did not note, and what was remembered."""
    for path in library.results.journals():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            for name in ("size_bytes", "mtime_ns"):
                line.get("row", {}).pop(name, None)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    library.results.remembered.unlink(missing_ok=True)


# --- what becomes of it


def test_a_file_that_takes_over_the_id_of_its_twin_has_its_own_vector(library: Library) -> None:
    """A file is deleted whose name differs from another's in accents only -> the other's vector."""
    composed, decomposed = "caf\u00e9.mp3", "cafe\u0301.mp3"
    library.add(composed, content="one song")
    library.add(decomposed, content="quite another song")
    work = Workflow(library, size=1)
    work.run()
    (library.music / composed).unlink()
    work.run()
    all_right(library, [*NAMES, decomposed])
    assert settled(work)


def test_swapped_names_end_with_each_others_vectors(library: Library, work: Workflow) -> None:
    """Two tracks swap their names -> each ends with the vector of the sound that it has now."""
    swap(library)
    touch(library, "a.mp3", "b.mp3")  # names of one length have the same size
    preview = work.preview()
    assert preview.tracks_pending == 2
    assert TOLD[2] in preview.note
    assert sorted(work.run()) == ["a.mp3", "b.mp3"]
    all_right(library)
    assert settled(work)


def test_three_names_that_go_round_end_right_in_one_chunk(library: Library) -> None:
    work = Workflow(library, size=3)
    work.run()
    swap(library, "a.mp3", "b.mp3")
    swap(library, "b.mp3", "c.mp3")
    touch(library, *NAMES)
    assert sorted(work.run()) == NAMES
    all_right(library)
    assert settled(work)


def test_a_touched_file_is_decoded_once_and_keeps_its_vector(
    library: Library, work: Workflow
) -> None:
    """Files are touched or retagged -> they are decoded once; the vectors stay."""
    vector = store(library).vectors.path(library.id("a.mp3"))
    before = vector.stat()
    touch(library, "a.mp3")
    (chunk,) = work.start()
    assert pending(library) == {"a.mp3": FILE_CHANGED}
    job = library.planned(chunk, roots=work.settings.library.roots)
    run_once(job, FakeDecoder(), FakeEncoder(before=no_encoder))
    assert statuses(job) == {"a.mp3": "reused"}
    assert vector.stat() == before  # not even written
    assert settled(work)
    library.add("new.mp3")  # a scan later it is still known
    assert work.run() == ["new.mp3"]


def test_another_song_gets_its_own_vector_and_sidecars(library: Library) -> None:
    """A song is replaced by another or a better rip under its name -> it gets a vector and
    sidecars of its own."""
    work = Workflow(library, sidecars=("sections",))
    work.run()
    intro = store(library, "sections").sidecars[0].window_path("intro", library.id("a.mp3"))
    intro.parent.mkdir(parents=True, exist_ok=True)
    np.save(intro, np.ones(4))  # of a window that the new song does not have
    sections = store(library, "sections").sidecars[0].read(library.id("a.mp3"))
    work = Workflow(library)  # sidecars are not asked for at present
    replace(library)
    assert work.run() == ["a.mp3"]
    all_right(library)
    assert not intro.exists()
    again = Workflow(library, sidecars=("sections",))
    assert again.run() == ["a.mp3"]
    made = store(library, "sections").sidecars[0].read(library.id("a.mp3"))
    assert not np.array_equal(made, sections, equal_nan=True)


def test_the_old_sound_no_longer_gives_the_vector(library: Library, work: Workflow) -> None:
    old = (library.music / "a.mp3").read_text()
    replace(library)
    work.run()
    library.add("old song.mp3", content=old)
    library.add("copy.mp3", content="another song")
    work.run()
    all_right(library, [*NAMES, "old song.mp3", "copy.mp3"])


def test_a_vector_that_another_chunk_may_have_replaced_is_not_handed_out(
    library: Library, work: Workflow
) -> None:
    """A chunk replaces a vector that another one is about to hand out for its old sound -> it is
    not handed out."""
    vectors = store(library).vectors
    library.add("copy.mp3", content=(library.music / "a.mp3").read_text())
    (chunk,) = work.start()
    # while the chunk works, another one has replaced a.mp3
    replaced = vectors.path(library.id("a.mp3"))
    np.save(replaced, np.full(4, 7, np.float16))
    os.utime(replaced, ns=(LATER_NS, LATER_NS))
    work.embed(chunk)
    assert np.array_equal(vectors.read(library.id("copy.mp3")), library.vector_of("copy.mp3"))


def test_counters(library: Library, work: Workflow) -> None:
    baseline = library.folder / "data" / "meta.json"
    baseline.parent.mkdir()
    baseline.write_text(json.dumps({"tracks": {str(library.music / "a.mp3"): {}}}))
    touch(library, "a.mp3", "b.mp3")
    work = Workflow(library, baseline=baseline)
    work.scan()
    counts = json.loads(library.results.summary.read_text())["counts"]
    assert counts["changed_since_embedded_total"] == 2
    assert counts["missing_embedding_ref_total"] == 1
    assert counts["missing_meta_total"] == 1
    assert counts["already_embedded_total"] == 1


# --- cut short


def after(method: Callable[..., Any], times: int) -> Callable[..., Any]:
    """Return a method that kills what calls it after it was called some times."""
    left = [times]

    def call(*arguments: Any, **more: Any) -> Any:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return method(*arguments, **more)

    return call


@pytest.mark.parametrize(
    ("owner", "name", "times"),
    [
        (TrackStore, "replace", 0),  # it is announced
        (SidecarStore, "write", 0),  # the old sidecars are gone
        (VectorStore, "write", 0),  # the new ones are there
        (FakeEncoder, "encode", 0),
    ],
)
def test_a_kill_leaves_the_old_vector_and_the_track_pending(
    library: Library, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, times: int
) -> None:
    """A kill while a vector gives way to another song's -> the old one is whole, nobody gets it,
    and the track is still pending."""
    work = Workflow(library, sidecars=("sections",))
    work.run()
    vector = store(library).vectors.path(library.id("a.mp3"))
    before = vector.read_bytes()
    replace(library)
    (chunk,) = work.start()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, after(getattr(owner, name), times))
        with pytest.raises(Killed):
            work.embed(chunk)
    assert vector.read_bytes() == before
    check_it_goes_on(library, work)


def test_a_kill_after_the_new_vector_leaves_the_track_pending(
    library: Library, work: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = (library.music / "a.mp3").read_text()
    replace(library)
    (chunk,) = work.start()
    write = VectorStore.write

    def write_and_die(*arguments: Any) -> None:
        write(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(VectorStore, "write", write_and_die)
        with pytest.raises(Killed):
            work.embed(chunk)
    # whoever asks for the old sound meanwhile does not get the new vector
    library.add("old song.mp3", content=old)
    check_it_goes_on(library, work)
    all_right(library, ["old song.mp3"])


def check_it_goes_on(library: Library, work: Workflow) -> None:
    assert work.preview().tracks_pending >= 1
    assert TOLD[1] in work.preview().note
    assert "a.mp3" in work.run()
    all_right(library)
    assert settled(work)


def test_a_plan_half_done_goes_on(library: Library, work: Workflow) -> None:
    touch(library, *NAMES)
    first, *others = work.start()
    work.embed(first)
    preview = work.preview()
    assert preview.plan_holds
    assert (preview.tracks_pending, preview.chunks_remaining) == (2, 2)
    assert TOLD[2] in preview.note
    assert work.start() == others


def test_a_plan_made_again_opens_its_chunk(library: Library, work: Workflow) -> None:
    """The same list as once before: the vector there is not of the file that it names."""
    first = (library.music / "a.mp3").read_text(), (library.music / "a.mp3").stat().st_mtime_ns
    for content, mtime_ns in [("another song", LATER_NS), first, ("another song", LATER_NS), first]:
        library.add("a.mp3", content=content)
        os.utime(library.music / "a.mp3", ns=(mtime_ns, mtime_ns))
        assert work.run() == ["a.mp3"]
        all_right(library)
        assert settled(work)


# --- files that fail now


def test_what_a_file_was_is_not_claimed_for_what_fails_now(
    library: Library, work: Workflow
) -> None:
    """What replaces a song holds no music -> the old vector is renamed to .superseded, so that no
    row claims it, and the file is quarantined."""
    path = store(library).vectors.path(library.id("a.mp3"))
    content = path.read_bytes()
    song = (library.music / "a.mp3").read_text()
    replace(library)
    assert work.run({"a.mp3": BAD}) == ["a.mp3"]
    assert store(library).vectors.state(library.id("a.mp3")) is VectorState.MISSING
    assert path.with_name(path.name + ".superseded").read_bytes() == content
    work.scan()
    counts = json.loads(library.results.summary.read_text())["counts"]
    assert (counts["quarantined_total"], counts["pending_embedding_total"]) == (1, 0)
    library.add("a.mp3", content=song)  # the song comes back
    work.run()
    all_right(library)


def test_a_vector_stays_while_its_file_cannot_be_read(library: Library, work: Workflow) -> None:
    """A file that has changed cannot be read at present -> its vector stays until it can."""
    replace(library)
    (chunk,) = work.start()
    for _ in range(2):
        with pytest.raises(Exception, match="1 of 1 tracks failed for reasons that may pass"):
            work.embed(chunk, {"a.mp3": BUSY})
        assert store(library).is_complete(library.id("a.mp3"))
    assert work.embed(chunk, {"a.mp3": BUSY}) == ["a.mp3"]  # three times alike: told, and let be
    (row,) = read_tsv(library.results.tracks_table(chunk))
    assert row["status"] == "failed"
    library.results.report.parent.mkdir()
    library.results.report.touch()  # the run comes to its end
    assert work.preview().tracks_pending == 1
    work.run()
    all_right(library)


# --- what earlier versions made


def test_what_nobody_noted_counts_as_unchanged_until_it_changes(
    library: Library, work: Workflow
) -> None:
    """An earlier version made the vectors, which did not note of which files -> nothing is decoded
    for that; changes from then on are seen."""
    by_earlier_version(library)
    for path in library.results.chunk_files.iterdir():
        path.unlink()
    touch(library, *NAMES)
    assert work.preview().tracks_pending == 0
    assert not library.results.remembered.exists()  # a preview writes nothing
    assert work.run() == []
    replace(library)
    assert work.preview().tracks_pending == 1
    assert work.run() == ["a.mp3"]
    all_right(library)
    assert settled(work)


def test_the_plan_that_there_is_tells_what_an_earlier_version_saw(
    library: Library, work: Workflow
) -> None:
    by_earlier_version(library)
    replace(library)
    work.scan()
    work.plan()  # the old chunk files are gone now
    for path in library.results.gaps.iterdir():
        if path.is_file():
            path.unlink()
    assert work.preview().tracks_pending == 1
    assert work.run() == ["a.mp3"]
    all_right(library)


def test_a_clock_that_was_put_back_hides_no_change(library: Library, work: Workflow) -> None:
    """The clock is put back before a vector is replaced -> the old sound no longer gives it all
    the same."""
    old = (library.music / "a.mp3").read_text()
    for path in library.results.journals():  # as if they were written next century
        path.write_text(path.read_text().replace('"at": "20', '"at": "21'))
    replace(library)
    assert work.run() == ["a.mp3"]
    assert settled(work)
    library.add("old song.mp3", content=old)
    work.run()
    all_right(library, [*NAMES, "old song.mp3"])
