"""Strict loading of MERT: nothing is run from the model folder, and every tensor is checked.

The released v1 models are plain HuBERT inside, so transformers' own ``HubertModel`` runs them
without their remote code. What from_pretrained passes over in silence (missing or surplus
tensors, half precision, flags that are not implemented) is refused here in one line.

`inspect_model` reads text and hashes files only. It runs while a Snakefile is parsed, so torch
and transformers are imported where weights are loaded, not at the top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mert_backfill.model.architecture import (
    check_official,
    check_preprocessor,
    check_receptive_field,
    read_architecture,
)
from mert_backfill.model.source import ModelSource, hub_folder
from mert_backfill.model.text_files import read_text_file
from mert_backfill.model.weight_files import find_weights, hash_weights

DEMO_MARKER = "_mert_backfill_demo"  # key in config.json of models whose weights are random


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model before its weights are loaded.

    Attributes
    ----------
    name, revision : str, str or None
        As configured; they do not change numbers.
    folder : Path
        Where its files lie.
    architecture : mapping
        Every field of config.json that changes numbers.
    weight_files : tuple of Path
        One file, or the shards in order of their names.
    weights_sha256 : str
        sha256 of the weight file; of several, that of the lines ``SHA256  NAME``.
    hidden_size : int
        Length D of a vector.
    layers : int
        Transformer layers.
    masked_spec_embed : bool
        Whether the weights hold that tensor (used in training only).
    is_demo : bool
        The weights are random; the vectors mean nothing musically.
    """

    name: str
    revision: str | None
    folder: Path
    architecture: Mapping[str, Any]
    weight_files: tuple[Path, ...]
    weights_sha256: str
    hidden_size: int
    layers: int
    masked_spec_embed: bool
    is_demo: bool


def inspect_model(
    source: ModelSource, *, hash_cache: Path | None = None, offline: bool = True
) -> ModelInfo:
    """Check a model's text files, find its weights and hash them; no tensor is read.

    Parameters
    ----------
    source : ModelSource
        A folder, or a hub id with its revision.
    hash_cache : Path, optional
        JSON file that remembers hashes by path, size and mtime, so that 1.3 GB are not hashed
        each time a Snakefile is parsed.
    offline : bool
        Use only what was fetched before (hub ids).

    Raises
    ------
    UserError
        A file is missing or damaged, or asks for what the loader does not implement.
    """
    folder = source.folder if source.folder is not None else hub_folder(source, offline=offline)
    config_file = folder / "config.json"
    config = read_text_file(config_file)
    architecture = read_architecture(config_file, config)
    check_official(config_file, source.name, architecture)
    check_receptive_field(config_file, architecture)
    check_preprocessor(folder / "preprocessor_config.json")
    files = find_weights(folder)
    return ModelInfo(
        name=source.name,
        revision=source.revision,
        folder=folder,
        architecture=architecture,
        weight_files=files,
        weights_sha256=hash_weights(files, hash_cache),
        hidden_size=architecture["hidden_size"],
        layers=architecture["num_hidden_layers"],
        masked_spec_embed=bool(
            config.get("mask_time_prob", 0.05) or config.get("mask_feature_prob")
        ),
        is_demo=config.get(DEMO_MARKER) is True,
    )
