"""Why tracks fail, and which of them are tried again."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from mert_backfill.failures import ADVICE, Failure, Reason, Remark, Stage, TrackError, is_permanent
from support.fakes import a_failure

TRACK = "0" * 20
AT_ONCE = {
    "empty_file", "not_audio", "unsupported_codec", "decode_error", "too_short", "silent",
    "non_finite",
}  # fmt: skip
THE_SECOND_TIME = {"decode_timeout", "decoder_crashed"}


def test_the_reasons_are_those_of_the_contract() -> None:
    assert {reason.value for reason in Reason} == AT_ONCE | THE_SECOND_TIME | {
        "file_missing", "permission_denied", "io_error", "out_of_memory", "embed_error",
        "write_error",
    }  # fmt: skip


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("stage", ["decode", "embed"])
def test_when_a_track_is_quarantined(reason: Reason, stage: Stage) -> None:
    error = TrackError(stage, reason, "told")
    # a decoder has a limit of its own; a model that gets no memory has none
    the_second_time = THE_SECOND_TIME | ({"out_of_memory"} if stage == "decode" else set())
    transient = a_failure(TRACK, reason="io_error", permanent=False)
    assert is_permanent(error, None) is (reason in AT_ONCE)
    assert is_permanent(error, transient) is (reason in AT_ONCE)
    for suspect in THE_SECOND_TIME | {"out_of_memory"}:
        before = a_failure(TRACK, reason=suspect, stage="decode", permanent=False)
        assert is_permanent(error, before) is (reason in AT_ONCE | the_second_time)
    before = a_failure(TRACK, reason="out_of_memory", stage="embed", permanent=False)
    assert is_permanent(error, before) is (reason in AT_ONCE)


def test_every_reason_and_every_remark_has_its_advice_and_its_line_in_the_docs() -> None:
    assert set(ADVICE) == {*Reason, *Remark}
    page = (Path(__file__).parents[2] / "docs" / "failures.md").read_text(encoding="utf-8")
    for word, (meaning, cure) in ADVICE.items():
        assert f"| `{word}` | {meaning} | {cure} |" in page


def test_a_failure_is_of_the_file_as_it_was() -> None:
    failure = a_failure(TRACK, size_bytes=5, mtime_ns=7)
    assert failure.is_of_file(5, 7)
    assert not failure.is_of_file(6, 7)
    assert not failure.is_of_file(5, 8)


def test_a_record_comes_back_through_json() -> None:
    failure = a_failure(TRACK, path="/m/\udce9\n.mp3", attempts=3)
    record = json.loads(json.dumps(failure.as_record()))
    assert list(record) == [
        "path", "track_id", "chunk", "stage", "reason", "error", "permanent", "attempts",
        "size_bytes", "mtime_ns", "timestamp",
    ]  # fmt: skip
    assert Failure.from_record(record) == failure
    assert Failure.from_record({**record, "of_a_later_version": 1}) == failure
    del record["attempts"]
    with pytest.raises(KeyError):
        Failure.from_record(record)


def test_an_error_survives_the_way_between_processes() -> None:
    error = TrackError("decode", Reason.SILENT, "all zero")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (again.stage, again.reason, again.error) == ("decode", Reason.SILENT, "all zero")
    assert str(again) == str(error) == "silent: all zero"
