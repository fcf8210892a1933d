"""What is out of order in meta.json, and what would put it in order; nothing is changed.

Which rows are stale, by kind, with the names of the program that this one takes over from:

- ``duplicate_stale_candidate``: a file of the same name has a row of its own;
- ``inside_root_relink_candidate``: the row's file should be below a root, and is not;
- ``archive_remove``: it should be elsewhere, and the row holds nothing that anybody made;
- ``keep_review``: it should be elsewhere, and the row holds an embedding, tempo, key, cues or tags.

``bare_path`` rows are names without a folder, ``duplicate_row`` rows name a file that has another
row, too.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mert_backfill.hints import command
from mert_backfill.library.listing import Listing
from mert_backfill.library.meta_file import MetaFile, stale_meta_keys
from mert_backfill.library.paths import PathMap, fold_case, track_id, with_slashes
from mert_backfill.library.roots import Root
from mert_backfill.meta.candidates import PROPOSED_FROM, Candidates, Found
from mert_backfill.meta.changes import is_ours
from mert_backfill.meta.gone import Disk
from mert_backfill.meta.prefixes import Prefix, likely_prefixes
from mert_backfill.records.scan_state import ScanState
from mert_backfill.records.summary import SAMPLE_SIZE
from mert_backfill.records.track_notes import TrackNote, read_track_notes
from mert_backfill.settings import Settings
from mert_backfill.system.tables import write_json, write_tsv
from mert_backfill.words import counted

logger = logging.getLogger(__name__)

STALE_KINDS = (
    "duplicate_stale_candidate",
    "inside_root_relink_candidate",
    "archive_remove",
    "keep_review",
)
BARE = "bare_path"
DUPLICATE = "duplicate_row"
TIDY_WORDS = ("relink", "merge", "archive")  # what ``apply`` may name
_PROPOSALS = ("relink", "ambiguous", "merge", "archive")
_MADE_BY_SOMEBODY = ("embedding", "bpm", "tempos", "key", "cues", "tags", "mytags")
_HEADER = ("kind", "meta_key", "path", "proposal", "target", "confidence", "evidence")


@dataclass(frozen=True)
class TriageInputs:
    """All that the triage is made from, read once."""

    baseline: MetaFile
    listing: Listing
    roots: Sequence[Root]
    path_map: PathMap
    notes: Mapping[str, TrackNote]


@dataclass(frozen=True)
class Finding:
    """A row that is out of order.

    Attributes
    ----------
    kind, meta_key, path : str
        What is wrong, the row, and the path on this machine that it means.
    proposal : str
        ``relink``, ``merge``, ``archive``, ``ambiguous`` (somebody has to choose) or nothing.
    target : str
        The file to relink to, the row to merge into, or the candidates as a JSON list.
    confidence : float or None
        From 0 to 1.
    evidence : str
        What speaks for it.
    """

    kind: str
    meta_key: str
    path: str
    proposal: str = ""
    target: str = ""
    confidence: float | None = None
    evidence: str = ""


@dataclass(frozen=True)
class Triage:
    """The findings, their counters, and lines of path_map that would cure many."""

    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    prefixes: tuple[Prefix, ...]

    def as_record(self) -> dict[str, Any]:
        """Return the content of ``triage.json``."""
        samples: dict[str, list[str]] = {}
        for finding in self.findings:
            keys = samples.setdefault(finding.kind, [])
            if len(keys) < SAMPLE_SIZE:
                keys.append(finding.meta_key)
        lines = [asdict(prefix) for prefix in self.prefixes]
        return {"counts": dict(self.counts), "samples": samples, "path_map": lines}


def triage_library(settings: Settings) -> Triage:
    """Write ``triage.json`` and ``triage.tsv``.

    Raises
    ------
    UserError
        The baseline cannot be read, or a root looks unmounted.
    """
    results = settings.results
    listing = ScanState.read(results).list_library(
        settings.library.roots,
        settings.library.extensions,
        accept_shrunken=settings.accept_shrunken_library,
    )
    baseline = MetaFile.load(
        settings.meta.baseline,
        embedding_base=settings.meta.embedding_base,
        path_map=settings.meta.path_map,
    )
    notes = read_track_notes(results)
    triage = make_triage(
        TriageInputs(baseline, listing, settings.library.roots, settings.meta.path_map, notes)
    )
    rows = [[getattr(finding, name) for name in _HEADER] for finding in triage.findings]
    write_tsv(results.triage_table, _HEADER, rows)
    write_json(results.triage, triage.as_record())
    told = ", ".join(f"{name}: {triage.counts[f'{name}_total']}" for name in _PROPOSALS)
    stale_rows = counted(triage.counts["stale_total"], "stale row")
    logger.info("%s; proposals: %s", stale_rows, told)
    for prefix in triage.prefixes:
        logger.info("%s", prefix)
    possible = {what: triage.counts[f"{what}_total"] for what in TIDY_WORDS}
    if any(possible.values()):
        logger.info("every row is in %s; to do it: %s", results.triage_table, how_to_tidy(possible))
    return triage


def how_to_tidy(proposed: Mapping[str, int]) -> str:
    """Return the command that carries out what there is to do, by what and how many rows."""
    words = ",".join(what for what in TIDY_WORDS if proposed.get(what))
    return command("tidy", cores=1, config=f"apply={words}")


def make_triage(inputs: TriageInputs) -> Triage:
    """Find what is out of order, and what would put it in order."""
    findings = [*_stale(inputs), *_duplicates(inputs)]
    findings = _one_row_a_file(findings)
    kinds = Counter(finding.kind for finding in findings)
    proposals = Counter(finding.proposal for finding in findings)
    stale = [finding for finding in findings if finding.kind in STALE_KINDS]
    inside = sum(_root_of(finding.path, inputs.roots) is not None for finding in stale)
    counts = {
        "stale_total": sum(kinds[kind] for kind in STALE_KINDS),
        **{f"{kind}_total": kinds[kind] for kind in STALE_KINDS},
        "stale_inside_root_total": inside,
        "stale_outside_root_total": len(stale) - inside,
        f"{BARE}_total": kinds[BARE],
        f"{DUPLICATE}_total": kinds[DUPLICATE],
        **{f"{proposal}_total": proposals[proposal] for proposal in _PROPOSALS},
    }
    outside = [
        finding.meta_key for finding in stale if _root_of(finding.path, inputs.roots) is None
    ]
    files = [file.path for file in inputs.listing.files]
    return Triage(tuple(findings), counts, likely_prefixes(outside, files))


def _stale(inputs: TriageInputs) -> Iterator[Finding]:
    baseline, files = inputs.baseline, inputs.listing.files
    has_row = {
        file.track_id
        for file in files
        if any(not is_ours(baseline.tracks[key]) for key in baseline.keys_of(file.path))
    }
    taken = {_name(file.path): file.path for file in files if file.track_id in has_row}
    free = [file for file in files if file.track_id not in has_row]
    candidates = Candidates(free, inputs.notes)
    disk = Disk([str(root.path) for root in inputs.roots], inputs.path_map)
    for key in stale_meta_keys(inputs.listing, baseline):
        row, path = baseline.tracks[key], inputs.path_map.to_local(key)
        root = _root_of(path, inputs.roots)
        twin = taken.get(_name(key))
        if "/" not in with_slashes(key):
            finding = Finding(BARE, key, path)
        elif twin is not None:
            finding = Finding(STALE_KINDS[0], key, path, evidence=f"{twin} has a row")
        elif root is not None:
            finding = Finding(STALE_KINDS[1], key, path)
        elif any(row.get(field) for field in _MADE_BY_SOMEBODY):
            finding = Finding(STALE_KINDS[3], key, path)
        elif disk.is_gone(key):
            finding = Finding(STALE_KINDS[2], key, path, "archive", evidence="nothing to lose")
        else:
            finding = Finding(STALE_KINDS[2], key, path, evidence="nobody can look there")
        found = candidates.find(key, row, _old_note(path, root, inputs.notes))
        yield _with_target(finding, found)


def _with_target(finding: Finding, found: Found) -> Finding:
    candidates = found.candidates
    likely = [one for one in candidates if one.confidence >= PROPOSED_FROM]
    if len(likely) == 1:
        (best,) = likely
        return replace(
            finding,
            proposal="relink",
            target=best.path,
            confidence=round(best.confidence, 2),
            evidence=best.evidence,
        )
    if found.listed_at is not None:
        told = f"the name of many files, listed at {found.listed_at!r}"
        return replace(finding, proposal="ambiguous", evidence=told)
    if not candidates:
        return finding
    return replace(
        finding,
        proposal="ambiguous",
        target=json.dumps([one.path for one in candidates]),
        confidence=round(candidates[0].confidence, 2),
        evidence=candidates[0].evidence,
    )


def _one_row_a_file(findings: Sequence[Finding]) -> list[Finding]:
    """Let somebody choose where two rows would be relinked to one file."""
    targets = Counter(finding.target for finding in findings if finding.proposal == "relink")
    return [
        replace(finding, proposal="ambiguous", target=json.dumps([finding.target]))
        if finding.proposal == "relink" and targets[finding.target] > 1
        else finding
        for finding in findings
    ]


def _duplicates(inputs: TriageInputs) -> Iterator[Finding]:
    baseline = inputs.baseline
    for file in inputs.listing.files:
        keys = baseline.keys_of(file.path)
        if len(keys) < 2:
            continue
        own = {file.path, inputs.path_map.to_baseline(file.path, baseline.style)}
        kept = next((key for key in keys if key in own), keys[0])
        for key in keys:
            if key != kept:
                yield Finding(DUPLICATE, key, file.path, "merge", kept, 1.0, "both name one file")


def _old_note(path: str, root: Root | None, notes: Mapping[str, TrackNote]) -> TrackNote | None:
    if root is None:
        return None
    return notes.get(track_id(root.name, os.path.relpath(path, root.path)))


def _root_of(path: str, roots: Sequence[Root]) -> Root | None:
    return next((root for root in roots if path.startswith(os.path.join(root.path, ""))), None)


def _name(path: str) -> str:
    return fold_case(with_slashes(path).rpartition("/")[2])
