"""Strict loading: every tensor is checked against the architecture."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mert_backfill.errors import UserError, one_line
from mert_backfill.model.info import ModelInfo
from mert_backfill.model.weight_files import join_hashes, refuse_compressed

if TYPE_CHECKING:
    import torch

_WEIGHT_NORM_NAMES = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}
_POSITIONAL_CONV = "encoder.pos_conv_embed.conv."
_SOME_TENSOR = "feature_projection.projection.weight"  # one that every model holds
_LAYER_NAME = re.compile(r"encoder\.layers\.(\d+)\.")


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
        A file is damaged, holds code or is not what was hashed, or a tensor is missing,
        unexpected, misshapen, not finite or not float32.
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
    tensors = _read_weights(info)
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


def _read_weights(info: ModelInfo) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    hashes = []
    for file in info.weight_files:
        refuse_compressed(file)
        data = _read_bytes(file)
        hashes.append(hashlib.sha256(data).hexdigest())
        for name, tensor in _read_tensors(file, data).items():
            name = _modern_name(name)
            if name in tensors:
                raise UserError(
                    f"{file}: tensor {name} occurs twice; restore the model's original files"
                )
            tensors[name] = tensor
    if join_hashes(info.weight_files, hashes) != info.weights_sha256:
        raise UserError(
            f"{info.folder}: the weights have changed while this ran; run the same command again"
        )
    return tensors


def _read_bytes(file: Path) -> bytes:
    """Return a file as it is now: what is hashed is what is loaded, whatever changes later."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({one_line(error)}); make it readable") from error


def _read_tensors(file: Path, data: bytes) -> dict[str, torch.Tensor]:
    import torch
    from safetensors.torch import load

    try:
        if file.suffix == ".safetensors":
            content = load(data)
        else:
            with warnings.catch_warnings(action="ignore"):  # of pickles that are refused anyway
                content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the readers raise almost anything
        if isinstance(error, pickle.UnpicklingError) and _holds_objects(data, error):
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


def _holds_objects(data: bytes, error: pickle.UnpicklingError) -> bool:
    is_bare_pickle = data[:1] == pickle.PROTO
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
