from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import HubertModel, Wav2Vec2FeatureExtractor

from mert_backfill.demo.model import make_demo_model
from mert_backfill.errors import UserError
from mert_backfill.failures import Reason, TrackError
from mert_backfill.model.embedding import DeviceLostError, WindowEmbedding, track_vector
from mert_backfill.model.encoder import Encoder, choose_device, gpu_limit, processor_name
from support import model_files as files

RATE = 24000


def noise(samples: int, seed: int = 0, gain: float = 0.1) -> np.ndarray:
    return (gain * np.random.RandomState(seed).standard_normal(samples)).astype(np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: files.write_model(tmp_path_factory.mktemp("model"), kind) for kind in files.KINDS}


def make_encoder(folder: Path, **options: Any) -> Encoder:
    return Encoder(files.inspect_folder(folder), device="cpu", **options)


def embeddings(encoder: Encoder, windows: list[np.ndarray], **options: Any) -> list[Any]:
    results = encoder.encode(windows, **options)
    assert all(isinstance(result, WindowEmbedding) for result in results)
    return results


# --- numbers


@pytest.mark.parametrize("kind", files.KINDS)
def test_equal_to_the_plain_way(folders: dict[str, Path], kind: str) -> None:
    windows = [noise(RATE + 7, 1), noise(400, 2), noise(3 * RATE, 3, gain=1e-3)]
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folders[kind])
    model: Any = HubertModel.from_pretrained(folders[kind]).eval()
    results = embeddings(make_encoder(folders[kind]), windows)
    for window, result in zip(windows, results, strict=True):
        inputs = extractor(window, sampling_rate=RATE, return_tensors="pt", padding=True)
        with torch.inference_mode():
            states = model(inputs["input_values"]).last_hidden_state
        assert result.final.dtype == np.float32
        assert result.layers is None
        np.testing.assert_array_equal(result.final, states.mean(dim=1)[0].numpy())


@pytest.mark.parametrize("kind", files.KINDS)
def test_layers(folders: dict[str, Path], kind: str) -> None:
    window = noise(RATE)
    encoder = make_encoder(folders[kind])
    (result,) = embeddings(encoder, [window], all_layers=True)
    (final_only,) = embeddings(encoder, [window])
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folders[kind])
    inputs = extractor(window, sampling_rate=RATE, return_tensors="pt")["input_values"]
    seen: list[torch.Tensor] = []
    model: Any = HubertModel.from_pretrained(folders[kind]).eval()
    for layer in model.encoder.layers:
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].mean(dim=1)[0]))
    with torch.inference_mode():
        model(inputs)
    assert result.layers.shape == (3, 64)
    np.testing.assert_allclose(result.layers[:2], torch.stack(seen), atol=1e-6)
    np.testing.assert_array_equal(result.layers[2], result.final)
    np.testing.assert_array_equal(final_only.final, result.final)


def test_the_last_layer_is_taken_after_the_final_norm(folders: dict[str, Path]) -> None:
    encoder = make_encoder(folders["stable"])
    (result,) = embeddings(encoder, [noise(RATE)], all_layers=True)
    norm: Any = encoder.model.get_submodule("encoder.layer_norm")
    before: list[torch.Tensor] = []
    norm.register_forward_hook(lambda _, args, output: before.extend([args[0], output]))
    encoder.encode([noise(RATE)])
    np.testing.assert_array_equal(result.final, before[1].mean(dim=1)[0].numpy())
    assert not np.allclose(result.final, before[0].mean(dim=1)[0].numpy(), atol=1e-2)


@pytest.mark.parametrize("kind", files.KINDS)
def test_batches_and_order_never_change_a_byte(folders: dict[str, Path], kind: str) -> None:
    lengths = [RATE, 2 * RATE, RATE, 500, RATE, RATE, 2 * RATE, RATE]
    windows = [noise(length, seed) for seed, length in enumerate(lengths)]
    alone = make_encoder(folders[kind])
    expected = [embeddings(alone, [window])[0].final.tobytes() for window in windows]
    assert len(set(expected)) == len(windows)
    for batch_size in (None, 1, 2, 3, 8):
        encoder = make_encoder(folders[kind], batch_size=batch_size)
        got = [result.final.tobytes() for result in embeddings(encoder, windows)]
        assert got == expected
        backwards = [result.final.tobytes() for result in embeddings(encoder, windows[::-1])]
        assert backwards[::-1] == expected


def test_loudness_does_not_matter(folders: dict[str, Path]) -> None:
    window = noise(RATE)
    loud, soft = embeddings(make_encoder(folders["stable"]), [window, window * np.float32(0.01)])
    np.testing.assert_allclose(loud.final, soft.final, atol=1e-3)


def test_bfloat16_is_near_float32(folders: dict[str, Path]) -> None:
    window = noise(RATE)
    (exact,) = embeddings(make_encoder(folders["stable"]), [window])
    (near,) = embeddings(make_encoder(folders["stable"], precision="bfloat16"), [window])
    assert near.final.dtype == np.float32
    assert not np.array_equal(near.final, exact.final)
    cosine = near.final @ exact.final / np.linalg.norm(near.final) / np.linalg.norm(exact.final)
    assert cosine > 0.999


@pytest.mark.parametrize("kind", files.KINDS)
def test_bfloat16_casts_once_and_keeps_norms_in_float32(
    folders: dict[str, Path], kind: str
) -> None:
    encoder = make_encoder(folders[kind], precision="bfloat16")
    seen: dict[str, tuple[torch.dtype, torch.dtype]] = {}
    for name, module in encoder.model.named_modules():
        if not [*module.children()] and [*module.parameters(recurse=False)]:
            module.register_forward_hook(
                lambda module, args, output, name=name: seen.update(
                    {name: (next(module.parameters()).dtype, output.dtype)}
                )
            )
    embeddings(encoder, [noise(RATE)])
    exact = {name for name, (weights, _) in seen.items() if weights is torch.float32}
    assert {output for _, output in seen.values()} == {torch.bfloat16}
    assert exact == {
        name for name in seen if "norm" in name or name.endswith("conv_layers.0.conv")
    } | {"encoder.pos_conv_embed.conv"}  # of four channels a group here
    assert len(seen) - len(exact) >= 2 * 6 + 7


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_tf32_is_for_nvidia(folders: dict[str, Path], device: str) -> None:
    with pytest.raises(UserError, match=rf"tf32 is for NVIDIA GPUs, the device is {device}; set"):
        Encoder(files.inspect_folder(folders["stable"]), device=device, precision="tf32")


@pytest.mark.parametrize("channels", [2, 4, 8, 12, 16, 48])
def test_bfloat16_of_any_width_is_near_float32(tmp_path: Path, channels: int) -> None:
    """Some CPUs have wrong bfloat16 convolutions of few channels a group."""
    files.write_model(tmp_path, hidden_size=16 * channels)
    window = noise(RATE)
    convolutions: list[torch.Tensor] = []
    for precision in ("float32", "bfloat16"):
        encoder = make_encoder(tmp_path, precision=precision)
        layer = encoder.model.get_submodule("encoder.pos_conv_embed.conv")
        layer.register_forward_hook(lambda *hooked: convolutions.append(hooked[2].float()))
        embeddings(encoder, [window])
    exact, near = convolutions
    assert (near - exact).norm() / exact.norm() < 0.05


def test_bfloat16_begins_with_a_convolution_in_float32(folders: dict[str, Path]) -> None:
    first: list[torch.Tensor] = []
    for precision in ("float32", "bfloat16"):
        encoder = make_encoder(folders["stable"], precision=precision)
        layer = encoder.model.get_submodule("feature_extractor.conv_layers.0.conv")
        layer.register_forward_hook(lambda *hooked: first.append(hooked[2]))
        embeddings(encoder, [noise(RATE)])
    assert first[1].dtype == torch.bfloat16
    assert torch.equal(first[1], first[0].bfloat16())


def test_the_demo_model_tells_tracks_apart(tmp_path: Path) -> None:
    make_demo_model(tmp_path)
    tone = np.sin(np.arange(RATE) * 0.05).astype(np.float32)
    one, other = embeddings(make_encoder(tmp_path), [noise(RATE), tone])
    assert np.abs(one.final - other.final).max() > 0.01


def test_nothing_to_encode(folders: dict[str, Path]) -> None:
    assert make_encoder(folders["stable"]).encode([]) == []


def test_track_vector_is_the_unweighted_mean_in_float32() -> None:
    parts = [np.array([1, 1e-4, 60000], np.float32), np.array([2, 3e-4, 60000], np.float32)]
    vector = track_vector(parts)
    assert vector.dtype == np.float16
    np.testing.assert_array_equal(vector, np.array([1.5, 2e-4, 60000], np.float16))


# --- what goes wrong


class Flaky(torch.nn.Module):
    """The real model, failing for batches that `fails` picks; notes the sizes of the others."""

    def __init__(self, model: torch.nn.Module, fails: Callable[[torch.Tensor], Exception | None]):
        super().__init__()
        self.model = model
        self.fails = fails
        self.sizes: list[int] = []

    def forward(self, samples: torch.Tensor, **options: Any) -> Any:
        if (error := self.fails(samples)) is not None:
            raise error
        self.sizes.append(len(samples))
        return self.model(samples, **options)


class Batching(Encoder):
    def first_limit(self, length: int) -> int:
        return 8


def make_flaky(
    folder: Path, fails: Callable[[torch.Tensor], Exception | None]
) -> tuple[Encoder, Flaky]:
    """Return an encoder that makes batches of 8, as on a GPU."""
    encoder = Batching(files.inspect_folder(folder), device="cpu")
    flaky = Flaky(encoder.model, fails)
    encoder.model = flaky
    return encoder, flaky


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    torch.AcceleratorError("CUDA error: out of memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:20])
def test_out_of_memory_halves_the_batch_and_remembers(
    folders: dict[str, Path], error: Exception
) -> None:
    windows = [noise(RATE, seed) for seed in range(8)]
    expected = embeddings(make_encoder(folders["stable"]), windows)
    encoder, flaky = make_flaky(
        folders["stable"], lambda samples: error if len(samples) > 2 else None
    )
    for _ in range(2):
        results = embeddings(encoder, windows)
        for result, one in zip(results, expected, strict=True):
            np.testing.assert_allclose(result.final, one.final, atol=1e-5)
    assert flaky.sizes == [2] * 8


def test_out_of_memory_fails_the_one_window_that_does_not_fit(folders: dict[str, Path]) -> None:
    windows = [noise(RATE, seed) for seed in range(5)]
    windows[3] = noise(RATE, 3) + np.linspace(0, 50, RATE, dtype=np.float32)

    def fails(samples: torch.Tensor) -> Exception | None:
        hungry = any(window[-1] > 1.5 and window[0] < -1.5 for window in samples)
        return torch.OutOfMemoryError("CUDA out of memory") if hungry else None

    encoder, _ = make_flaky(folders["stable"], fails)
    results = encoder.encode(windows)
    assert [isinstance(result, TrackError) for result in results] == [False] * 3 + [True, False]
    failure = results[3]
    assert isinstance(failure, TrackError)
    assert (failure.stage, failure.reason) == ("embed", Reason.OUT_OF_MEMORY)
    assert failure.error == "OutOfMemoryError: CUDA out of memory"


def test_lack_of_memory_for_long_windows_keeps_the_batches_of_short_ones(
    folders: dict[str, Path],
) -> None:
    encoder, flaky = make_flaky(
        folders["stable"],
        lambda samples: MemoryError() if samples.numel() > 4 * RATE else None,
    )
    embeddings(encoder, [noise(2 * RATE, seed) for seed in range(4)])
    embeddings(encoder, [noise(RATE // 2, seed) for seed in range(8)])
    assert flaky.sizes == [2, 2, 8]


def test_another_error_of_one_window_does_not_touch_the_others(folders: dict[str, Path]) -> None:
    windows = [noise(RATE, 0), noise(399, 1), noise(RATE, 2), noise(399, 3)]
    encoder, _ = make_flaky(folders["stable"], lambda _: None)
    results = encoder.encode(windows)
    assert [isinstance(result, TrackError) for result in results] == [False, True] * 2
    failure = results[1]
    assert isinstance(failure, TrackError)
    assert failure.reason is Reason.EMBED_ERROR
    assert failure.error.startswith("RuntimeError: ")


def test_values_that_are_not_finite_fail_their_window_only(folders: dict[str, Path]) -> None:
    broken = noise(RATE, 1)
    broken[100] = np.nan
    encoder, _ = make_flaky(folders["stable"], lambda _: None)
    fine, failure = encoder.encode([noise(RATE, 0), broken])
    assert isinstance(fine, WindowEmbedding)
    assert isinstance(failure, TrackError)
    assert failure.reason is Reason.EMBED_ERROR
    assert "not finite" in failure.error


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ],
)
def test_a_lost_device_is_not_the_tracks_fault(folders: dict[str, Path], error: Exception) -> None:
    encoder, _ = make_flaky(folders["stable"], lambda _: error)
    with pytest.raises(DeviceLostError, match="CUD"):
        encoder.encode([noise(RATE)])


# --- device, precision, threads


def test_auto_takes_the_first_device_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, expected in [
        (True, True, "cuda"),
        (False, True, "mps"),
        (False, False, "cpu"),
    ]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert choose_device("auto") == expected
        assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=rf"runtime\.device: torch .* finds no {device} device"):
        choose_device(device)


def test_a_processor_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processor_name("cpu") == processor_name("mps") != ""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    assert processor_name("cuda") == "NVIDIA H100"


def test_float16_is_refused_on_a_cpu(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"runtime\.precision: float16 is not for the CPU"):
        make_encoder(folders["stable"], precision="float16")


def test_threads_and_what_the_chunk_needs_to_know(folders: dict[str, Path]) -> None:
    before = torch.get_num_threads()
    try:
        encoder = make_encoder(folders["stable"], threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert (encoder.device, encoder.precision) == ("cpu", "float32")
    assert encoder.tracks_per_batch == 1


def test_a_gpu_batch_is_bounded_by_memory_and_by_seconds(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = files.inspect_folder(folders["stable"]).architecture
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**40, 2**40))
    assert gpu_limit(architecture, 60 * RATE, "cuda") == 16
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1, 1))
    assert gpu_limit(architecture, 10 * RATE, "cuda") == 1


def test_no_batch_is_larger_than_its_limit(folders: dict[str, Path]) -> None:
    encoder, flaky = make_flaky(folders["stable"], lambda _: None)
    embeddings(encoder, [noise(RATE)] * 20)
    assert flaky.sizes == [8, 8, 4]


def test_a_head_count_that_is_edited_later_is_another_profile(tmp_path: Path) -> None:
    from mert_backfill.recipes import CANONICAL
    from mert_backfill.store.profile import make_profile

    files.write_model(tmp_path)
    before = make_profile(CANONICAL, files.inspect_folder(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_attention_heads": 8}))
    assert make_profile(CANONICAL, files.inspect_folder(tmp_path)).name != before.name
