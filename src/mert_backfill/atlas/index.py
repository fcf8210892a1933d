"""The index of hnswlib that other programs search, built as they build it."""

from __future__ import annotations

import errno
import importlib
import logging
import os
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from mert_backfill.results import Results
from mert_backfill.system.atomic import write_atomically
from mert_backfill.system.tables import write_json

logger = logging.getLogger(__name__)

M, EF_CONSTRUCTION = 32, 200
_SPARE = 256  # or a tenth: room for what the other program adds


def import_hnswlib() -> Any:
    """Return hnswlib, or None: it is built from source, and may be missing."""
    try:
        return importlib.import_module("hnswlib")
    except ImportError:
        return None


def write_index(
    results: Results, meta_keys: Sequence[str], vectors: np.ndarray, threads: int = 1
) -> None:
    """Write ``index/hnsw.idx`` and ``index/paths.json``.

    Parameters
    ----------
    results : Results
        The results folder.
    meta_keys : sequence of str
        The keys of meta.json; the label of a vector is its key's place in them.
    vectors : np.ndarray [shape=(n, D), dtype=float32]
        The vectors as they are stored.
    threads : int > 0
        How many threads build it.
    """
    # labels of an old index must not meet the keys of a new one
    results.search_index.unlink(missing_ok=True)
    write_json(results.search_index_paths, list(meta_keys))
    hnswlib = import_hnswlib()
    if hnswlib is None:
        logger.warning(
            "hnswlib is not installed: %s is left out; pip install -r requirements-index.txt, then "
            "delete %s to have it made",
            results.search_index,
            results.search_index_paths,
        )
        return
    count, dimension = vectors.shape
    index = hnswlib.Index(space="cosine", dim=dimension)
    index.init_index(count + max(_SPARE, count // 10), ef_construction=EF_CONSTRUCTION, M=M)
    if count:
        index.add_items(vectors, np.arange(count), num_threads=threads)

    def save(file: IO[bytes]) -> None:
        index.save_index(file.name)
        if os.path.getsize(file.name) != index.index_file_size():  # hnswlib does not look
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)

    write_atomically(results.search_index, save)
