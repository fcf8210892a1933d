"""What config.json says of the model, and what of it is implemented here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mert_backfill import recipes
from mert_backfill.errors import UserError
from mert_backfill.model.text_files import read_text_file

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


# Several times what the largest released model has: what a model of more would take is no
# question of this program. The lengths of the lists are bounded by _MOST_CONVOLUTIONS.
_MOST = {
    "hidden_size": 8192,
    "num_hidden_layers": 256,
    "num_attention_heads": 256,
    "intermediate_size": 65_536,
    "conv_dim": 4096,
    "conv_kernel": 1024,
    "conv_stride": 1024,
    "num_conv_pos_embeddings": 4096,
    "num_conv_pos_embedding_groups": 1024,
}
_MOST_CONVOLUTIONS = 32
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


def read_architecture(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of config.json that change numbers; refuse what is not implemented."""
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
    if config.get("sample_rate", recipes.SAMPLE_RATE) != recipes.SAMPLE_RATE:
        raise UserError(
            f"{path}: sample_rate is {config['sample_rate']!r} instead of "
            f"{recipes.SAMPLE_RATE}; only 24 kHz models are supported, such as m-a-p/MERT-v1-330M"
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
    _check_bounds(path, field, value)
    if field in _CHOICES and value not in _CHOICES[field]:
        raise UserError(
            f"{path}: {field} is {value!r}, which is not implemented "
            f"(known: {', '.join(_CHOICES[field])}); restore the model's original file"
        )
    return value


def _check_bounds(path: Path, field: str, value: Any) -> None:
    """Refuse what would take all the memory long before a tensor is found missing."""
    numbers = value if isinstance(value, list) else [value]
    if field in _MOST and (max(numbers) > _MOST[field] or len(numbers) > _MOST_CONVOLUTIONS):
        raise UserError(
            f"{path}: {field} is {str(value)[:50]}, far more than any MERT model has; restore the "
            "model's original file"
        )


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


def check_official(path: Path, model_name: str, architecture: Mapping[str, Any]) -> None:
    """Refuse a model of an official size, or name, whose other fields are not the official ones."""
    for name, official in OFFICIAL_ARCHITECTURES.items():
        same_size = all(architecture[field] == official[field] for field in _SIZE_FIELDS)
        if not same_size and model_name != name:
            continue
        for field, value in official.items():
            if architecture[field] != value:
                raise UserError(
                    f"{path}: {field} is {architecture[field]!r}, but {name} has {value!r}; "
                    "restore the model's original file"
                )


def check_receptive_field(path: Path, architecture: Mapping[str, Any]) -> None:
    """Refuse a model whose frames need more or fewer samples than those of MERT v1."""
    needed = receptive_field_of(architecture)
    if needed != recipes.RECEPTIVE_FIELD:
        raise UserError(
            f"{path}: conv_kernel and conv_stride make a frame of {needed} samples instead of "
            f"{recipes.RECEPTIVE_FIELD}; only MERT v1 models are supported, such as "
            "m-a-p/MERT-v1-330M"
        )


def check_preprocessor(path: Path) -> None:
    """Refuse a preprocessor_config.json that asks for another preprocessing than ours."""
    preprocessor = read_text_file(path)
    wanted = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "sampling_rate": recipes.SAMPLE_RATE,
        "do_normalize": recipes.NORMALISE,
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


def receptive_field_of(architecture: Mapping[str, Any]) -> int:
    """Return how many samples the convolutions need for one frame."""
    samples = step = 1
    for kernel, stride in zip(
        architecture["conv_kernel"], architecture["conv_stride"], strict=True
    ):
        samples += (kernel - 1) * step
        step *= stride
    return samples
