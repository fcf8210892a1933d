"""What this machine has: package versions, GPUs."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
from pathlib import Path

# of the drivers of NVIDIA, of WSL2 and of AMD (ROCm)
_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
PACKAGES = ("torch", "transformers", "soundfile", "soxr", "av", "numpy", "torchvision")


def environment() -> dict[str, str]:
    """Return the versions of the packages that matter; those not installed are left out."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def usable_cpus() -> int:
    """Return how many processors this process may use: a container or a job may have fewer."""
    from joblib import cpu_count  # it takes a moment

    return max(1, cpu_count())


def cpu_name() -> str:
    """Return the make of the processor, as far as it can be told."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def gpu_signs() -> list[str]:
    """Return what tells of a GPU here, without asking torch: drivers' files, Apple's processor."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return ["Apple silicon"] * apple + [file for file in _GPU_FILES if Path(file).exists()]


def wants_gpu(device: str, *, found: str | None = None, found_at: float = 0.0) -> bool:
    """Tell whether chunks will hold a GPU, without importing torch.

    Parameters
    ----------
    device : str
        ``runtime.device``; for auto the machine is looked at.
    found : str, optional
        What torch said when it was asked last: cpu where it cannot use a GPU that is there.
    found_at : float
        When that was (as an mtime); a driver that was loaded since then may change it.
    """
    if device != "auto":
        return device != "cpu"
    signs = gpu_signs()
    if found == "cpu" and not any(_changed_since(sign, found_at) for sign in signs):
        return False
    return bool(signs)


def _changed_since(file: str, moment: float) -> bool:
    try:
        return os.stat(file).st_mtime > moment
    except OSError:
        return False
