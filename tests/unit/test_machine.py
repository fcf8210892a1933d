"""What a machine has is told without torch, and torch's own answer counts once it is known."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from mert_backfill.records.preflight import PreflightRecord, device_found
from mert_backfill.results import Results
from mert_backfill.system import machine
from mert_backfill.system.machine import cpu_name, gpu_signs, wants_gpu


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the file of a driver is looked for; it is not there."""
    file = tmp_path / "dxg"
    monkeypatch.setattr(machine, "_GPU_FILES", (str(tmp_path / "nvidiactl"), str(file)))
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    return file


@pytest.mark.parametrize(("device", "wanted"), [("cpu", 0), ("cuda", 1), ("mps", 1), ("auto", 0)])
def test_without_a_gpu_what_is_asked_for_counts(driver: Path, device: str, wanted: int) -> None:
    assert wants_gpu(device) == wanted


def test_any_driver_is_a_sign_of_a_gpu(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_signs() == []
    driver.touch()
    assert gpu_signs() == [str(driver)]
    assert wants_gpu("auto")
    assert not wants_gpu("cpu")
    driver.unlink()
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert wants_gpu("auto")


def test_a_gpu_that_torch_cannot_use_is_not_held(driver: Path) -> None:
    driver.touch()
    now = driver.stat().st_mtime
    assert wants_gpu("auto", found="cuda", found_at=now + 1)
    assert not wants_gpu("auto", found="cpu", found_at=now + 1)
    assert wants_gpu("auto", found="cpu", found_at=now - 1)  # a driver that was loaded since
    assert wants_gpu("cuda", found="cpu", found_at=now + 1)


def test_what_preflight_found_is_read_again(tmp_path: Path) -> None:
    results = Results(tmp_path)
    assert device_found(results) == (None, 0)
    PreflightRecord("canonical-00000000", {"torch": "2.13.0"}).write(results)
    assert device_found(results)[0] is None
    PreflightRecord("canonical-00000000", {"torch": "2.13.0"}, "cpu").write(results)
    assert device_found(results) == ("cpu", results.preflight.stat().st_mtime)
    results.preflight.write_text("[")
    assert device_found(results) == (None, 0)


def test_the_processor_has_a_name() -> None:
    assert cpu_name()
