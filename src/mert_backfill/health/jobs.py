"""The jobs of this wing: each reads its inputs once, at its door, and writes its files."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from mert_backfill.audio.pool import DecoderPool
from mert_backfill.errors import UserError, visible
from mert_backfill.health.audit import Audit, AuditInputs, AuditRecord, make_audit, write_audit
from mert_backfill.health.audit_page import write_audit_page
from mert_backfill.health.coverage import read_folders, write_folders
from mert_backfill.health.failure_lists import (
    read_failures,
    read_remarks,
    write_failures,
    write_remarks,
    write_retry_paths,
)
from mert_backfill.health.history import append_entry, read_history
from mert_backfill.health.progress import take_stock, write_progress
from mert_backfill.health.recheck import Recheck, recheck_vectors
from mert_backfill.health.report import ReportInputs, write_report
from mert_backfill.health.report_map import Atlas, read_atlas
from mert_backfill.health.verify import (
    DAMAGED_ENDING,
    NamedVerification,
    Verification,
    verify_named,
    verify_store,
)
from mert_backfill.hints import command
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.quarantine_list import QuarantinedFile, write_quarantine_list
from mert_backfill.records.batches import read_batches
from mert_backfill.records.calibration import last_calibration
from mert_backfill.records.ledger import read_ledger
from mert_backfill.records.quarantine import is_own_list, read_quarantine
from mert_backfill.records.scan_state import ScanState
from mert_backfill.records.standing import Standing
from mert_backfill.records.summary import read_summary
from mert_backfill.records.tidied import read_archived, read_tidied
from mert_backfill.records.track_notes import read_sounds
from mert_backfill.records.tracks import read_tracks, summarise_chunk
from mert_backfill.results import Results
from mert_backfill.settings import Settings
from mert_backfill.store.named import NamedVectors
from mert_backfill.store.profile import Profile
from mert_backfill.store.vectors import SUPERSEDED_ENDING
from mert_backfill.system.remembered import Remembered
from mert_backfill.words import counted

logger = logging.getLogger(__name__)

_SAMPLE = 25


def audit_library(settings: Settings, profile: Profile) -> Audit:
    """Audit the rebuilt meta.json and write the audit's files, ``audit.json`` last.

    The history gets an entry if anything changed.

    Raises
    ------
    UserError
        A sum does not balance, the rebuilt meta.json lost something, or an input cannot be read.
    """
    results = settings.results
    inputs = read_audit_inputs(settings, profile)
    audit = make_audit(inputs)
    write_failures(results.failures, audit.failures)
    write_remarks(results.remarks, audit.remarks)
    write_folders(results.folders, audit.folders)
    write_retry_paths(results.retry_paths, audit.failures)
    write_quarantine_list(results.quarantine, _with_its_own_lines(settings, inputs, audit))
    history = append_entry(results.history, audit)
    write_audit_page(results.audit_page, audit, profile, start=history[0].library.before)
    Standing(
        tracks=audit.library.now.tracks,
        embedded=audit.library.now.embedded,
        failures=dict(Counter(failure.reason for failure in audit.failures)),
        remarks=len(audit.remarks),
    ).write(results)
    write_progress(results, history)
    write_audit(results.audit, audit)
    return audit


def _with_its_own_lines(
    settings: Settings, inputs: AuditInputs, audit: Audit
) -> list[QuarantinedFile]:
    """Return what failed here; where the list is read too, what else it says stays in it."""
    path, listed = settings.meta.quarantine_file, inputs.quarantine
    if path is None or listed is None or not is_own_list(path, settings.results):
        return list(audit.quarantine)
    failed = {failure.path for failure in audit.failures if not failure.chunk}
    others = (
        listed.of_file(file.path, file.size_bytes)
        for file in inputs.listing.files
        if file.path in failed
    )
    return [*audit.quarantine, *filter(None, others)]


def read_audit_inputs(settings: Settings, profile: Profile) -> AuditInputs:
    """Read what the audit is made from.

    Raises
    ------
    UserError
        One of the two meta.json cannot be read, or a root looks unmounted.
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
    rebuilt = MetaFile.load(
        results.meta,
        embedding_base=baseline.embedding_base,
        path_map=settings.meta.path_map,
        called="the rebuilt meta.json",
    )
    return AuditInputs(
        baseline=baseline,
        rebuilt=rebuilt,
        listing=listing,
        ledger=read_ledger(results),
        profile=profile,
        reembed=settings.meta.reembed,
        summary=read_summary(results.summary),
        quarantine=read_quarantine(settings.meta.quarantine_file, results, settings.meta.path_map),
        sounds=read_sounds(results),
        copies_vectors=settings.meta.publish_embeddings_to is not None,
        tidied=read_tidied(results.tidied),
        archived=read_archived(results.archived_rows),
        calibration=last_calibration(results, str(settings.meta.baseline), profile.name),
    )


def report_library(settings: Settings, profile: Profile, chunks: Sequence[str]) -> None:
    """Draw the report.

    Parameters
    ----------
    settings : Settings
        The configuration.
    profile : Profile
        The profile of the store.
    chunks : sequence of str
        The names of the chunks that the page lists.
    """
    results = settings.results
    rows = {name: read_tracks(results.tracks_table(name)) for name in results.finished_chunks()}
    last_table = sorted(rows, key=lambda name: results.tracks_table(name).stat().st_mtime_ns)
    history = read_history(results.history)
    last = history[-1]
    inputs = ReportInputs(
        audit=AuditRecord.read(results.audit),
        summary=read_summary(results.summary),
        history=history,
        folders=read_folders(results.folders),
        failures=read_failures(results.failures),
        remarks=read_remarks(results.remarks),
        calibration=last_calibration(results, str(settings.meta.baseline), profile.name),
        tracks=list({row.track_id: row for name in last_table for row in rows[name]}.values()),
        chunks=[summarise_chunk(name, rows[name], results.checkpoint(name)) for name in chunks],
        profile=profile,
        roots=settings.library.roots,
        atlas=atlas_if_any(results),
        stock=take_stock(
            last.library.now, read_batches(results), datetime.fromisoformat(last.when)
        ),
    )
    write_report(results, inputs)


def atlas_if_any(results: Results) -> Atlas | None:
    """Read the atlas for the report, if there is one that can be read."""
    if not results.has_atlas:
        return None
    try:
        return read_atlas(results)
    except UserError as error:  # it was asked for once: no run fails for it
        logger.warning("the report has no map: %s", error)
        return None


def verify_library(settings: Settings, profile: Profile) -> Verification:
    """Read every vector, of the store and those that meta.json names, and say what was found.

    Raises
    ------
    UserError
        A vector is damaged; one of ours was renamed.
    """
    results = settings.results
    ours = verify_store(results.embeddings)
    logger.info("vectors read: %d, valid: %d", ours.valid + len(ours.damaged), ours.valid)
    for path in ours.damaged:
        logger.warning("damaged: %s", path)
    theirs = _verify_named(settings, profile)
    problems = []
    if ours.damaged:
        damaged = counted(len(ours.damaged), "damaged vector")
        problems.append(f"{damaged} renamed to end in {DAMAGED_ENDING}")
    if theirs.unusable:
        unusable = counted(len(theirs.unusable), "vector")
        stays = ", and meta.reembed is none" if settings.meta.reembed == "none" else ""
        problems.append(f"{unusable} that meta.json names cannot be used{stays}")
    if problems:
        raise UserError(f"{'; '.join(problems)}; run `{command()}` to make again what has its file")
    return ours


def _verify_named(settings: Settings, profile: Profile) -> NamedVerification:
    """Read the vectors that the baseline names; the next scan knows what was found."""
    meta, results = settings.meta, settings.results
    baseline = MetaFile.load(
        meta.baseline, embedding_base=meta.embedding_base, path_map=meta.path_map
    )
    named = NamedVectors(profile.dimension, meta.reembed, Remembered(results.remembered))
    found = verify_named(baseline, results.embeddings, named)
    read = found.valid + len(found.unusable)
    if read or found.missing:
        told = "vectors that meta.json names: read %d, valid: %d, not there: %d"
        logger.info(told, read, found.valid, len(found.missing))
    for path in found.unusable:
        logger.warning("cannot be used: %s", visible(str(path)))
    for path in found.missing[:_SAMPLE]:
        logger.warning("not there: %s", visible(str(path)))
    if named.has_news:
        named.keep()
        ScanState.read(results).doubted().write(results)
    return found


def recheck_library(settings: Settings, threads: int) -> Recheck:
    """Decode again what earlier versions decoded, and say what was found.

    Parameters
    ----------
    settings : Settings
        The settings.
    threads : int > 0
        How many decoders may work at the same time.
    """
    runtime = settings.runtime
    workers = max(1, threads) if runtime.decode_workers == "auto" else runtime.decode_workers
    with DecoderPool(workers, timeout_s=runtime.track_timeout_s) as pool:
        result = recheck_vectors(settings.results, pool)
    for path, text in result.superseded.items():
        logger.warning("%r: %s", path, text)
    for path in result.unread:
        logger.warning("%r: could not be read now; its vector stays", path)
    logger.info(
        "tracks decoded again: %d, whole: %d", result.whole + len(result.superseded), result.whole
    )
    if result.superseded:
        logger.info(
            "%s made of less sound than there is, or of noise, renamed to end in %s: run `%s` to "
            "make them again",
            counted(len(result.superseded), "vector"),
            SUPERSEDED_ENDING,
            command(),
        )
    return result
