import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mert_backfill.library.meta_text import (
    EMPTY_META,
    MAX_DEPTH,
    MetaEdit,
    MetaText,
    NoRow,
    RawJson,
    RepeatedKey,
    TooDeep,
    says_the_same,
)

NUMBERS = ["1e400", "-1e400", "-0", "-0.0", "12345678901234567.89", "0.10", "1E5", "1" * 40]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_stays_as_it_is_written(number: str) -> None:
    text = f'{{"n": {number}, "tracks": {{"/a": {{"n": [{number}], "x": 1}}}}}}'
    edited = MetaText(text).edited(MetaEdit(fields={"/a": {"x": 2}}, added={"/b": {"y": "z"}}))
    assert edited == text.replace('"x": 1}', '"x": 2}, "/b": {"y": "z"}')


def test_only_what_changes_is_written() -> None:
    text = (
        '{\r\n\t"tracks" : {\r\n\t\t"/a": {"t": "caf\\u00e9", "n": 1},\r\n\r\n'
        '\t\t"/b": {}\r\n\t},\r\n\t"z": [ 1,2 ]}\r\n'
    )
    assert MetaText(text).edited(MetaEdit()) == text
    edited = MetaText(text).edited(
        MetaEdit(fields={"/a": {"n": 2, "m": {"k": ["\u00e9"]}}}, added={"/c": {"t": "é"}})
    )
    assert edited == text.replace('"n": 1}', '"n": 2, "m": {"k": ["\\u00e9"]}}').replace(
        '"/b": {}', '"/b": {},\r\n\r\n\t\t"/c": {"t": "\\u00e9"}'
    )


@pytest.mark.parametrize("indent", [None, 1, 2, 4])
def test_new_rows_look_like_those_that_are_there(indent: int | None) -> None:
    rows: dict[str, dict[str, Any]] = {"/a": {"t": "é", "n": {"k": [1]}}, "/b": {"t": "x"}}
    old = {"v": 1, "tracks": {"/a": rows["/a"]}}
    text = json.dumps(old, indent=indent, ensure_ascii=False)
    edited = MetaText(text).edited(MetaEdit(added={"/b": rows["/b"]}))
    assert edited == json.dumps({"v": 1, "tracks": rows}, indent=indent, ensure_ascii=False)
    empty = MetaText(json.dumps({"v": 1, "tracks": {}}, indent=indent))
    assert empty.edited(MetaEdit(added={"/b": rows["/b"]})) == json.dumps(
        {"v": 1, "tracks": {"/b": rows["/b"]}}, indent=indent
    )


def test_raw_rows_are_taken_as_they_are() -> None:
    row = RawJson('{"n":1e400}')
    assert json.loads(MetaText(EMPTY_META).edited(MetaEdit(added={"/a": row})))
    assert '"/a": {"n":1e400}' in MetaText(EMPTY_META).edited(MetaEdit(added={"/a": row}))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
names = st.sampled_from(["a", "b", "c", "é", "\udcff", '"', "\\", "\n"])
tables = st.dictionaries(names, st.dictionaries(names, values, max_size=4), max_size=6)


@given(
    before=tables,
    fields=tables,
    dropped=st.dictionaries(names, st.sets(names)),
    added=tables,
    removed=st.sets(names),
    indent=st.sampled_from([None, 0, 2]),
    ascii_only=st.booleans(),
    renamed=st.sampled_from([None, *"abc"]),
)
def test_an_edit_does_what_it_says(
    before: dict[str, dict[str, Any]],
    fields: dict[str, dict[str, Any]],
    dropped: dict[str, set[str]],
    added: dict[str, dict[str, Any]],
    removed: set[str],
    indent: int | None,
    ascii_only: bool,
    renamed: str | None,
) -> None:
    """Whatever is changed, added, removed and renamed, the text is JSON that says so, in order."""
    stays = before.keys() - removed - added.keys()
    fields = {key: new for key, new in fields.items() if key in stays}
    dropped = {key: gone - fields.get(key, {}).keys() for key, gone in dropped.items()}
    dropped = {key: gone for key, gone in dropped.items() if key in stays}
    removed &= before.keys() - added.keys()
    document = {"x": 1, "tracks": before, "y": [2]}
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    moves = {renamed: "new \u00fc"} if renamed in stays else {}
    edit = MetaEdit(fields, dropped, added, removed, {str(old): new for old, new in moves.items()})
    after = json.loads(MetaText(text).edited(edit))
    expected = {key: dict(row) for key, row in before.items() if key not in removed}
    for key, gone in dropped.items():
        expected[key] = {name: value for name, value in expected[key].items() if name not in gone}
    for key, new in fields.items():
        expected[key].update(new)
    expected.update(added)
    expected = {moves.get(key, key): row for key, row in expected.items()}
    assert json.dumps(after) == json.dumps({"x": 1, "tracks": expected, "y": [2]})


def verdict(read: Callable[[str], object], text: str) -> str:
    """Return why a text is refused as JSON, and where; or that it is not."""
    try:
        read(text)
    except json.JSONDecodeError as error:
        return f"{error.msg} {error.pos}"
    except (RepeatedKey, NoRow, TypeError):
        return "other"
    return "read"


@given(document=st.fixed_dictionaries({"tracks": tables, "more": values}), cut=st.integers(0, 200))
def test_what_is_no_json_is_refused_as_python_refuses_it(
    document: dict[str, Any], cut: int
) -> None:
    whole = json.dumps(document)
    assert json.dumps(MetaText(whole).document) == whole
    for broken in (whole[:cut], whole[:cut] + "," + whole[cut:], whole[:cut] + whole[cut + 1 :]):
        assert verdict(MetaText, broken) in {verdict(json.loads, broken), "other"}


def test_depth_has_a_limit() -> None:
    def nested(depth: int) -> str:
        return '{"tracks": {"/a": ' + '{"x":' * depth + "1" + "}" * depth + "}}"

    MetaText(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(TooDeep):
            MetaText(nested(depth))
    wide = f'{{"tracks": {{"/a": {{"x": {json.dumps([[]] * 1000)}}}}}}}'
    assert MetaText(wide).edited(MetaEdit()) == wide


def test_repeated_keys_are_named() -> None:
    for text in ('{"tracks": {}, "a": 1, "a": 2}', '{"tracks": {"a": {}, "a": {}}}'):
        with pytest.raises(RepeatedKey, match=r"^a$"):
            MetaText(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a": [1, "\\u00e9"]}', '{"a":[1,"é"]}', True),
        ("1e400", "1e401", False),
        ("NaN", "NaN", True),
        ("-0", "0", False),
        ('"1"', "1", False),
        ('["number", "1"]', "1", False),
        ("12345678901234567.89", "12345678901234567.9", False),
    ],
)
def test_the_same_value_has_the_same_digits(one: str, other: str, same: bool) -> None:
    assert says_the_same(one, other) is same
