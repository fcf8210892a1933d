"""Strict loading of MERT: nothing is run from the model folder, and every tensor is checked.

The released v1 models are plain HuBERT inside, so transformers' own ``HubertModel`` runs them
without their remote code. What from_pretrained passes over in silence (missing or surplus
tensors, half precision, flags that are not implemented) is refused here in one line.

`inspect_model` reads text and hashes files only. It runs while a Snakefile is parsed, so torch
and transformers are imported where weights are loaded, not at the top.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mert_backfill.config import ModelSource
from mert_backfill.errors import UserError, one_line
from mert_backfill.system.tables import write_json

if TYPE_CHECKING:
    import torch

SAMPLE_RATE = 24_000  # of every MERT v1 model, in Hz
DEMO_MARKER = "_mert_backfill_demo"  # key in config.json of models whose weights are random

# the fairseq file of the 330M repository (3.7 GB) is not among them
HUB_FILES = ("config.json", "preprocessor_config.json", "model*.safetensors*", "pytorch_model.bin")

# the fields of config.json that change numbers; the official files hold all of them
_FIELDS: dict[str, type] = {
    "hidden_size": int,
    "num_hidden_layers": int,
    "num_attention_heads": int,
    "intermediate_size": int,
    "hidden_act": str,
    "layer_norm_eps": float,
    "do_stable_layer_norm": bool,
    "conv_dim": list,
    "conv_kernel": list,
    "conv_stride": list,
    "conv_bias": bool,
    "feat_extract_norm": str,
    "feat_extract_activation": str,
    "feat_proj_layer_norm": bool,
    "num_conv_pos_embeddings": int,
    "num_conv_pos_embedding_groups": int,
}
# flags that HuBERT would ignore in silence, or that change what is built
_NOT_IMPLEMENTED = {
    "feature_extractor_cqt": "CQT features",
    "deepnorm": "deepnorm",
    "conv_pos_batch_norm": "batch norm in the positional convolution",
    "add_adapter": "adapter layers",
    "quantization_config": "quantized weights",
}
_CHOICES = {
    "hidden_act": ("gelu",),
    "feat_extract_activation": ("gelu",),
    "feat_extract_norm": ("group", "layer"),
}

_SHARED_BY_OFFICIAL: dict[str, Any] = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False,
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "feat_proj_layer_norm": True,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
}
# A flipped field of these gives wrong vectors without any sign (cosine 0.63 to 0.9998).
OFFICIAL_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "m-a-p/MERT-v1-95M": {
        **_SHARED_BY_OFFICIAL,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "do_stable_layer_norm": False,
    },
    "m-a-p/MERT-v1-330M": {
        **_SHARED_BY_OFFICIAL,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "do_stable_layer_norm": True,
    },
}
_SIZE_FIELDS = ("hidden_size", "num_hidden_layers", "intermediate_size")

_WEIGHT_NORM_NAMES = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}
_POSITIONAL_CONV = "encoder.pos_conv_embed.conv."
_SOME_TENSOR = "feature_projection.projection.weight"  # one that every model holds
_LAYER_NAME = re.compile(r"encoder\.layers\.(\d+)\.")


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model before its weights are loaded.

    Attributes
    ----------
    name, revision : str, str or None
        As configured; they do not change numbers.
    folder : Path
        Where its files lie.
    architecture : mapping
        Every field of config.json that changes numbers.
    weight_files : tuple of Path
        One file, or the shards in order of their names.
    weights_sha256 : str
        sha256 of the weight file; of several, that of the lines ``SHA256  NAME``.
    hidden_size : int
        Length D of a vector.
    layers : int
        Transformer layers.
    sample_rate : int
        Of the input, in Hz.
    receptive_field : int
        Fewest samples that give one frame.
    do_normalize : bool
        Whether a window is brought to zero mean and unit variance.
    masked_spec_embed : bool
        Whether the weights hold that tensor (used in training only).
    is_demo : bool
        The weights are random; the vectors mean nothing musically.
    """

    name: str
    revision: str | None
    folder: Path
    architecture: Mapping[str, Any]
    weight_files: tuple[Path, ...]
    weights_sha256: str
    hidden_size: int
    layers: int
    sample_rate: int
    receptive_field: int
    do_normalize: bool
    masked_spec_embed: bool
    is_demo: bool


def inspect_model(
    source: ModelSource, *, hash_cache: Path | None = None, offline: bool = True
) -> ModelInfo:
    """Check a model's text files, find its weights and hash them; no tensor is read.

    Parameters
    ----------
    source : ModelSource
        A folder, or a hub id with its revision.
    hash_cache : Path, optional
        JSON file that remembers hashes by path, size and mtime, so that 1.3 GB are not hashed
        each time a Snakefile is parsed.
    offline : bool
        Use only what was fetched before (hub ids).

    Raises
    ------
    UserError
        A file is missing or damaged, or asks for what the loader does not implement.
    """
    folder = source.folder if source.folder is not None else _hub_folder(source, offline=offline)
    config_file = folder / "config.json"
    config = _read_json(config_file)
    architecture = _read_architecture(config_file, config)
    _check_official(config_file, source, architecture)
    _check_preprocessor(folder / "preprocessor_config.json")
    files = _find_weights(folder)
    return ModelInfo(
        name=source.name,
        revision=source.revision,
        folder=folder,
        architecture=architecture,
        weight_files=files,
        weights_sha256=_hash_weights(files, hash_cache),
        hidden_size=architecture["hidden_size"],
        layers=architecture["num_hidden_layers"],
        sample_rate=SAMPLE_RATE,
        receptive_field=_receptive_field(architecture),
        do_normalize=True,
        masked_spec_embed=bool(
            config.get("mask_time_prob", 0.05) or config.get("mask_feature_prob")
        ),
        is_demo=config.get(DEMO_MARKER) is True,
    )


def fetch_model(source: ModelSource) -> Path:
    """Download a hub model unless it is there already, and return its folder.

    Not for two processes at a time: the caller holds a lock.

    Raises
    ------
    UserError
        The download failed; the line says how to use a local folder instead.
    """
    if source.folder is not None:
        return source.folder
    try:
        folder = _hub_folder(source, offline=True)
        _find_weights(folder)
    except UserError:  # nothing yet, or a download that was cut short
        return _hub_folder(source, offline=False)
    return folder


def load_model(info: ModelInfo, device: str = "cpu") -> torch.nn.Module:
    """Load the weights into transformers' HubertModel, ready to encode.

    Parameters
    ----------
    info : ModelInfo
        From `inspect_model`.
    device : str
        A torch device: cpu, cuda or mps.

    Returns
    -------
    torch.nn.Module
        HubertModel in eval mode, float32, with sdpa attention.

    Raises
    ------
    UserError
        A file is damaged or holds code, or a tensor is missing, unexpected, misshapen, not
        finite or not float32.
    """
    import torch
    from transformers import HubertConfig, HubertModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    fields: dict[str, Any] = {
        **info.architecture,
        "mask_time_prob": 0.05 if info.masked_spec_embed else 0.0,
        "attn_implementation": "sdpa",
    }
    # Without memory or random numbers: every parameter is replaced by a checked tensor below.
    with torch.device("meta"):
        model = HubertModel(HubertConfig(**fields))
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tensors = _read_weights(info.weight_files)
    _check_tensors(info, tensors, expected)
    model.load_state_dict(tensors, strict=True, assign=True)
    model.eval().requires_grad_(False)
    try:
        return model.to(device)  # pyright: ignore[reportArgumentType]
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"runtime.device: {device} has too little free memory for {info.name}; close what "
            "else uses it, or set runtime.device to cpu"
        ) from error


# --- text files


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: the file is missing; model.name must be the folder that holds the model's "
            "config.json, preprocessor_config.json and weights"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}); make it readable") from error
    except ValueError as error:
        raise UserError(
            f"{path}: is not valid JSON ({error}); restore the model's original file"
        ) from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: is not a JSON object; restore the model's original file")
    return value


def _read_architecture(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    kind = config.get("model_type")
    if kind not in ("mert_model", "hubert"):
        raise UserError(
            f"{path}: model_type is {kind!r}, neither mert_model nor hubert; "
            "point model.name to a MERT v1 model"
        )
    for flag, feature in _NOT_IMPLEMENTED.items():
        if config.get(flag):
            raise UserError(
                f"{path}: {flag} asks for {feature}, which is not implemented; "
                "use a model without it, such as m-a-p/MERT-v1-330M"
            )
    if config.get("sample_rate", SAMPLE_RATE) != SAMPLE_RATE:
        raise UserError(
            f"{path}: sample_rate is {config['sample_rate']!r} instead of {SAMPLE_RATE}; "
            "only 24 kHz models are supported, such as m-a-p/MERT-v1-330M"
        )
    architecture = {field: _read_field(path, config, field) for field in _FIELDS}
    _check_consistency(path, architecture)
    return architecture


def _read_field(path: Path, config: Mapping[str, Any], field: str) -> Any:
    if field not in config:
        raise UserError(f"{path}: {field} is missing; restore the model's original file")
    value: Any = config[field]
    kind = _FIELDS[field]
    if kind is float and type(value) is int:
        value = float(value)
    # not isinstance, to which true and false are numbers
    fits = type(value) is kind
    if kind in (int, float):
        fits = fits and value > 0
    elif kind is list:
        fits = fits and bool(value) and all(type(one) is int and one > 0 for one in value)
    if not fits:
        raise UserError(
            f"{path}: {field} is {value!r}, which makes no sense; restore the model's original file"
        )
    if field in _CHOICES and value not in _CHOICES[field]:
        raise UserError(
            f"{path}: {field} is {value!r}, which is not implemented "
            f"(known: {', '.join(_CHOICES[field])}); restore the model's original file"
        )
    return value


def _check_consistency(path: Path, architecture: Mapping[str, Any]) -> None:
    convolutions = {
        len(architecture[field]) for field in ("conv_dim", "conv_kernel", "conv_stride")
    }
    if len(convolutions) != 1:
        raise UserError(
            f"{path}: conv_dim, conv_kernel and conv_stride differ in length; "
            "restore the model's original file"
        )
    for divisor in ("num_attention_heads", "num_conv_pos_embedding_groups"):
        if architecture["hidden_size"] % architecture[divisor]:
            raise UserError(
                f"{path}: hidden_size {architecture['hidden_size']} cannot be divided by {divisor} "
                f"{architecture[divisor]}; restore the model's original file"
            )


def _check_official(path: Path, source: ModelSource, architecture: Mapping[str, Any]) -> None:
    for name, official in OFFICIAL_ARCHITECTURES.items():
        same_size = all(architecture[field] == official[field] for field in _SIZE_FIELDS)
        if not same_size and source.name != name:
            continue
        for field, value in official.items():
            if architecture[field] != value:
                raise UserError(
                    f"{path}: {field} is {architecture[field]!r}, but {name} has {value!r}; "
                    "restore the model's original file"
                )


def _check_preprocessor(path: Path) -> None:
    preprocessor = _read_json(path)
    wanted = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "sampling_rate": SAMPLE_RATE,
        "do_normalize": True,
        "feature_size": 1,
    }
    # a missing sampling_rate would mean 16 kHz; the other three have these values as defaults
    defaults = {**wanted, "sampling_rate": None}
    for key, value in wanted.items():
        found = preprocessor.get(key, defaults[key])
        if found != value:
            raise UserError(
                f"{path}: {key} is {found!r} instead of {value!r}; MERT v1 models need "
                f"{value!r}, restore the model's original file"
            )


def _receptive_field(architecture: Mapping[str, Any]) -> int:
    samples = step = 1
    for kernel, stride in zip(
        architecture["conv_kernel"], architecture["conv_stride"], strict=True
    ):
        samples += (kernel - 1) * step
        step *= stride
    return samples


# --- weight files


def _find_weights(folder: Path) -> tuple[Path, ...]:
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    pickled = folder / "pytorch_model.bin"
    files: tuple[Path, ...]
    if single.is_file():
        files = (single,)
    elif index.is_file():
        files = _read_shards(index)
    elif pickled.is_file():
        files = (pickled,)
    else:
        raise UserError(
            f"{folder}: holds no weights (model.safetensors or pytorch_model.bin); "
            "download them into this folder"
        )
    for file in files:
        _refuse_pointer(file)
    return files


def _read_shards(index: Path) -> tuple[Path, ...]:
    names = _read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise UserError(f"{index}: holds no weight_map; restore the model's original file")
    files = []
    for name in sorted(set(map(str, names.values()))):
        if name in ("", ".", "..") or "/" in name or "\\" in name or ":" in name:
            raise UserError(
                f"{index}: the weight file {name!r} would lie outside the model's folder; "
                "restore the model's original file"
            )
        if not (index.parent / name).is_file():
            raise UserError(
                f"{index.parent / name}: the weight file is missing; download it into this folder"
            )
        files.append(index.parent / name)
    return tuple(files)


def _refuse_pointer(file: Path) -> None:
    try:
        with file.open("rb") as content:
            start = content.read(64)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({one_line(error)}); make it readable") from error
    if start.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{file}: is a Git LFS pointer, not the weights; run `git lfs pull` in its folder"
        )


def _hash_weights(files: tuple[Path, ...], cache_file: Path | None) -> str:
    known = _read_cache(cache_file)
    entries: dict[str, dict[str, Any]] = {}
    for file in files:
        stat = file.stat()
        entry = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        before = known.get(str(file))
        if isinstance(before, dict) and before.items() >= entry.items() and "sha256" in before:
            entries[str(file)] = before
        else:
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            entries[str(file)] = {**entry, "sha256": digest}
    if cache_file is not None and not entries.items() <= known.items():
        write_json(cache_file, {**known, **entries})
    hashes = [entries[str(file)]["sha256"] for file in files]
    if len(files) == 1:
        return hashes[0]
    lines = (f"{digest}  {file.name}\n" for digest, file in zip(hashes, files, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _read_cache(cache_file: Path | None) -> dict[str, Any]:
    if cache_file is None:
        return {}
    try:
        known = json.loads(cache_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a cache only saves time
        return {}
    return known if isinstance(known, dict) else {}


def _hub_folder(source: ModelSource, *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # our line says it all
    try:
        return Path(
            snapshot_download(
                source.name,
                revision=source.revision,
                allow_patterns=list(HUB_FILES),
                local_files_only=offline,
            )
        )
    except Exception as error:  # the hub client raises its own, httpx' and the system's errors
        reason = one_line(error)[:200]
        what = "is not on this machine" if offline else f"cannot be fetched ({reason})"
        raise UserError(
            f"model.name: {source.name} at revision {source.revision} {what}; without a network, "
            "copy the model's files here from another machine and set model.name to their folder"
        ) from error


# --- tensors


def _read_weights(files: tuple[Path, ...]) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        for name, tensor in _read_tensors(file).items():
            name = _modern_name(name)
            if name in tensors:
                raise UserError(
                    f"{file}: tensor {name} occurs twice; restore the model's original files"
                )
            tensors[name] = tensor
    return tensors


def _read_tensors(file: Path) -> dict[str, torch.Tensor]:
    import torch
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            # read, not mapped: a file that changes later must not change the model
            content = load_file(file, backend="pread")
        else:
            with warnings.catch_warnings(action="ignore"):  # of pickles that are refused anyway
                content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the readers raise almost anything
        if isinstance(error, pickle.UnpicklingError) and _holds_objects(file, error):
            raise UserError(
                f"{file}: refused, the pickle holds more than tensors and could run code; "
                "get the original file, or the model as model.safetensors"
            ) from error
        raise UserError(f"{file}: the file is damaged or cut short; download it again") from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in content.items()
    ):
        raise UserError(
            f"{file}: is not a plain table of tensors; use the file in the transformers layout, "
            "not a training checkpoint"
        )
    return content


def _holds_objects(file: Path, error: pickle.UnpicklingError) -> bool:
    with file.open("rb") as content:
        is_bare_pickle = content.read(1) == pickle.PROTO
    return is_bare_pickle or "GLOBAL" in str(error)  # torch's word for a function or class


def _modern_name(name: str) -> str:
    ending = name.removeprefix(_POSITIONAL_CONV)
    if ending != name and ending in _WEIGHT_NORM_NAMES:
        return _POSITIONAL_CONV + _WEIGHT_NORM_NAMES[ending]
    return name


def _check_tensors(
    info: ModelInfo,
    tensors: Mapping[str, torch.Tensor],
    expected: Mapping[str, tuple[int, ...]],
) -> None:
    import torch

    file = info.weight_files[0] if len(info.weight_files) == 1 else info.folder
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in expected]
    if len(missing) == len(expected):
        _refuse_prefix(file, tensors)
    layers = {int(match[1]) for name in tensors if (match := _LAYER_NAME.match(name))}
    if layers and len(layers) != info.layers and layers == set(range(len(layers))):
        raise UserError(
            f"{file}: holds {len(layers)} layers, but config.json says num_hidden_layers "
            f"{info.layers}; restore the model's original files"
        )
    if missing:
        raise UserError(f"{file}: {_count(missing, 'missing')}; restore the model's original file")
    if unexpected:
        raise UserError(
            f"{file}: {_count(unexpected, 'not part of the model')}; "
            "restore the model's original files"
        )
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != expected[name]:
            raise UserError(
                f"{file}: tensor {name} has shape {tuple(tensor.shape)} instead of "
                f"{expected[name]}; config.json and the weights belong to different models"
            )
        if tensor.dtype != torch.float32:
            raise UserError(
                f"{file}: tensor {name} is {str(tensor.dtype).removeprefix('torch.')}, only "
                "float32 weights are accepted; use the original file, not a converted one"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(
                f"{file}: tensor {name} holds values that are not finite; download it again"
            )


def _refuse_prefix(file: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    for name in tensors:
        if name.endswith("." + _SOME_TENSOR):
            raise UserError(
                f"{file}: the tensor names start with {name.removesuffix(_SOME_TENSOR)!r}, they "
                "belong to a larger model; use the weights of the bare MERT model"
            )


def _count(names: list[str], what: str) -> str:
    more = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
    return f"tensor {names[0]}{more} {what}"
