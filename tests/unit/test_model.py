from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import HubertConfig, HubertModel

from mert_backfill import recipes
from mert_backfill.demo.model import PREPROCESSOR, make_demo_model, seeded_tensors
from mert_backfill.errors import UserError
from mert_backfill.model.architecture import OFFICIAL_ARCHITECTURES, receptive_field_of
from mert_backfill.model.info import inspect_model
from mert_backfill.model.source import ModelSource, fetch_model
from mert_backfill.model.weights import load_model
from support import model_files as files

SOME_TENSOR = "encoder.layers.1.attention.k_proj.weight"
REVISION = "12af15fe0123456789abcdef0123456789abcdef"


def load_folder(folder: Path) -> torch.nn.Module:
    return load_model(files.inspect_folder(folder))


def refusal(folder: Path, *, load: bool = False) -> str:
    """Return the line with which a model is refused: by its text files, or by its tensors."""
    if load:
        files.inspect_folder(folder)
    with pytest.raises(UserError) as caught:
        (load_folder if load else files.inspect_folder)(folder)
    line = str(caught.value)
    assert str(folder) in line
    assert "\n" not in line
    return line


# --- what is accepted


@pytest.mark.parametrize("kind", files.KINDS)
@pytest.mark.parametrize("layout", ["bin", "safetensors", "sharded"])
@pytest.mark.parametrize("new_names", [False, True])
def test_every_layout_equals_from_pretrained(
    tmp_path: Path, kind: files.Kind, layout: files.Layout, new_names: bool
) -> None:
    folder = files.write_model(tmp_path, kind, layout=layout, new_names=new_names)
    ours = load_model(files.inspect_folder(folder))
    theirs = HubertModel.from_pretrained(folder).eval()
    signal = torch.sin(torch.arange(12000) * 0.05)[None]
    with torch.inference_mode():
        expected = theirs(signal).last_hidden_state
        assert torch.equal(ours(signal).last_hidden_state, expected)
    assert expected.std() > 0.1
    assert {name: value.dtype for name, value in ours.state_dict().items()} == dict.fromkeys(
        theirs.state_dict(), torch.float32
    )
    assert not ours.training


def test_info_of_a_small_model(tmp_path: Path) -> None:
    info = files.inspect_folder(files.write_model(tmp_path))
    assert (info.hidden_size, info.layers) == (64, 2)
    assert receptive_field_of(info.architecture) == recipes.RECEPTIVE_FIELD == 400
    assert not info.is_demo
    assert "attention_relax" not in info.architecture
    sha256 = subprocess.run(
        ["sha256sum", tmp_path / "pytorch_model.bin"], capture_output=True, check=True, text=True
    )
    assert info.weights_sha256 == sha256.stdout.split()[0]


@pytest.mark.parametrize(
    ("name", "tensors", "values"),
    [("m-a-p/MERT-v1-95M", 211, 94_371_712), ("m-a-p/MERT-v1-330M", 403, 315_428_992)],
)
def test_pinned_architectures_have_the_official_number_of_values(
    name: str, tensors: int, values: int
) -> None:
    fields: dict[str, Any] = OFFICIAL_ARCHITECTURES[name]
    with torch.device("meta"):
        state = HubertModel(HubertConfig(**fields)).state_dict()
    assert len(state) == tensors
    assert sum(tensor.numel() for tensor in state.values()) == values


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    files.write_model(tmp_path, layout="bin")
    files.write_model(tmp_path, layout="safetensors")
    assert files.inspect_folder(tmp_path).weight_files == (tmp_path / "model.safetensors",)


def test_weights_without_the_training_mask(tmp_path: Path) -> None:
    folder = files.write_model(tmp_path, mask_time_prob=0.0)
    assert "masked_spec_embed" not in load_model(files.inspect_folder(folder)).state_dict()


def test_parsing_needs_no_torch() -> None:
    code = (
        "import sys, mert_backfill.store.profile; print({'torch', 'transformers'} & {*sys.modules})"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert printed.stdout.strip() == "set()"


# --- hashes


def test_hash_is_read_from_the_cache_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = files.write_model(tmp_path / "model")
    source, cache = ModelSource("m", folder, None), tmp_path / "cache" / "hashes.json"
    first = inspect_model(source, hash_cache=cache).weights_sha256
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", None)
        assert inspect_model(source, hash_cache=cache).weights_sha256 == first
    files.write_model(tmp_path / "model", seed=1)
    os.utime(folder / "pytorch_model.bin", ns=(1, 1))
    assert inspect_model(source, hash_cache=cache).weights_sha256 != first


def test_a_file_of_the_same_size_and_time_is_hashed_again(tmp_path: Path) -> None:
    folder = files.write_model(tmp_path / "model")
    source, cache = ModelSource("m", folder, None), tmp_path / "hashes.json"
    first = inspect_model(source, hash_cache=cache)
    weights = folder / "pytorch_model.bin"
    before = weights.stat()
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights.stat().st_size == before.st_size
    assert inspect_model(source, hash_cache=cache).weights_sha256 != first.weights_sha256


@pytest.mark.parametrize("layout", ["bin", "safetensors", "sharded"])
def test_weights_that_change_after_they_were_hashed_are_refused(
    tmp_path: Path, layout: files.Layout
) -> None:
    info = files.inspect_folder(files.write_model(tmp_path, layout=layout))
    load_model(info)
    files.write_model(tmp_path, seed=1, layout=layout)
    with pytest.raises(UserError, match="the weights have changed while this ran"):
        load_model(info)


@pytest.mark.parametrize("damage", ["", "[]", '{"x": ', "null"])
def test_a_damaged_hash_cache_costs_time_only(tmp_path: Path, damage: str) -> None:
    folder = files.write_model(tmp_path / "model")
    cache = tmp_path / "hashes.json"
    cache.write_text(damage)
    info = inspect_model(ModelSource("m", folder, None), hash_cache=cache)
    assert info.weights_sha256 == files.inspect_folder(folder).weights_sha256


def test_a_hash_of_shards_changes_with_each_shard(tmp_path: Path) -> None:
    first = files.inspect_folder(files.write_model(tmp_path, layout="sharded"))
    assert len(first.weight_files) == 3
    with (tmp_path / "model-00003-of-00003.safetensors").open("ab") as shard:
        shard.write(b" ")
    assert files.inspect_folder(tmp_path).weights_sha256 != first.weights_sha256


# --- text files that are refused


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_missing_and_broken_text_files(tmp_path: Path, name: str) -> None:
    files.write_model(tmp_path)
    (tmp_path / name).write_text("{")
    assert f"{name}: is not valid JSON" in refusal(tmp_path)
    (tmp_path / name).write_bytes(b"\xff{}")
    assert f"{name}: is not valid JSON" in refusal(tmp_path)
    (tmp_path / name).write_text("[]")
    assert f"{name}: is not a JSON object" in refusal(tmp_path)
    (tmp_path / name).unlink()
    assert f"{name}: the file is missing" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "wav2vec2"}, "model_type is 'wav2vec2'"),
        ({"feature_extractor_cqt": True}, "CQT"),
        ({"deepnorm": True}, "deepnorm"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm"),
        ({"add_adapter": True}, "adapter"),
        ({"quantization_config": {"bits": 8}}, "quantized"),
        ({"sample_rate": 16000}, "sample_rate is 16000"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"feat_extract_activation": "mish"}, "feat_extract_activation is 'mish'"),
        ({"feat_extract_norm": "batch"}, "feat_extract_norm is 'batch'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"hidden_size": "64"}, "hidden_size is '64'"),
        ({"do_stable_layer_norm": "true"}, "do_stable_layer_norm is 'true'"),
        ({"conv_kernel": []}, "conv_kernel is []"),
        ({"conv_kernel": [10, 3]}, "differ in length"),
        ({"conv_kernel": [10, 3, 3, 3, 3, 2, 3]}, "make a frame of 560 samples instead of 400"),
        ({"conv_stride": [4, 2, 2, 2, 2, 2, 2]}, "make a frame of 322 samples instead of 400"),
        ({"num_attention_heads": 5}, "num_attention_heads 5"),
        ({"num_conv_pos_embedding_groups": 7}, "num_conv_pos_embedding_groups 7"),
    ],
)
def test_configs_that_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    files.write_text_files(tmp_path, files.small_config("stable", **changes))
    line = refusal(tmp_path)
    assert "config.json: " in line
    assert said in line


@pytest.mark.parametrize("field", OFFICIAL_ARCHITECTURES["m-a-p/MERT-v1-95M"])
def test_a_missing_config_field_is_refused(tmp_path: Path, field: str) -> None:
    config = files.small_config("stable")
    del config[field]
    files.write_text_files(tmp_path, config)
    assert f"config.json: {field} is missing" in refusal(tmp_path)


@pytest.mark.parametrize("kind", files.KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {"num_attention_heads": 8},
        {"layer_norm_eps": 1e-6},
        {"hidden_act": "gelu_new"},
        {"feat_extract_norm": "layer"},
        {"feat_proj_layer_norm": False},
        {"conv_bias": True},
        {"conv_kernel": [10, 3, 3, 3, 3, 2, 3]},
        {"num_conv_pos_embeddings": 64},
        {"num_conv_pos_embedding_groups": 8},
    ],
)
def test_a_flipped_field_of_an_official_model_is_refused(
    tmp_path: Path, kind: files.Kind, changes: dict[str, Any]
) -> None:
    files.write_text_files(tmp_path, files.official_config(kind, **changes))
    line = refusal(tmp_path)
    assert f"config.json: {next(iter(changes))} is " in line
    assert "restore the model's original file" in line


@pytest.mark.parametrize("kind", files.KINDS)
def test_the_place_of_the_layer_norm_is_pinned(tmp_path: Path, kind: files.Kind) -> None:
    flipped = kind == "post-norm"
    files.write_text_files(tmp_path, files.official_config(kind, do_stable_layer_norm=flipped))
    assert f"do_stable_layer_norm is {flipped}, but m-a-p/MERT-v1-" in refusal(tmp_path)


def test_an_official_name_needs_the_official_architecture(tmp_path: Path) -> None:
    files.write_text_files(tmp_path, files.official_config("stable", num_hidden_layers=12))
    with pytest.raises(UserError, match="num_hidden_layers is 12, but m-a-p/MERT-v1-330M has 24"):
        inspect_model(ModelSource("m-a-p/MERT-v1-330M", tmp_path, REVISION))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sampling_rate": 16000}, "sampling_rate is 16000 instead of 24000"),
        ({"sampling_rate": None}, "sampling_rate is None"),
        ({"do_normalize": False}, "do_normalize is False"),
        ({"feature_extractor_type": "ClapFeatureExtractor"}, "feature_extractor_type is 'Clap"),
        ({"feature_size": 80}, "feature_size is 80"),
    ],
)
def test_preprocessors_that_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    files.write_text_files(tmp_path, files.small_config("stable"), {**PREPROCESSOR, **changes})
    assert f"preprocessor_config.json: {said}" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_text_files_that_never_end_are_refused(tmp_path: Path, name: str) -> None:
    files.write_model(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert f"{name}: is not a file" in refusal(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, 10_000_001)
    assert f"{name}: has 10,000,001 bytes, at most 10,000,000 are read" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_hidden_layers", 10**6),
        ("hidden_size", 10**9),
        ("intermediate_size", 10**30),
        ("conv_dim", [16] * 6 + [10**30]),
        ("conv_kernel", [3] * 33),
        ("num_conv_pos_embeddings", 10**7),
    ],
)
def test_a_model_of_no_size_is_refused_before_it_is_made(
    tmp_path: Path, field: str, value: Any
) -> None:
    files.write_text_files(tmp_path, files.small_config("stable", **{field: value}))
    said = refusal(tmp_path)
    assert f"config.json: {field} is " in said
    assert "far more than any MERT model has" in said


# --- weight files that are refused


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_compressed_weights_are_refused_unread(tmp_path: Path, method: int) -> None:
    folder = files.write_model(tmp_path)
    weights = folder / "pytorch_model.bin"
    with zipfile.ZipFile(weights) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(weights, "w", method) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match="its tensors are compressed, as torch never writes them"):
        load_model(files.inspect_folder(folder))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_device_is_no_weight_file(tmp_path: Path, name: str) -> None:
    files.write_text_files(tmp_path, files.small_config("stable"))
    (tmp_path / name).symlink_to("/dev/zero")
    assert "holds no weights" in refusal(tmp_path)


def test_what_a_terminal_would_obey_is_escaped_in_tensor_names(tmp_path: Path) -> None:
    folder = files.write_model(tmp_path, layout="safetensors")
    tensors = seeded_tensors(files.small_config("stable"), 0)
    tensors["\x1b[2J\u202e"] = torch.zeros(1)
    files.write_weights(folder, tensors, layout="safetensors")
    with pytest.raises(UserError) as caught:
        load_model(files.inspect_folder(folder))
    assert r"tensor \x1b[2J\u202e is not part of the model" in str(caught.value)


def test_no_weights(tmp_path: Path) -> None:
    files.write_text_files(tmp_path, files.small_config("stable"))
    assert "holds no weights" in refusal(tmp_path)


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = Path.open

    def open_or_refuse(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == unreadable:
            raise PermissionError(13, "Permission denied")
        return real_open(path, *args, **options)

    files.write_model(tmp_path)
    monkeypatch.setattr(Path, "open", open_or_refuse)
    for unreadable in ("config.json", "pytorch_model.bin"):
        assert f"{unreadable}: cannot be read (PermissionError" in refusal(tmp_path)


def test_git_lfs_pointer(tmp_path: Path) -> None:
    files.write_model(tmp_path)
    (tmp_path / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "Git LFS pointer" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "a\\b", "C:x", ".."])
def test_shards_outside_the_folder(tmp_path: Path, name: str) -> None:
    files.write_text_files(tmp_path, files.small_config("stable"))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {SOME_TENSOR: name}}))
    assert "would lie outside the model's folder" in refusal(tmp_path)


@pytest.mark.parametrize("content", [{}, {"weight_map": {}}, {"weight_map": []}])
def test_an_index_without_a_map(tmp_path: Path, content: dict[str, Any]) -> None:
    files.write_text_files(tmp_path, files.small_config("stable"))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(content))
    assert "holds no weight_map" in refusal(tmp_path)


def test_a_missing_shard(tmp_path: Path) -> None:
    files.write_model(tmp_path, layout="sharded")
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    assert "model-00002-of-00003.safetensors: the weight file is missing" in refusal(tmp_path)


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    files.write_model(tmp_path, layout="sharded")
    first, second = sorted(tmp_path.glob("*-of-00003.safetensors"))[:2]
    second.write_bytes(first.read_bytes())
    assert "occurs twice" in refusal(tmp_path, load=True)


@pytest.mark.parametrize("layout", ["bin", "safetensors"])
@pytest.mark.parametrize("kept", [0, 100, 50_000])
def test_a_truncated_file(tmp_path: Path, layout: files.Layout, kept: int) -> None:
    files.write_model(tmp_path, layout=layout)
    (weights,) = files.inspect_folder(tmp_path).weight_files
    weights.write_bytes(weights.read_bytes()[:kept])
    assert f"{weights.name}: the file is damaged or cut short" in refusal(tmp_path, load=True)


class _Dangerous:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("code-was-run",)


@pytest.mark.parametrize("how", ["zip", "legacy", "protocol 2", "protocol 4"])
def test_a_pickle_that_holds_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.chdir(tmp_path)
    files.write_text_files(tmp_path, files.small_config("stable"))
    weights = tmp_path / "pytorch_model.bin"
    content = {"x": _Dangerous()}
    if how.startswith("protocol"):
        weights.write_bytes(pickle.dumps(content, protocol=int(how[-1])))
    else:
        torch.save(content, weights, _use_new_zipfile_serialization=how == "zip")
    assert "holds more than tensors and could run code" in refusal(tmp_path, load=True)
    assert not (tmp_path / "code-was-run").exists()


@pytest.mark.parametrize("content", [b"<!DOCTYPE html>", b"\0" * 5000])
def test_a_file_that_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    files.write_text_files(tmp_path, files.small_config("stable"))
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    assert "the file is damaged or cut short" in refusal(tmp_path, load=True)


def test_a_training_checkpoint(tmp_path: Path) -> None:
    files.write_text_files(tmp_path, files.small_config("stable"))
    torch.save({"model": {}, "epoch": 3}, tmp_path / "pytorch_model.bin")
    assert "is not a plain table of tensors" in refusal(tmp_path, load=True)


def _without(name: str) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda tensors: tensors.__delitem__(name)


def _with(name: str, tensor: torch.Tensor) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda tensors: tensors.__setitem__(name, tensor)


def _one_value(name: str, value: float) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name][3, 7] = value

    return change


@pytest.mark.parametrize("layout", ["bin", "safetensors"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without(SOME_TENSOR), f"{SOME_TENSOR} is missing"),
        (_without("masked_spec_embed"), "masked_spec_embed is missing"),
        (
            _without("encoder.pos_conv_embed.conv.weight_g"),
            "encoder.pos_conv_embed.conv.parametrizations.weight.original0 is missing",
        ),
        (_with("lm_head.weight", torch.zeros(2, 2)), "lm_head.weight is not part of the model"),
        (_with(SOME_TENSOR, torch.zeros(64, 63)), f"{SOME_TENSOR} has shape (64, 63)"),
        (_with(SOME_TENSOR, torch.zeros(64, 64).half()), f"{SOME_TENSOR} is float16"),
        (_with(SOME_TENSOR, torch.zeros(64, 64).bfloat16()), f"{SOME_TENSOR} is bfloat16"),
        (_with(SOME_TENSOR, torch.zeros(64, 64).double()), f"{SOME_TENSOR} is float64"),
        (_one_value(SOME_TENSOR, float("nan")), f"{SOME_TENSOR} holds values that are not finite"),
        (_one_value(SOME_TENSOR, float("inf")), f"{SOME_TENSOR} holds values that are not finite"),
    ],
)
def test_tensors_that_are_refused(
    tmp_path: Path,
    layout: files.Layout,
    change: Callable[[dict[str, torch.Tensor]], None],
    said: str,
) -> None:
    config = files.small_config("stable")
    files.write_text_files(tmp_path, config)
    tensors = seeded_tensors(config, 0)
    change(tensors)
    files.write_weights(tmp_path, tensors, layout=layout)
    (weights,) = files.inspect_folder(tmp_path).weight_files
    line = refusal(tmp_path, load=True)
    assert said in line
    assert str(weights) in line


@pytest.mark.parametrize("prefix", ["hubert.", "model.encoder_model."])
def test_prefixed_names(tmp_path: Path, prefix: str) -> None:
    config = files.small_config("post-norm")
    files.write_text_files(tmp_path, config)
    tensors = {prefix + name: tensor for name, tensor in seeded_tensors(config, 0).items()}
    files.write_weights(tmp_path, {**tensors, "head.weight": torch.zeros(1)})
    assert f"names start with {prefix!r}" in refusal(tmp_path, load=True)


@pytest.mark.parametrize("said_layers", [1, 3])
def test_fewer_or_more_layers_than_the_weights(tmp_path: Path, said_layers: int) -> None:
    files.write_model(tmp_path)
    files.write_text_files(tmp_path, files.small_config("stable", num_hidden_layers=said_layers))
    line = refusal(tmp_path, load=True)
    assert f"holds 2 layers, but config.json says num_hidden_layers {said_layers}" in line


def test_no_room_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    info = files.inspect_folder(files.write_model(tmp_path))
    monkeypatch.setattr(HubertModel, "to", no_room)
    with pytest.raises(UserError, match="cuda has too little free memory"):
        load_model(info, "cuda")


# --- the hub


def test_a_hub_model_is_fetched_in_part_and_then_used_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_model(tmp_path, new_names=True)
    calls: list[dict[str, Any]] = []

    def download(name: str, **options: Any) -> str:
        calls.append({"name": name, **options})
        if all(call["local_files_only"] for call in calls):
            raise FileNotFoundError("nothing was fetched yet")
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    source = ModelSource("someone/small-mert", None, REVISION)
    assert fetch_model(source) == tmp_path
    info = inspect_model(source)
    assert (info.folder, info.revision) == (tmp_path, REVISION)
    assert [call["local_files_only"] for call in calls] == [True, False, True]
    assert fetch_model(source) == tmp_path
    assert calls[-1]["local_files_only"], "what is here must not be fetched again"
    assert all(call["revision"] == REVISION for call in calls)
    for pattern in calls[0]["allow_patterns"]:
        assert not Path("MERT-v1-330M_fairseq.pt").match(pattern)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_what_another_program_fetched_in_part_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    whole = files.write_model(tmp_path / "whole")
    cache = files.write_model(tmp_path / "cache")
    (cache / name).unlink()
    offline: list[bool] = []

    def download(_: str, *, local_files_only: bool, **options: Any) -> str:
        offline.append(local_files_only)
        if not local_files_only:
            (cache / name).write_bytes((whole / name).read_bytes())
        return str(cache)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    source = ModelSource("someone/small-mert", None, REVISION)
    assert fetch_model(source) == cache
    assert offline == [True, False]
    inspect_model(source)


def test_a_hub_model_that_is_not_here_and_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    source = ModelSource("someone/small-mert", None, REVISION)
    with pytest.raises(
        UserError, match=r"someone/small-mert at revision .* is not on this machine"
    ):
        inspect_model(source)

    def no_network(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", no_network)
    with pytest.raises(UserError, match=r"no route to host.*set model\.name to their folder"):
        fetch_model(source)


def test_fetching_a_folder_does_nothing(tmp_path: Path) -> None:
    assert fetch_model(ModelSource("here", tmp_path, None)) == tmp_path


# --- the demo model


def test_demo_model_is_marked_small_and_loads(tmp_path: Path) -> None:
    make_demo_model(tmp_path / "a")
    make_demo_model(tmp_path / "b")
    make_demo_model(tmp_path / "c", seed=1)
    info = files.inspect_folder(tmp_path / "a")
    assert info.is_demo
    assert (info.hidden_size, info.layers) == (64, 4)
    assert receptive_field_of(info.architecture) == 400
    assert isinstance(load_model(info), HubertModel)
    assert "mean nothing musically" in (tmp_path / "a" / "README.md").read_text()
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"README.md", "config.json", "preprocessor_config.json", "pytorch_model.bin"}
    assert sum(path.stat().st_size for path in (tmp_path / "a").iterdir()) < 2_000_000
    weights = [(tmp_path / x / "pytorch_model.bin").read_bytes() for x in "abc"]
    assert weights[0] == weights[1] != weights[2]
    stored = torch.load(tmp_path / "a" / "pytorch_model.bin", weights_only=True)
    assert "encoder.pos_conv_embed.conv.weight_g" in stored
