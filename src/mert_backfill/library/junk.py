"""What only looks like music: files that systems, disks and NAS boxes keep for themselves."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# folders by name, in small letters, and what makes them; their content is no part of the library.
# Names that an album may have ("Recycler", "Temporary Items") are not here
JUNK_FOLDERS: Mapping[str, str] = MappingProxyType(
    {
        "__macosx": "what macOS adds to a ZIP archive",
        "$recycle.bin": "the trash of Windows",
        "system volume information": "restore points of Windows",
        ".trash": "the trash of macOS and of Linux",
        ".trashes": "the trash of macOS on other disks",
        ".spotlight-v100": "the index of macOS",
        ".fseventsd": "the change log of macOS",
        ".documentrevisions-v100": "earlier versions that macOS keeps",
        ".temporaryitems": "unfinished copies of macOS",
        "network trash folder": "the trash of macOS on a server",
        ".appledouble": "what netatalk keeps of a Mac's files",
        "lost+found": "what a check of the disk found",
        "#recycle": "the trash of Synology",
        "#snapshot": "snapshots of Synology",
        "@eadir": "the index of Synology",
        "@recycle": "the trash of QNAP",
        "@recently-snapshot": "snapshots of QNAP",
        ".@__thumb": "the index of QNAP",
        ".recycle": "the trash of Samba",
        ".recycle.bin": "the trash of Unraid",
        ".snapshot": "snapshots of NetApp, QNAP and others",
        "~snapshot": "snapshots of NetApp",
        ".snapshots": "snapshots of snapper (Btrfs)",
        ".snap": "snapshots of FreeBSD",
        ".zfs": "snapshots of ZFS",
        ".stversions": "earlier versions that Syncthing keeps",
        ".sync": "earlier versions that Resilio Sync keeps",
        ".dropbox.cache": "what Dropbox deleted",
    }
)
# what their names begin with
JUNK_FOLDER_PREFIXES: Mapping[str, str] = MappingProxyType(
    {".trash-": "the trash of Linux on other disks"}
)
_APPLE_DOUBLE = "._"  # in front of the name of a file: the half of it that only a Mac needs


def is_junk_folder(name: str) -> bool:
    """Tell whether a folder of this name, in any case, holds nothing of the library."""
    name = name.lower()
    return name in JUNK_FOLDERS or name.startswith(tuple(JUNK_FOLDER_PREFIXES))


def is_junk_file(name: str) -> bool:
    """Tell whether a file of this name is none of the library, wherever it lies."""
    return name.startswith(_APPLE_DOUBLE)


def is_junk(path: str) -> bool:
    """Tell whether a path with ``/`` separators only looks like audio: what systems put there."""
    *folders, name = path.split("/")
    return is_junk_file(name) or any(map(is_junk_folder, folders))
