"""What preflight found of the machine, for who comes after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from mert_backfill.results import Results
from mert_backfill.system.tables import read_json, write_json


@dataclass(frozen=True)
class PreflightRecord:
    """What preflight found.

    Attributes
    ----------
    profile : str
        The profile that is embedded.
    packages : mapping
        Versions of the packages that matter.
    device : str or None
        What torch will compute on; None when there was nothing to compute.
    """

    profile: str
    packages: Mapping[str, str]
    device: str | None = None

    def write(self, results: Results) -> None:
        """Write the record atomically."""
        write_json(results.preflight, asdict(self))


def device_found(results: Results) -> tuple[str | None, float]:
    """Return the device that preflight found and when (as mtime), or None and 0."""
    try:
        device = read_json(results.preflight)["device"]
        return (device if isinstance(device, str) else None), results.preflight.stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0.0
