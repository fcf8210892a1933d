"""A chunk uses what it may use, and as many decoders as keep its model busy."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from mert_backfill.chunk.worker import decoders_of, fit_to_processors
from mert_backfill.settings import Runtime
from mert_backfill.system.machine import usable_cpus
from support.jobs import make_job


@pytest.mark.parametrize(
    ("threads", "usable", "used"), [(1, 2, 1), (2, 2, 2), (32, 2, 2), (8, 4, 4), (4, 1, 1)]
)
def test_no_more_threads_than_processors_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, threads: int, usable: int, used: int
) -> None:
    job = make_job(tmp_path, ["a.wav"], threads=threads)
    with caplog.at_level(logging.INFO):
        fitted = fit_to_processors(job, usable)
    assert fitted.threads == used
    assert len(caplog.messages) == (threads > usable)
    assert all(f"{threads} threads were meant" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("device", "asked", "threads", "decoders"),
    [
        ("cpu", "auto", 1, 1),
        ("cpu", "auto", 32, 2),
        ("cuda", "auto", 16, 16),
        ("cpu", 5, 32, 5),
        ("cuda", 5, 1, 5),
    ],
)
def test_decoders_keep_the_model_busy(
    device: str, asked: int | str, threads: int, decoders: int
) -> None:
    runtime = Runtime(device=device, decode_workers=asked)  # type: ignore[arg-type]
    assert decoders_of(runtime, threads) == decoders


def test_what_may_be_used_is_no_more_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert usable_cpus() == 1
