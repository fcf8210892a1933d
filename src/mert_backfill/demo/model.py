"""The demo model: a small seeded random MERT in the official file layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mert_backfill.model.info import DEMO_MARKER, inspect_model
from mert_backfill.model.source import ModelSource
from mert_backfill.recipes import NORMALISE, SAMPLE_RATE
from mert_backfill.system.atomic import write_atomically, write_text
from mert_backfill.system.tables import write_json

if TYPE_CHECKING:
    import torch

_README = """\
# A demo model: random weights

This folder was made by code. It holds a small MERT of the same type as MERT-v1-330M, in the
same file layout, with seeded random weights. Its vectors mean nothing musically: they are good
for trying out and testing the workflow, and for nothing else.

For real embeddings set `model.name` to m-a-p/MERT-v1-330M with a pinned `model.revision`, or to
a folder that holds its files. The licence of those weights is CC-BY-NC-4.0.
"""

_CONFIG: dict[str, Any] = {
    "_name_or_path": "demo",
    DEMO_MARKER: True,
    "architectures": ["MERTModel"],
    # the official file names remote code like this; it is never run
    "auto_map": {
        "AutoConfig": "configuration_MERT.MERTConfig",
        "AutoModel": "modeling_MERT.MERTModel",
    },
    "model_type": "mert_model",
    "sample_rate": SAMPLE_RATE,
    "feature_extractor_cqt": False,
    "deepnorm": False,
    "attention_relax": 32.0,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "do_stable_layer_norm": True,
    "conv_dim": [32] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False,
    "num_feat_extract_layers": 7,
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "feat_proj_layer_norm": True,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "apply_spec_augment": True,
    "mask_time_prob": 0.05,
    "mask_feature_prob": 0.0,
    "torch_dtype": "float32",
}
PREPROCESSOR: dict[str, Any] = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "sampling_rate": SAMPLE_RATE,
    "do_normalize": NORMALISE,
    "padding_side": "right",
    "padding_value": 0,
    "return_attention_mask": True,
}


def make_demo_model(folder: Path | str, *, seed: int = 0) -> None:
    """Write the demo model into `folder`; the same seed gives the same bytes.

    ``config.json``, without which a folder is no model, is written last.
    """
    import torch

    folder = Path(folder)
    tensors = seeded_tensors(_CONFIG, seed)
    write_text(folder / "README.md", _README)
    write_json(folder / "preprocessor_config.json", PREPROCESSOR)
    write_atomically(folder / "pytorch_model.bin", lambda file: torch.save(tensors, file))
    write_json(folder / "config.json", _CONFIG)


def make_vectors(folder: Path | str, paths: Sequence[Path]) -> list[np.ndarray]:
    """Return what the model in `folder` makes of files, with the default recipe.

    Returns
    -------
    list of np.ndarray [shape=(D,), dtype=float16]
        One vector a file.
    """
    from mert_backfill.audio.decode import prepare_track
    from mert_backfill.model.embedding import WindowEmbedding, track_vector
    from mert_backfill.model.encoder import Encoder

    folder = Path(folder)
    encoder = Encoder(inspect_model(ModelSource(str(folder), folder, None)), device="cpu")
    vectors = []
    for path in paths:
        windows = encoder.encode(prepare_track(str(path)).windows)
        vectors.append(track_vector([w.final for w in windows if isinstance(w, WindowEmbedding)]))
    return vectors


def seeded_tensors(config: Mapping[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """Return random weights of a model, named as in the official checkpoints.

    numpy's RandomState draws them, whose stream never changes between versions and machines.

    Parameters
    ----------
    config : mapping
        The content of a config.json.
    seed : int
        Of the random numbers.
    """
    import torch
    from transformers import HubertConfig, HubertModel

    known = HubertConfig().to_dict()
    with torch.device("meta"):
        model = HubertModel(
            HubertConfig(**{key: value for key, value in config.items() if key in known})
        )
    random = np.random.RandomState(seed)
    tensors = {}
    for name, empty in sorted(model.state_dict().items()):
        values = random.standard_normal(tuple(empty.shape))
        if empty.ndim > 1:  # keeps the size of what passes through
            values *= np.prod(empty.shape[1:]) ** -0.5
        elif name.endswith("norm.weight"):
            values = 1 + 0.1 * values
        else:
            values *= 0.1
        name = name.replace("parametrizations.weight.original0", "weight_g")
        name = name.replace("parametrizations.weight.original1", "weight_v")
        tensors[name] = torch.from_numpy(values.astype(np.float32))
    return tensors
