"""Puts the rebuilt meta.json in the place of the live one, and takes that back."""

from __future__ import annotations

import codecs
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TypeVar

from mert_backfill.errors import UserError, one_line
from mert_backfill.hints import command
from mert_backfill.library.meta_file import count_unseen, usual_base
from mert_backfill.library.meta_text import MetaText
from mert_backfill.library.paths import PathMap
from mert_backfill.meta.difference import Difference
from mert_backfill.meta.documents import MetaSource, Published
from mert_backfill.meta.merge import merge
from mert_backfill.meta.vectors_elsewhere import hand_over_vectors
from mert_backfill.records.tidied import tidied_mark
from mert_backfill.settings import Settings
from mert_backfill.system.atomic import remove_leftovers, write_atomically, write_text
from mert_backfill.words import counted

logger = logging.getLogger(__name__)

Done = TypeVar("Done")

KEPT_BACKUPS = 10
_TRIES = 5  # at a file that another program holds, or changes under our hands
_PAUSE_S = 1.0
_SHOWN_CONFLICTS = 3


@dataclass(frozen=True)
class PublishInputs:
    """What is published, and where.

    Attributes
    ----------
    rebuilt : Path
        ``results/meta/meta.json``.
    live : Path
        The meta.json in use. Where it is a link, the file it points to is replaced.
    base : Path
        A copy of what was read of the live file for the rebuild.
    base_sha256 : str or None
        Hash of that text (hex digits).
    path_map : PathMap
        Tells which keys name the same file.
    prepare : callable
        Makes of the rebuilt text what is published.
    """

    rebuilt: Path
    live: Path
    base: Path
    base_sha256: str | None
    path_map: PathMap
    prepare: Callable[[MetaText], MetaText] = lambda text: text


def publish_library(settings: Settings) -> Published:
    """Publish the rebuilt meta.json, and record where the backup is.

    Raises
    ------
    UserError
        There is no baseline, it is not the one of the last run, or it cannot be published to.
    """
    results, live = settings.results, _live_file(settings)
    source = MetaSource.read(results.meta_source)
    if source.tidied != tidied_mark(results.tidied):
        raise UserError(
            f"{results.meta}: tidying it was interrupted; do it again, or take it back with "
            f"`{command('untidy', cores=1)}`, then publish again"
        )
    if source.baseline != str(live):
        raise UserError(f"meta.baseline: not the file of the last run; {_rebuild()}")

    def prepare(text: MetaText) -> MetaText:
        folder = settings.meta.publish_embeddings_to
        if folder is None:
            return text
        base = settings.meta.embedding_base or usual_base(live)
        return hand_over_vectors(text, results.embeddings, folder, settings.meta.path_map, base)

    def note(backup: Path, text: str) -> None:
        _tell_what_was_done(live, backup, text)
        try:
            write_text(results.published_meta, text, like=live.stat())
            Published(live, backup).write(results.last_publish)
        except (OSError, UserError) as error:  # published it is all the same
            logger.warning("unpublish will not know of this publish: %s", one_line(error))

    backup = publish_meta(
        PublishInputs(
            rebuilt=results.meta,
            live=live,
            base=results.meta_base,
            base_sha256=source.sha256,
            path_map=settings.meta.path_map,
            prepare=prepare,
        ),
        note=note,
    )
    if backup is None:
        logger.info("%s holds all of it already; nothing was written", live)
    published = Published(live, backup)
    published.write(results.published)
    return published


def _tell_what_was_done(live: Path, backup: Path, text: str) -> None:
    before, after = json.loads(backup.read_text(encoding="utf-8-sig")), json.loads(text)
    logger.info("published to %s: %s", live, Difference.of(before, after))
    undo = command("unpublish", cores=1)
    logger.info("the backup is %s; to take it back: `%s`", backup, undo)
    unseen = count_unseen(after["tracks"])
    if unseen:
        logger.warning(
            "%s where Windows cannot open them: set meta.publish_embeddings_to to a folder beside "
            "your meta.json, then type `%s` and `%s`",
            counted(unseen, "new vector lies", "new vectors lie"),
            command(),
            command("publish", cores=1),
        )


def publish_meta(
    inputs: PublishInputs,
    *,
    note: Callable[[Path, str], object] = lambda backup, text: None,
    now: datetime | None = None,
) -> Path | None:
    """Write what the rebuild changed into the live meta.json, after a backup.

    What only the live file has gained since it was read stays. A backup is left only if the file
    was written, and the ten newest are kept.

    Parameters
    ----------
    inputs : PublishInputs
        What is published, and where.
    note : callable
        Called with the backup and the new text when the live file has been replaced.
    now : datetime, optional
        The time in the backup's name.

    Returns
    -------
    Path or None
        The backup, ``meta.json.YYYYMMDDTHHMMSSZ.bak`` beside the live file, or None when the
        live file holds all of it already and nothing was done.

    Raises
    ------
    UserError
        The rebuilt file is no meta.json; the live one is gone, is none, or was changed where we
        changed it too; the backup exists, or cannot be written. The live file is then as it was.
    """
    rebuilt = _read(inputs.rebuilt, f"{_rebuild()} first")
    cure = f"delete it and {_rebuild()} again"
    ours = inputs.prepare(_parse(inputs.rebuilt, rebuilt, cure, "published"))
    live = Path(os.path.realpath(inputs.live))
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    backup = live.with_name(f"{live.name}.{stamp}.bak")

    def publish() -> Path | None:
        old = _read(live, "correct meta.baseline, the file to publish to")
        if _decode(old) == ours.text:
            return None
        text = _text_to_publish(inputs, ours, live, old)
        new = _encode(text, like=old)
        if new == old:
            return None
        _replace_after_backup(live, backup, old, new)
        note(backup, text)
        return backup

    remove_leftovers(live.parent)
    made = _undisturbed(live, publish)
    if made is not None:
        _remove_old_backups(live)
    return made


def unpublish_library(settings: Settings) -> Path:
    """Put back what the last publish replaced; what changed in the live file since stays.

    Returns
    -------
    Path
        The live file.

    Raises
    ------
    UserError
        Nothing was published since the last time, the backup is gone, or the live file was
        changed since where publishing had changed it too. The live file is then as it was.
    """
    results, live = settings.results, _live_file(settings)
    real = Path(os.path.realpath(live))
    if not results.last_publish.exists():
        backups = _backups(real)
        newest = f"; the newest backup is {backups[-1]}" if backups else ""
        raise UserError(f"{live}: nothing was published since the last unpublish{newest}")
    last = Published.read(results.last_publish)
    if last.live != live or last.backup is None:
        raise UserError(f"{live}: the last publish was to {last.live}; name that as meta.baseline")
    kept = _read(last.backup, "without it nothing can be put back")
    published = _read_meta(results.published_meta)
    before = _parse(last.backup, kept, "take an older backup")

    def unpublish() -> bool:
        old = _read(real, "correct meta.baseline, the file that was published to")
        if _decode(old) in (published.text, before.text):
            _replace(real, old, kept)
            return True
        theirs = _parse(real, old, f"what it was before is in {last.backup}")
        cure = f"what it was before is in {last.backup}; put back by hand what you want of it"
        text = _merged(real, (published, before, theirs), settings.meta.path_map, cure)
        _replace(real, old, _encode(text, like=old))
        return False

    is_whole = _undisturbed(real, unpublish)
    for path in (last.backup, results.last_publish, results.published_meta, results.published):
        path.unlink(missing_ok=True)
    since = "" if is_whole else ", with what has changed in it since"
    logger.info("%s is as it was before the last publish%s", live, since)
    return live


def _rebuild() -> str:
    return f"run `{command()}`"


def _again() -> str:
    return f"{_rebuild()} to rebuild from it, then publish again"


def _live_file(settings: Settings) -> Path:
    if settings.meta.baseline is None:
        raise UserError("meta.baseline: there is no live meta.json to publish to; name it")
    return settings.meta.baseline


def _text_to_publish(inputs: PublishInputs, ours: MetaText, live: Path, old: bytes) -> str:
    """Return our text where the live file is what was read, else the two in one."""
    text = _decode(old)
    if text is not None and _sha256(text) == inputs.base_sha256:
        return ours.text
    changed = f"{live}: it has changed since it was read"
    try:
        base = _read_meta(inputs.base)
    except UserError as error:
        raise UserError(f"{changed}, and what was read is not kept; {_again()}") from error
    if _sha256(base.text) != inputs.base_sha256:
        raise UserError(f"{changed}, and what was kept of that is of another run; {_again()}")
    try:
        theirs = _parse(live, old, _again())
    except UserError as error:
        raise UserError(f"{changed}, and is no meta.json now; restore it") from error
    return _merged(live, (base, ours, theirs), inputs.path_map, _again())


def _merged(
    live: Path, versions: tuple[MetaText, MetaText, MetaText], path_map: PathMap, cure: str
) -> str:
    merged = merge(*versions, path_map.key)
    if merged.conflicts:
        shown = "; ".join(map(str, merged.conflicts[:_SHOWN_CONFLICTS]))
        more = len(merged.conflicts) - _SHOWN_CONFLICTS
        others = f"; and {more} more" if more > 0 else ""
        raise UserError(
            f"{live}: it has changed since it was read where we changed it too, so it was not "
            f"overwritten: {shown}{others}; {cure}"
        )
    return merged.text


class _ChangedMeanwhile(Exception):
    """Another program wrote the file after we had read it."""


def _undisturbed(live: Path, attempt: Callable[[], Done]) -> Done:
    """Return what an attempt gives, made again when the file was changed under our hands."""
    for _ in range(_TRIES):
        try:
            return attempt()
        except _ChangedMeanwhile:
            continue
        except OSError as error:
            raise UserError(
                f"{live}: cannot be published to: {error.strerror}; make the file and its folder "
                "writable, close the program that holds it, and publish again"
            ) from error
    raise UserError(f"{live}: another program keeps writing it; close that, then publish again")


def _replace_after_backup(live: Path, backup: Path, old: bytes, new: bytes) -> None:
    """Replace the live file; the backup stays only if that was done."""
    if os.path.lexists(backup):
        raise UserError(f"{backup}: a backup of this name exists already; publish again")
    try:
        _write_backup(backup, live, old)
        _replace(live, old, new)
    except BaseException:
        backup.unlink(missing_ok=True)
        raise


def _write_backup(backup: Path, live: Path, old: bytes) -> None:
    status = live.stat()
    write_atomically(backup, lambda file: file.write(old), like=status)
    with suppress(OSError):  # a share of another user's may refuse
        os.utime(backup, ns=(status.st_atime_ns, status.st_mtime_ns))
    if _read(backup, "check the disk") != old:
        raise UserError(f"{backup}: the backup differs from {live}; check the disk")


def _replace(live: Path, old: bytes, new: bytes) -> None:
    """Replace the live file unless it has changed; wait a little for a program that holds it."""

    def write(file: IO[bytes]) -> None:
        file.write(new)
        if live.read_bytes() != old:
            raise _ChangedMeanwhile

    for tries_left in reversed(range(_TRIES)):
        try:
            write_atomically(live, write, like=live.stat())
            return
        except OSError as error:
            if error.filename2 is None or not tries_left:  # it was not the replacing that failed
                raise
            logger.info("%s: another program holds it; trying again", live)
            time.sleep(_PAUSE_S)


def _backups(live: Path) -> list[Path]:
    """Return the backups beside a live file, oldest first."""
    name = re.compile(re.escape(live.name) + r"\.\d{8}T\d{6}Z\.bak")
    return sorted(path for path in live.parent.iterdir() if name.fullmatch(path.name))


def _remove_old_backups(live: Path) -> None:
    with suppress(OSError):
        for path in _backups(live)[:-KEPT_BACKUPS]:
            path.unlink()


def _read(path: Path, cure: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {cure}") from error


def _read_meta(path: Path) -> MetaText:
    return _parse(path, _read(path, _rebuild()), _rebuild())


def _parse(path: Path, data: bytes, cure: str, done: str = "used") -> MetaText:
    text = _decode(data)
    try:
        if text is not None:
            return MetaText(text)
    except (TypeError, ValueError):
        pass
    raise UserError(f"{path}: this is no meta.json with tracks, so it was not {done}; {cure}")


def _decode(data: bytes) -> str | None:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _encode(text: str, *, like: bytes) -> bytes:
    """Return a text as UTF-8, with the mark in front that `like` has, if it has one."""
    mark = codecs.BOM_UTF8 if like.startswith(codecs.BOM_UTF8) else b""
    return mark + text.encode("utf-8")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
