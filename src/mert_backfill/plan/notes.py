"""What looks like a mistake of configuration, and is better told before a week of work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.library.paths import is_windows, with_slashes
from mert_backfill.plan.gaps import GapReport
from mert_backfill.plan.guess import Guess
from mert_backfill.plan.inputs import ScanInputs
from mert_backfill.records.manifest import (
    EMBEDDING_FILE_MISSING,
    EMBEDDING_INVALID,
    MISSING_META,
    PendingTrack,
)
from mert_backfill.records.speed import Speed
from mert_backfill.store.vectors import read_array
from mert_backfill.words import counted, duration

# fewer vectors than that are made again in less time than it takes to ask
_WORTH_ASKING = 10
# of fewer tracks nobody asks how long they take, and why they are new
_MANY = 100
_WORTH_TELLING_S = 60.0
# whose vector is looked at: all were made by one program, and a disk may be slow
_ROWS = 50


def unlisted_note(inputs: ScanInputs) -> str:
    """Say how many lines of paths_file name nothing in the library; empty when all do."""
    only, listing = inputs.only, inputs.listing
    if only is None:
        return ""
    absent = only.unmatched(file.path for file in (*listing.files, *listing.junk))
    if not absent:
        return ""
    return (
        f"{only.path}: {len(absent)} of {len(only)} listed paths are not in the library, "
        f"such as {absent[0]!r}"
    )


def quarantine_note(inputs: ScanInputs) -> str:
    """Say how many lines of quarantine_file tell no file; empty when all do."""
    listed = inputs.quarantine
    if listed is None or not listed.passed_over:
        return ""
    return (
        f"{listed.path}: {len(listed.passed_over)} lines that hold no path and size_bytes are "
        f"passed over, such as line {listed.passed_over[0]}"
    )


def linked_folders_note(inputs: ScanInputs) -> str:
    """Say how many links to folders were not followed; empty when there are none."""
    links = inputs.listing.linked_folders
    if not links:
        return ""
    return (
        f"folders that are links, which are not followed: {len(links)}, such as "
        f"{_quoted(links[0])}; if their music belongs to the library, add the folders that they "
        "lead to to library.roots"
    )


def gone_folders_note(inputs: ScanInputs) -> str:
    """Say which whole folders or disks went since the last scan; empty when none did."""
    state, listing = inputs.state, inputs.listing
    there = listing.found_per_folder()
    roots = {root.name for root in listing.roots}
    gone = {
        folder: tracks
        for folder, tracks in state.found_per_folder.items()
        if folder not in there and folder.partition("/")[0] in roots
    }
    inside = tuple(os.path.join(root.path, "") for root in listing.roots)
    away = [disk for disk in state.mounts if disk not in listing.mounts and disk.startswith(inside)]
    parts = []
    if sum(gone.values()) >= _WORTH_ASKING:
        largest = max(gone, key=lambda folder: gone[folder])
        parts.append(
            f"{counted(len(gone), 'folder')} that held music at the last scan "
            f"{'holds' if len(gone) == 1 else 'hold'} none now, such as {_quoted(largest)} "
            f"({counted(gone[largest], 'track')})"
        )
    if away:
        told = counted(len(away), "disk that was", "disks that were")
        parts.append(f"{told} mounted at the last scan, but not now, such as {_quoted(away[0])}")
    if not parts:
        return ""
    return f"{'; '.join(parts)}: moved, or a disk that is to be mounted? Their rows stay"


def changed_note(tracks: int) -> str:
    """Say how many tracks changed under their names; empty when none did."""
    if not tracks:
        return ""
    told = counted(
        tracks,
        "track changed on disk since it was embedded: it is decoded",
        "tracks changed on disk since they were embedded: they are decoded",
    )
    return f"{told}, and embedded again only where the sound differs"


def unseen_note(inputs: ScanInputs, report: GapReport) -> str:
    """Say that a program on Windows will not find the new vectors; empty where it will."""
    settings, style = inputs.settings, inputs.baseline.style
    some_fit = report.counts["stale_meta_paths_total"] < len(inputs.baseline.tracks)
    store = str(settings.results.embeddings)
    spelled = settings.meta.path_map.to_baseline(store, style)
    if (
        not (style.windows and some_fit)
        or is_windows(with_slashes(spelled))
        or settings.meta.publish_embeddings_to is not None
    ):
        return ""
    return (
        f"new vectors go to {_quoted(store)}, where Windows cannot open them: set "
        "meta.publish_embeddings_to to a folder beside your meta.json, and publish copies them "
        "there"
    )


def time_note(
    tracks: int,
    speed: Speed | None,
    chunks_at_a_time: int,
    guess: Callable[[], Guess | None] = lambda: None,
) -> str:
    """Say how long some tracks take; empty where they are too few for anybody to ask.

    Parameters
    ----------
    tracks : int
        The pending tracks.
    speed : Speed or None
        That of the last chunks.
    chunks_at_a_time : int
        How many chunks a run works on at the same time.
    guess : callable
        What to go by before anything was embedded; None where there is nothing.
    """
    if speed is None:
        return _guess_note(tracks, guess()) if tracks >= _MANY else ""
    at_a_time = max(1, chunks_at_a_time)
    seconds = speed.seconds_for(tracks, chunks_at_a_time=at_a_time)
    if seconds < _WORTH_TELLING_S:
        return ""
    beside = "" if at_a_time == 1 else f", {at_a_time} chunks at a time"
    told = duration(seconds)
    return f"about {told} for {counted(tracks, 'track')} at the speed of the last ones{beside}"


def _guess_note(tracks: int, guess: Guess | None) -> str:
    try_ten = f"`{command(config='limit=10')}` does ten, and then this line tells"
    if guess is None:
        return f"how long this takes is not known before some tracks were embedded here: {try_ten}"
    if tracks * guess.longest < _WORTH_TELLING_S:
        return ""
    shortest, longest = duration(tracks * guess.shortest), duration(tracks * guess.longest)
    return (
        f"somewhere between {shortest} and {longest} for {counted(tracks, 'track')}, as fast as "
        f"this machine multiplies with all cores; {try_ten} better"
    )


def check_vectors_are_there(inputs: ScanInputs, report: GapReport) -> None:
    """Refuse to make nearly all vectors again because their disk is not mounted.

    Parameters
    ----------
    inputs : ScanInputs
        What was read.
    report : GapReport
        How the library divides.

    Raises
    ------
    UserError
        Of the tracks whose row names a vector, under a tenth has one, there or in the store.
    """
    lost = _lost_vectors(report)
    there = report.counts["already_embedded_total"]
    if inputs.settings.accept_shrunken_library or len(lost) < max(_WORTH_ASKING, 9 * there):
        return
    raise UserError(
        f"meta.json names vectors of {counted(len(lost), 'track')} that are not there, such as "
        f"{_quoted(_vector_of(lost[0], inputs))}, so nearly all would be made again; mount the "
        "disk that they are on, or correct meta.embedding_base or meta.path_map, or, if this is "
        "meant, add --config accept_shrunken_library=true"
    )


def _lost_vectors(report: GapReport) -> list[PendingTrack]:
    return [row for row in report.pending if row.reason == EMBEDDING_FILE_MISSING]


def _vector_of(row: PendingTrack, inputs: ScanInputs) -> str:
    keys = inputs.baseline.keys_of(row.path)
    return str(next(iter(inputs.baseline.embeddings_of(keys))))


def baseline_notes(inputs: ScanInputs, report: GapReport) -> Iterator[str]:
    """Yield what is odd about the baseline as a whole.

    Parameters
    ----------
    inputs : ScanInputs
        What was read.
    report : GapReport
        How the library divides.
    """
    baseline = inputs.baseline
    rows = len(baseline.tracks)
    if _fits_no_file(inputs, report):
        yield _unfitting_note(inputs)
    new = report.counts["missing_meta_total"]
    known = rows - report.counts["stale_meta_paths_total"]
    if known and new >= _MANY and new * 2 > report.counts["audio_files_scanned"]:
        path = next(row.path for row in report.pending if row.reason == MISSING_META)
        yield (
            f"meta.json has no row for {new:,} of {report.counts['audio_files_scanned']:,} tracks, "
            f"such as {_quoted(path)}; if it should know them: is it the right file "
            "(meta.baseline), does meta.path_map name every folder?"
        )
    lost = _lost_vectors(report)
    if len(lost) * 10 > report.counts["already_embedded_total"]:
        yield (
            f"meta.json names vectors of {counted(len(lost), 'track')} that are not there, such as "
            f"{_quoted(_vector_of(lost[0], inputs))}: they are made again. If they exist, mount "
            "their disk, or correct meta.embedding_base or meta.path_map"
        )
    yield _another_model_note(inputs, report) or _unusable_note(inputs, report)


def _fits_no_file(inputs: ScanInputs, report: GapReport) -> bool:
    rows = len(inputs.baseline.tracks)
    stale = report.counts["stale_meta_paths_total"]
    return bool(rows and inputs.listing.files) and stale == rows


def _unfitting_note(inputs: ScanInputs) -> str:
    rows = inputs.baseline.tracks
    return (
        f"0 of {len(rows)} rows of meta.json belong to a file: they are written like "
        f"{_quoted(next(iter(rows)))}, your music is written like "
        f"{_quoted(inputs.listing.files[0].path)}; is meta.path_map missing? See config/README.md"
    )


def _unusable_note(inputs: ScanInputs, report: GapReport) -> str:
    """Say how many vectors that rows name do not count; empty when all do."""
    rows = _unusable(report)
    if not rows:
        return ""
    tracks = counted(len(rows), "track")
    if inputs.settings.meta.reembed == "all":
        return (
            f"meta.reembed is all: {tracks} whose vectors were not made here by this recipe and "
            "model get new ones; the old files stay"
        )
    return (
        f"{tracks} whose vector cannot be used (damaged, or of another size), such as "
        f"{_quoted(rows[0].path)}: {'it is' if len(rows) == 1 else 'they are'} made again"
    )


def _unusable(report: GapReport) -> list[PendingTrack]:
    return [row for row in report.pending if row.reason == EMBEDDING_INVALID]


def _another_model_note(inputs: ScanInputs, report: GapReport) -> str:
    """Say that the vectors that meta.json names are another model's; empty when they are not."""
    reembed = inputs.settings.meta.reembed
    if reembed == "invalid" and (inputs.named.usable or not _unusable(report)):
        return ""
    sizes = set(_vector_sizes(inputs))
    if len(sizes) != 1 or sizes == {inputs.profile.dimension}:
        return ""
    note = (
        f"your meta.json holds vectors of {sizes.pop()} numbers, this model makes "
        f"{inputs.profile.dimension}: another model? Vectors of two models do not compare. "
    )
    match reembed:
        case "none":
            return f"{note}meta.reembed is none: the old ones stay"
        case "all":
            return f"{note}meta.reembed is all: they are all made again"
    return (
        f"{note}Name the model that made them (model.name), or set meta.reembed to all to have "
        "them made again, or to none to leave them"
    )


def why_refused(inputs: ScanInputs, report: GapReport) -> str:
    """Return what a run, though no preview, is refused for; empty when it may go on.

    That is to make a library's vectors again because another model was configured, or because no
    row is found to belong to a file: nobody wants that without having said so.
    """
    if not inputs.settings.accept_shrunken_library and _fits_no_file(inputs, report):
        baseline = inputs.baseline
        vectors = sum(baseline.embedding_ref(key) is not None for key in baseline.tracks)
        if vectors >= _WORTH_ASKING:
            return (
                f"{_unfitting_note(inputs)}. All {vectors:,} tracks whose vector it names would be "
                "embedded again, and be in it twice. If this is meant, add --config "
                "accept_shrunken_library=true"
            )
    again, there = len(_unusable(report)), report.counts["already_embedded_total"]
    asked_for = inputs.settings.meta.reembed != "invalid"
    if asked_for or again < max(_WORTH_ASKING, 9 * there):
        return ""
    return _another_model_note(inputs, report)


def _vector_sizes(inputs: ScanInputs) -> Iterator[int]:
    baseline = inputs.baseline
    referring = (key for key in baseline.tracks if baseline.embedding_ref(key) is not None)
    for path in baseline.embeddings_of(islice(referring, _ROWS)):
        vector = read_array(path)
        if isinstance(vector, np.ndarray) and vector.ndim == 1:
            yield len(vector)


def _quoted(path: str) -> str:
    """Return a path in quotes, with single backslashes, and safe for a terminal."""
    return repr(path).replace("\\\\", "\\")
