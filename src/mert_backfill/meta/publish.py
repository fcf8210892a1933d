"""Puts the rebuilt meta.json in the place of the live one."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from mert_backfill.errors import UserError
from mert_backfill.meta.documents import MetaSource, Published
from mert_backfill.settings import Settings
from mert_backfill.system.atomic import write_atomically

logger = logging.getLogger(__name__)


def publish_library(settings: Settings) -> Published:
    """Publish the rebuilt meta.json, and record where the backup is.

    Raises
    ------
    UserError
        There is no baseline, it is not the one of the last run, or it cannot be published to.
    """
    results = settings.results
    if settings.meta.baseline is None:
        raise UserError("meta.baseline: there is no live meta.json to publish to; name it")
    source = MetaSource.read(results.meta_source)
    if source.baseline != str(settings.meta.baseline):
        raise UserError("meta.baseline: not the file of the last run; run `snakemake --cores 2`")
    backup = publish_meta(results.meta, settings.meta.baseline, source.sha256)
    logger.info("published to %s, the backup is %s", settings.meta.baseline, backup)
    published = Published(settings.meta.baseline, backup)
    published.write(results.published)
    return published


def publish_meta(
    rebuilt: Path, live: Path, expected_sha256: str | None, now: datetime | None = None
) -> Path | None:
    """Write the rebuilt meta.json over the live one, after a backup.

    Parameters
    ----------
    rebuilt : Path
        ``results/meta/meta.json``.
    live : Path
        The meta.json in use. Where it is a link, the file it points to is replaced.
    expected_sha256 : str
        sha256 (hex digits) of the live file when it was read for the rebuild.
    now : datetime, optional
        The time in the backup's name.

    Returns
    -------
    Path or None
        The backup, ``meta.json.YYYYMMDDTHHMMSSZ.bak`` beside the live file, or None when the
        two were equal already and nothing was done.

    Raises
    ------
    UserError
        The rebuilt file is no meta.json; the live one is gone, or has changed since it was
        read; the backup exists, or cannot be written. The live file is then as it was.
    """
    new = _read(rebuilt, "run `snakemake --cores 2` first")
    _check_is_meta(rebuilt, new)
    live = Path(os.path.realpath(live))
    old = _read(live, "correct meta.baseline, the file to publish to")
    if old == new:
        return None
    _check_unchanged(live, old, expected_sha256)
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    backup = live.with_name(f"{live.name}.{stamp}.bak")
    if os.path.lexists(backup):
        raise UserError(f"{backup}: a backup of this name exists already; publish again")
    try:
        write_atomically(backup, lambda file: file.write(old))
        shutil.copystat(live, backup)
        if _read(backup, "check the disk") != old:
            raise UserError(f"{backup}: the backup differs from {live}; check the disk")
        # someone may have written it while the backup was made
        _check_unchanged(live, _read(live, "publish again"), expected_sha256)
        write_atomically(live, lambda file: file.write(new))
        shutil.copymode(backup, live)
    except OSError as error:
        raise UserError(
            f"{live}: cannot be published to: {error.strerror}; make the file and its folder "
            "writable and publish again"
        ) from error
    return backup


def _read(path: Path, cure: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {cure}") from error


def _check_is_meta(path: Path, data: bytes) -> None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("tracks"), dict):
        raise UserError(
            f"{path}: this is no meta.json with tracks, so it was not published; delete it and "
            "run `snakemake --cores 2` again"
        )


def _check_unchanged(live: Path, data: bytes, expected_sha256: str | None) -> None:
    if hashlib.sha256(data).hexdigest() != expected_sha256:
        raise UserError(
            f"{live}: it has changed since it was read, so it was not overwritten; run "
            "`snakemake --cores 2` to rebuild from it, then publish again"
        )
