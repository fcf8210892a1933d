"""What makes a vector what it is: every choice that changes numbers, under one fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mert_backfill import recipes
from mert_backfill.errors import UserError
from mert_backfill.model.info import ModelInfo
from mert_backfill.recipes import Recipe
from mert_backfill.system.tables import read_json, write_json

DEMO_NOTE = "Made with a demo model: its weights are random, the vectors mean nothing musically."


@dataclass(frozen=True)
class Profile:
    """A way of making vectors; vectors of one profile live in one space.

    Attributes
    ----------
    recipe : Recipe
        The recipe.
    name : str
        The recipe's name, and the first 8 hex digits of the fingerprint: the store's folder.
    fingerprint : str
        sha256 over the canonical JSON of `identity`.
    identity : mapping
        Every choice that changes numbers. The model's name and revision are not in it: a
        renamed model folder must not embed a library again.
    dimension : int
        Length D of a vector.
    layers : int
        Layers of the model.
    model_name, revision : str, str or None
        As configured.
    is_demo : bool
        The model's weights are random.
    """

    recipe: Recipe
    name: str
    fingerprint: str
    identity: Mapping[str, Any]
    dimension: int
    layers: int
    model_name: str
    revision: str | None
    is_demo: bool = False

    @property
    def note(self) -> str | None:
        """What people must know of the vectors, or None."""
        return DEMO_NOTE if self.is_demo else None


def make_profile(recipe: Recipe, info: ModelInfo) -> Profile:
    """Return the profile of a recipe under a model."""
    identity: dict[str, Any] = {
        "weights_sha256": info.weights_sha256,
        "architecture": dict(info.architecture),
        **recipe.identity(),
    }
    fingerprint = _fingerprint(identity)
    return Profile(
        recipe=recipe,
        name=f"{recipe.name}-{fingerprint[:8]}",
        fingerprint=fingerprint,
        identity=identity,
        dimension=info.hidden_size,
        layers=info.layers,
        model_name=info.name,
        revision=info.revision,
        is_demo=info.is_demo,
    )


def write_profile(path: Path | str, profile: Profile) -> None:
    """Write ``profile.json``, which says what the vectors beside it are."""
    write_json(path, profile_record(profile))


def check_profile(path: Path | str, profile: Profile) -> None:
    """Refuse a ``profile.json`` that is not that of the profile whose folder it lies in.

    A file that does not exist is fine, and so are another name and revision of the model.

    Raises
    ------
    UserError
        The file is damaged or was edited, so the vectors beside it cannot be trusted.
    """
    path = Path(path)
    try:
        stored = read_json(path)
    except FileNotFoundError:
        return
    except ValueError as error:
        raise UserError(
            f"{path}: is not valid JSON ({error}); if the vectors beside it are yours, delete "
            "this file and it is written again, else move the folder away"
        ) from error
    expected = profile_record(profile)
    known = stored if isinstance(stored, dict) else {}
    # through JSON, as the file went: tuples become lists
    for key in ("profile", "fingerprint", "dimension", *profile.identity):
        if known.get(key) != json.loads(json.dumps(expected[key])):
            raise UserError(
                f"{path}: {key} is not that of {profile.name}, the file was edited or belongs to "
                "another folder; restore it, or move the folder away and embed again"
            )


def _fingerprint(identity: Mapping[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def profile_record(profile: Profile) -> dict[str, Any]:
    """Return the content of ``profile.json``."""
    return {
        "profile": profile.name,
        "fingerprint": profile.fingerprint,
        "model": profile.model_name,
        "revision": profile.revision,
        **({"note": profile.note} if profile.note else {}),
        "dimension": profile.dimension,
        **profile.identity,
    }


def provenance(profile: Profile, created_at: str) -> dict[str, Any]:
    """Return what a row of meta.json says of the making of its vector.

    Parameters
    ----------
    profile : Profile
        The profile under which it was made.
    created_at : str
        When (UTC, ISO 8601).
    """
    return {
        "profile": profile.name,
        "recipe": profile.recipe.name,
        "model": profile.model_name,
        "revision": profile.revision,
        "sample_rate": recipes.SAMPLE_RATE,
        "dtype": recipes.VECTOR_DTYPE,
        "created_at": created_at,
    }
