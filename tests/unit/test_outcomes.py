"""What becomes of tracks, without the run that brings them there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.outcomes import DecodedTrack, Embedding, Outcomes
from mert_backfill.chunk.progress import Progress
from mert_backfill.failures import Reason, TrackError
from mert_backfill.records.journal import JournalState, JournalWriter, read_journal
from mert_backfill.records.journal_index import open_index
from mert_backfill.records.ledger import Ledger
from mert_backfill.records.past import Past, Sounds
from mert_backfill.store.tracks import TrackArrays
from support.fakes import D, a_failure, prepared
from support.jobs import events
from support.libraries import Library

BY = Embedding("cpu", "float32", 0.5)
SLOW = TrackError("decode", Reason.DECODE_TIMEOUT, "no result within 10 s")
BUSY = TrackError("decode", Reason.IO_ERROR, "OSError: busy")


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path)
    library.add("a.mp3", "b.mp3")
    return library


@contextmanager
def opened(
    job: ChunkJob,
    *,
    state: JournalState | None = None,
    ledger: Ledger | None = None,
    **parameters: Any,
) -> Iterator[Outcomes]:
    """Open the outcomes of a chunk of which something is known."""
    sounds = Sounds(open_index(job.results), job.profile.name)
    past = Past(state or JournalState(), ledger or Ledger(), sounds, since_ns=0)
    with JournalWriter(job.journal) as journal:
        yield Outcomes(job, journal, past, **parameters)


def track(library: Library, name: str, content: bytes = b"song") -> DecodedTrack:
    return DecodedTrack(library.row(name), 0.25, prepared(content))


def arrays(value: float = 1.0) -> TrackArrays:
    return TrackArrays(np.full(D, value, np.float32), {})


def test_a_vector_is_noted_kept_and_counted(library: Library) -> None:
    job = library.job("a.mp3")
    seen: list[Progress] = []
    with opened(job, on_track=seen.append) as outcomes:
        outcomes.embedded(track(library, "a.mp3"), arrays(), BY)
    assert seen == [outcomes.progress]
    assert outcomes.progress.counters == {"succeeded": 1}
    assert job.store.is_complete(library.id("a.mp3"))
    row = read_journal(job.journal).done[library.id("a.mp3")]
    assert (row["status"], row["device"], row["precision"]) == ("embedded", "cpu", "float32")
    assert (row["seconds_decode"], row["seconds_embed"]) == (0.25, 0.5)


def test_the_sound_of_a_vector_is_known_at_once(library: Library) -> None:
    job = library.job("a.mp3", "b.mp3")
    with opened(job) as outcomes:
        assert not outcomes.reuse(track(library, "b.mp3"))
        outcomes.embedded(track(library, "a.mp3"), arrays(3), BY)
        assert not outcomes.reuse(track(library, "b.mp3", b"another song"))
        assert outcomes.reuse(track(library, "b.mp3"))
    assert job.store.vectors.read(library.id("b.mp3")).tolist() == [3] * D
    assert [event for event, _ in events(job)] == ["embedded", "reused"]


def test_a_vector_that_cannot_be_kept_is_no_sound_to_reuse(library: Library) -> None:
    job = library.job("a.mp3", "b.mp3")
    with opened(job) as outcomes:
        outcomes.embedded(track(library, "a.mp3"), arrays(0), BY)
        assert not outcomes.reuse(track(library, "b.mp3"))
    assert outcomes.progress.counters == {"failed": 1}
    assert read_journal(job.journal).failed[library.id("a.mp3")].reason == "embed_error"


def test_only_a_suspect_deserves_another_try_and_only_once(library: Library) -> None:
    job = library.job("a.mp3", "b.mp3")
    suspect, busy = library.row("a.mp3"), library.row("b.mp3")
    with opened(job) as outcomes:
        assert not outcomes.failed(busy, BUSY, last_try=False)
        assert outcomes.failed(suspect, SLOW, last_try=False)
        assert outcomes.progress.counters == {"failed": 1}  # the suspect is not settled
        assert not outcomes.failed(suspect, SLOW)
    assert outcomes.progress.counters == {"failed": 2}
    failed = read_journal(job.journal).failed
    assert failed[suspect.track_id].permanent
    assert not failed[busy.track_id].permanent


def test_attempts_go_on_from_what_all_journals_say(library: Library) -> None:
    job, row = library.job("a.mp3"), library.row("a.mp3")
    file = {"size_bytes": row.size_bytes, "mtime_ns": row.mtime_ns}
    before = a_failure(row.track_id, permanent=False, reason="io_error", attempts=4, **file)
    with opened(job, ledger=Ledger({row.track_id: before})) as outcomes:
        assert outcomes.unsettled([row]) == [row]
        outcomes.failed(row, BUSY)
    assert read_journal(job.journal).failed[row.track_id].attempts == 5


def test_who_needs_no_work(library: Library) -> None:
    library.add("c.mp3", "d.mp3")
    names = ("a.mp3", "b.mp3", "c.mp3", "d.mp3")
    job = library.job(*names)
    done, found, hopeless, left = (library.row(name) for name in names)
    for row in (done, found):
        job.store.write(row.track_id, arrays())
    file = {"size_bytes": hopeless.size_bytes, "mtime_ns": hopeless.mtime_ns}
    ledger = Ledger({hopeless.track_id: a_failure(hopeless.track_id, **file)})
    with opened(job, state=JournalState(done={done.track_id: {}}), ledger=ledger) as outcomes:
        assert outcomes.unsettled([done, found, hopeless, left]) == [left]
    assert outcomes.progress.counters == {
        "queued": 4, "skipped_checkpoint": 2, "skipped_existing": 1,
    }  # fmt: skip
