"""Windows to vectors: exact, in batches of one length, and through a lack of memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mert_backfill import recipes
from mert_backfill.errors import UserError, one_line
from mert_backfill.failures import Reason, TrackError
from mert_backfill.model.cast import cast_model
from mert_backfill.model.embedding import DeviceLostError, WindowEmbedding
from mert_backfill.model.heap import keep_freed_memory
from mert_backfill.model.info import ModelInfo
from mert_backfill.model.kernel_choice import PLAIN, Kernels
from mert_backfill.model.kernels import use_kernels
from mert_backfill.model.weights import load_model
from mert_backfill.system.machine import cpu_name

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
_DEVICE_LOST = ("CUDA error", "CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED")

_GPU_TRACKS = 16  # enough windows of one length to fill a batch
_GPU_SECONDS = 960.0  # of audio in a batch at most: more does not make a GPU faster
_BUFFERS = 4  # arrays of the first convolution's size alive at a time


class Encoder:
    """Runs the model over windows.

    Parameters
    ----------
    info : ModelInfo
        The model; its weights are loaded and checked here.
    device : str
        As `choose_device` returns it.
    precision : str
        float32; tf32, which is float32 with the matrix products of NVIDIA's tensor cores; or
        bfloat16 or float16, to which the model is cast (see `mert_backfill.model.cast`).
    batch_size : int, optional
        Windows in a batch at most on a GPU; by default as many as its memory holds. On a CPU
        windows always go one by one: a batch would change the last bits of the results, and
        one window keeps the arithmetic at its peak already.
    threads : int, optional
        Threads of torch's arithmetic; by default torch's own choice.
    kernels : Kernels
        What computes the heavy parts on a CPU.

    Attributes
    ----------
    device : str
        What computes, for the tables: the device, and its kernels where they are not torch's own.
    tracks_per_batch : int
        Tracks whose windows are best handed over in one call.

    Raises
    ------
    UserError
        The weights are refused, or the device has no such precision.
    """

    def __init__(
        self,
        info: ModelInfo,
        *,
        device: str,
        precision: str = "float32",
        batch_size: int | None = None,
        threads: int | None = None,
        kernels: Kernels = PLAIN,
    ) -> None:
        _check_precision(precision, device)
        if threads is not None:
            torch.set_num_threads(threads)
        if device == "cuda":
            # TensorFloat-32 is the default of convolutions, and is no float32
            torch.backends.cudnn.allow_tf32 = precision == "tf32"
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        self.device = f"{device} ({kernels.name})" if kernels.name else device
        self._device = device
        self.precision = precision
        self.tracks_per_batch = 1 if device == "cpu" else batch_size or _GPU_TRACKS
        self.model = load_model(info, device)
        if device == "cpu":
            use_kernels(self.model, kernels)
        if precision in _DTYPES:
            cast_model(self.model, _DTYPES[precision])
        if device == "cpu":
            keep_freed_memory()
        self._info = info
        self._batch_size = batch_size
        self._limits: dict[int, int] = {}  # windows that fit into a batch, by their length
        self._extractor = _feature_extractor()

    def encode(
        self,
        windows: Sequence[np.ndarray],
        *,
        lengths: Sequence[int] | None = None,
        all_layers: bool = False,
    ) -> list[WindowEmbedding | TrackError]:
        """Return an embedding, or the reason why there is none, for each window.

        Parameters
        ----------
        windows : sequence of np.ndarray [shape=(n,), dtype=float32]
            Mono samples at the model's sample rate, of any lengths, from any tracks.
        lengths : sequence of int, optional
            What each window is filled up to with zeros, behind an attention mask (in samples);
            the mean over time then takes the filling's frames too. That gives another vector,
            as a recipe may want. By default nothing is filled up, and only windows of exactly
            one length share a batch.
        all_layers : bool
            Fill `WindowEmbedding.layers` too.

        Raises
        ------
        DeviceLostError
            The device failed in a way that only a new process gets over.
        """
        lengths = [len(window) for window in windows] if lengths is None else lengths
        alike: dict[tuple[int, bool], list[int]] = {}  # those without filling need no mask
        for index, (window, length) in enumerate(zip(windows, lengths, strict=True)):
            alike.setdefault((length, len(window) < length), []).append(index)
        results: dict[int, WindowEmbedding | TrackError] = {}
        for (length, _), indices in alike.items():
            if length not in self._limits:
                self._limits[length] = self.first_limit(length)
            done = 0
            while done < len(indices):
                batch = indices[done : done + self._limits[length]]
                samples = [windows[index] for index in batch]
                outcomes = self._encode_batch(samples, length, all_layers)
                results.update(zip(batch, outcomes, strict=True))
                done += len(batch)
        return [results[index] for index in range(len(windows))]

    def first_limit(self, length: int) -> int:
        """Return how many windows of `length` samples are tried in one batch."""
        if self._device == "cpu":
            return 1
        return self._batch_size or gpu_limit(self._info.architecture, length, self._device)

    def _encode_batch(
        self, batch: list[np.ndarray], length: int, all_layers: bool
    ) -> list[WindowEmbedding | TrackError]:
        """Encode windows of one length; a batch that fails is halved until one window is left."""
        try:
            return self._forward(batch, length, all_layers)
        except (RuntimeError, MemoryError) as error:
            failure = _judge(error)
        # only here has the traceback let go of the tensors
        self._release_memory()
        if len(batch) == 1:
            return [failure]
        half = len(batch) // 2
        if failure.reason is Reason.OUT_OF_MEMORY:
            self._limits[length] = half
        return [
            *self._encode_batch(batch[:half], length, all_layers),
            *self._encode_batch(batch[half:], length, all_layers),
        ]

    def _forward(
        self, batch: list[np.ndarray], length: int, all_layers: bool
    ) -> list[WindowEmbedding | TrackError]:
        windows = [self._normalise(window) for window in batch]  # each over its own samples
        samples = torch.from_numpy(
            np.stack([np.pad(window, (0, length - len(window))) for window in windows])
        )
        mask = None
        if any(len(window) < length for window in windows):
            ends = torch.tensor([[len(window)] for window in windows])
            mask = (torch.arange(length) < ends).long().to(self._device)
        if self._device == "cuda":
            samples = samples.pin_memory()
        with torch.inference_mode():
            output = self.model(
                samples.to(self._device, non_blocking=True),
                attention_mask=mask,
                output_hidden_states=all_layers,
            )
            # hidden_states[-1] is taken before the final norm in some versions and types
            states = [*output.hidden_states[:-1]] if all_layers else []
            pooled = [state.float().mean(dim=1) for state in (*states, output.last_hidden_state)]
            layers = torch.stack(pooled, dim=1).cpu().numpy()
        return [_embedding(rows, all_layers) for rows in layers]

    def _normalise(self, window: np.ndarray) -> np.ndarray:
        features = self._extractor(window, sampling_rate=recipes.SAMPLE_RATE, return_tensors="np")
        return features["input_values"][0]

    def _release_memory(self) -> None:
        if self._device == "cuda":
            torch.cuda.empty_cache()
        elif self._device == "mps":
            torch.mps.empty_cache()


def _check_precision(precision: str, device: str) -> None:
    if device == "cpu" and precision == "float16":
        raise UserError(
            "runtime.precision: float16 is not for the CPU; set it to float32 or bfloat16"
        )
    if device != "cuda" and precision == "tf32":
        raise UserError(
            f"runtime.precision: tf32 is for NVIDIA GPUs, the device is {device}; set it to float32"
        )


def gpu_limit(architecture: Mapping[str, Any], length: int, device: str) -> int:
    """Return how many windows of `length` samples fit into a GPU's free memory at a time."""
    frames = length // architecture["conv_stride"][0]
    bytes_of_one = _BUFFERS * 4 * frames * architecture["conv_dim"][0]
    free = torch.cuda.mem_get_info()[0] // 2 if device == "cuda" else 2**31
    longest = int(_GPU_SECONDS * recipes.SAMPLE_RATE) // length
    return max(1, min(free // bytes_of_one, longest))


def choose_device(requested: str) -> str:
    """Return the device to use: cuda, mps or cpu.

    Parameters
    ----------
    requested : str
        One of those, or auto: the first of them that this machine has.

    Raises
    ------
    UserError
        The device that is asked for is not there. The CPU never takes its place in silence.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if requested == "auto":
        return next(device for device, there in available.items() if there)
    if not available[requested]:
        raise UserError(
            f"runtime.device: torch {torch.__version__} finds no {requested} device here; install "
            "the torch build and driver for it, or set runtime.device to auto or cpu"
        )
    return requested


def processor_name(device: str) -> str:
    """Return the make of the processor behind a device, as far as it can be told."""
    return torch.cuda.get_device_name() if device == "cuda" else cpu_name()


def _feature_extractor() -> Any:
    from transformers import Wav2Vec2FeatureExtractor

    return Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=recipes.SAMPLE_RATE, do_normalize=recipes.NORMALISE
    )


def _judge(error: RuntimeError | MemoryError) -> TrackError:
    """Tell what an error of the model means for its windows.

    Raises
    ------
    DeviceLostError
        It means that nothing more can be computed in this process.
    """
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        phrase in text for phrase in _OUT_OF_MEMORY
    ):
        return TrackError("embed", Reason.OUT_OF_MEMORY, one_line(error))
    if isinstance(error, torch.AcceleratorError) or any(phrase in text for phrase in _DEVICE_LOST):
        raise DeviceLostError(one_line(error)) from error
    return TrackError("embed", Reason.EMBED_ERROR, one_line(error))


def _embedding(rows: np.ndarray, all_layers: bool) -> WindowEmbedding | TrackError:
    if not np.isfinite(rows).all():
        return TrackError(
            "embed", Reason.EMBED_ERROR, "ValueError: the model gave values that are not finite"
        )
    return WindowEmbedding(rows[-1].copy(), rows.copy() if all_layers else None)
