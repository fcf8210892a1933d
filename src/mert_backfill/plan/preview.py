"""What there is to do, told before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mert_backfill.plan.calibration import Outlook, look_ahead
from mert_backfill.plan.freshness import Change, beyond_limit, judge_last_scan
from mert_backfill.plan.guess import Guess
from mert_backfill.plan.inputs import read_inputs
from mert_backfill.plan.notes import (
    baseline_notes,
    changed_note,
    check_vectors_are_there,
    gone_folders_note,
    linked_folders_note,
    quarantine_note,
    time_note,
    unlisted_note,
    unseen_note,
    why_refused,
)
from mert_backfill.plan.ownership import demo_note, owner_of
from mert_backfill.plan.scan import find_library_gaps
from mert_backfill.records.owner import Owner
from mert_backfill.records.speed import Speed
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile
from mert_backfill.system.remembered import Remembered


@dataclass(frozen=True)
class Preview:
    """The library as it is now, and what is left to do.

    Attributes
    ----------
    key, fingerprint : str
        See `ScanState`; the fingerprint is a parameter of the rule that scans.
    change : Change
        Why the library is scanned and planned again, or why it is not.
    files_found, tracks_pending, chunks_remaining : int
        What the preview tells.
    note : str
        What else the user should know, a line each, or nothing.
    owner : Owner
        The library, as a run records it.
    refusal : str
        Why a run, though no preview, is refused; mostly empty.
    remembered : Remembered
        What was found out on the way, for a run to keep.
    calibration : Outlook
        Whether a calibration comes first, or what one has found.
    """

    key: str
    fingerprint: str
    change: Change
    files_found: int
    tracks_pending: int
    chunks_remaining: int
    note: str
    owner: Owner
    refusal: str
    remembered: Remembered = field(compare=False, repr=False)
    calibration: Outlook

    @property
    def plan_holds(self) -> bool:
        """The plan that there is goes on; else the library is scanned and planned again."""
        return self.change.keeps_plan

    def timed(
        self,
        speed: Speed | None,
        chunks_at_a_time: int,
        guess: Callable[[], Guess | None] = lambda: None,
    ) -> Preview:
        """Return the preview with how long it takes; see `time_note`."""
        at_a_time = min(chunks_at_a_time, self.chunks_remaining)
        time = time_note(self.tracks_pending, speed, at_a_time, guess)
        return replace(self, note="\n".join(filter(None, (self.note, time))))

    def __str__(self) -> str:
        counts = (
            f"files found: {self.files_found}, tracks pending: {self.tracks_pending}, "
            f"chunks remaining: {self.chunks_remaining}"
        )
        return f"{self.note}\n{counts}" if self.note else counts


def take_preview(settings: Settings, profile: Profile, *, frozen: bool = False) -> Preview:
    """List the library and tell what is left to do; nothing is written.

    Parameters
    ----------
    settings : Settings
        The configuration.
    profile : Profile
        The profile of the store.
    frozen : bool
        Stay with the results that there are, if there are any: what is published is what was
        audited, and not something newer that nobody has seen.

    Raises
    ------
    UserError
        A root is missing or looks unmounted, or the disk of the baseline's vectors does; the
        baseline or a list cannot be read.
    """
    inputs = read_inputs(settings, profile)
    notes = [demo_note(settings), unlisted_note(inputs), quarantine_note(inputs)]
    refusal = ""
    fresh = judge_last_scan(inputs, publishing=frozen and settings.results.meta.is_file())
    if inputs.plan is not None and fresh.change.keeps_plan:
        ahead = [track for track in inputs.plan.unfinished_tracks if not inputs.has_vector(track)]
        changed = len(inputs.plan.changed.keys() & ahead)
        pending = len(ahead) + beyond_limit(inputs, inputs.plan)
        chunks = len(inputs.plan.unfinished)
        summary = inputs.summary
    else:
        report = find_library_gaps(inputs)
        check_vectors_are_there(inputs, report)
        notes += [
            linked_folders_note(inputs),
            gone_folders_note(inputs),
            unseen_note(inputs, report),
            *baseline_notes(inputs, report),
        ]
        refusal = why_refused(inputs, report)
        changed = report.counts["changed_since_embedded_total"]
        pending = len(report.pending)
        planned = min(pending, settings.chunking.limit or pending)
        chunks = -(-planned // settings.chunking.size)
        summary = report.summary
    notes.append(changed_note(changed))
    calibration = look_ahead(inputs, fresh.key, pending if summary.needs_model else 0)
    return Preview(
        key=fresh.key,
        fingerprint=fresh.fingerprint,
        change=fresh.change,
        files_found=sum(inputs.listing.found_per_root().values()),
        tracks_pending=pending,
        chunks_remaining=chunks,
        owner=owner_of(settings, inputs.listing),
        refusal=refusal,
        remembered=inputs.remembered,
        note="\n".join(filter(None, [*notes, calibration.note])),
        calibration=calibration,
    )
