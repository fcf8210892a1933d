"""What is not right is found before the first chunk."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mert_backfill.audio.samples import SAMPLES
from mert_backfill.chunk.preflight import (
    bytes_per_track,
    check_decoders,
    check_results,
    prepare_store,
)
from mert_backfill.errors import UserError
from mert_backfill.results import Results
from support.fakes import a_profile
from support.project import add_track, make_project

PROFILE = a_profile()
EXTENSIONS = [".wav", ".flac", ".mp3", ".m4a", ".aiff", ".aif", ".ogg", ".opus"]
# each fails as that version really does; the first is torchvision 0.2.0 under torch 2.13
BROKEN_TORCHVISION = {
    "too old": ("", "def to_pil_image(): ...\n", "InterpolationMode"),
    "built for another torch": (
        "raise RuntimeError('operator torchvision::nms does not exist')\n",
        "",
        "operator torchvision::nms does not exist",
    ),
}


def write_package(folder: Path, name: str, version: str, **modules: str) -> None:
    """Write a package that looks installed; `modules` are the sources of its submodules."""
    (folder / name).mkdir(parents=True)
    for module, source in modules.items():
        (folder / name / f"{module}.py").write_text(source, encoding="utf-8")
    information = folder / f"{name}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
    )


def check_imports_with(folder: Path) -> str:
    """Run `check_imports` in a new process in which `folder` is installed; return its error."""
    program = (
        "from mert_backfill.errors import UserError\n"
        "from mert_backfill.chunk.imports import check_imports\n"
        "try:\n    check_imports()\nexcept UserError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], str(folder)])},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


@pytest.mark.parametrize("kind", BROKEN_TORCHVISION)
def test_one_that_does_not_fit_is_named_with_its_cure(tmp_path: Path, kind: str) -> None:
    """torchvision does not fit torch, so transformers cannot be imported -> one line that
    says `python -m pip uninstall -y torchvision`, or upgrade it."""
    package, transforms, text = BROKEN_TORCHVISION[kind]
    write_package(tmp_path, "torchvision", "0.2.0", __init__=package, transforms=transforms)
    # transformers looks at torchvision only where Pillow is, which torchvision brings along
    image = (
        "class Image: ...\n"
        "class Resampling:\n    NEAREST = BOX = BILINEAR = HAMMING = BICUBIC = LANCZOS = 0\n"
    )
    write_package(tmp_path, "PIL", "12.0", __init__="", Image=image, ImageOps="")
    (line,) = check_imports_with(tmp_path).splitlines()
    assert line.startswith("torchvision does not fit the installed torch")
    assert text in line
    assert "`python -m pip uninstall -y torchvision`, or upgrade it" in line


@pytest.mark.parametrize("name", ["av", "soundfile", "soxr"])
def test_a_package_that_is_broken_is_named(tmp_path: Path, name: str) -> None:
    """A package cannot be imported -> one line that names it."""
    write_package(tmp_path, name, "18.1.0", __init__="raise ImportError('it is\\ngone')\n")
    (line,) = check_imports_with(tmp_path).splitlines()
    assert line.startswith(f"{name} cannot be imported (ImportError: it is gone); install")


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ("SIGILL", "an instruction that this processor does not have (SIGILL); install a build"),
        ("SIGSEGV", "its process was ended by SIGSEGV; install the pinned requirements again"),
    ],
)
def test_a_package_that_takes_its_process_down_is_named(
    tmp_path: Path, ends: str, told: str
) -> None:
    """A package was built for another processor: its import is an illegal instruction, or
    crashes -> one line that names it and says so."""
    deadly = f"import os, signal\nos.kill(os.getpid(), signal.{ends})\n"
    write_package(tmp_path, "av", "18.1.0", __init__=deadly)
    (line,) = check_imports_with(tmp_path).splitlines()
    assert line.startswith("av cannot be imported: ")
    assert told in line


def test_a_package_that_no_chunk_needs_may_be_broken(tmp_path: Path) -> None:
    write_package(tmp_path, "librosa", "0.11.0", __init__="raise ImportError('no numba')\n")
    assert check_imports_with(tmp_path) == ""


def test_every_configured_format_has_a_sample_that_decodes() -> None:
    assert SAMPLES.keys() == set(EXTENSIONS)
    assert max(map(len, SAMPLES.values())) < 3000
    check_decoders(EXTENSIONS)
    check_decoders([".wav", ".unheard-of"])


def test_a_decoder_that_does_not_work_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder of a configured format does not work -> one line that names the format."""
    write_package(tmp_path, "av", "18.1.0", __init__="raise ImportError('libav is gone')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)  # decoders inherit it
    check_decoders([".wav", ".mp3"])
    with pytest.raises(UserError, match=r"^\.m4a files cannot be decoded .*libav is gone.*\.m4a"):
        check_decoders(EXTENSIONS)


def test_the_room_that_is_needed_counts_all_arrays() -> None:
    profile = replace(PROFILE, dimension=1024, layers=24)  # the 330M model
    plain = bytes_per_track(profile, ())
    layers = bytes_per_track(profile, ["layers"])
    sections = bytes_per_track(profile, ["sections"])
    assert plain == 12_288 + 4096
    assert layers - plain == 155_648  # 3 x 25 x 1024 float16 and a header, in whole blocks
    assert sections - plain == 8192 + 3 * 4096
    assert bytes_per_track(profile, ["harmonic"]) - plain == 4096


def test_too_little_space_is_told_before_anything_is_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk has less room than the pending tracks need -> one line with both numbers."""
    usage = SimpleNamespace(free=100 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    check_results(Results(tmp_path), 36 * 2**20)
    with pytest.raises(UserError, match=r"100 MiB are free, the pending tracks need about 101 MiB"):
        check_results(Results(tmp_path), 36 * 2**20 + 1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM])
def test_what_the_file_system_of_the_results_cannot_do_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """results/ lies on a file system that flushes no folders or sets no permissions (SMB, FUSE,
    a mount of another user) -> done without, and a line says which promise is weaker."""
    assert check_results(Results(tmp_path), 0) == []
    fsync = os.fsync

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    def refuse_folders(handle: int) -> None:
        return refuse() if stat.S_ISDIR(os.fstat(handle).st_mode) else fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    (told,) = check_results(Results(tmp_path), 0)
    assert "cannot be told to flush a folder" in told
    assert "after a power cut" in told
    monkeypatch.setattr(os, "chmod", refuse)
    told = check_results(Results(tmp_path), 0)[1]
    assert "sets no permissions" in told


def test_a_results_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """results/ cannot be written -> one line."""
    (tmp_path / "embeddings").write_text("a file in the place of the folder", encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot be written .*make the folder writable"):
        check_results(Results(tmp_path), 0)


def test_a_store_that_says_something_else_is_refused(tmp_path: Path) -> None:
    """The store's profile.json was edited or damaged -> refused, and not overwritten."""
    prepare_store(Results(tmp_path), PROFILE)
    path = Results(tmp_path).profile_record(PROFILE.name)
    prepare_store(Results(tmp_path), PROFILE)
    for damage in (path.read_text("utf-8").replace("00000000", "11111111"), '{"profile": "can'):
        path.write_text(damage, encoding="utf-8")
        with pytest.raises(UserError, match=r"profile\.json: "):
            prepare_store(Results(tmp_path), PROFILE)
        assert path.read_text(encoding="utf-8") == damage


def test_preflight_takes_seconds_and_comes_first(tmp_path: Path) -> None:
    """Broken weights -> the run ends in preflight, before the first track, without a traceback."""
    project = make_project(tmp_path / "project")
    project.music.mkdir()
    (project.music / "a.wav").write_bytes(SAMPLES[".wav"])
    started = time.monotonic()
    project.run("--until", "preflight")
    assert time.monotonic() - started < 60
    assert project.read_json(".state/preflight.json")["device"] == "cpu"
    weights = project.folder / "model" / "pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:-5000])
    call = project.snakemake()
    assert call.code != 0
    assert "preflight" not in call.jobs
    assert call.chunks == []
    assert "Traceback" not in call.output
    (error,) = call.errors
    assert "pytorch_model.bin" in error


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU")
@pytest.mark.parametrize(("options", "gpus"), [((), 1), (("--resources", "gpu=2"), 2)])
def test_a_gpu_that_is_not_there(tmp_path: Path, options: tuple[str, ...], gpus: int) -> None:
    """`runtime.device: cuda` where there is none -> refused in one line, never a silent fall to
    the CPU; and one job at a time would hold the GPU."""
    project = make_project(tmp_path, runtime={"device": "cuda"})
    add_track(project.music / "a.wav")
    call = project.snakemake(*options)
    assert call.code != 0
    (error,) = call.errors
    assert "finds no cuda device here" in error
    assert "plan_chunks" not in call.jobs
    assert f'Provided resources: gpu=Resource("gpu", {gpus})' in call.log


def test_a_precision_that_the_cpu_has_not(tmp_path: Path) -> None:
    """`runtime.precision: float16` on a CPU -> refused in one line; no track is marked as
    failed."""
    project = make_project(tmp_path, runtime={"device": "cpu", "precision": "float16"})
    add_track(project.music / "a.wav")
    call = project.snakemake()
    assert call.code != 0
    (error,) = call.errors
    assert "runtime.precision: float16 is not for the CPU" in error
    assert "internal error" not in call.output
    assert list(project.results.glob("chunks/*.tracks.tsv")) == []
