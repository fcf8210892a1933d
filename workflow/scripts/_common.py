"""What the Snakefile and the job scripts share: where things are, and which model is meant."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from mert_backfill.model.info import ModelInfo, inspect_model
from mert_backfill.recipes import CANONICAL
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile, make_profile


def model_info(settings: Settings, *, keep_hash: bool = True) -> ModelInfo:
    """Inspect the configured model; the hash of its weights is kept for the next time."""
    cache = settings.results.weight_hashes
    return inspect_model(settings.model, hash_cache=cache if keep_hash or cache.exists() else None)


def model_profile(settings: Settings, *, keep_hash: bool = True) -> Profile:
    """Return the profile under the configured model."""
    return make_profile(CANONICAL, model_info(settings, keep_hash=keep_hash))
