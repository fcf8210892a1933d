"""The checkpoint file: what is written is what is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mert_backfill.records.checkpoint import COUNTERS, Checkpoint

CHECKPOINT = Checkpoint(
    chunk="part001-0123abcd",
    profile="canonical-00000000",
    sidecars=("sections",),
    status="running",
    counters=dict.fromkeys(COUNTERS, 3),
    updated_at="2026-01-01T00:00:00+00:00",
    tracks_per_second=None,
    eta_s=1.5,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint.json"
    CHECKPOINT.write(path)
    assert Checkpoint.read(path) == CHECKPOINT


def test_a_key_of_a_later_version_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint.json"
    CHECKPOINT.write(path)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "colour": "blue"}))
    assert Checkpoint.read(path) == CHECKPOINT


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"[" * 99_999, b"\xff", b"{}"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.checkpoint.json"
    path.write_bytes(content)
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own, or ours
        Checkpoint.read(path)


def test_one_that_is_not_there_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Checkpoint.read(tmp_path / "none")
