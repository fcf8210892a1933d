import copy
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mert_backfill.config import load_settings
from mert_backfill.health.losses import check_nothing_lost
from mert_backfill.library.listing import AudioFile
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.meta_text import MetaText
from mert_backfill.library.paths import PathMap, track_id
from mert_backfill.meta.rebuild import (
    RebuildInputs,
    rebuild_library,
    rebuild_meta,
)
from mert_backfill.model.embedding import WindowEmbedding
from mert_backfill.recipes import WINDOW_NAMES
from mert_backfill.records.track_notes import TrackNote
from mert_backfill.store.named import NamedVectors, Reembed
from mert_backfill.store.profile import provenance
from mert_backfill.store.sidecars import HARMONIC_SHAPE, SidecarStore
from mert_backfill.store.vectors import VectorState, VectorStore, vector_state
from mert_backfill.system.atomic import write_text
from mert_backfill.system.remembered import Remembered
from mert_backfill.system.tables import write_json
from mert_backfill.tags import Tags
from support.checks import refusal
from support.fakes import a_profile

D = 4
PROFILE = a_profile()


@dataclass(frozen=True)
class Outcome:
    """What a rebuild wrote, read back."""

    text: str
    document: dict[str, Any]
    filled_keys: tuple[str, ...]
    added_keys: tuple[str, ...]
    removed: dict[str, Any]


class Library:
    """A music folder of empty files, a store, and a meta.json of choice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.music = folder / "music"
        self.music.mkdir()
        self.store = VectorStore(folder / "results" / PROFILE.name, D)
        self.files: list[AudioFile] = []
        self.notes: dict[str, TrackNote] = {}
        self.sections: SidecarStore | None = None
        self.harmonic: SidecarStore | None = None
        self.sidecars_for_all = False

    def add(self, relative: str, *, embedded: bool = False) -> str:
        path = os.path.join(self.music, relative)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).touch()
        file = AudioFile("music", path, track_id("music", relative), 0, 0)
        self.files.append(file)
        if embedded:
            self.store.write(file.track_id, np.ones(D))
        return path

    def write_sections(self, relative: str, **windows: float) -> None:
        """Keep the vector of each window: D times the number."""
        if self.sections is None:
            folder = self.store.folder / "sections"
            self.sections = SidecarStore("sections", folder, (len(WINDOW_NAMES), D))
        made = {
            name: WindowEmbedding(np.full(D, value, np.float32)) for name, value in windows.items()
        }
        self.sections.write(track_id("music", relative), self.sections.assemble(made))

    def write_harmonic(self, relative: str, first: float) -> None:
        """Keep 18 numbers, the first of which is given."""
        if self.harmonic is None:
            folder = self.store.folder / "harmonic"
            self.harmonic = SidecarStore("harmonic", folder, HARMONIC_SHAPE)
        others = 0.1 if first == first else first  # NaN is what none can be told of
        self.harmonic.write(track_id("music", relative), np.array([first, *[others] * 17]))

    def vector(self, relative: str) -> str:
        return str(self.store.path(track_id("music", relative)))

    def rebuild(
        self,
        document: dict[str, Any] | Path | None,
        pairs: list[tuple[str, str]] | None = None,
        policy: Any = "keep",
        stale: tuple[str, ...] = (),
        reembed: Reembed = "invalid",
    ) -> Outcome:
        path_map = PathMap(pairs or [])
        path = document if isinstance(document, Path) else None
        if isinstance(document, dict):
            path = self.folder / "data" / "meta.json"
            write_json(path, document)
        baseline = MetaFile.load(path, embedding_base=None, path_map=path_map)
        before = copy.deepcopy(baseline.document)

        def may_replace(key: str) -> bool:
            named = baseline.embedding_path(key)
            usable = named is not None and vector_state(named, D) is VectorState.VALID
            is_ours = baseline.tracks[key].get("embedding_profile") == PROFILE.name
            return reembed == "all" or is_ours or not usable

        rebuilt = rebuild_meta(
            RebuildInputs(
                baseline,
                self.files,
                stale,
                self.store,
                NamedVectors(D, reembed, Remembered(self.folder / "remembered.npz")),
                PROFILE,
                path_map,
                self.notes,
                policy,
                sections=self.sections,
                harmonic=self.harmonic,
                sidecars_for_all=self.sidecars_for_all,
            )
        )
        text = MetaText(rebuilt.text)
        after = MetaFile(text.document, text=text, path=path, path_map=path_map)
        check_nothing_lost(baseline, after, stale, may_replace)
        assert repr(baseline.document) == repr(before)
        return Outcome(
            rebuilt.text,
            json.loads(rebuilt.text),
            rebuilt.filled_keys,
            rebuilt.added_keys,
            {key: json.loads(row.text) for key, row in rebuilt.removed.items()},
        )


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


def embedding_fields(vector: str) -> dict[str, Any]:
    written = datetime.fromtimestamp(os.stat(vector).st_mtime, UTC).isoformat()
    return {
        "embedding": vector,
        "embedding_source": "baseline",
        "embedding_profile": PROFILE.name,
        "embedding_provenance": provenance(PROFILE, written),
    }


def test_fills_rows_without_an_embedding_and_leaves_the_rest(library: Library) -> None:
    no_ref = library.add("a.mp3", embedded=True)
    gone = library.add("b.mp3", embedded=True)
    has = library.add("c.mp3", embedded=True)
    pending = library.add("d.mp3")
    np.save(library.folder / "theirs.npy", np.ones(D))
    document: dict[str, Any] = {
        "version": 3,
        "tracks": {
            has: {"embedding": "theirs.npy", "bpm": 120.0, "embedding_profile": "old"},
            gone: {"key": "8A", "embedding": "data/gone.npy", "tags": ["x", None]},
            no_ref: {"artist": "kept", "embedding": None, "title": ""},
            pending: {"cues": [{"n": 1}]},
            "C:\\gone\\x.mp3": {},
        },
        "config": {"z": 1, "a": 2},
    }
    rebuilt = library.rebuild(document)
    tracks = rebuilt.document["tracks"]
    assert list(rebuilt.document) == ["version", "tracks", "config"]
    assert list(tracks) == list(document["tracks"])
    assert tracks[has] == document["tracks"][has]
    assert tracks[pending] == {"cues": [{"n": 1}]}
    assert list(tracks[gone]) == [
        "key", "embedding", "tags", "embedding_source", "embedding_profile",
        "embedding_provenance",
    ]  # fmt: skip
    assert tracks[gone] == {
        "key": "8A",
        "tags": ["x", None],
        **embedding_fields(library.vector("b.mp3")),
    }
    assert tracks[no_ref]["artist"] == "kept"
    assert tracks[no_ref]["title"] == ""
    assert tracks[no_ref]["embedding"] == library.vector("a.mp3")
    assert rebuilt.filled_keys == (no_ref, gone)
    assert rebuilt.added_keys == ()


@pytest.mark.parametrize(
    ("reembed", "replaced"),
    [("none", set()), ("invalid", {"cut", "longer"}), ("all", {"good", "cut", "longer"})],
)
def test_which_vectors_of_others_give_way(
    library: Library, reembed: Reembed, replaced: set[str]
) -> None:
    names = ("good", "cut", "longer")
    keys = {name: library.add(f"{name}.mp3", embedded=True) for name in names}
    for name, length in (("good", D), ("cut", D), ("longer", D + 1)):
        np.save(library.folder / f"{name}.npy", np.ones(length))
    cut = library.folder / "cut.npy"
    os.truncate(cut, cut.stat().st_size - 1)
    library.add("not here.mp3")  # whatever its vector is, there is no other
    keys["not here"] = f"{library.music}/not here.mp3"
    rows = {key: {"bpm": 1, "embedding": f"{name}.npy"} for name, key in keys.items()}
    rows[keys["not here"]]["embedding"] = "cut.npy"
    rebuilt = library.rebuild({"tracks": rows}, reembed=reembed)
    after = rebuilt.document["tracks"]
    for name, key in keys.items():
        if name in replaced:
            assert after[key] == {"bpm": 1, **embedding_fields(library.vector(f"{name}.mp3"))}
        else:
            assert after[key] == rows[key]
    assert len(rebuilt.filled_keys) == len(replaced)
    again = library.rebuild(rebuilt.document, reembed=reembed)
    assert again.document == rebuilt.document  # when it was published


def test_a_published_copy_of_what_has_changed_since_is_named_no_more(library: Library) -> None:
    key = library.add("a.mp3", embedded=True)
    first = library.rebuild(None).document
    copy = library.folder / "copies" / Path(library.vector("a.mp3")).name
    copy.parent.mkdir()
    copy.write_bytes(Path(library.vector("a.mp3")).read_bytes())
    first["tracks"][key]["embedding"] = str(copy)
    assert library.rebuild(first).document == first
    library.store.write(track_id("music", "a.mp3"), np.full(D, 2.0))
    os.utime(library.vector("a.mp3"), ns=(2**62, 2**62))
    assert library.rebuild(first).document["tracks"][key]["embedding"] == library.vector("a.mp3")


def test_new_rows_are_described_and_come_in_the_order_of_the_library(library: Library) -> None:
    second = library.add("Artist - Title.mp3", embedded=True)
    first = library.add("alone.mp3", embedded=True)
    library.add("pending.mp3")
    rebuilt = library.rebuild(None)
    assert rebuilt.document == {
        "tracks": {
            second: {
                "artist": "Artist",
                "title": "Title",
                **embedding_fields(library.vector("Artist - Title.mp3")),
            },
            first: {
                "artist": "",
                "title": "alone",
                **embedding_fields(library.vector("alone.mp3")),
            },
        }
    }
    assert list(rebuilt.document["tracks"]) == [second, first]
    assert rebuilt.added_keys == (second, first)


def test_new_rows_have_the_tags_noted_at_decoding_and_no_file_is_opened(library: Library) -> None:
    whole = library.add("A - B.mp3", embedded=True)
    half = library.add("C - D.mp3", embedded=True)
    library.notes = {
        library.files[0].track_id: TrackNote(Tags("Artist", "Title"), None, None),
        library.files[1].track_id: TrackNote(Tags(None, "Title"), None, None),
    }
    for path in (whole, half):
        os.remove(path)
        os.mkfifo(path)  # opening one would block
    rows = library.rebuild(None).document["tracks"]
    assert [(row["artist"], row["title"]) for row in rows.values()] == [
        ("Artist", "Title"),
        ("C", "Title"),
    ]


SECTIONS = ["embedding_intro", "embedding_core", "embedding_late", "embedding_version"]


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ({"core": 2}, (2, 2, 2)),
        ({"core": 2, "late": 3}, (2, 2, 3)),
        ({"intro": 1, "core": 2}, (1, 1, 2)),
        ({"intro": 1, "core": 2, "late": 3}, (1, 2, 3)),
    ],
)
def test_sections_are_three_always_and_then_the_version(
    library: Library, windows: dict[str, float], expected: tuple[float, ...]
) -> None:
    new, ours, lacking = (library.add(f"{name}.mp3", embedded=True) for name in "abc")
    for name in "abc":
        library.write_sections(f"{name}.mp3", **windows)
    made = {**embedding_fields(library.vector("b.mp3")), "embedding_core": None, "bpm": 1}
    tracks = library.rebuild({"tracks": {ours: made, lacking: {}}}).document["tracks"]
    for path in (new, ours, lacking):
        row = tracks[path]
        assert path == ours or [name for name in row if name in SECTIONS] == SECTIONS
        assert row["embedding_version"] == "v2_section"
        named = [np.load(row[field], allow_pickle=False) for field in SECTIONS[:3]]
        assert [vector.tolist() for vector in named] == [[value] * D for value in expected]
    again = library.rebuild({"tracks": tracks})
    assert again.document["tracks"] == tracks


def test_sections_that_a_row_names_already_stay(library: Library) -> None:
    """Such as the copies that publish made of ours."""
    path = library.add("a.mp3", embedded=True)
    library.write_sections("a.mp3", core=2)
    library.folder.joinpath("copy.npy").touch()
    row = embedding_fields(library.vector("a.mp3")) | dict.fromkeys(SECTIONS[:3], "copy.npy")
    row["embedding_version"] = "v2_section"
    assert library.rebuild({"tracks": {path: row}}).document["tracks"][path] == row
    row["embedding_late"] = "gone.npy"
    rebuilt = library.rebuild({"tracks": {path: row}}).document["tracks"][path]
    assert {str(library.store.folder) in rebuilt[field] for field in SECTIONS[:3]} == {True}


def harmonic(first: float) -> dict[str, list[float]]:
    return {"chroma_profile": [first, *[0.1] * 11], "tonnetz_profile": [0.1] * 6}


def test_harmonic_goes_into_features_and_leaves_all_others(library: Library) -> None:
    paths = {name: library.add(f"{name}.mp3", embedded=True) for name in ("new", "none", "has")}
    silent, odd = library.add("silent.mp3", embedded=True), library.add("odd.mp3", embedded=True)
    for name in (*paths, "odd"):
        library.write_harmonic(f"{name}.mp3", 1 / 3)
    library.write_harmonic("silent.mp3", np.nan)
    path = library.folder / "data" / "meta.json"
    path.parent.mkdir()
    # numbers that would not survive being read and written
    text = '{"bass":1e400,  "chroma_profile":[1],"z": {"q":-0}, "samples": 0.10}'
    rows = f'{json.dumps(paths["has"])}: {{"features": {text}, "bpm": 1}}'
    rows += f', {json.dumps(paths["none"])}: {{"features": null}}'
    rows += f', {json.dumps(odd)}: {{"features": "x"}}'
    path.write_text(f'{{"tracks": {{{rows}}}}}')
    rebuilt = library.rebuild(path)
    tracks = rebuilt.document["tracks"]
    made = harmonic(0.33333334)
    assert tracks[paths["new"]]["features"] == made
    assert tracks[paths["none"]]["features"] == made
    assert tracks[odd]["features"] == "x"
    assert "features" not in tracks[silent]
    chroma, tonnetz = (json.dumps(made[f"{name}_profile"]) for name in ("chroma", "tonnetz"))
    assert (
        f'{{"bass":1e400,  "chroma_profile":{chroma},"z": {{"q":-0}}, "samples": 0.10,  '
        f'"tonnetz_profile":{tonnetz}}}'
    ) in rebuilt.text
    again = library.rebuild(rebuilt.document)
    assert again.document["tracks"] == tracks


def test_sidecars_for_all_serve_the_baselines_own_vectors(library: Library) -> None:
    path, has = library.add("a.mp3"), library.add("b.mp3")
    library.folder.joinpath("theirs.npy").touch()
    for name in ("a.mp3", "b.mp3"):
        library.write_sections(name, core=2)
        library.write_harmonic(name, 0.5)
    theirs: dict[str, Any] = {"embedding": "theirs.npy", "embedding_core": "gone.npy"}
    whole: dict[str, Any] = dict.fromkeys(("embedding", *SECTIONS[:3]), "theirs.npy")
    whole |= {"embedding_version": "v2_section", "features": harmonic(0.25)}
    document = {"tracks": {path: theirs, has: whole}}
    assert library.rebuild(document).document == document
    library.sidecars_for_all = True
    tracks = library.rebuild(document).document["tracks"]
    assert tracks[has] == whole
    row = tracks[path]
    assert (row["embedding"], "embedding_profile" in row) == ("theirs.npy", False)
    assert all(np.load(row[field]).tolist() == [2] * D for field in SECTIONS[:3])
    assert (row["embedding_version"], row["features"]) == ("v2_section", harmonic(0.5))
    assert library.rebuild({"tracks": tracks}).document["tracks"] == tracks


def test_windows_baseline_gets_windows_spellings(library: Library) -> None:
    library.add("Sub/A - B.mp3", embedded=True)
    library.add("old.mp3", embedded=True)
    inside = VectorStore(library.music / "vectors", D)
    inside.write(library.files[0].track_id, np.ones(D))
    inside.write(library.files[1].track_id, np.ones(D))
    library.store = inside
    pairs = [("C:/Users/dj/Music", str(library.music))]
    old = "c:\\users\\DJ\\music\\OLD.mp3"
    tracks = library.rebuild({"tracks": {old: {}}}, pairs).document["tracks"]
    assert list(tracks) == [old, "C:\\Users\\dj\\Music\\Sub\\A - B.mp3"]
    identity = library.files[1].track_id
    assert (
        tracks[old]["embedding"] == f"C:\\Users\\dj\\Music\\vectors\\{identity[:2]}\\{identity}.npy"
    )


def test_store_outside_the_mapped_prefix_keeps_its_local_path(library: Library) -> None:
    library.add("a.mp3", embedded=True)
    pairs = [("C:/Music", str(library.music))]
    tracks = library.rebuild({"tracks": {"C:\\Music\\a.mp3": {}}}, pairs).document["tracks"]
    assert tracks["C:\\Music\\a.mp3"]["embedding"] == library.vector("a.mp3")


def test_duplicate_rows_are_filled_together_or_not_at_all(library: Library) -> None:
    one = library.add("one.mp3", embedded=True)
    two = library.add("two.mp3", embedded=True)
    np.save(library.folder / "theirs.npy", np.ones(D))
    document = {
        "tracks": {
            one: {"n": 1},
            f"{library.music}/./one.mp3": {"n": 2},
            two: {},
            f"{library.music}//two.mp3": {"embedding": "theirs.npy"},
        }
    }
    rebuilt = library.rebuild(document)
    rows = list(rebuilt.document["tracks"].values())
    assert rows[0] == {"n": 1, **embedding_fields(library.vector("one.mp3"))}
    assert rows[1] == {"n": 2, **embedding_fields(library.vector("one.mp3"))}
    assert rows[2:] == [{}, {"embedding": "theirs.npy"}]


def test_two_files_that_one_row_names_do_not_replace_each_other(library: Library) -> None:
    library.add("caf\u00e9.mp3", embedded=True)
    library.add("cafe\u0301.mp3", embedded=True)
    nfc = str(library.music / "caf\u00e9.mp3")
    tracks = library.rebuild({"tracks": {nfc: {}}}).document["tracks"]
    assert tracks == {nfc: embedding_fields(library.vector("caf\u00e9.mp3"))}


def test_new_rows_never_overwrite_each_other(library: Library) -> None:
    library.add("a/b.mp3", embedded=True)
    strange = library.add("a\\b.mp3", embedded=True)
    pairs = [("C:/Music", str(library.music))]
    tracks = library.rebuild({"tracks": {"C:\\x.mp3": {}}}, pairs).document["tracks"]
    assert list(tracks) == ["C:\\x.mp3", "C:\\Music\\a\\b.mp3", strange]


def test_damaged_vectors_do_not_count(library: Library) -> None:
    path = library.add("a.mp3", embedded=True)
    library.add("b.mp3", embedded=True)
    for relative in ("a.mp3", "b.mp3"):
        Path(library.vector(relative)).write_bytes(b"cut short")
    document = {"tracks": {path: {"embedding": "gone.npy"}}}
    rebuilt = library.rebuild(document)
    assert rebuilt.document == document
    assert rebuilt.filled_keys == rebuilt.added_keys == ()


def test_a_published_meta_rebuilds_to_itself(library: Library) -> None:
    path = library.add("a.mp3", embedded=True)
    library.add("new.mp3", embedded=True)
    first = library.rebuild({"tracks": {path: {"x": float("nan")}}})
    again = library.rebuild(first.document)
    assert repr(again.document) == repr(first.document)
    assert again.filled_keys == again.added_keys == ()


def test_a_row_says_how_its_vector_was_made_and_keeps_saying_so(library: Library) -> None:
    path = library.add("a.mp3", embedded=True)
    identity = library.files[0].track_id
    library.notes = {identity: TrackNote(Tags(), None, None, "2026-01-02T03:04:05+00:00")}
    first = library.rebuild(None)
    made = first.document["tracks"][path].pop("embedding_provenance")
    assert made == {
        "profile": PROFILE.name,
        "recipe": "canonical",
        "model": "tiny",
        "revision": None,
        "sample_rate": 24000,
        "dtype": "float16",
        "created_at": "2026-01-02T03:04:05+00:00",
    }
    # published by an earlier version, which said nothing of it
    again = library.rebuild(first.document)
    assert again.document["tracks"][path]["embedding_provenance"] == made
    library.notes = {}
    assert library.rebuild(again.document).document == again.document


@pytest.mark.parametrize("policy", ["archive", "prune"])
def test_stale_rows_leave_unless_their_file_exists(library: Library, policy: str) -> None:
    kept = library.add("a.mp3")
    elsewhere = library.folder / "elsewhere.wma"
    elsewhere.touch()
    gone, nul = str(library.folder / "gone.mp3"), "/x\0y.mp3"
    rows = {key: {"n": key} for key in (gone, kept, str(elsewhere), "bare.mp3", nul)}
    stale = (gone, str(elsewhere), "bare.mp3", nul)
    rebuilt = library.rebuild({"tracks": rows}, policy=policy, stale=stale)
    assert list(rebuilt.document["tracks"]) == [kept, str(elsewhere), "bare.mp3"]
    assert rebuilt.removed == {key: rows[key] for key in (gone, nul)}
    assert library.rebuild({"tracks": rows}, stale=stale).document == {"tracks": rows}


def test_hostile_names_survive_the_file(library: Library) -> None:
    names = ["tab\t.mp3", "line\nbreak.mp3", 'quo"te.mp3', "\udcff.mp3", "\U0001f600.mp3"]
    paths = [library.add(name, embedded=True) for name in names]
    written = library.folder / "results" / "meta.json"
    write_text(written, library.rebuild(None).text)
    read = json.loads(written.read_bytes())["tracks"]
    assert list(read) == paths
    assert read[paths[3]]["title"] == "\udcff"
    assert b"\\udcff" in written.read_bytes()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
rows = st.fixed_dictionaries(
    {},
    optional={
        "artist": json_values,
        "embedding": st.sampled_from(["", None, 7, "gone.npy", "theirs.npy"]),
        "x": json_values,
    },
)


@pytest.mark.parametrize("policy", ["archive", "prune"])
@pytest.mark.parametrize(("gone", "accept"), [(1, False), (2, False), (2, True)])
def test_over_half_of_the_rows_go_only_if_that_is_meant(
    tmp_path: Path, policy: str, gone: int, accept: bool
) -> None:
    (tmp_path / "music").mkdir()
    kept = tmp_path / "music" / "a.mp3"
    kept.touch()
    rows = [str(kept), *(str(tmp_path / "music" / f"gone{number}.mp3") for number in range(gone))]
    live = tmp_path / "data" / "meta.json"
    write_json(live, {"tracks": {key: {} for key in rows}})
    config = {
        "library": {"roots": [{"name": "lib", "path": "music"}]},
        "meta": {"baseline": "data/meta.json", "stale_policy": policy},
        "model": {"name": "."},
        "accept_shrunken_library": accept,
    }
    chosen = load_settings(config, tmp_path)
    if gone == 2 and not accept:
        told = refusal(lambda: rebuild_library(chosen, a_profile()))
        assert told.startswith(f"meta.stale_policy: {policy} would take 2 of 3 rows out of meta")
        assert f"'{rows[1]}'" in told
        assert not chosen.results.meta.exists()
        assert not chosen.results.archived_rows.exists()
    else:
        rebuild_library(chosen, a_profile())
        assert list(json.loads(chosen.results.meta.read_bytes())["tracks"]) == [str(kept)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    names=st.lists(st.sampled_from("abcdefgh"), unique=True),
    embedded=st.sets(st.sampled_from("abcdefgh")),
    values=st.lists(rows, min_size=8, max_size=8),
    others=st.dictionaries(st.text().filter(lambda name: name != "tracks"), json_values),
)
def test_nothing_of_the_baseline_is_lost(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    embedded: set[str],
    values: list[dict[str, Any]],
    others: dict[str, Any],
) -> None:
    library = Library(tmp_path_factory.mktemp("library"))
    np.save(library.folder / "theirs.npy", np.ones(D))
    for name in "abcdefgh":
        library.add(f"{name}.mp3", embedded=name in embedded)
    keys = [f"{library.music}/{name}.mp3" for name in names]
    document = {**others, "tracks": dict(zip(keys, values, strict=False))}
    rebuilt = library.rebuild(document)
    written = library.folder / "out.json"
    write_text(written, rebuilt.text)
    after = json.loads(written.read_bytes())

    def text(value: object) -> str:  # NaN is equal to itself as text
        return json.dumps(value)

    assert [text(pair) for pair in after.items() if pair[0] != "tracks"] == [
        text(pair) for pair in others.items()
    ]
    assert list(after["tracks"])[: len(keys)] == keys
    for name, key, row in zip(names, keys, values, strict=False):
        got = after["tracks"][key]
        if name in embedded and row.get("embedding") != "theirs.npy":
            assert got["embedding"] == library.vector(f"{name}.mp3")
            assert list(got)[: len(row)] == list(row)
            changed = embedding_fields(library.vector(f"{name}.mp3")).keys()
            assert text({k: v for k, v in got.items() if k not in changed}) == text(
                {k: v for k, v in row.items() if k not in changed}
            )
        else:
            assert text(got) == text(row)
    new = {f"{library.music}/{name}.mp3" for name in embedded - set(names)}
    assert after["tracks"].keys() - set(keys) == new
