"""Whether the last scan still holds, and if not, why.

| change     | because                                        | what runs                       |
| ---------- | ---------------------------------------------- | ------------------------------- |
| NO_PLAN    | no plan yet, or it is cut short or damaged     | scan, plan, all that is pending |
| PUBLISHING | ``publish`` is asked for                       | nothing new                     |
| LIBRARY    | what `library_key` lists is not as it was      | scan, plan, what is pending now |
| NAMED      | a vector that meta.json names is not as it was | scan, plan, what is pending now |
| LOST       | a vector or sidecar of ours is gone or damaged | scan, plan, what is gone        |
| NEXT       | a run under a limit ended, and tracks are left | scan, plan, the next tracks     |
| RETRY      | ``retry_failed``, and tracks are quarantined   | scan, plan, the quarantined     |
|            | tracks failed for reasons that may pass        | scan, plan, those tracks        |
| NONE       | nothing, or nothing that a plan depends on     | what is left of the plan        |

A file whose size or time changed is among LIBRARY: what is pending then is that track, as long as
its vector is one of ours. It is decoded, and embedded only if its sound is another.

After a scan meta.json, audit and report are made anew. A plan does not depend on ``runtime``,
``checkpointing``, ``meta.stale_policy`` (which makes meta.json anew), nor on an update of this
program. A change that was scanned already is none: the plan that it led to goes on.

The fingerprint is a parameter of the rule that scans: another one makes Snakemake scan and plan
again, an equal one leaves a plan alone that may be half done.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from enum import Enum, auto
from typing import Any

from mert_backfill.library.listing import AudioFile
from mert_backfill.library.path_lists import PathList
from mert_backfill.plan.chunks import Plan
from mert_backfill.plan.inputs import ScanInputs
from mert_backfill.records.quarantine import is_own_list
from mert_backfill.records.tracks import Recorded
from mert_backfill.store.named import folder_marks
from mert_backfill.store.tracks import Need
from mert_backfill.store.vectors import VectorState

# what is remembered of a track whose files are younger than their record, and were read
_GOOD = "good files"


class Change(Enum):
    """Why the library is scanned again, or not; what each means is said above."""

    NO_PLAN = auto()
    PUBLISHING = auto()
    LIBRARY = auto()
    NAMED = auto()
    LOST = auto()
    NEXT = auto()
    RETRY = auto()
    NONE = auto()

    @property
    def keeps_plan(self) -> bool:
        """Whether the plan goes on."""
        return self in {Change.NONE, Change.PUBLISHING}


@dataclass(frozen=True)
class Freshness:
    """Whether the last scan holds.

    Attributes
    ----------
    change : Change
        Why it does or does not.
    key, fingerprint : str
        What a scan is recorded under, see `ScanState`: those of the last one where it holds.
    """

    change: Change
    key: str
    fingerprint: str


@dataclass(frozen=True)
class _Marks:
    """What a scan would be about now; see the functions below."""

    key: str
    lost: list[str]
    retried: list[tuple[str, int]]
    named: list[tuple[str, str]]

    @property
    def fingerprint(self) -> str:
        return _digest([self.key, self.lost, self.retried, *([self.named] if self.named else [])])

    @property
    def repeated(self) -> str:
        """The fingerprint for when the last scan was about the same, and is to run again."""
        return _digest([self.fingerprint, "again"])


def judge_last_scan(inputs: ScanInputs, *, publishing: bool) -> Freshness:
    """Tell whether the last scan still holds.

    Parameters
    ----------
    inputs : ScanInputs
        What was read.
    publishing : bool
        Stay with the results that there are.
    """
    state, plan = inputs.state, inputs.plan
    key = library_key(inputs)
    now = _Marks(
        key, lost_vectors(inputs), tracks_to_retry(inputs, key), changed_vector_folders(inputs)
    )
    if plan is None:
        return Freshness(Change.NO_PLAN, key, now.fingerprint)
    change = Change.PUBLISHING if publishing else _find_change(inputs, plan, now)
    if change.keeps_plan:
        return Freshness(change, state.key, state.fingerprint)
    is_same = state.fingerprint == now.fingerprint
    return Freshness(change, key, now.repeated if is_same else now.fingerprint)


def _find_change(inputs: ScanInputs, plan: Plan, now: _Marks) -> Change:
    state = inputs.state
    if not plan.track_ids.isdisjoint(now.lost):  # what this very plan brought
        return Change.LOST
    if plan.is_done and beyond_limit(inputs, plan) > 0:
        return Change.NEXT
    if state.fingerprint in {now.fingerprint, now.repeated}:
        return Change.NONE
    if state.key != now.key:
        return Change.LIBRARY
    if now.named:
        return Change.NAMED
    if now.lost:
        return Change.LOST
    return Change.RETRY if now.retried else Change.NONE


def beyond_limit(inputs: ScanInputs, plan: Plan) -> int:
    """Return how many pending tracks a limit keeps out of the plan."""
    if inputs.settings.chunking.limit is None:
        return 0
    return max(0, inputs.summary.pending - len(plan.track_ids))


def lost_vectors(inputs: ScanInputs) -> list[str]:
    """Return listed tracks whose recorded vector or sidecar is gone from the store or damaged.

    A file is read only when it is younger than the record of it: anything that damages a file
    later, other than the disk itself, leaves that mark. One that was found good stays so while it
    has the same size and time: copied results are read once.
    """
    on_their_way = set() if inputs.plan is None else inputs.plan.unfinished_tracks
    recorded = {
        track: told
        for track, told in inputs.recorded.items()
        if told.written_ns and track not in on_their_way
    }
    if not recorded:
        return []
    files = inputs.store.files
    uniform = all(len({stat.st_size for stat in found.values()}) <= 1 for found in files)
    lost = []
    for file in inputs.listing.files:
        told = recorded.get(file.track_id)
        if told is None:
            continue
        needed = files if told.has_vector else files[1:]
        stats = [found.get(file.track_id) for found in needed]
        sound = uniform and all(stat and stat.st_mtime_ns <= told.written_ns for stat in stats)
        if not sound and not _is_good(file, told, stats, inputs):
            lost.append(file.track_id)
    return sorted(lost)


def _is_good(
    file: AudioFile, told: Recorded, stats: Sequence[os.stat_result | None], inputs: ScanInputs
) -> bool:
    """Read what is kept of a track, unless that was done when its files had the stat they have."""
    marks = [(stat.st_size, stat.st_mtime_ns) for stat in stats if stat is not None]
    about = (inputs.profile.name, *inputs.settings.embedding.sidecars, file.track_id, *marks)
    if len(marks) == len(stats) and inputs.remembered.knows(_GOOD, *about):
        return True
    for_all = inputs.settings.embedding.sidecars_for == "all"
    need = Need(told.has_vector, inputs.theirs(file) if for_all else frozenset())
    is_good = inputs.store.is_complete(file.track_id, need)
    if is_good:
        inputs.remembered.learn(_GOOD, *about)
    return is_good


def changed_vector_folders(inputs: ScanInputs) -> list[tuple[str, str]]:
    """Return the folders of the baseline's vectors that are not as the last scan saw them.

    With each what it is now. Nothing is read: one stat a vector.
    """
    before = inputs.state.vector_folders
    now = folder_marks(before)
    return sorted((folder, mark) for folder, mark in now.items() if mark != before[folder])


def tracks_to_retry(inputs: ScanInputs, key: str) -> list[tuple[str, int]]:
    """Return the tracks that this run tries again, and their attempts.

    Those of which a plan that was done has left the reason open, and, where that is asked for,
    the quarantined ones.
    """
    if not inputs.settings.retry_failed:
        return inputs.unresolved
    state, plan = inputs.state, inputs.plan
    if plan is not None and plan.unfinished and state.key == key and state.released:
        return []  # a retry that was interrupted: its plan goes on
    quarantined = [
        (file.track_id, failure.attempts)
        for file in inputs.listing.files
        if (failure := inputs.ledger.quarantined(file)) is not None
    ]
    return sorted(inputs.unresolved + quarantined + _listed_elsewhere(inputs))


def _listed_elsewhere(inputs: ScanInputs) -> list[tuple[str, int]]:
    """Return the tracks that only ``quarantine_file`` names, which was never tried here."""
    if inputs.quarantine is None:
        return []
    return [
        (file.track_id, 0)
        for file in inputs.listing.files
        if inputs.quarantine.of_file(file.path, file.size_bytes) is not None
        and file.track_id not in inputs.ledger.failures
        and inputs.store.vector(file.track_id) is not VectorState.VALID
    ]


def library_key(inputs: ScanInputs) -> str:
    """Return what stands for library, baseline, lists and settings."""
    settings, mark = inputs.settings, inputs.baseline_mark
    return _digest(
        [
            *_quarantine_mark(inputs),
            # what is not used changes nothing for who has a plan of an earlier version
            *(["all"] if settings.embedding.sidecars_for == "all" else []),
            inputs.listing.fingerprint(),
            [str(root.path) for root in settings.library.roots],  # manifest and meta.json name them
            [] if mark is None else astuple(mark),
            str(settings.meta.embedding_base),
            settings.meta.path_map.pairs,
            _list_mark(inputs.exclude),
            _list_mark(inputs.only),
            settings.chunking.size,
            settings.chunking.limit,
            inputs.profile.fingerprint,
            settings.embedding.sidecars,
            settings.meta.reembed,
        ]
    )


def _quarantine_mark(inputs: ScanInputs) -> list[list[str]]:
    """Return what stands for ``quarantine_file``; nothing of one that the audit writes itself.

    That changes with each run that adds to it, and says nothing that the journals do not.
    """
    listed = inputs.quarantine
    if listed is None or is_own_list(listed.path, inputs.settings.results):
        return []
    return [[str(listed.path), listed.sha256]]


def _list_mark(paths: PathList | None) -> list[str]:
    return [] if paths is None else [str(paths.path), paths.sha256]


def _digest(value: Any) -> str:
    """Return the sha256 of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
