"""A model in a lower precision: its weights cast once, with float32 where rounding tells most."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import Conv1d, GroupNorm, LayerNorm, Linear
from torch.nn.utils.parametrize import remove_parametrizations

_FIRST = "feature_extractor.conv_layers.0.conv"
_POSITIONAL = "encoder.pos_conv_embed.conv"
# On processors with AMX, oneDNN 3.12 (in torch 2.13.0) computes bfloat16 convolutions of 2 to 12
# channels a group wrongly: relative error 1. The released models have 48 and 64, small ones fewer.
_EXACT_CHANNELS = 16


def cast_model(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Have a model compute in a lower precision, in place.

    Norms and the first convolution stay in float32, and so does a positional convolution of few
    channels; what they return is of the lower precision. The first convolution, of one channel,
    is also three times as fast so on a CPU. Layers that `mert_backfill.model.kernels` has put in
    stay as they are.
    """
    positional: Any = model.get_submodule(_POSITIONAL)
    remove_parametrizations(positional, "weight")  # its norm is taken in float32, once
    exact = [model.get_submodule(_FIRST)]
    if positional.in_channels // positional.groups < _EXACT_CHANNELS:
        exact.append(positional)
    for module in model.modules():
        if module in exact or isinstance(module, LayerNorm | GroupNorm):
            _compute_in_float32(module, dtype)
        elif isinstance(module, Linear | Conv1d):
            module.to(dtype)


def _compute_in_float32(module: Any, dtype: torch.dtype) -> None:
    forward = module.forward

    def forward_in_float32(states: torch.Tensor) -> torch.Tensor:
        return forward(states.float()).to(dtype)

    module.forward = forward_in_float32
