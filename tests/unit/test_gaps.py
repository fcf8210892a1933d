"""Counters and manifest rows, for a library built by hand and for random ones."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mert_backfill.errors import UserError
from mert_backfill.failures import Failure
from mert_backfill.library.listing import AudioFile, Listing, list_library
from mert_backfill.library.meta_file import MetaFile, stale_meta_keys
from mert_backfill.library.path_lists import PathList, read_path_list
from mert_backfill.library.paths import PathMap, track_id
from mert_backfill.library.roots import Root
from mert_backfill.plan.gaps import Choice, GapReport, VectorChecks, find_gaps
from mert_backfill.records.ledger import Ledger
from mert_backfill.records.manifest import (
    MANIFEST_HEADER,
    PendingTrack,
    read_manifest,
    write_manifest,
    write_pending_paths,
)
from mert_backfill.records.summary import SAMPLE_SIZE, read_summary, write_summary
from mert_backfill.store.vectors import VectorState

# the same examples every time, and no clock: the machine may be busy
LAW = settings(derandomize=True, deadline=None)

MISSING, VALID, INVALID = VectorState.MISSING, VectorState.VALID, VectorState.INVALID


def audio_file(path: str, size: int = 10, mtime_ns: int = 1) -> AudioFile:
    return AudioFile("main", path, track_id("main", path), size, mtime_ns)


def a_listing(*paths: str, junk: tuple[str, ...] = (), unreadable: tuple[str, ...] = ()) -> Listing:
    return Listing(tuple(map(audio_file, paths)), tuple(map(audio_file, junk)), (), unreadable)


def a_baseline(tracks: dict[str, dict[str, Any]], path_map: PathMap | None = None) -> MetaFile:
    return MetaFile({"tracks": tracks}, path_map=path_map or PathMap())


def a_failure(file: AudioFile) -> Failure:
    return Failure(
        path=file.path,
        track_id=file.track_id,
        chunk="part001-00000000",
        stage="decode",
        reason="not_audio",
        error="",
        permanent=True,
        attempts=1,
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        timestamp="2026-01-01T00:00:00+00:00",
    )


def a_list(folder: Path, *lines: str, path_map: PathMap | None = None) -> PathList:
    path = folder / "list.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return read_path_list(path, path_map or PathMap(), globs=True)


def nothing_stored(_: str) -> VectorState:
    return MISSING


def exists(path: Path) -> VectorState:
    return VALID if path.is_file() else MISSING


def gaps(
    listing: Listing,
    baseline: MetaFile | None = None,
    *,
    store_state: Callable[[str], VectorState] = nothing_stored,
    quarantine: dict[str, Failure] | None = None,
    exclude: PathList | None = None,
    only: PathList | None = None,
    retry_failed: bool = False,
    changed: Callable[[AudioFile], bool] = lambda file: False,
) -> GapReport:
    return find_gaps(
        listing,
        baseline or a_baseline({}),
        checks=VectorChecks(store_state, exists, changed),
        ledger=Ledger(quarantine or {}),
        choice=Choice(exclude, only, retry_failed),
    )


def reasons(report: GapReport) -> dict[str, tuple[str, str]]:
    return {Path(row.path).name: (row.reason, row.meta_key) for row in report.pending}


def test_a_windows_library_counted_by_hand(tmp_path: Path) -> None:
    music = tmp_path / "music"
    present = [
        "Zoë/01.mp3",  # row in another case and with backslashes; has its embedding
        "Zoë/02.mp3",  # row in NFD; the embedding's file is gone
        "Zoë/03.mp3",  # two rows, the second has an embedding
        "Zoë/04.mp3",  # row without embedding
        "Zoë/05.mp3",  # row without embedding, vector in the store is damaged
        "new.mp3",  # no row
        "stored.mp3",  # no row, but a vector in the store
        "bad.mp3",  # quarantined
        "changed.mp3",  # failed before, has changed since
        "Samples/kick.wav",  # excluded by a glob
        "Samples/listed.mp3",  # excluded by a path; has a row
        "._01.mp3",  # junk with a row
        "__MACOSX/x.mp3",  # junk
        "notes.txt",
    ]
    for name in present:
        (music / name).parent.mkdir(parents=True, exist_ok=True)
        (music / name).write_bytes(b"audio")
    (music / "gone.mp3").symlink_to("nowhere")
    os.mkfifo(music / "pipe.mp3")
    (tmp_path / "data").mkdir()
    for name in ("1.npy", "3.npy"):
        (tmp_path / "data" / name).touch()
    keys = {
        "01": r"c:\users\ME\music\zoë\01.mp3",
        "02": unicodedata.normalize("NFD", "C:/Users/me/Music/Zoë/02.mp3"),
        "03a": r"C:\Users\me\Music\Zoë\03.mp3",
        "03b": "C:/Users/me/Music/Zoë/03.MP3",
        "04": f"{music}/Zoë/04.mp3",
        "05": r"C:\Users\me\Music\Zoë\05.mp3",
        "listed": r"C:\Users\me\Music\Samples\listed.mp3",
        "junk": r"C:\Users\me\Music\._01.mp3",
        "stale": r"C:\Users\me\Music\Zoë\99.mp3",
        "link": r"C:\Users\me\Music\gone.mp3",
        "bare": "Zoë - 01.mp3",
    }
    refs = {"01": r"data\1.npy", "02": "data/2.npy", "03b": "DATA/3.npy", "05": ""}
    tracks = {key: {"embedding": refs.get(name)} for name, key in keys.items()}
    meta = tmp_path / "data" / "meta.json"
    meta.write_text(json.dumps({"tracks": tracks}), encoding="utf-8")

    (music / "elsewhere").symlink_to(tmp_path)
    path_map = PathMap([("C:/Users/me/Music", str(music))])
    baseline = MetaFile.load(meta, embedding_base=None, path_map=path_map)
    listing = list_library([Root("main", music)], [".mp3", ".wav"])
    by_name = {Path(file.path).name: file for file in listing.files}
    before = AudioFile("main", "", by_name["changed.mp3"].track_id, 5, 1)
    quarantine = {
        by_name["bad.mp3"].track_id: a_failure(by_name["bad.mp3"]),
        before.track_id: a_failure(before),
        by_name["stored.mp3"].track_id: a_failure(by_name["stored.mp3"]),
    }
    store = {by_name["stored.mp3"].track_id: VALID, by_name["05.mp3"].track_id: INVALID}
    report = gaps(
        listing,
        baseline,
        store_state=lambda track: store.get(track, MISSING),
        quarantine=quarantine,
        exclude=a_list(
            tmp_path, "*.WAV", r"C:\users\me\music\samples\LISTED.mp3", path_map=path_map
        ),
    )
    assert report.counts == {
        "audio_files_found": 13,
        "junk_files_total": 2,
        "excluded_audio_files_total": 2,
        "quarantined_total": 1,
        "audio_files_scanned": 8,
        "already_embedded_total": 3,
        "pending_embedding_total": 5,
        "missing_meta_total": 2,
        "missing_embedding_ref_total": 3,
        "changed_since_embedded_total": 0,
        "stale_meta_paths_total": 3,
        "duplicate_meta_keys_total": 1,
        "linked_folders_total": 1,
    }
    assert reasons(report) == {
        "02.mp3": ("embedding_file_missing", keys["02"]),
        "04.mp3": ("missing_embedding_ref", keys["04"]),
        "05.mp3": ("embedding_invalid", keys["05"]),
        "new.mp3": ("missing_meta", ""),
        "changed.mp3": ("missing_meta", ""),
    }
    assert report.summary.samples["stale_meta_paths"] == [keys["stale"], keys["link"], keys["bare"]]
    assert report.summary.samples["duplicate_meta_keys"] == [keys["03b"]]
    assert report.summary.samples["not_regular"] == [f"{music}/gone.mp3", f"{music}/pipe.mp3"]
    assert report.summary.samples["linked_folders"] == [f"{music}/elsewhere"]
    assert report.summary.samples["quarantined"] == [f"{music}/bad.mp3"]
    assert len(report.summary.samples["missing_embedding_ref"]) == 3
    assert [Path(file.path).name for file in report.excluded] == ["kick.wav", "listed.mp3"]
    assert report.released == ()


def test_rows_carry_what_the_listing_saw() -> None:
    (row,) = gaps(a_listing("/m/a.mp3")).pending
    assert row == PendingTrack(track_id("main", "/m/a.mp3"), "/m/a.mp3", "missing_meta", "", 10, 1)


def test_a_track_without_a_row_is_missing_meta_whatever_the_store_holds() -> None:
    report = gaps(a_listing("/m/a.mp3"), store_state=lambda _: INVALID)
    assert reasons(report) == {"a.mp3": ("missing_meta", "")}


def test_a_damaged_vector_that_the_meta_names_is_made_again(tmp_path: Path) -> None:
    file = audio_file("/m/a.mp3")
    vector = tmp_path / f"{file.track_id}.npy"
    vector.touch()
    baseline = a_baseline({"/m/a.mp3": {"embedding": str(vector)}})
    listing = a_listing("/m/a.mp3")
    damaged = gaps(listing, baseline, store_state=lambda _: INVALID)
    assert reasons(damaged) == {"a.mp3": ("embedding_invalid", "/m/a.mp3")}
    # of another profile, or of another folder of results: the file exists, that is enough
    assert gaps(listing, baseline).counts["already_embedded_total"] == 1


def test_the_store_is_asked_only_about_tracks_the_baseline_leaves_open(tmp_path: Path) -> None:
    (tmp_path / "a.npy").touch()
    asked: list[str] = []

    def state(track: str) -> VectorState:
        asked.append(track)
        return VALID

    baseline = a_baseline({"/m/a.mp3": {"embedding": f"{tmp_path}/a.npy"}})
    report = gaps(a_listing("/m/a.mp3", "/m/b.mp3"), baseline, store_state=state)
    assert asked == [audio_file("/m/b.mp3").track_id]
    assert report.counts["already_embedded_total"] == 2


def test_only_the_listed_files_are_scanned(tmp_path: Path) -> None:
    report = gaps(a_listing("/m/a.mp3", "/m/x/b.mp3", "/m/c.mp3"), only=a_list(tmp_path, "/m/x"))
    assert [row.path for row in report.pending] == ["/m/x/b.mp3"]
    assert report.counts["excluded_audio_files_total"] == 2
    assert report.counts["stale_meta_paths_total"] == 0


def test_exclusion_wins_over_the_paths_file(tmp_path: Path) -> None:
    listed = a_list(tmp_path, "/m")
    excluded = a_list(tmp_path, "/m/a.mp3")
    report = gaps(a_listing("/m/a.mp3", "/m/b.mp3"), only=listed, exclude=excluded)
    assert [row.path for row in report.pending] == ["/m/b.mp3"]


def test_quarantine_holds_until_the_file_changes_or_the_user_asks(tmp_path: Path) -> None:
    bad, fine = audio_file("/m/bad.mp3"), audio_file("/m/fine.mp3")
    listing = a_listing(bad.path, fine.path)
    quarantine = {bad.track_id: a_failure(bad)}

    held = gaps(listing, quarantine=quarantine)
    assert held.quarantined == (bad,)
    assert [row.path for row in held.pending] == [fine.path]

    for released in (
        gaps(listing, quarantine=quarantine, retry_failed=True),
        gaps(listing, quarantine=quarantine, only=a_list(tmp_path, bad.path)),
    ):
        assert released.quarantined == ()
        assert released.released == (bad.track_id,)
        assert bad.path in [row.path for row in released.pending]

    other = gaps(listing, quarantine=quarantine, only=a_list(tmp_path, fine.path))
    assert other.excluded == (bad,)
    for change in (audio_file(bad.path, size=11), audio_file(bad.path, mtime_ns=2)):
        report = gaps(Listing((change,), (), (), ()), quarantine=quarantine)
        assert report.counts["pending_embedding_total"] == 1
        assert report.released == ()


def test_rows_below_an_unreadable_folder_are_not_stale() -> None:
    baseline = a_baseline({"/m/locked/a.mp3": {}, "/m/locked2/a.mp3": {}, "/m/b.mp3": {}})
    listing = a_listing("/m/b.mp3", unreadable=("/m/locked",))
    assert stale_meta_keys(listing, baseline) == ["/m/locked2/a.mp3"]


def test_samples_are_short() -> None:
    report = gaps(a_listing(*(f"/m/{i}.mp3" for i in range(40))))
    assert len(report.summary.samples["pending_embedding"]) == SAMPLE_SIZE == 25
    assert report.counts["pending_embedding_total"] == 40


@st.composite
def libraries(draw: st.DrawFn) -> tuple[Listing, MetaFile, dict[str, VectorState], set[str]]:
    stems = draw(st.sets(st.text("abAB\u00e9", min_size=1, max_size=2), max_size=12))
    paths = [f"/music/{stem}.mp3" for stem in sorted(stems)]
    files = [audio_file(path) for path in paths]
    junk = [f"/music/._{stem}.mp3" for stem in stems if draw(st.booleans())]
    spellings = st.sampled_from(["/music/{}", "C:/Music/{}", "c:\\music\\{}", "{}"])
    named = st.text("abAB\u00e9", min_size=1, max_size=2)
    refs = st.sampled_from([None, "", "/dev/null", "/none.npy", __file__])
    rows = draw(st.lists(st.tuples(spellings, named, refs), max_size=12))
    tracks = {spelling.format(f"{name}.mp3"): {"embedding": ref} for spelling, name, ref in rows}
    states = {file.track_id: draw(st.sampled_from(VectorState)) for file in files}
    failed = {file.track_id for file in files if draw(st.booleans())}
    listing = a_listing(*paths, junk=tuple(junk))
    path_map = PathMap([("C:/Music", "/music")] if draw(st.booleans()) else [])
    return listing, a_baseline(tracks, path_map), states, failed


@pytest.fixture(scope="module")
def path_lists(tmp_path_factory: pytest.TempPathFactory) -> list[PathList | None]:
    folder = tmp_path_factory.mktemp("lists")
    return [None, a_list(folder, "*a*"), a_list(folder, "/music/b.mp3"), a_list(folder, "/music")]


@LAW
@given(libraries(), st.data(), st.booleans())
def test_the_counters_of_any_library_balance(
    path_lists: list[PathList | None],
    library: tuple[Listing, MetaFile, dict[str, VectorState], set[str]],
    data: st.DataObject,
    retry_failed: bool,
) -> None:
    listing, baseline, states, failed = library
    report = gaps(
        listing,
        baseline,
        store_state=states.__getitem__,
        quarantine={f.track_id: a_failure(f) for f in listing.files if f.track_id in failed},
        exclude=data.draw(st.sampled_from(path_lists)),
        only=data.draw(st.sampled_from(path_lists)),
        retry_failed=retry_failed,
    )
    counts = report.counts
    parts = [*report.excluded, *report.quarantined, *report.scanned]
    assert sorted(parts, key=lambda file: file.path) == sorted(
        listing.files, key=lambda file: file.path
    )
    assert counts["audio_files_found"] == len(parts) + counts["junk_files_total"]
    assert counts["audio_files_scanned"] == (
        counts["already_embedded_total"] + counts["pending_embedding_total"]
    )
    by_reason = [row.reason == "missing_meta" for row in report.pending]
    assert counts["missing_meta_total"] == by_reason.count(True)
    assert counts["missing_embedding_ref_total"] == by_reason.count(False)
    assert all((row.reason == "missing_meta") == (not row.meta_key) for row in report.pending)
    pending = {row.track_id for row in report.pending}
    assert pending <= {file.track_id for file in report.scanned}
    assert not any(states[track] is VALID for track in pending)
    assert set(report.released) <= pending & failed
    # every key is stale, or names a file; every duplicate has a first
    named = {key for file in (*listing.files, *listing.junk) for key in baseline.keys_of(file.path)}
    assert counts["stale_meta_paths_total"] == len(set(baseline.tracks) - named)
    assert counts["duplicate_meta_keys_total"] == (
        len(baseline.tracks) - len(baseline.comparison_keys())
    )


HOSTILE = ["tab\t.mp3", 'quote".mp3', "line\n.mp3", "return\r.mp3", os.fsdecode(b"caf\xe9.mp3")]


def test_the_manifest_keeps_hostile_names(tmp_path: Path) -> None:
    rows = [
        PendingTrack(f"{i:020x}", f"/m/{name}", "missing_meta", f"C:\\{name}", 2**40, 2**60)
        for i, name in enumerate(HOSTILE)
    ]
    path = tmp_path / "manifest.tsv"
    write_manifest(path, rows)
    assert read_manifest(path) == rows
    assert path.read_bytes().startswith("\t".join(MANIFEST_HEADER).encode() + b"\n")
    write_pending_paths(tmp_path / "paths.txt", rows)
    assert (tmp_path / "paths.txt").read_bytes() == (
        b'/m/tab\t.mp3\n/m/quote".mp3\n/m/caf\xe9.mp3\n'
    )


@pytest.mark.parametrize(
    "content",
    [
        b"path\n/m/a.mp3\n",
        "\t".join(MANIFEST_HEADER).encode() + b"\nid\t/m/a.mp3\n",
        b"x" * 200_000,
    ],
)
def test_a_foreign_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "manifest.tsv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.tsv: this is not a list of tracks"):
        read_manifest(path)
    with pytest.raises(UserError, match="no such file"):
        read_manifest(tmp_path / "none.tsv")


def test_the_summary_holds_counts_and_samples(tmp_path: Path) -> None:
    report = gaps(a_listing(os.fsdecode(b"/m/caf\xe9.mp3")))
    write_summary(tmp_path / "summary.json", report.summary)
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary == {"counts": report.counts, "samples": report.summary.samples}
    assert read_summary(tmp_path / "summary.json") == report.summary


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"counts": 1, "samples": {}}', "[" * 99_999]
)
def test_a_foreign_summary_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "summary.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"summary\.json: this is not the summary of a scan"):
        read_summary(path)
    with pytest.raises(UserError, match="no such file"):
        read_summary(tmp_path / "none.json")
