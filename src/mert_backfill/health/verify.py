"""Reads every vector, of the store and of meta.json; sets aside those of ours that are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.store.named import NamedVectors
from mert_backfill.store.vectors import VectorState, VectorStore
from mert_backfill.system.tables import read_json

DAMAGED_ENDING = ".damaged"


@dataclass(frozen=True)
class Verification:
    """What reading every vector showed.

    Attributes
    ----------
    valid : int
        Vectors that can be used.
    damaged : tuple of Path
        Vectors that cannot, under their old names; each was renamed to end in ``.damaged``.
    """

    valid: int
    damaged: tuple[Path, ...]


def verify_store(embeddings: Path) -> Verification:
    """Read every vector of every profile; nothing is unpickled, nothing is deleted.

    Parameters
    ----------
    embeddings : Path
        The folder that holds one folder a profile.

    Raises
    ------
    UserError
        A profile's ``profile.json`` cannot be read.
    """
    valid = 0
    damaged = []
    for store in _stores(embeddings):
        for track_id, _ in store.files():
            if store.state(track_id) is VectorState.VALID:
                valid += 1
                continue
            path = store.path(track_id)
            path.rename(path.with_name(path.name + DAMAGED_ENDING))
            damaged.append(path)
    return Verification(valid, tuple(sorted(damaged)))


@dataclass(frozen=True)
class NamedVerification:
    """What reading the vectors showed that a meta.json names and others made.

    Attributes
    ----------
    valid : int
        Vectors that can be used.
    unusable, missing : tuple of Path
        Files that hold none, and files that are not there.
    """

    valid: int
    unusable: tuple[Path, ...]
    missing: tuple[Path, ...]


def verify_named(meta: MetaFile, embeddings: Path, named: NamedVectors) -> NamedVerification:
    """Read every vector that a meta.json names, those below `embeddings` not; nothing is renamed.

    Parameters
    ----------
    meta : MetaFile
        The meta.json.
    embeddings : Path
        The folder of the vectors made here.
    named : NamedVectors
        Reads, and learns what it reads.
    """
    found: dict[VectorState, list[Path]] = {state: [] for state in VectorState}
    for path in dict.fromkeys(meta.embeddings_of(meta.tracks)):
        if not path.is_relative_to(embeddings):
            found[named.read_again(path)].append(path)
    return NamedVerification(
        len(found[VectorState.VALID]),
        tuple(sorted(found[VectorState.INVALID])),
        tuple(sorted(found[VectorState.MISSING])),
    )


def _stores(embeddings: Path) -> Iterator[VectorStore]:
    for path in sorted(embeddings.glob("*/profile.json")):
        try:
            dimension = read_json(path)["dimension"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: cannot be read; restore it, or delete it and run `{command()}`"
            ) from error
        yield VectorStore(path.parent, dimension)
