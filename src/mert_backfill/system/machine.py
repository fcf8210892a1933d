"""What this machine has: package versions, GPUs."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from pathlib import Path

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


def cpu_name() -> str:
    """Return the make of the processor, as far as it can be told."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def wants_gpu(device: str) -> bool:
    """Tell whether chunks will hold a GPU, without importing torch.

    Parameters
    ----------
    device : str
        ``runtime.device``; for auto the machine is asked for an NVIDIA or Apple GPU.
    """
    if device != "auto":
        return device != "cpu"
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return apple or Path("/dev/nvidiactl").exists()
