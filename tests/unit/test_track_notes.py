from pathlib import Path
from typing import Any

from mert_backfill.records.journal import JournalWriter
from mert_backfill.records.track_notes import TrackNote, read_track_notes
from mert_backfill.results import Results
from mert_backfill.tags import Tags


def note(results: Results, chunk: str, track_id: str, at: str, **tags: Any) -> None:
    with JournalWriter(results.journal(chunk)) as journal:
        row = {"track_id": track_id, **tags}
        journal.append("embedded", row=row, profile="p", at=at)


def test_the_last_note_of_a_track_counts(tmp_path: Path) -> None:
    results = Results(tmp_path)
    note(results, "b", "1" * 20, "2026-01-01", artist="old", title="old")
    note(results, "a", "1" * 20, "2026-01-02", artist="A", title=None, pcm_sha256="f", duration_s=3)
    note(results, "a", "2" * 20, "2026-01-01", artist=7)
    note(results, "c", "3" * 20, "2026-01-01")  # of a version that noted none
    with results.journal("a").open("ab") as file:
        file.write(b'{"event": "embedded", "row": []}\n{"event": "embe')
    assert read_track_notes(results) == {
        "1" * 20: TrackNote(Tags("A", None), "f", 3.0),
        "2" * 20: TrackNote(Tags(), None, None),
        "3" * 20: TrackNote(Tags(), None, None),
    }


def test_when_a_vector_was_made_is_told_for_one_profile(tmp_path: Path) -> None:
    results = Results(tmp_path)
    with JournalWriter(results.journal("a")) as journal:
        for profile, at in (("p", "2026-01-01"), ("p", "2026-01-03"), ("other", "2026-01-05")):
            journal.append("embedded", row={"track_id": "1" * 20}, profile=profile, at=at)
    asked = {name: read_track_notes(results, name)["1" * 20].made_at for name in ("p", "other")}
    assert asked == {"p": "2026-01-03", "other": "2026-01-05"}
    assert read_track_notes(results)["1" * 20].made_at is None


def test_without_journals_there_are_none(tmp_path: Path) -> None:
    assert read_track_notes(Results(tmp_path)) == {}
