"""Where the model comes from: a folder, or the hub."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from mert_backfill.errors import UserError, one_line
from mert_backfill.model.weight_files import find_weights


@dataclass(frozen=True)
class ModelSource:
    """Where the model comes from: a folder, or a hub id with its commit."""

    name: str
    folder: Path | None
    revision: str | None


# the fairseq file of the 330M repository (3.7 GB) is not among them
_TEXT_FILES = ("config.json", "preprocessor_config.json")
_PATIENCE_S = 10.0
HUB_FILES = (*_TEXT_FILES, "model*.safetensors*", "pytorch_model.bin")


def newest_revision(name: str) -> str | None:
    """Return the newest commit of a hub repository; None where the hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(name, timeout=_PATIENCE_S).sha
    except Exception:  # see hub_folder
        return None


def fetch_model(source: ModelSource) -> Path:
    """Download a hub model unless it is there already, and return its folder.

    Not for two processes at a time: the caller holds a lock.

    Raises
    ------
    UserError
        The download failed; the line says how to use a local folder instead.
    """
    if source.folder is not None:
        return source.folder
    try:
        folder = hub_folder(source, offline=True)
        find_weights(folder)
    except UserError:  # nothing yet, or a download that was cut short
        return hub_folder(source, offline=False)
    # other programs fetch only what they need
    if not all((folder / name).is_file() for name in _TEXT_FILES):
        return hub_folder(source, offline=False)
    return folder


def hub_folder(source: ModelSource, *, offline: bool) -> Path:
    """Return the folder of a hub model's files, fetched first unless `offline`."""
    from huggingface_hub import snapshot_download

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # our line says it all
    try:
        return Path(
            snapshot_download(
                source.name,
                revision=source.revision,
                allow_patterns=list(HUB_FILES),
                local_files_only=offline,
            )
        )
    except Exception as error:  # the hub client raises its own, httpx' and the system's errors
        reason = one_line(error)[:200]
        what = "is not on this machine" if offline else f"cannot be fetched ({reason})"
        raise UserError(
            f"model.name: {source.name} at revision {source.revision} {what}; without a network, "
            "copy the model's files here from another machine and set model.name to their folder"
        ) from error
