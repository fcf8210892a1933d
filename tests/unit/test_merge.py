import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mert_backfill.library.meta_text import MetaText
from mert_backfill.library.paths import PathMap
from mert_backfill.meta.merge import Merged, merge

Rows = dict[str, dict[str, Any]]


def text_of(rows: Rows, **entries: Any) -> MetaText:
    return MetaText(json.dumps({"tracks": rows, **entries}))


def merged(base: Rows, ours: Rows, theirs: Rows) -> Merged:
    return merge(text_of(base), text_of(ours), text_of(theirs), PathMap().key)


def rows_of(result: Merged) -> Rows:
    assert result.conflicts == ()
    return json.loads(result.text)["tracks"]


def told(result: Merged) -> list[str]:
    return [str(conflict) for conflict in result.conflicts]


BASE: Rows = {"/a": {"bpm": 1, "key": "8A"}, "/b": {"x": 1}}


def test_both_sides_changes_are_in_the_result() -> None:
    ours: Rows = {
        "/a": {"bpm": 1, "key": "8A", "embedding": "a.npy"},
        "/b": {"x": 1},
        "/new": {"t": "N"},
    }
    theirs: Rows = {"/c": {"y": 2}, "/a": {"bpm": 2, "key": "8A", "cues": [1]}, "/b": {}}
    assert rows_of(merged(BASE, ours, theirs)) == {
        "/c": {"y": 2},
        "/a": {"bpm": 2, "key": "8A", "cues": [1], "embedding": "a.npy"},
        "/b": {},
        "/new": {"t": "N"},
    }


def test_rows_that_one_side_removed_stay_away() -> None:
    assert rows_of(merged(BASE, {"/a": BASE["/a"]}, BASE)) == {"/a": BASE["/a"]}
    assert rows_of(merged(BASE, BASE, {"/a": BASE["/a"]})) == {"/a": BASE["/a"]}
    assert rows_of(merged(BASE, {"/a": BASE["/a"]}, {"/a": BASE["/a"]})) == {"/a": BASE["/a"]}


def test_the_same_change_on_both_sides_is_no_conflict() -> None:
    changed = {**BASE, "/a": {"bpm": 3, "key": "8A"}, "/new": {"t": 1}}
    assert rows_of(merged(BASE, changed, changed)) == changed


def test_a_field_with_two_new_values_is_a_conflict() -> None:
    ours, theirs = {**BASE, "/b": {"x": 2}}, {**BASE, "/b": {"x": 3}}
    result = merged(BASE, ours, theirs)
    assert told(result) == ["the field 'x' of the row '/b' is 2 here and 3 there"]
    assert told(merged(BASE, {**BASE, "/b": {}}, theirs)) == [
        "the field 'x' of the row '/b' is gone here and 3 there"
    ]


def test_a_row_that_one_side_removed_and_the_other_changed_is_a_conflict() -> None:
    without = {"/a": BASE["/a"]}
    assert told(merged(BASE, without, {**BASE, "/b": {"x": 3}})) == [
        "the row '/b' is gone here and {\"x\": 3} there"
    ]
    assert told(merged(BASE, {**BASE, "/b": {"x": 2}}, without)) == [
        "the row '/b' is {\"x\": 2} here and gone there"
    ]


def test_a_file_that_both_added_under_two_spellings_gets_one_row() -> None:
    ours = {**BASE, "C:\\Music\\n.mp3": {"title": "N", "embedding": "n.npy"}}
    theirs = {**BASE, "c:/music/N.mp3": {"title": "N", "bpm": 1}}
    assert rows_of(merged(BASE, ours, theirs)) == {
        **BASE,
        "c:/music/N.mp3": {"title": "N", "bpm": 1, "embedding": "n.npy"},
    }
    other = {**BASE, "c:/music/N.mp3": {"title": "M"}}
    assert told(merged(BASE, ours, other)) == [
        "the field 'title' of the row 'C:\\\\Music\\\\n.mp3' is \"N\" here and \"M\" there"
    ]


def test_entries_beside_the_tracks_are_theirs() -> None:
    key = PathMap().key
    base, theirs = text_of(BASE, v=1), text_of(BASE, v=2, w=3)
    assert merge(base, base, theirs, key) == Merged(theirs.text, ())
    assert told(merge(base, text_of(BASE, v=4), theirs, key)) == [
        "the entry 'v' is 4 here and 2 there"
    ]


def test_what_they_wrote_stays_byte_for_byte() -> None:
    key = PathMap().key
    base = MetaText('{"tracks": {"/a": {"n": 1.50}}}')
    ours = MetaText('{"tracks": {"/a": {"n": 1.50, "e": 1e400}}}')
    theirs = MetaText('{"tracks" :{ "/a":{"n":1.50},"/b":{"m":-0}}}\n')
    assert merge(base, ours, theirs, key).text == (
        '{"tracks" :{ "/a":{"n":1.50,"e":1e400},"/b":{"m":-0}}}\n'
    )


def test_long_values_are_cut_in_what_is_shown() -> None:
    ours, theirs = {**BASE, "/b": {"x": "o" * 999}}, {**BASE, "/b": {"x": "t" * 999}}
    (line,) = told(merged(BASE, ours, theirs))
    assert len(line) < 250


values = st.sampled_from([0, 1, 2, "x", None, [1], {"k": 1}])
names = st.sampled_from("abc")
tables = st.dictionaries(st.sampled_from(["/1", "/2", "/3", "/4"]), st.dictionaries(names, values))


def three_way(base: Any, ours: Any, theirs: Any) -> Any:
    """Return what a value becomes; `...` stands for none."""
    if json.dumps(ours, default=str) == json.dumps(base, default=str):
        return theirs
    same = json.dumps(theirs, default=str) in {
        json.dumps(base, default=str),
        json.dumps(ours, default=str),
    }
    return ours if same else None


@given(base=tables, ours=tables, theirs=tables)
def test_no_field_is_lost_or_made_up(base: Rows, ours: Rows, theirs: Rows) -> None:
    """Each field of the result is what exactly one of the three rules gives, or there is a
    conflict about it."""
    result = merged(base, ours, theirs)
    after: Rows = json.loads(result.text)["tracks"]
    told_of = " ".join(told(result))
    for key in {**base, **ours, **theirs}:
        for name in "abc":
            sides = [rows.get(key, {}).get(name, ...) for rows in (base, ours, theirs)]
            if f"'{key}'" in told_of:
                continue
            if key not in after:
                here, there = (rows.get(key, base.get(key)) for rows in (ours, theirs))
                assert key not in ours or key not in theirs
                assert here == base.get(key) == there, key  # who kept it had not changed it
                continue
            assert after[key].get(name, ...) == three_way(*sides), (key, name)
    for key in after:
        assert key in ours or key in theirs


@given(base=tables, ours=tables)
def test_without_changes_there_the_result_is_ours(base: Rows, ours: Rows) -> None:
    result = rows_of(merged(base, ours, base))
    assert json.dumps(result, sort_keys=True) == json.dumps(ours, sort_keys=True)


@given(base=tables, theirs=tables)
def test_without_changes_here_the_result_is_theirs(base: Rows, theirs: Rows) -> None:
    assert merged(base, base, theirs) == Merged(text_of(theirs).text, ())
