"""Which tracks a run takes: lists, limits and retries. The steps build on each other."""

from __future__ import annotations

import shutil

import pytest

from support.project import (
    BROKEN,
    DRIFT,
    EMBEDDED,
    EMPTY,
    FAILING,
    INTRO,
    KICK,
    KICK_COPY,
    OTHER_INTRO,
    SILENT,
    TAPE,
    TRACKS,
    Project,
    add_track,
)


def test_a_limit_shortens_the_manifest_and_not_the_counters(fresh: Project) -> None:
    call = fresh.run("--config", "limit=2")
    assert fresh.pending() == [OTHER_INTRO, DRIFT]
    assert fresh.counts()["pending_embedding_total"] == 13
    assert fresh.counts()["audio_files_scanned"] == 13
    assert fresh.statuses(call.chunks) == {OTHER_INTRO: "embedded", DRIFT: "embedded"}
    assert len(fresh.vectors()) == 2
    assert len(fresh.read_json("meta/meta.json")["tracks"]) == 2
    assert "tracks pending: 11, chunks remaining: 2" in fresh.run("-n").output


def test_the_same_limit_again_takes_the_next_tracks(fresh: Project) -> None:
    preview = fresh.run("-n", "--config", "limit=1").output
    assert "tracks pending: 11, chunks remaining: 1" in preview
    call = fresh.run("--config", "limit=1")
    assert fresh.statuses(call.chunks) == {SILENT: "failed"}
    assert len(fresh.read_json("meta/meta.json")["tracks"]) == 2
    assert set(fresh.failures()) == {SILENT}


def test_only_the_listed_paths_are_embedded(fresh: Project) -> None:
    listed = fresh.folder / "wave.txt"
    listed.write_text(f'# the first wave\n\n"{fresh.music / TAPE}"\nmusic/House\nmusic/Gone.mp3\n')
    call = fresh.run("--config", "paths_file=wave.txt")
    house = {INTRO, KICK, KICK_COPY, BROKEN}
    assert set(fresh.pending()) == {TAPE, *house}
    assert "1 of 3 listed paths are not in the library" in call.output
    counts = fresh.counts()
    assert counts["excluded_audio_files_total"] == 8
    assert counts["audio_files_scanned"] == counts["pending_embedding_total"] == 5
    assert counts["quarantined_total"] == 0  # the one that failed before is not on the list
    statuses = fresh.statuses(call.chunks)
    assert statuses.pop(BROKEN) == "failed"
    assert set(statuses) == {TAPE, *house} - {BROKEN}
    assert len(fresh.vectors()) == 2 + 4


def test_what_is_excluded_is_never_embedded(fresh: Project) -> None:
    (fresh.folder / "exclude.txt").write_text("music/Odd/*.ogg\n*caf*\n")
    fresh.configure(
        library={"roots": [{"name": "lib", "path": "music"}], "exclude_file": "exclude.txt"}
    )
    fresh.run()
    counts = fresh.counts()
    assert counts["excluded_audio_files_total"] == 2
    assert counts["quarantined_total"] == 2  # silent, broken
    assert counts["already_embedded_total"] == 6
    assert counts["pending_embedding_total"] == 3  # empty, quoted, newline
    assert len(fresh.vectors()) == 8
    fresh.configure()
    assert "tracks pending: 2, chunks remaining: 1" in fresh.run("-n").output


@pytest.mark.parametrize("attempts", ["2", "3"])
def test_a_retry_counts_up(fresh: Project, attempts: str) -> None:
    fresh.configure(  # the two that are still to be done are not wanted here
        library={"roots": [{"name": "lib", "path": "music"}], "exclude_file": "exclude.txt"}
    )
    call = fresh.run("--config", "retry_failed=true")
    assert fresh.statuses(call.chunks) == dict.fromkeys([SILENT, BROKEN, EMPTY], "failed")
    failures = fresh.failures()
    assert {name: row["attempts"] for name, row in failures.items()} == dict.fromkeys(
        FAILING, attempts
    )
    assert fresh.run().chunks == []  # nobody asks for another try


def test_the_list_of_failures_can_be_handed_back(fresh: Project) -> None:
    listed = fresh.folder / "retry.txt"
    shutil.copy(fresh.results / "audit" / "retry_paths.txt", listed)
    fresh.run("--config", "paths_file=retry.txt")
    assert set(fresh.pending()) == set(FAILING)
    assert {row["attempts"] for row in fresh.failures().values()} == {"4"}


def test_a_quarantined_file_that_changes_is_tried_again(fresh: Project) -> None:
    (fresh.music / SILENT).unlink()
    add_track(fresh.music / SILENT)
    fresh.configure()
    call = fresh.run()
    statuses = fresh.statuses(call.chunks)
    assert statuses[SILENT] == "embedded"
    assert set(statuses.values()) == {"embedded"}
    assert len(statuses) == 3  # and the two that were excluded
    assert set(fresh.failures()) == {BROKEN, EMPTY}
    assert len(fresh.vectors()) == len(EMBEDDED) + 1 == len(TRACKS) - 2
    assert fresh.run().nothing_to_do
