"""What must be right before the first chunk, found out in seconds."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from mert_backfill.audio.pool import DecoderPool
from mert_backfill.audio.samples import SAMPLES
from mert_backfill.errors import UserError
from mert_backfill.recipes import VECTOR_DTYPE, WINDOW_NAMES
from mert_backfill.results import Results
from mert_backfill.store.profile import Profile, check_profile, write_profile
from mert_backfill.store.sidecars import HARMONIC_SHAPE, SidecarKind
from mert_backfill.system.atomic import TEMPORARY_PREFIX, set_mode, sync_folder

_RECORD_BYTES = 12_288  # a track's rows in manifest, chunk file, journal, tables and meta.json
_BLOCK_BYTES = 4096  # of a file system: the least that a file takes
_HEADER_BYTES = 128  # of a file written by numpy.save
_DECODE_TIMEOUT_S = 60.0
_SPARE_BYTES = 64 * 2**20


def check_decoders(extensions: Collection[str]) -> None:
    """Decode a tiny sound in each format, in a process such as a chunk uses.

    Parameters
    ----------
    extensions : collection of str
        ``library.extensions``; those that no sample is known for are passed over.

    Raises
    ------
    UserError
        A format cannot be decoded, or the decoding process cannot start.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        DecoderPool(1, timeout_s=_DECODE_TIMEOUT_S) as pool,
    ):
        paths = {extension: Path(folder, f"sample{extension}") for extension in sorted(extensions)}
        known = {extension: paths[extension] for extension in paths if extension in SAMPLES}
        for extension, path in known.items():
            path.write_bytes(SAMPLES[extension])
        for result in pool.decode((extension, str(path)) for extension, path in known.items()):
            if result.error is not None:
                raise UserError(
                    f"{result.track_id} files cannot be decoded on this machine ({result.error}); "
                    "install the pinned requirements again (pip install -r requirements.txt), or "
                    f"take {result.track_id} out of library.extensions"
                )


def bytes_per_track(profile: Profile, sidecars: Collection[SidecarKind]) -> int:
    """Return how much of the disk a track takes: its arrays, and its rows in the tables."""
    windows, dimension = len(WINDOW_NAMES), profile.dimension
    lengths = [dimension]
    if "sections" in sidecars:
        lengths += [windows * dimension, *[dimension] * windows]
    if "layers" in sidecars:
        lengths.append(windows * (profile.layers + 1) * dimension)
    if "harmonic" in sidecars:
        lengths.append(2 * HARMONIC_SHAPE[0])  # in numbers of half the width
    width = np.dtype(VECTOR_DTYPE).itemsize
    blocks = (-(-(_HEADER_BYTES + width * length) // _BLOCK_BYTES) for length in lengths)
    return _RECORD_BYTES + _BLOCK_BYTES * sum(blocks)


def check_results(results: Results, needed_bytes: int) -> list[str]:
    """Check that the results folder can be written, and has room for what is planned.

    Parameters
    ----------
    results : Results
        The results folder.
    needed_bytes : int
        What the plan needs, see `bytes_per_track`; some spare room is added.

    Returns
    -------
    list of str
        What its file system does not do, and what that means, a line each.

    Raises
    ------
    UserError
        It cannot be written, or there is too little free space.
    """
    folder = results.embeddings
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=TEMPORARY_PREFIX) as file:
            file.write(b"\0" * _BLOCK_BYTES)
            file.flush()
            os.fsync(file.fileno())
            weaker = _weaker_promises(folder, file.name)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); free space there, or make the "
            "folder writable"
        ) from error
    needed = needed_bytes + _SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {free // 2**20} MiB are free, the pending tracks need about "
            f"{-(-needed // 2**20)} MiB; free some space and run the same command again"
        )
    return weaker


def _weaker_promises(folder: Path, file: str) -> list[str]:
    weaker = []
    if not sync_folder(folder):
        weaker.append(
            f"{folder}: this file system cannot be told to flush a folder (fsync); after a power "
            "cut the last tracks may have to be made again"
        )
    if not set_mode(file, stat.S_IRUSR | stat.S_IWUSR):
        weaker.append(
            f"{folder}: this file system sets no permissions of files (chmod); who may read the "
            "results is up to how it is mounted"
        )
    return weaker


def prepare_store(results: Results, profile: Profile) -> None:
    """Write the store's profile.json, or check the one that is there.

    Raises
    ------
    UserError
        It is there and says something else.
    """
    path = results.profile_record(profile.name)
    check_profile(path, profile)
    if not path.exists():
        write_profile(path, profile)
