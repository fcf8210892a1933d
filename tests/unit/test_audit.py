import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from mert_backfill.counters import ROW_SUMS, SCAN_SUMS, check_sums
from mert_backfill.errors import UserError
from mert_backfill.failures import Failure
from mert_backfill.health.audit import Audit, AuditInputs, AuditRecord, make_audit, write_audit
from mert_backfill.health.failure_lists import read_failures, write_failures, write_retry_paths
from mert_backfill.health.losses import check_nothing_lost
from mert_backfill.health.origins import CALIBRATED, count_origins
from mert_backfill.library.listing import AudioFile, Listing
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.path_lists import read_path_list
from mert_backfill.library.paths import PathMap
from mert_backfill.records.calibration import CalibratedRow, Calibration
from mert_backfill.records.ledger import Ledger
from mert_backfill.records.summary import Summary
from mert_backfill.store.vectors import VectorState, vector_state
from support.fakes import a_profile

PROFILE = a_profile()
D = PROFILE.dimension
COUNTS = {
    "audio_files_found": 0,
    "junk_files_total": 0,
    "excluded_audio_files_total": 0,
    "quarantined_total": 0,
    "audio_files_scanned": 0,
    "already_embedded_total": 0,
    "pending_embedding_total": 0,
    "missing_meta_total": 0,
    "missing_embedding_ref_total": 0,
    "changed_since_embedded_total": 0,
}


def failure(path: str, **changes: Any) -> Failure:
    base = Failure(
        path=path,
        track_id="0" * 20,
        chunk="part001-00000000",
        stage="decode",
        reason="not_audio",
        error="LibsndfileError: bad",
        permanent=True,
        attempts=1,
        size_bytes=5,
        mtime_ns=7,
        timestamp="2026-11-22T13:00:00+00:00",
    )
    return replace(base, **changes)


def meta(tracks: dict[str, Any], **others: Any) -> MetaFile:
    return MetaFile({"tracks": tracks, **others}, path_map=PathMap())


def audio(path: str, number: int) -> AudioFile:
    return AudioFile("m", path, f"{number:020x}", 5, 7)


@pytest.fixture
def vectors(tmp_path: Path) -> dict[str, str]:
    """Embedding files: two good ones and some that are not."""
    arrays = {"ok": np.ones(D), "ok2": np.ones(D), "zero": np.zeros(D), "short": np.ones(D - 1)}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array.astype(np.float16))
    (tmp_path / "folder.npy").mkdir()
    return {name: str(tmp_path / f"{name}.npy") for name in (*arrays, "folder", "gone")}


def audit_of(
    before: dict[str, Any],
    now: dict[str, Any],
    listing: Listing,
    failures: dict[str, Failure] | None = None,
    counts: dict[str, int] = COUNTS,
    remarks: dict[str, str] | None = None,
) -> Audit:
    ledger = Ledger(failures or {}, remarks=remarks or {})
    summary = Summary(counts, {})
    return make_audit(
        AuditInputs(meta(before), meta(now), listing, ledger, PROFILE, "invalid", summary)
    )


def never(key: str) -> bool:
    return False


def test_counters_by_hand(vectors: dict[str, str]) -> None:
    before = {
        "/m/ok.mp3": {"embedding": vectors["ok"]},
        "/m/zero.mp3": {"embedding": vectors["zero"]},
        "/m/short.mp3": {"embedding": vectors["short"]},
        "/m/folder.mp3": {"embedding": vectors["folder"]},
        "/m/gone.mp3": {"embedding": vectors["gone"]},
        "/m/none.mp3": {},
        "/m//none.mp3": {"embedding": ""},
        "bare.mp3": {},
        "D:\\x\\._junk.mp3": {},
        "/m/__MACOSX/y.mp3": {},
    }
    now = before | {
        "/m/none.mp3": {"embedding": vectors["ok2"]},
        "/m/new.mp3": {"embedding": vectors["ok"]},
    }
    names = ("ok", "zero", "short", "folder", "gone", "none", "new", "bad", "later", "open")
    files = tuple(audio(f"/m/{name}.mp3", n) for n, name in enumerate(names))
    failures = {
        files[5].track_id: failure("/m/none.mp3"),  # embedded since
        files[7].track_id: failure("/m/bad.mp3"),
        files[8].track_id: failure("/m/later.mp3", permanent=False, reason="io_error", mtime_ns=8),
        files[9].track_id: failure("/m/open.mp3", mtime_ns=8),  # changed since it failed
        "f" * 20: failure("/m/deleted.mp3"),
    }
    audit = audit_of(before, now, Listing(files, (), (), ()), failures)
    assert audit.record.as_record() == {
        "baseline": {
            "tracks_total": 10,
            "embedding_ok": 1,
            "embedding_gap_total": 9,
            "missing_embedding_ref": 5,
            "embedding_file_missing": 2,
            "embedding_invalid": 2,
            "stale_track_path_total": 3,
            "bare_path_total": 1,
            "junk_path_total": 2,
            "duplicate_normalized_path_keys": 1,
            "failed_total": 0,
            "quarantined_total": 0,
        },
        "current": {
            "tracks_total": 11,
            "embedding_ok": 3,
            "embedding_gap_total": 8,
            "missing_embedding_ref": 4,
            "embedding_file_missing": 2,
            "embedding_invalid": 2,
            "stale_track_path_total": 3,
            "bare_path_total": 1,
            "junk_path_total": 2,
            "duplicate_normalized_path_keys": 1,
            "failed_total": 2,
            "quarantined_total": 1,
        },
        "delta": {
            "tracks_total": 1,
            "embedding_ok": 2,
            "embedding_gap_total": -1,
            "missing_embedding_ref": -1,
            "embedding_file_missing": 0,
            "embedding_invalid": 0,
            "stale_track_path_total": 0,
            "bare_path_total": 0,
            "junk_path_total": 0,
            "duplicate_normalized_path_keys": 0,
            "failed_total": 2,
            "quarantined_total": 1,
        },
    }
    assert audit.library.as_record() == {
        "before": {"tracks": 10, "embedded": 1, "failed": 0, "quarantined": 0, "open": 9},
        "now": {"tracks": 10, "embedded": 3, "failed": 1, "quarantined": 1, "open": 5},
    }
    assert [f.path for f in audit.failures] == ["/m/bad.mp3", "/m/later.mp3"]
    assert [path.name for path in audit.current.invalid] == ["zero.npy", "short.npy"]
    assert audit.current.stale == ("bare.mp3", "D:\\x\\._junk.mp3", "/m/__MACOSX/y.mp3")


def test_remarks_are_those_of_tracks_that_have_their_embedding(vectors: dict[str, str]) -> None:
    files = tuple(audio(f"/m/{name}.mp3", n) for n, name in enumerate(("ok", "open", "whole")))
    rows = {f"/m/{name}.mp3": {"embedding": vectors["ok"]} for name in ("ok", "whole")}
    remarks = {file.track_id: "cut_short" for file in files[:2]} | {"f" * 20: "cut_short"}
    audit = audit_of(rows, rows, Listing(files, (), (), ()), remarks=remarks)
    assert audit.remarks == {"/m/ok.mp3": "cut_short"}


def test_audit_json_holds_three_parts(tmp_path: Path) -> None:
    audit = audit_of({}, {}, Listing((), (), (), ()))
    write_audit(tmp_path / "audit.json", audit)
    assert list(json.loads((tmp_path / "audit.json").read_text())) == [
        "baseline",
        "current",
        "delta",
    ]
    assert AuditRecord.read(tmp_path / "audit.json") == audit.record


@pytest.mark.parametrize(
    "total", [total for total, _ in (*ROW_SUMS, *SCAN_SUMS)], ids=lambda name: name
)
def test_a_sum_that_does_not_balance_is_named(total: str) -> None:
    sums = ROW_SUMS if total in dict(ROW_SUMS) else SCAN_SUMS
    counters = dict.fromkeys({name for whole, parts in sums for name in (whole, *parts)}, 0)
    check_sums("x", counters, sums)
    part = dict(sums)[total][-1]
    with pytest.raises(UserError, match=rf"of x does not balance: {total} \(0\) = .*{part} \(3\)"):
        check_sums("x", {**counters, part: 3}, ((total, dict(sums)[total]),))


def test_summary_that_does_not_balance_stops_the_audit() -> None:
    counts = COUNTS | {"audio_files_found": 1}
    with pytest.raises(UserError, match=r"gaps/summary\.json .* audio_files_found \(1\)"):
        audit_of({}, {}, Listing((), (), (), ()), counts=counts)


def test_each_vector_is_read_once(vectors: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    import mert_backfill.health.audit as module

    read: list[Path] = []

    def spy(path: Path, dimension: int) -> VectorState:
        read.append(path)
        return vector_state(path, dimension)

    monkeypatch.setattr(module, "vector_state", spy)
    rows = {"/m/a.mp3": {"embedding": vectors["ok"]}, "/m/b.mp3": {"embedding": vectors["ok"]}}
    audit_of(rows, rows, Listing((audio("/m/a.mp3", 1),), (), (), ()))
    assert read == [Path(vectors["ok"])]


def test_what_the_rebuild_may_do_is_let_pass(vectors: dict[str, str]) -> None:
    before = meta({"/a": {"x": float("nan"), "embedding": None}, "/b": {"y": 1}}, top=[1])
    new = {"embedding": vectors["ok"], "embedding_source": "baseline", "embedding_profile": "p"}
    after = meta({"/a": {"x": float("nan"), **new}, "/c": new}, top=[1])
    check_nothing_lost(before, after, ["/b"], lambda key: key == "/a")


@pytest.mark.parametrize(
    ("tracks", "top", "culprit"),
    [
        ({"/b": {"y": 1}}, 1, "the row '/a' is gone"),
        ({"/a": {"x": 2, "embedding": "OK"}, "/b": {"y": 1}}, 1, "the field 'x' of the row '/a'"),
        ({"/a": {"x": 1, "embedding": "no"}, "/b": {"y": 1}}, 1, "'embedding' of the row '/a'"),
        ({"/a": {"x": 1, "embedding": "OK"}, "/b": {}}, 1, "the field 'y' of the row '/b'"),
        ({"/a": {"x": 1, "embedding": "OK"}, "/b": {"y": 1}}, 2, "the entry 'top' changed"),
    ],
)
def test_a_loss_is_named(
    vectors: dict[str, str], tracks: dict[str, Any], top: int, culprit: str
) -> None:
    for row in tracks.values():
        if row.get("embedding") == "OK":
            row["embedding"] = vectors["ok"]
    before = meta({"/a": {"x": 1, "embedding": vectors["ok"]}, "/b": {"y": 1}}, top=1)
    with pytest.raises(UserError, match="not the baseline with more embeddings") as caught:
        check_nothing_lost(before, meta(tracks, top=top), [], never)
    assert culprit in str(caught.value)


def test_failures_table_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "failures.tsv"
    records = [failure('/m/tab\t"quote"\nbreak.mp3'), failure("/m/b.mp3", permanent=False)]
    write_failures(path, records)
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert list(rows[0]) == list(Failure.__dataclass_fields__)
    assert [row["path"] for row in rows] == [record.path for record in records]
    assert [row["permanent"] for row in rows] == ["true", "false"]
    assert read_failures(path) == records
    assert list(pandas.read_csv(path, sep="\t")["permanent"]) == [True, False]


def test_retry_paths_read_back_as_a_list_of_paths(tmp_path: Path) -> None:
    names = [" both ends ", '"quoted"', "'q'", "# no comment", "*[glob]?.mp3", "\udcff", "\u2028x"]
    paths = [os.path.join("/m", name) for name in names] + ["/m/trailing "]
    unlisted = ["/m/line\nbreak.mp3", "/m/return\r"]
    list_file = tmp_path / "retry_paths.txt"
    write_retry_paths(list_file, [failure(path) for path in (*paths, *unlisted, paths[0])])
    listed = read_path_list(list_file, PathMap(), globs=False)
    assert len(listed) == len(paths)
    assert all(listed.contains(path) for path in paths)
    assert not any(listed.contains(path) for path in (*unlisted, "/m/trailing", "/m"))
    assert "# 2 more have a line break" in list_file.read_text(errors="replace")


def test_no_failures_make_an_empty_list(tmp_path: Path) -> None:
    list_file = tmp_path / "retry_paths.txt"
    write_retry_paths(list_file, [])
    assert len(read_path_list(list_file, PathMap(), globs=False)) == 0


@pytest.mark.parametrize(
    ("verdict", "recipes", "expected"),
    [
        ("match", ["whole", "whole"], {("whole", CALIBRATED): 3}),
        ("mixture", ["whole", "padded"], {
            ("whole", CALIBRATED): 1, ("padded", CALIBRATED): 1, ("unknown", "unknown"): 1,
        }),
        ("unknown", ["unknown", "whole"], {
            ("whole", CALIBRATED): 1, ("unknown", "unknown"): 2,
        }),
        ("none", [], {("unknown", "unknown"): 3}),
        (None, [], {("unknown", "unknown"): 3}),
    ],
)  # fmt: skip
def test_rows_by_recipe_and_how_it_is_known(
    vectors: dict[str, str], verdict: Any, recipes: list[str], expected: dict[Any, int]
) -> None:
    rows = {name: {"embedding": vectors["ok"]} for name in ("/m/0", "/m/1", "/m/2")}
    rows["/m/ours"] = {"embedding": vectors["ok"], "embedding_profile": "padded-01234567"}
    rows["/m/bad"] = {"embedding": vectors["zero"], "embedding_profile": "padded-01234567"}
    again = tuple(
        CalibratedRow(f"/m/{number}", f"/m/{number}", recipe, {recipe: 0.0}, "2026-01-01")
        for number, recipe in enumerate(recipes)
    )
    found = verdict and Calibration("whole-01234567", "model", verdict, again)
    origins = count_origins(meta(rows), lambda path: vector_state(path, D), found)
    counted = {(one.recipe, one.origin): one.rows for one in origins}
    assert counted == {("padded", "ours"): 1, **expected}
