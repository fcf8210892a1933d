"""Thousands of damaged files: each is the track, a remark or a failure, and nothing else."""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mert_backfill.audio.pool import DecoderPool
from mert_backfill.audio.prepared import DecodeResult, PreparedTrack
from mert_backfill.failures import HOPELESS, Reason, Remark, TrackError
from mert_backfill.recipes import RECEPTIVE_FIELD
from support.mutants import FORMATS, SECONDS, Mutant, mutant, whole_file

TIMEOUT_S = 60.0
MEMORY_LIMIT_BYTES = 1 << 30
# what a damaged file may end as; no decoder is known to crash or hang
ALLOWED = HOPELESS | {Reason.OUT_OF_MEMORY}


def check(result: DecodeResult, made: Mutant) -> str:
    """Check what became of a mutant, and return it in a word."""
    if result.error is not None:
        check_failure(result.error)
        return result.error.reason.value
    assert result.prepared is not None
    check_track(result.prepared)
    is_short = result.prepared.duration_s < 0.95 * SECONDS - 0.5
    if is_short and made.is_told:
        assert result.prepared.remark == Remark.CUT_SHORT, made.kind
    return result.prepared.remark or "whole"


def check_failure(error: TrackError) -> None:
    assert error.reason in ALLOWED, error
    assert error.error
    assert error.error.isprintable()


def check_track(track: PreparedTrack) -> None:
    assert track.window_names == ("core",) or track.window_names[0] == "intro"
    assert 0 < track.duration_s <= 120
    assert track.remark in {"", *Remark}
    for window in track.windows:
        assert np.isfinite(window).all()
        assert window.any()
        assert len(window) >= RECEPTIVE_FIELD


def fuzz(folder: Path, numbers: range) -> Counter[str]:
    """Decode mutants in a pool; return how often each outcome came."""
    made: dict[str, Mutant] = {}

    def tracks() -> Iterator[tuple[str, str]]:
        for number in numbers:
            one = mutant(number)
            path = folder / str(number)
            path.write_bytes(one.content)
            made[str(number)] = one
            yield str(number), str(path)

    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    with DecoderPool(2, timeout_s=TIMEOUT_S, memory_limit_bytes=MEMORY_LIMIT_BYTES) as pool:
        for result in pool.decode(tracks()):
            one = made.pop(result.track_id)
            try:
                outcomes[check(result, one)] += 1
            except AssertionError as error:
                wrong.append(
                    f"{one.number} ({one.kind}): {result.error or result.prepared}: {error}"
                )
            (folder / result.track_id).unlink()
    assert not wrong, "\n".join(wrong)
    assert not made
    return outcomes


@pytest.mark.parametrize("name", FORMATS)
def test_whole_files_are_whole(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_bytes(whole_file(name))
    with DecoderPool(1, timeout_s=TIMEOUT_S) as pool:
        (result,) = pool.decode([("a", str(tmp_path / "a"))])
    assert result.prepared is not None, result.error
    expected = 0.2 if name == "dsf" else SECONDS
    assert result.prepared.duration_s == pytest.approx(expected, abs=0.15)
    assert result.prepared.remark == ""


def test_mutants(tmp_path: Path) -> None:
    """300 damaged files of 25 formats (headers, sizes, truncations, splices, damaged packets,
    tags) -> each is the track, a remark or a failure; `make soak` tries 20,000."""
    outcomes = fuzz(tmp_path, range(300))
    assert {"whole", "cut_short", "decode_error"} <= outcomes.keys()


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by the kernel's count")
def test_many_mutants_and_nothing_grows(tmp_path: Path) -> None:
    fuzz(tmp_path, range(1000))  # all that is made once has been made
    before = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, descriptors())
    outcomes = fuzz(tmp_path, range(1000, 20_000))
    assert threading.active_count() == 1
    assert descriptors() == before[1]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before[0] + 100_000  # KiB
    print(dict(outcomes))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
