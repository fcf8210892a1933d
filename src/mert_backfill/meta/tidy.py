"""Carries proposals of the triage out in the rebuilt meta.json, and takes that back."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.meta.changes import carry_out
from mert_backfill.meta.documents import MetaSource
from mert_backfill.meta.gone import Disk, check_mounts
from mert_backfill.meta.rebuild import (
    RebuildInputs,
    Rebuilt,
    read_rebuild_inputs,
    rebuild_meta,
    without_stale_rows,
    write_rebuilt,
)
from mert_backfill.meta.triage import Finding, TriageInputs, how_to_tidy, make_triage
from mert_backfill.records.journal import utc_now
from mert_backfill.records.scan_state import ScanState
from mert_backfill.records.tidied import WHATS, TidyChange
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile
from mert_backfill.words import counted

logger = logging.getLogger(__name__)

# in the order in which people are told, and the words for it
_DONE = {"relink": "relinked", "merge": "merged", "archive": "archived"}
_SHOWN = 3


@dataclass(frozen=True)
class Tidied:
    """What tidying did.

    Attributes
    ----------
    done : tuple of TidyChange
        What was carried out now.
    proposed : Counter
        What there was to do, by what.
    out_of_reach : tuple of str
        Keys of rows that were left alone because nobody can look where their files were.
    """

    done: tuple[TidyChange, ...]
    proposed: Counter[str]
    out_of_reach: tuple[str, ...]


def tidy_library(settings: Settings, profile: Profile) -> Tidied:
    """Carry out in meta.json what ``apply`` names, on the library as it is now.

    Without ``apply`` nothing is done: what there is to do is told.

    Raises
    ------
    UserError
        An input cannot be read, a root or a disk below it is away, or over half of the rows would
        go.
    """
    state, accept = ScanState.read(settings.results), settings.accept_shrunken_library
    listing = state.list_library(
        settings.library.roots, settings.library.extensions, accept_shrunken=accept
    )
    check_mounts(state.mounts, accept=accept)
    inputs = read_rebuild_inputs(settings, profile, listing)
    # what a policy takes out of meta.json may still be relinked
    rebuilt = rebuild_meta(replace(inputs, stale_policy="keep"))
    meta = inputs.meta_file(rebuilt.text)
    roots = settings.library.roots
    triage = make_triage(TriageInputs(meta, listing, roots, inputs.path_map, inputs.notes))
    proposed = [finding for finding in triage.findings if finding.proposal in _DONE]
    disk = Disk(inputs.roots, inputs.path_map)
    away = {one.meta_key for one in proposed if disk.is_out_of_reach(one.meta_key)}
    possible = [one for one in proposed if one.meta_key not in away]
    counts = Counter(finding.proposal for finding in possible)
    if not settings.apply:
        _tell_proposals(counts)
        return Tidied((), counts, ())
    wanted = list(_changes(inputs, meta, possible, settings.apply))
    carried = carry_out(meta, wanted, inputs.known)
    done = tuple(change for change in carried.done if change is not None)
    if not accept:
        _check_rows_stay(done, len(meta.tracks))
    tidied = replace(rebuilt, text=carried.text, tidied=(*rebuilt.tidied, *done))
    write_rebuilt(settings, inputs, without_stale_rows(inputs, tidied))
    asked = {one.meta_key for one in proposed if one.proposal in settings.apply}
    result = Tidied(done, counts, tuple(sorted(asked & away)))
    _tell(result, settings.apply)
    return result


def untidy_library(settings: Settings, profile: Profile) -> Rebuilt:
    """Bring back in meta.json every row that tidying has changed.

    Raises
    ------
    UserError
        There is nothing to bring back, or an input cannot be read.
    """
    inputs = read_rebuild_inputs(settings, profile)
    results = settings.results
    was_tidied = results.meta_source.exists() and MetaSource.read(results.meta_source).tidied
    if not inputs.tidied and not was_tidied:
        raise UserError(f"{results.meta}: nothing in it was tidied, nothing is to be taken back")
    plain = rebuild_meta(replace(inputs, tidied=()))
    carried = carry_out(inputs.meta_file(plain.text), inputs.tidied, inputs.known)
    past = [change for change, done in zip(inputs.tidied, carried.done, strict=True) if not done]
    write_rebuilt(settings, inputs, replace(plain, tidied=tuple(past)))
    if not past:
        logger.info("%s is as it was before it was tidied", results.meta)
    elif len(past) < len(inputs.tidied):
        logger.info("%s as before again", counted(len(inputs.tidied) - len(past), "row"))
    if past:
        logger.info(
            "%s left as tidied: %s holds them so, since they were published; `%s` takes back the "
            "last publish",
            counted(len(past), "row"),
            settings.meta.baseline,
            command("unpublish", cores=1),
        )
    return plain


def _changes(
    inputs: RebuildInputs, meta: MetaFile, findings: Sequence[Finding], apply: Sequence[str]
) -> Iterator[TidyChange]:
    """Yield what the findings propose, in the order in which it is to be done."""
    now = utc_now()
    for what in WHATS:
        for finding in findings:
            if finding.proposal == what and what in apply:
                target = finding.target
                if what == "relink":
                    target = _key_of(inputs, meta, target)
                key, evidence = finding.meta_key, finding.evidence
                yield TidyChange(what, key, target if what != "archive" else "", evidence, now)


def _key_of(inputs: RebuildInputs, meta: MetaFile, path: str) -> str:
    """Return the key of a file's row, if it has one, else the one that it would get."""
    own = inputs.path_map.to_baseline(path, inputs.baseline.style)
    keys = meta.keys_of(path)
    return own if own in keys or not keys else keys[0]


def _check_rows_stay(done: Sequence[TidyChange], rows: int) -> None:
    gone = [change.meta_key for change in done if change.change == "archive"]
    if 2 * len(gone) > rows:
        raise UserError(
            f"tidy: archive would take {len(gone)} of {rows} rows out of meta.json, such as "
            f"{gone[0]!r}; complete meta.path_map, leave archive out of apply, or, if this is "
            "meant, add --config accept_shrunken_library=true"
        )


def _tell_proposals(counts: Counter[str]) -> None:
    if not counts:
        logger.info("meta.json is in order: there is nothing to relink, merge or archive")
        return
    told = ", ".join(f"{what} {counts[what]:,}" for what in _DONE if counts[what])
    logger.info("nothing was done; proposed (rows): %s; to do it: %s", told, how_to_tidy(counts))


def _tell(result: Tidied, apply: Sequence[str]) -> None:
    counts: Counter[str] = Counter(change.change for change in result.done)
    if result.done:
        first, *others = [what for what in _DONE if counts[what]]
        told = ", ".join(
            [
                f"{counted(counts[first], 'row')} {_DONE[first]}",
                *(f"{counts[what]:,} {_DONE[what]}" for what in others),
            ]
        )
        logger.info("%s; undo: %s", told, command("untidy", cores=1))
        logger.info("the live file is as it was; to change it: %s", command("publish", cores=1))
    else:
        logger.info("nothing to %s: meta.json stays as it is", ", ".join(apply))
    if result.out_of_reach:
        shown = ", ".join(map(repr, result.out_of_reach[:_SHOWN]))
        more = len(result.out_of_reach) - _SHOWN
        logger.info(
            "%s left alone, since nobody can look where their files were: %s%s; name that drive "
            "in meta.path_map, or mount it",
            counted(len(result.out_of_reach), "row"),
            shown,
            f" and {more:,} more" if more > 0 else "",
        )
