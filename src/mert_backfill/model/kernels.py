"""Which kernels compute a model's linear layers and its attention on a CPU.

torch multiplies float32 matrices with MKL, which picks its kernels by the processor's vendor and
reaches half of what an AMD can do. oneDNN lies inside torch too and does not ask for the vendor.
And bfloat16 may be slower than float32, where the processor or torch has no good kernel for it. So
the ways are tried on products of the model's shape: the fastest whose error is that of the
precision is taken, if it gains enough (`mert_backfill.model.kernel_choice`).

``python -m mert_backfill.model.kernels`` tries them in a process of its own: a kernel that
crashes costs nothing there, and oneDNN reads the size of its cache once in a process.
"""

from __future__ import annotations

import copy
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from time import thread_time
from typing import Any

import torch
from torch.nn.functional import linear, pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from mert_backfill.model.heap import keep_few_kernels
from mert_backfill.model.kernel_choice import Kernels, Part, Shape, Trial, Way

_FRAMES = 1499  # of 20 s
_CHECKED = 64  # rows that are compared with float64
_ROUNDS = 7
# oneDNN's kernels are for one shape each. torch takes the frames in blocks of 256 and 512, so that
# lengths that are filled up have eight shapes in all.
_BLOCK = 256
_ATTENTION = "mert_backfill_"  # and the way: names in transformers' table of attention functions


class Float32Linear(torch.nn.Module):
    """A linear layer in float32, by torch's own kernels; its output is as precise as its input."""

    def __init__(self, dense: torch.nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = dense.weight, dense.bias

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the layer's output [shape=(..., n)]."""
        return linear(states.float(), self.weight, self.bias).to(states.dtype)


class PackedLinear(torch.nn.Module):
    """A linear layer in float32, by oneDNN, with the weights in the order that it likes.

    The value of a row does not depend on how many rows there are.
    """

    def __init__(self, dense: torch.nn.Linear) -> None:
        super().__init__()
        self.bias = dense.bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(dense.weight.detach(), _FRAMES)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the layer's output [shape=(..., n)], as precise as the input."""
        output = torch.ops.mkldnn._linear_pointwise(
            states.float(), self._packed, self.bias, "none", [], ""
        )
        return output.to(states.dtype)


Attend = Callable[..., torch.Tensor]
_LINEAR: dict[Way, Callable[[torch.nn.Linear], torch.nn.Module]] = {
    Way.TORCH: lambda dense: dense,
    Way.FLOAT32: Float32Linear,
    Way.ONEDNN: PackedLinear,
}


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float | None = None,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def _attend_in_float32(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float | None = None,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    states = _attend(query.float(), key.float(), value.float(), scale=scale, mask=mask)
    return states.to(query.dtype)


def _attend_by_onednn(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float | None = None,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attend with the products of attention in oneDNN's hands.

    torch gives them to it only where bfloat16 would do. Without AMX they are true float32 all
    the same; with AMX they are not, which is what the trial finds out.
    """
    frames = query.shape[-2]
    filling = -frames % _BLOCK
    filled = [pad(states.float(), (0, 0, 0, filling)) for states in (query, key, value)]
    rows = 1 if mask is None else len(mask)
    keys = torch.zeros((rows, 1, 1, frames + filling))
    keys[..., frames:] = -math.inf
    if mask is not None:  # the same keys are hidden from each query
        keys[..., :frames].masked_fill_(~mask[..., :1, :], -math.inf)
    settings: Any = getattr(torch.backends.mkldnn, "matmul")  # noqa: B009 - unknown to mypy
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        states = scaled_dot_product_attention(
            filled[0], filled[1], filled[2], attn_mask=keys, scale=scale
        )
    finally:
        settings.fp32_precision = before
    return states[..., :frames, :].to(query.dtype)


_ATTEND: dict[Way, Attend] = {
    Way.TORCH: _attend,
    Way.FLOAT32: _attend_in_float32,
    Way.ONEDNN: _attend_by_onednn,
}


def use_kernels(model: torch.nn.Module, kernels: Kernels) -> None:
    """Have a model on the CPU computed by some kernels; what is torch's way stays as it is."""
    if kernels.linear is not Way.TORCH:
        dense = [
            (name, module)
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear)
        ]
        while dense:  # one by one, so that no weight lies there twice
            name, module = dense.pop()
            model.set_submodule(name, _LINEAR[kernels.linear](module))
    if kernels.attention is not Way.TORCH:
        name = f"{_ATTENTION}{kernels.attention.value}"
        AttentionInterface.register(name, partial(_for_transformers, _ATTEND[kernels.attention]))
        AttentionMaskInterface.register(name, sdpa_mask)
        model.set_attn_implementation(name)  # type: ignore[operator]


def _for_transformers(
    attend: Attend,
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    states = attend(query, key, value, scale=scaling, mask=attention_mask)
    return states.transpose(1, 2).contiguous(), None


def try_kernels(shape: Shape, precision: str) -> list[Trial]:
    """Try each way on a linear product and on an attention of the model's shape.

    Parameters
    ----------
    shape : Shape
        Of the model's heavy parts.
    precision : str
        float32 or bfloat16.
    """
    ways = [Way.TORCH, Way.ONEDNN] if precision == "float32" else list(Way)
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    random = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        return [
            *time_ways("linear", *_linear_products(shape, ways, dtype, random)),
            *time_ways("attention", *_attentions(shape, ways, dtype, random)),
        ]


def _linear_products(
    shape: Shape, ways: Sequence[Way], dtype: torch.dtype, random: torch.Generator
) -> tuple[dict[Way, Callable[[], torch.Tensor]], torch.Tensor]:
    """Return what computes the largest linear layer, and its first rows in float64."""
    states = torch.randn(_FRAMES, shape.hidden, generator=random)
    dense = torch.nn.Linear(shape.hidden, shape.inner)
    dense.weight.copy_(torch.randn(shape.inner, shape.hidden, generator=random))
    dense.weight.mul_(shape.hidden**-0.5)
    assert dense.bias is not None
    dense.bias.zero_()
    exact = states[:_CHECKED].double() @ dense.weight.double().T
    layers = {way: _LINEAR[way](copy.deepcopy(dense)) for way in ways}
    layers[Way.TORCH].to(dtype)
    return {way: partial(layer, states.to(dtype)) for way, layer in layers.items()}, exact


def _attentions(
    shape: Shape, ways: Sequence[Way], dtype: torch.dtype, random: torch.Generator
) -> tuple[dict[Way, Callable[[], torch.Tensor]], torch.Tensor]:
    """Return what computes the attention of a layer, and its first rows in float64."""
    size = (1, shape.heads, _FRAMES, shape.hidden // shape.heads)
    query, key, value = (torch.randn(size, generator=random) for _ in range(3))
    exact = _attend(query[..., :_CHECKED, :].double(), key.double(), value.double())
    states = [part.to(dtype) for part in (query, key, value)]
    return {way: partial(_ATTEND[way], *states) for way in ways}, exact


def time_ways(
    part: Part, ways: Mapping[Way, Callable[[], torch.Tensor]], exact: torch.Tensor
) -> list[Trial]:
    """Run each way some times in turn; return its best time and its error.

    Parameters
    ----------
    part : str
        What they compute.
    ways : mapping
        What computes it [shape=(..., rows, columns)].
    exact : torch.Tensor [shape=(..., some rows, columns), float64]
        The first rows of the right result.
    """
    errors, seconds = {}, dict.fromkeys(ways, math.inf)
    for way, compute in ways.items():  # the first call makes the kernel
        found = compute()[..., : exact.shape[-2], :].double()
        errors[way] = float((found - exact).abs().max() / exact.abs().max())
    for _ in range(_ROUNDS):
        for way, compute in ways.items():
            started = thread_time()
            compute()
            seconds[way] = min(seconds[way], thread_time() - started)
    return [Trial(part, way, seconds[way], errors[way]) for way in ways]


def main() -> None:
    """Try the kernels for the precision and the shape that the arguments name."""
    precision = sys.argv[1]
    hidden, heads, inner = map(int, sys.argv[2:])
    keep_few_kernels(precision, Kernels(attention=Way.ONEDNN))
    torch.set_num_threads(1)  # its processor time can be told whatever else the machine does
    trials = try_kernels(Shape(hidden, heads, inner), precision)
    print(json.dumps([asdict(trial) for trial in trials]))


if __name__ == "__main__":
    main()
