"""Words for people."""

from __future__ import annotations

from mert_backfill.health.counts import LibraryCounters, TrackCounters
from mert_backfill.records.calibration import Calibration
from mert_backfill.words import counted

# what each counter of the audit counts, over rows of meta.json
ROW_WORDS = {
    "tracks_total": "rows in all",
    "embedding_ok": "with a vector that can be used",
    "embedding_gap_total": "without one",
    "missing_embedding_ref": "of these: no vector is named",
    "embedding_file_missing": "of these: the file that is named is not there",
    "embedding_invalid": "of these: the file is damaged, or of another model",
    "stale_track_path_total": "rows whose music file is not in the library",
    "bare_path_total": "rows that name a file without its folder",
    "junk_path_total": "rows for what is no music, such as `._` files",
    "duplicate_normalized_path_keys": "further rows for a file that has one",
    "failed_total": "tracks that failed",
    "quarantined_total": "of these: for good, so left alone until the file changes",
}
# over tracks of the library
TRACK_WORDS = {
    "tracks": "tracks in all",
    "embedded": "with a vector that can be used",
    "failed": "failed, and tried again by each run",
    "quarantined": "failed for good: left alone until the file changes (quarantined)",
    "open": "still to do",
}
# over files, as the scan found them before anything was embedded
SCAN_WORDS = {
    "audio_files_found": "audio files in the music folders",
    "junk_files_total": "of these: no music, such as `._` files",
    "excluded_audio_files_total": "of these: left out by you (exclude_file, paths_file)",
    "quarantined_total": "of these: failed for good in an earlier run (quarantined)",
    "audio_files_scanned": "of these: looked at",
    "already_embedded_total": "looked at: have a vector",
    "pending_embedding_total": "looked at: had to be embedded",
    "missing_meta_total": "to embed: without a row in meta.json",
    "missing_embedding_ref_total": "to embed: with a row, but no vector that can be used",
    "changed_since_embedded_total": "to embed: changed since their vector was made",
    "stale_meta_paths_total": "rows of meta.json whose file is not in the library",
    "duplicate_meta_keys_total": "further rows of meta.json for a file that has one",
    "linked_folders_total": "links to folders, which are not followed",
}


def headline(library: LibraryCounters, start: TrackCounters | None = None) -> str:
    """Return the result of all runs in one sentence.

    Parameters
    ----------
    library : LibraryCounters
        The tracks by the baseline, and now.
    start : TrackCounters, optional
        The tracks before the first run; by default those by the baseline, which holds what was
        published since.
    """
    start, now = start or library.before, library.now
    closed = max(0, now.embedded - start.embedded)
    left = now.open + now.failed  # what failed for good cannot be closed
    state = f"{now.embedded:,} of {now.tracks:,} tracks have a vector"
    hopeless = f" {counted(now.quarantined, 'track')} failed for good." if now.quarantined else ""
    if not closed and not left:
        return f"No gap is left: {state}.{hopeless}"
    return (
        f"Closed {closed:,} of {counted(closed + left, 'gap')}: {state}, {start.embedded:,} had "
        f"one before.{hopeless}"
    )


def explain_calibration(calibration: Calibration) -> str:
    """Return what calibration found, and whether the run went on in spite of it."""
    told = f"{calibration.told[0].upper()}{calibration.told[1:]}."
    if not calibration.stops:
        return told
    return (
        f"{told} New vectors of {calibration.recipe} do not compare with all of them; the run went "
        "on because that was accepted (accept_calibration)."
    )
