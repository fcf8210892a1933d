"""One audio file to the ready windows of a recipe.

Each format has one decoder: libsndfile reads all it knows (wav, flac, mp3, ogg, opus, aiff,
...), PyAV (ffmpeg's libraries) reads the rest (m4a and the like). The content decides which,
never the name. Both read block by block and stop after the seconds that are kept, so that
time and memory do not grow with the length of the file.
"""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import soxr

from mert_backfill import recipes
from mert_backfill.audio.prepared import PreparedTrack
from mert_backfill.audio.windows import find_windows
from mert_backfill.errors import one_line
from mert_backfill.failures import Reason, Stage, TrackError

if TYPE_CHECKING:
    from av import AudioFrame

_MAX_RATE = 1_000_000  # Hz; real audio ends at 768 kHz
_BLOCK_FRAMES = 1 << 16
_BUFFER_BYTES = 1 << 16
_HEAD_BYTES = 16
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO put in the file's place must not hang the open
    | getattr(os, "O_BINARY", 0)
)
_NO_MEMORY = 17  # libsndfile's SFE_MALLOC_FAILED
# how files begin that are audio, or once were: damaged ones are told from ones that never were
_AUDIO_HEAD = re.compile(
    rb"RIFF|RIFX|RF64|riff|FORM|fLaC|OggS|ID3|caff|wvPk|MAC |TTA1|MP\+|MPCK|DSD |#!AMR|\.snd"
    rb"|....ftyp|\x0b\x77|\x1a\x45\xdf\xa3|\x30\x26\xb2\x75|\xff[\xe2\xe3\xf0-\xf5\xf8-\xfd]",
    re.DOTALL,
)
# What PyAV may read. Ogg is left to libsndfile, since ffmpeg decodes Opus differently;
# playlists (hls, concat, dash) stay out, since they make ffmpeg open other files and addresses.
_AV_FORMATS = "mov,mp3,aac,flac,wav,w64,aiff,caf,matroska,asf,ape,wv,tta,mpc,mpc8,dsf,ac3,eac3,amr"
_REASON_OF_ERRNO = {
    errno.ENOENT: Reason.FILE_MISSING,
    errno.ENOTDIR: Reason.FILE_MISSING,
    errno.ELOOP: Reason.FILE_MISSING,
    errno.ENAMETOOLONG: Reason.FILE_MISSING,
    errno.EACCES: Reason.PERMISSION_DENIED,
    errno.EPERM: Reason.PERMISSION_DENIED,
    errno.ENOMEM: Reason.OUT_OF_MEMORY,
}


def prepare_track(path: str, recipe: recipes.Recipe = recipes.CANONICAL) -> PreparedTrack:
    """Decode a file and return its windows, resampled one by one.

    Parameters
    ----------
    path : str
        The file. Any name that the system accepts; bytes that are not UTF-8 are surrogate
        escapes.
    recipe : Recipe
        How much of the track is kept, and which parts of that are its windows.

    Raises
    ------
    TrackError
        Whatever is wrong with the file: stage stat, decode or validate.
    """
    try:
        with _open(path) as source:
            y, rate = _decode(source, recipe.kept_seconds)
        _validate(y, rate)
        windows = find_windows(y, rate, recipe.windows)
        samples = tuple(
            _resample(y[int(w.start_s * rate) : int(w.end_s * rate)], rate) for w in windows
        )
    except TrackError:
        raise
    except MemoryError as error:
        raise TrackError("decode", Reason.OUT_OF_MEMORY, one_line(error)) from error
    except Exception as error:  # the libraries raise more than they document
        raise TrackError("decode", Reason.DECODE_ERROR, one_line(error)) from error
    names = tuple(window.name for window in windows)
    return PreparedTrack(names, samples, len(y) / rate, rate, _hash_windows(names, samples))


class _RawFile(io.FileIO):
    """A file whose read errors are kept for later.

    Errors cannot pass through the C callbacks of the decoders, so a failing read looks like
    the end of the file to them.
    """

    error: OSError | None = None

    def readinto(self, buffer: Any, /) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            self.error = error
            return 0


class _Source(io.BufferedReader):
    """A file as the decoders see it: buffered, since they read a few bytes at a time."""

    def __init__(self, handle: int) -> None:
        self._file = _RawFile(handle)
        self._file.name = "audio"  # decoders and their messages need no more, and no less
        super().__init__(self._file, _BUFFER_BYTES)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except OSError as error:
            if error.errno != errno.EINVAL:  # that is a place before the start: a damaged file
                self._file.error = error
            return -1

    def check(self) -> None:
        """Raise the `TrackError` of a read that failed, if one did."""
        if self._file.error is not None:
            raise _os_error("decode", self._file.error) from self._file.error


def _open(path: str) -> _Source:
    try:
        # looked at before it is opened: to open some devices is to set them in motion
        _check_status(os.stat(path))
        source = _Source(os.open(path, _OPEN_FLAGS))
    except OSError as error:
        raise _os_error("stat", error) from error
    except ValueError as error:  # a NUL in the name
        raise TrackError("stat", Reason.FILE_MISSING, one_line(error)) from error
    try:
        _check_status(os.fstat(source.fileno()))  # it may have been replaced in between
    except TrackError:
        source.close()
        raise
    return source


def _check_status(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise TrackError("stat", Reason.FILE_MISSING, "not a regular file")
    if status.st_size == 0:
        raise TrackError("stat", Reason.EMPTY_FILE, "the file has no content")


def _os_error(stage: Stage, error: OSError) -> TrackError:
    reason = _REASON_OF_ERRNO.get(error.errno or 0, Reason.IO_ERROR)
    return TrackError(stage, reason, one_line(error))


def _decode(source: _Source, kept_seconds: int) -> tuple[np.ndarray, int]:
    """Return the first seconds in mono, float32, and their rate (in Hz)."""
    head = source.read(_HEAD_BYTES)
    errors: list[Exception] = []
    for read in (_read_with_libsndfile, _read_with_av):
        source.seek(0)
        blocks: list[np.ndarray] = []
        rate = kept = 0
        try:
            for block, rate in read(source):
                if not 0 < rate <= _MAX_RATE:  # 120 s of it could be any amount of memory
                    raise ValueError(f"a sampling rate of {rate} Hz")
                wanted = kept_seconds * rate - kept
                blocks.append(_to_mono(block[:wanted]))
                kept += len(blocks[-1])
                if len(block) >= wanted:
                    break
        except MemoryError:
            raise
        except Exception as error:
            errors.append(error)
        source.check()
        if kept:  # what came before the damage is good
            return np.concatenate(blocks), rate
    raise _nothing_decoded(head, errors)


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from its start on.

    soundfile seeks after each read of a seekable file. The mp3 decoder then starts anew, and
    its samples are not those of an uninterrupted one.
    """

    def seekable(self) -> bool:
        return False


def _read_with_libsndfile(source: _Source) -> Iterator[tuple[np.ndarray, int]]:
    """Yield blocks of samples [shape=(n, channels), dtype=float32] and the rate (in Hz)."""
    try:
        with _ForwardFile(source) as sound:
            while len(block := sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                yield block, sound.samplerate
    except soundfile.LibsndfileError as error:
        if error.code == _NO_MEMORY:
            raise MemoryError(str(error)) from error
        raise


def _read_with_av(source: _Source) -> Iterator[tuple[np.ndarray, int]]:
    """Yield blocks of samples [shape=(n, channels), dtype=float32] and the rate (in Hz)."""
    import av.logging  # needed for few files, and it takes a moment
    from av.error import InvalidDataError

    av.logging.set_level(av.logging.PANIC)
    rate = None
    with av.open(
        source, "r", container_options={"format_whitelist": _AV_FORMATS}, metadata_errors="replace"
    ) as container:
        stream = container.streams.best("audio")
        if stream is None:
            raise TrackError("decode", Reason.NOT_AUDIO, "there is no sound in the file")
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except InvalidDataError:
                continue  # one damaged packet; the next may be whole
            for frame in frames:
                assert isinstance(frame, av.AudioFrame)
                rate = rate or frame.sample_rate
                if frame.sample_rate != rate:
                    return  # what follows is not one signal with what came before
                yield _frame_samples(frame), rate


def _frame_samples(frame: AudioFrame) -> np.ndarray:
    """Return the samples of a frame in [-1, 1] [shape=(n, channels), dtype=float32]."""
    raw = frame.to_ndarray()  # (channels, n), or (1, n * channels) when they alternate
    samples = raw.T if frame.format.is_planar else raw.reshape(-1, frame.layout.nb_channels)
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    if samples.dtype.kind == "u":
        return (samples.astype(np.float32) - 128) / 128
    full_scale = 1 << (8 * samples.dtype.itemsize - 1)
    return (samples.astype(np.float64) / full_scale).astype(np.float32)


def _to_mono(block: np.ndarray) -> np.ndarray:
    """Average the channels of a block [shape=(n, channels)]."""
    if block.shape[1] == 2:  # the same numbers as np.mean, four times faster
        return (block[:, 0] + block[:, 1]) / 2
    return block.mean(axis=1)


def _nothing_decoded(head: bytes, errors: Sequence[Exception]) -> TrackError:
    """Return what to say of a file that neither decoder got a sample from."""
    for error in errors:
        if isinstance(error, TrackError):
            return error
    text = "; ".join(map(_describe, errors)) or "no sample could be decoded"
    if any(type(error).__name__ == "DecoderNotFoundError" for error in errors):
        return TrackError("decode", Reason.UNSUPPORTED_CODEC, text)
    reason = Reason.DECODE_ERROR if _AUDIO_HEAD.match(head) else Reason.NOT_AUDIO
    return TrackError("decode", reason, text)


def _describe(error: Exception) -> str:
    """Return type and message of a decoder's error, without the decorations of the libraries."""
    message = getattr(error, "error_string", None) or getattr(error, "strerror", None)
    return f"{type(error).__name__}: {message}" if message else one_line(error)


def _validate(y: np.ndarray, rate: int) -> None:
    if not np.isfinite(y).all():
        raise TrackError("validate", Reason.NON_FINITE, "the samples are not all finite numbers")
    # below 80 s there is one window, the whole; above, every window is longer than a second
    length = _resampled_length(len(y), rate)
    if length < recipes.RECEPTIVE_FIELD:
        raise TrackError(
            "validate",
            Reason.TOO_SHORT,
            f"{length} samples at {recipes.SAMPLE_RATE} Hz, "
            f"the model needs {recipes.RECEPTIVE_FIELD}",
        )
    if not y.any():
        raise TrackError("validate", Reason.SILENT, "every sample is zero")


def _resample(y: np.ndarray, rate: int) -> np.ndarray:
    """Do what ``librosa.resample(res_type="soxr_hq")`` does; a test compares the bits.

    The library that librosa calls is called directly: each decoder process would pay 1.7 s and
    215 MiB for what librosa 0.11 imports (numba, scipy), instead of 0.1 s and 29 MiB in all.
    """
    if rate == recipes.SAMPLE_RATE:
        return y
    length = _resampled_length(len(y), rate)
    resampled = soxr.resample(y, rate, recipes.SAMPLE_RATE, quality=recipes.RESAMPLING)[:length]
    return np.pad(resampled, (0, length - len(resampled)))


def _resampled_length(length: int, rate: int) -> int:
    return math.ceil(length * (float(recipes.SAMPLE_RATE) / rate))


def _hash_windows(names: Iterable[str], windows: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, window in zip(names, windows, strict=True):
        digest.update(f"{name} {len(window)}\n".encode())
        digest.update(np.ascontiguousarray(window, dtype="<f4").data)
    return digest.hexdigest()
