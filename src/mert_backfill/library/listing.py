"""The library as it lies on the disk: one pass over the roots, one stat a file."""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from mert_backfill.errors import UserError
from mert_backfill.library.junk import is_junk_file, is_junk_folder
from mert_backfill.library.paths import hash_name, track_id
from mert_backfill.library.roots import Root, check_root, is_mount, no_access


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
        Audio files, and those that only look like it (`mert_backfill.library.junk`).
    not_regular : tuple of str
        Dangling links, FIFOs, sockets and devices with a listed extension.
    unreadable : tuple of str
        Folders that could not be read; what they hold is unknown.
    roots : tuple of Root
        The roots that were listed.
    linked_folders : tuple of str
        Links to folders, which are not followed; those in junk folders are passed over.
    holders : mapping
        The ids that are held by a file whose name is not in NFC, and the hash of that name as it is
        spelled. Who knows them at the next listing leaves those files their ids.
    mounts : tuple of str
        Folders below the roots at which other disks begin that hold files.
    """

    files: tuple[AudioFile, ...]
    junk: tuple[AudioFile, ...]
    not_regular: tuple[str, ...]
    unreadable: tuple[str, ...]
    roots: tuple[Root, ...] = ()
    linked_folders: tuple[str, ...] = ()
    holders: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()

    def found_per_root(self) -> dict[str, int]:
        """Return how many files, junk included, each root holds."""
        counts = Counter(file.root for file in (*self.files, *self.junk))
        return {root.name: 0 for root in self.roots} | dict(counts)

    def found_per_folder(self) -> dict[str, int]:
        """Return how many files each folder right below a root holds, by ``ROOT/FOLDER``."""
        inside = {root.name: os.path.join(root.path, "") for root in self.roots}
        counts: Counter[str] = Counter()
        for file in self.files:
            folder, below, _ = file.path.removeprefix(inside.get(file.root, "")).partition(os.sep)
            if below:
                counts[f"{file.root}/{folder}"] += 1
        return dict(counts)

    def fingerprint(self) -> str:
        """Return a sha256 over all that was found.

        That is root name, relative path, size and mtime of each file, and the path of each link
        to a folder.
        """
        folders = {root.name: os.path.join(root.path, "") for root in self.roots}
        digest = hashlib.sha256()
        for file in (*self.files, *self.junk):
            relative = file.path.removeprefix(folders.get(file.root, ""))
            line = f"{file.root}\0{relative}\0{file.size_bytes}\0{file.mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        for link in self.linked_folders:
            digest.update(f"{link}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


class _Found(NamedTuple):
    root: str
    relative: str  # with / separators
    path: str
    size_bytes: int
    mtime_ns: int
    is_junk: bool

    @property
    def name(self) -> str:
        """What ids are made of."""
        return f"{self.root}/{self.relative}"


class _Folder(NamedTuple):
    path: str
    prefix: str  # what the relative paths in it begin with
    is_junk: bool


@dataclass(frozen=True)
class _Pass:
    """One pass over the roots, and what it has found so far."""

    wanted: frozenset[str]
    found: list[_Found] = field(default_factory=list)
    not_regular: list[str] = field(default_factory=list)
    linked_folders: list[str] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    folders_by_device: dict[int, str] = field(default_factory=dict)  # one of each


def list_library(
    roots: Sequence[Root],
    extensions: Collection[str],
    holders: Mapping[str, str] = MappingProxyType({}),
) -> Listing:
    """List the audio files below the roots.

    Links to files are followed, links to folders are not. Nothing is opened.

    Parameters
    ----------
    roots : sequence of Root
        The music folders.
    extensions : collection of str
        Endings with their dot; they count in any case.
    holders : mapping
        `Listing.holders` of the last listing.

    Raises
    ------
    UserError
        A root is missing, is no folder or cannot be read.
    """
    listed = _Pass(frozenset(extension.lower() for extension in extensions))
    for root in roots:
        check_root(root)
        start = len(listed.found)
        _list_root(root, listed)
        listed.found[start:] = sorted(
            listed.found[start:], key=lambda file: _as_bytes(file.relative)
        )

    files: list[AudioFile] = []
    junk: list[AudioFile] = []
    now_held: dict[str, str] = {}
    for file, identity in zip(listed.found, _track_ids(listed.found, holders), strict=True):
        if not unicodedata.is_normalized("NFC", file.name):
            spelled = hash_name(file.name)
            if spelled != identity:
                now_held[identity] = spelled
        kind = junk if file.is_junk else files
        kind.append(AudioFile(file.root, file.path, identity, file.size_bytes, file.mtime_ns))
    return Listing(
        files=tuple(files),
        junk=tuple(junk),
        not_regular=tuple(sorted(listed.not_regular, key=_as_bytes)),
        unreadable=tuple(sorted(listed.unreadable, key=_as_bytes)),
        roots=tuple(roots),
        linked_folders=tuple(sorted(listed.linked_folders, key=_as_bytes)),
        holders=now_held,
        mounts=_mounts(roots, listed.folders_by_device.values()),
    )


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
        inside = os.path.join(root.path, "")
        links = [link for link in listing.linked_folders if link.startswith(inside)]
        told = f"; folders in it that are links, which are not followed: {len(links)}"
        raise UserError(
            f"config: library.roots: {root.name!r} ({root.path}) looks unmounted: audio files in "
            f"it: {now}{last}{told if links else ''}; "
            "mount the drive or correct the path, or, if this is meant, add "
            "--config accept_shrunken_library=true"
        )


def _list_root(root: Root, listed: _Pass) -> None:
    folders = [_Folder(os.fspath(root.path), "", is_junk=False)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder.path) as scan:
                entries = list(scan)
        except OSError as error:
            if not folder.prefix:
                raise no_access(root, error) from error
            if not isinstance(error, FileNotFoundError):  # else it was deleted under the scan
                listed.unreadable.add(folder.path)
            continue
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    is_junk = folder.is_junk or is_junk_folder(entry.name)
                    folders.append(_Folder(entry.path, f"{folder.prefix}{entry.name}/", is_junk))
                else:
                    _list_entry(entry, root, folder, listed)
            except OSError:  # where a folder holds no types of its entries, each has to be asked
                listed.unreadable.add(folder.path)


def _list_entry(entry: os.DirEntry[str], root: Root, folder: _Folder, listed: _Pass) -> None:
    """Add what is no folder; what is a link is asked where it leads."""
    is_link = entry.is_symlink()
    if is_link and _leads_to_folder(entry):
        if not folder.is_junk:
            listed.linked_folders.append(entry.path)
        return
    if os.path.splitext(entry.name)[1].lower() not in listed.wanted:
        return
    try:
        status = entry.stat()
    except OSError as error:
        if is_link:  # dangling, or a loop
            listed.not_regular.append(entry.path)
        elif not isinstance(error, FileNotFoundError):
            listed.unreadable.add(folder.path)
        return
    if stat.S_ISREG(status.st_mode):
        if not is_link:
            listed.folders_by_device.setdefault(status.st_dev, folder.path)
        listed.found.append(
            _Found(
                root.name,
                folder.prefix + entry.name,
                entry.path,
                status.st_size,
                status.st_mtime_ns,
                folder.is_junk or is_junk_file(entry.name),
            )
        )
    else:
        listed.not_regular.append(entry.path)


def _mounts(roots: Sequence[Root], folders: Iterable[str]) -> tuple[str, ...]:
    tops = {os.fspath(root.path) for root in roots}
    mounts = set()
    for folder in folders:
        while folder not in tops and not is_mount(folder):
            folder = os.path.dirname(folder)
        mounts.add(folder)
    return tuple(sorted(mounts - tops, key=_as_bytes))


def _leads_to_folder(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError:  # a loop, or where nobody may look
        return False


def _track_ids(found: Sequence[_Found], holders: Mapping[str, str]) -> Iterable[str]:
    """Return one id a file, no two the same.

    Track ids ignore how a name is normalised, so that a library copied by a Mac (NFD) keeps
    its embeddings. Names of two files may differ in nothing else: then the one that held the id
    at the last listing keeps it, for its vector has that name; else the one spelled in NFC has
    it, else the first in byte order. The others get the hash of their name as it is spelled;
    one in NFC, for which that is the same, that of its name with a ``/`` at its end.
    """
    ids = [track_id(file.root, file.relative) for file in found]
    same: defaultdict[str, list[int]] = defaultdict(list)
    for index, identity in enumerate(ids):
        same[identity].append(index)
    for identity, indices in same.items():
        if len(indices) > 1:
            spelled = {hash_name(found[i].name): i for i in indices}
            keeper = spelled.get(holders.get(identity, ""), spelled.get(identity, indices[0]))
            for own, i in spelled.items():
                if i != keeper:
                    ids[i] = own if own != identity else hash_name(found[i].name + "/")
    return ids


def _as_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
