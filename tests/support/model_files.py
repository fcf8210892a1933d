"""Small seeded models of both types, in every file layout that the loader knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from mert_backfill.demo.model import PREPROCESSOR, seeded_tensors
from mert_backfill.model.architecture import OFFICIAL_ARCHITECTURES
from mert_backfill.model.info import ModelInfo, inspect_model
from mert_backfill.model.source import ModelSource

# models this small are done before a second thread has woken up
torch.set_num_threads(1)

Kind = Literal["post-norm", "stable"]  # the type of MERT-v1-95M, and that of 330M
Layout = Literal["bin", "safetensors", "sharded"]
KINDS: tuple[Kind, ...] = ("post-norm", "stable")

_OFFICIAL_OF: dict[Kind, str] = {
    "post-norm": "m-a-p/MERT-v1-95M",
    "stable": "m-a-p/MERT-v1-330M",
}
_POSITIONAL = "encoder.pos_conv_embed.conv."
_NEW_NAMES = {
    _POSITIONAL + "weight_g": _POSITIONAL + "parametrizations.weight.original0",
    _POSITIONAL + "weight_v": _POSITIONAL + "parametrizations.weight.original1",
}


def official_config(kind: Kind, **changes: Any) -> dict[str, Any]:
    """Return a config.json like the official one, with some fields changed."""
    return {
        "model_type": "mert_model",
        "auto_map": {"AutoModel": "modeling_MERT.MERTModel"},
        "sample_rate": 24000,
        "feature_extractor_cqt": False,
        "deepnorm": False,
        "attention_relax": -1.0,
        "mask_time_prob": 0.05,
        "mask_feature_prob": 0.0,
        **OFFICIAL_ARCHITECTURES[_OFFICIAL_OF[kind]],
        **changes,
    }


# as small as it can be, for tracks of minutes
TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
}


def small_config(kind: Kind, **changes: Any) -> dict[str, Any]:
    """Return the config of a model that differs from the official one in its sizes only."""
    sizes: dict[str, Any] = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "conv_dim": [16] * 7,
    }
    return official_config(kind, **{**sizes, **changes})


def write_text_files(
    folder: Path, config: Mapping[str, Any], preprocessor: Mapping[str, Any] = PREPROCESSOR
) -> None:
    """Write config.json and preprocessor_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")


def write_weights(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    *,
    layout: Layout = "bin",
    new_names: bool = False,
) -> None:
    """Write the weights in one of the layouts, with old or new weight-norm names."""
    if new_names:
        tensors = {_NEW_NAMES.get(name, name): tensor for name, tensor in tensors.items()}
    if layout == "bin":
        torch.save(dict(tensors), folder / "pytorch_model.bin")
    elif layout == "safetensors":
        save_file(dict(tensors), folder / "model.safetensors")
    else:
        names = sorted(tensors)
        weight_map = {}
        for number in range(3):
            shard = f"model-{number + 1:05}-of-00003.safetensors"
            part = names[number::3]
            save_file({name: tensors[name] for name in part}, folder / shard)
            weight_map.update(dict.fromkeys(part, shard))
        index = {"metadata": {}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def write_model(
    folder: Path,
    kind: Kind = "stable",
    *,
    seed: int = 0,
    layout: Layout = "bin",
    new_names: bool = False,
    **changes: Any,
) -> Path:
    """Write a whole small model; `changes` go into its config.json. Return its folder."""
    config = small_config(kind, **changes)
    write_text_files(folder, config)
    tensors = seeded_tensors(config, seed)
    write_weights(folder, tensors, layout=layout, new_names=new_names)
    return folder


def inspect_folder(folder: Path) -> ModelInfo:
    """Inspect the model in a folder."""
    return inspect_model(ModelSource(str(folder), folder, None))
