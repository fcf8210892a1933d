"""The settings of a run, and the model and profile that they name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mert_backfill.config import load_settings
from mert_backfill.model.info import ModelInfo, inspect_model
from mert_backfill.recipes import RECIPES
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile, make_profile


def read_settings(config: Mapping[str, Any], *, given: Mapping[str, Any] | None = None) -> Settings:
    """Validate Snakemake's configuration; relative paths start from the current folder.

    Raises
    ------
    UserError
        See `load_settings`.
    """
    return load_settings(config, Path.cwd(), given=given)


def model_info(settings: Settings, *, keep_hash: bool = True) -> ModelInfo:
    """Inspect the configured model; the hash of its weights is kept for the next time."""
    cache = settings.results.weight_hashes
    return inspect_model(settings.model, hash_cache=cache if keep_hash or cache.exists() else None)


def model_profile(settings: Settings, *, keep_hash: bool = True) -> Profile:
    """Return the profile under the configured model."""
    recipe = RECIPES[settings.embedding.profile]
    return make_profile(recipe, model_info(settings, keep_hash=keep_hash))
