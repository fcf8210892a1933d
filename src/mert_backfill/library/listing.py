"""The library as it lies on the disk: one pass over the roots, one stat a file."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mert_backfill.errors import UserError
from mert_backfill.library.paths import hash_name, track_id
from mert_backfill.library.roots import Root, check_root, no_access

_APPLE_DOUBLE = "._"
_APPLE_ARCHIVE_FOLDER = "__MACOSX"


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A regular file, or a link to one, with a listed extension.

    `path` is absolute, with surrogate escapes where the name is not UTF-8; `root` is the
    name of its root.
    """

    root: str
    path: str
    track_id: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Listing:
    """What lies below the roots, in the order of roots, then of relative paths by bytes.

    Attributes
    ----------
    files, junk : tuple of AudioFile
        Audio files, and those that only look like it (AppleDouble, ``__MACOSX``).
    not_regular : tuple of str
        Dangling links, FIFOs, sockets and devices with a listed extension.
    unreadable : tuple of str
        Folders that could not be read; what they hold is unknown.
    roots : tuple of Root
        The roots that were listed.
    """

    files: tuple[AudioFile, ...]
    junk: tuple[AudioFile, ...]
    not_regular: tuple[str, ...]
    unreadable: tuple[str, ...]
    roots: tuple[Root, ...] = ()

    def found_per_root(self) -> dict[str, int]:
        """Return how many files, junk included, each root holds."""
        counts = Counter(file.root for file in (*self.files, *self.junk))
        return {root.name: 0 for root in self.roots} | dict(counts)

    def fingerprint(self) -> str:
        """Return a sha256 over root name, relative path, size and mtime of everything found."""
        folders = {root.name: os.path.join(root.path, "") for root in self.roots}
        digest = hashlib.sha256()
        for file in (*self.files, *self.junk):
            relative = file.path.removeprefix(folders.get(file.root, ""))
            line = f"{file.root}\0{relative}\0{file.size_bytes}\0{file.mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


class _Found(NamedTuple):
    root: str
    relative: str  # with / separators
    path: str
    size_bytes: int
    mtime_ns: int


def list_library(roots: Sequence[Root], extensions: Collection[str]) -> Listing:
    """List the audio files below the roots.

    Links to files are followed, links to folders are not. Nothing is opened.

    Parameters
    ----------
    roots : sequence of Root
        The music folders.
    extensions : collection of str
        Endings with their dot; they count in any case.

    Raises
    ------
    UserError
        A root is missing, is no folder or cannot be read.
    """
    wanted = frozenset(extension.lower() for extension in extensions)
    found: list[_Found] = []
    not_regular: list[str] = []
    unreadable: set[str] = set()
    for root in roots:
        check_root(root)
        below = _list_root(root, wanted, not_regular, unreadable)
        found += sorted(below, key=lambda file: _as_bytes(file.relative))

    files: list[AudioFile] = []
    junk: list[AudioFile] = []
    for file, identity in zip(found, _track_ids(found), strict=True):
        kind = junk if is_junk(file.relative) else files
        kind.append(AudioFile(file.root, file.path, identity, file.size_bytes, file.mtime_ns))
    return Listing(
        files=tuple(files),
        junk=tuple(junk),
        not_regular=tuple(sorted(not_regular, key=_as_bytes)),
        unreadable=tuple(sorted(unreadable, key=_as_bytes)),
        roots=tuple(roots),
    )


def is_junk(path: str) -> bool:
    """Tell whether a path with ``/`` separators only looks like audio: what systems put there."""
    *folders, name = path.split("/")
    return name.startswith(_APPLE_DOUBLE) or _APPLE_ARCHIVE_FOLDER in folders


def check_not_shrunken(listing: Listing, previous: Mapping[str, int], accept: bool) -> None:
    """Refuse a library that looks unmounted.

    Parameters
    ----------
    listing : Listing
        The library now.
    previous : mapping
        `Listing.found_per_root` of the last scan; empty at the first.
    accept : bool
        The user says that the loss is meant: check nothing.

    Raises
    ------
    UserError
        A root holds no file, or under half of what the last scan found under its name.
    """
    if accept:
        return
    found = listing.found_per_root()
    for root in listing.roots:
        now, before = found[root.name], previous.get(root.name, 0)
        if now and now * 2 >= before:
            continue
        last = f"; the last scan found {before}" if before else ""
        raise UserError(
            f"config: library.roots: {root.name!r} ({root.path}) looks unmounted: audio files in "
            f"it: {now}{last}; "
            "mount the drive or correct the path, or, if this is meant, add "
            "--config accept_shrunken_library=true"
        )


def _list_root(
    root: Root, wanted: frozenset[str], not_regular: list[str], unreadable: set[str]
) -> list[_Found]:
    found: list[_Found] = []
    folders = [(os.fspath(root.path), "")]
    while folders:
        folder, prefix = folders.pop()
        try:
            with os.scandir(folder) as scan:
                entries = list(scan)
        except OSError as error:
            if not prefix:
                raise no_access(root, error) from error
            if not isinstance(error, FileNotFoundError):  # else it was deleted under the scan
                unreadable.add(folder)
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append((entry.path, f"{prefix}{entry.name}/"))
                continue
            if os.path.splitext(entry.name)[1].lower() not in wanted:
                continue
            try:
                status = entry.stat()
            except OSError as error:
                if entry.is_symlink():  # dangling, or a loop
                    not_regular.append(entry.path)
                elif not isinstance(error, FileNotFoundError):
                    unreadable.add(folder)
                continue
            if stat.S_ISREG(status.st_mode):
                found.append(
                    _Found(
                        root.name,
                        prefix + entry.name,
                        entry.path,
                        status.st_size,
                        status.st_mtime_ns,
                    )
                )
            elif not stat.S_ISDIR(status.st_mode):
                not_regular.append(entry.path)
    return found


def _track_ids(found: Sequence[_Found]) -> Iterable[str]:
    """Return one id a file, no two the same.

    Track ids ignore how a name is normalised, so that a library copied by a Mac (NFD) keeps
    its embeddings. Names of two files may differ in nothing else: then the one spelled in
    NFC keeps the id (else the first in byte order), and the others get the hash of their
    name as it is spelled.
    """
    ids = [track_id(file.root, file.relative) for file in found]
    same: defaultdict[str, list[int]] = defaultdict(list)
    for index, identity in enumerate(ids):
        same[identity].append(index)
    for identity, indices in same.items():
        if len(indices) > 1:
            spelled = {i: hash_name(f"{found[i].root}/{found[i].relative}") for i in indices}
            keeper = next((i for i in indices if spelled[i] == identity), indices[0])
            for i in indices:
                ids[i] = identity if i == keeper else spelled[i]
    return ids


def _as_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
