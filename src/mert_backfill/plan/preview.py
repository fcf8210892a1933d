"""What there is to do, told before anything runs; and whether the last scan still holds.

The fingerprint that `take_preview` returns is a parameter of the rule that scans: a changed
fingerprint makes Snakemake scan and plan again, an equal one leaves a plan alone that may be
half done.
"""

from __future__ import annotations

from dataclasses import dataclass

from mert_backfill.library.listing import check_not_shrunken, list_library
from mert_backfill.plan.chunks import read_plan
from mert_backfill.plan.freshness import (
    beyond_limit,
    digest,
    library_key,
    lost_vectors,
    tracks_to_retry,
)
from mert_backfill.plan.inputs import unlisted_note
from mert_backfill.plan.scan import find_library_gaps
from mert_backfill.records.scan_state import ScanState
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile
from mert_backfill.store.tracks import open_track_store


@dataclass(frozen=True)
class Preview:
    """The library as it is now, and what is left to do.

    Attributes
    ----------
    key, fingerprint : str
        See `ScanState`.
    files_found, tracks_pending, chunks_remaining : int
        What the preview tells.
    plan_holds : bool
        The plan that there is goes on; else the library is scanned and planned again.
    note : str
        What else the user should know, or nothing.
    """

    key: str
    fingerprint: str
    files_found: int
    tracks_pending: int
    chunks_remaining: int
    plan_holds: bool
    note: str

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
        A root is missing or looks unmounted, the baseline or a list cannot be read.
    """
    store = open_track_store(settings.results, profile, settings.sidecars)
    state = ScanState.read(settings.results)
    listing = list_library(settings.roots, settings.extensions)
    check_not_shrunken(listing, state.found_per_root, settings.accept_shrunken_library)
    key = library_key(settings, listing, profile)
    plan = read_plan(settings.results)
    gone = lost_vectors(settings.results, listing, profile, store, plan)
    retried = tracks_to_retry(settings, listing, profile, state, plan, key)
    wanted = digest([key, gone, retried])
    again = digest([wanted, "again"])
    frozen = frozen and settings.results.meta.is_file()
    unchanged = state.fingerprint in {wanted, again} or (
        state.key == key and not gone and not retried
    )
    beyond = beyond_limit(settings, plan) if plan is not None else 0
    spent = plan is not None and (
        not plan.track_ids.isdisjoint(gone)  # vectors that it has brought are gone again
        or (plan.is_done and beyond > 0)  # after a run to its end a limit takes the next tracks
    )
    if spent and state.fingerprint == wanted:
        wanted = again  # an equal one would not make the library be scanned
    found = sum(listing.found_per_root().values())
    note = unlisted_note(settings, listing)
    if plan is not None and (frozen or (unchanged and not spent)):
        ahead = sum(
            not store.is_complete(track)
            for chunk in plan.unfinished
            for track in plan.tracks[chunk]
        )
        left = len(plan.unfinished)
        return Preview(state.key, state.fingerprint, found, ahead + beyond, left, True, note)
    report = find_library_gaps(settings, listing, profile)
    planned = min(len(report.pending), settings.limit or len(report.pending))
    chunks = -(-planned // settings.chunk_size)
    return Preview(key, wanted, found, len(report.pending), chunks, False, note)
