"""Two rows in one: no value is lost, whatever the fields hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mert_backfill.meta.unite import unite_rows

Row = dict[str, Any]


def unite(kept: Row, other: Row, *, other_embedding: bool = False) -> tuple[Row, Row, Row]:
    """Return the united row, and what is left of either."""
    ours, theirs = (
        {name: json.dumps(value) for name, value in row.items()} for row in (kept, other)
    )
    united = unite_rows(ours, theirs, other_embedding=other_embedding)
    parts = (united.fields, united.left_of_kept, united.left_of_other)
    read = [{name: json.loads(text) for name, text in part.items()} for part in parts]
    return read[0], read[1], read[2]


@pytest.mark.parametrize(
    ("ours", "theirs", "united", "left_of_ours", "left_of_theirs"),
    [
        (["a", "b"], ["b", "c"], ["a", "b", "c"], None, None),
        ([{"t": 1}], [{"t": 2}, {"t": 3}], [{"t": 2}, {"t": 3}], [{"t": 1}], None),
        ([{"t": 1}, {"t": 9}], [{"t": 2}], [{"t": 1}, {"t": 9}], None, [{"t": 2}]),
        ([1], [2], [1], None, [2]),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, None, None),
        ({"a": {"x": 1}}, {"a": {"x": 2, "y": 3}}, {"a": {"x": 1, "y": 3}}, None, {"a": {"x": 2}}),
        (128, 129, 128, None, 129),
        (None, 128, 128, None, None),
        ("", "x", "x", None, None),
        (128, None, 128, None, None),
        ("x", ["x"], "x", None, ["x"]),
        (0, 128, 0, None, 128),
        (False, True, False, None, True),
    ],
)
def test_a_field_with_two_values(
    ours: Any, theirs: Any, united: Any, left_of_ours: Any, left_of_theirs: Any
) -> None:
    fields, *left = unite({"x": ours, "y": 1}, {"x": theirs, "z": 2})
    assert fields == {"x": united, "y": 1, "z": 2}
    assert list(fields) == ["x", "y", "z"]
    assert [part.get("x") for part in left] == [left_of_ours, left_of_theirs]


def test_numbers_keep_their_digits() -> None:
    united = unite_rows({"f": '{"a": 1.50}'}, {"f": '{"b": 1e400, "a": 1.5}', "n": "-0"})
    assert united.fields == {"f": '{"a": 1.50, "b": 1e400}', "n": "-0"}
    assert united.left_of_other == {"f": '{"a": 1.5}'}


def test_of_two_vectors_only_one_is_described() -> None:
    kept = {"embedding": "a.npy", "embedding_intro": "i.npy", "bpm": 1}
    other = {"embedding": "b.npy", "embedding_profile": "p"}
    assert unite(kept, other) == (kept, {}, other)
    fields, left, left_of_other = unite(kept, other, other_embedding=True)
    assert fields == {"bpm": 1, **other}
    assert (left, left_of_other) == ({"embedding": "a.npy", "embedding_intro": "i.npy"}, {})
    same = {"embedding": "a.npy", "embedding_profile": "p"}
    assert unite(kept, same) == ({**kept, "embedding_profile": "p"}, {}, {})
    assert unite({"embedding": None, "embedding_x": 1}, other)[0] == other


values = st.recursive(
    st.sampled_from([None, False, True, 0, -1, 1.5, "", "a", "b", "é"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(st.sampled_from("abc"), max_size=3)
        | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=6,
)
names = st.sampled_from(["bpm", "tags", "cues", "features", "embedding", "embedding_profile"])
rows = st.dictionaries(names, values, max_size=6)


def is_in(value: Any, places: list[Any]) -> bool:
    """Tell whether a value, or each part of it, is at one of the places."""
    if value in (None, "", [], {}) or any(repr(value) == repr(there) for there in places):
        return True
    if isinstance(value, dict):
        inside = [there for there in places if isinstance(there, dict)]
        return all(
            is_in(part, [there[name] for there in inside if name in there])
            for name, part in value.items()
        )
    return isinstance(value, list) and any(
        isinstance(there, list) and all(map(there.__contains__, value)) for there in places
    )


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(kept=rows, other=rows, choice=st.booleans())
def test_no_value_is_lost(kept: Row, other: Row, choice: bool) -> None:
    fields, left_of_kept, left_of_other = unite(kept, other, other_embedding=choice)
    for row, left in ((kept, left_of_kept), (other, left_of_other)):
        for name, value in row.items():
            places = [part[name] for part in (fields, left) if name in part]
            assert is_in(value, places), (name, value, places)
    assert unite(fields, other, other_embedding=choice)[0] == fields  # once is enough
