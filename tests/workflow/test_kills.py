"""Kills at random moments lose nothing, and the next run as typed goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.kill_loop import check_tables, check_vectors, finish, kill_loop, make_library


def run_loop(folder: Path, tracks: int, kills: int, seed: int) -> None:
    make_library(folder, tracks, seconds=45)
    finish(folder, folder / "log.txt")  # what an uninterrupted run makes
    (folder / "results").rename(folder / "reference")
    kill_loop(folder, kills, seed)
    finish(folder, folder / "log.txt")
    assert check_vectors(folder, dimension=64) == tracks
    check_tables(folder)


def test_fifteen_kills_lose_nothing(tmp_path: Path) -> None:
    run_loop(tmp_path, tracks=20, kills=15, seed=1)


@pytest.mark.soak
def test_two_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    run_loop(tmp_path, tracks=60, kills=200, seed=2)
