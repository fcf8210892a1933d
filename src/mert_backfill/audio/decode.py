"""One audio file to the ready windows of a recipe.

What goes into a vector is the track's first 120 s, or as much as the file has.
libsndfile reads all that it knows (wav, flac, mp3, ogg, opus, aiff, ...), PyAV (ffmpeg's
libraries) the rest (m4a and the like); the content decides which, never the name. Where
libsndfile ended early although the file has more, PyAV is asked too, and the longer sound is
taken. What is still missing is said: in the track's remark, or as its failure. Both read block by
block and stop when there is enough, so that time and memory do not grow with the length of the
file.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import soxr

from mert_backfill import recipes
from mert_backfill.audio import marks
from mert_backfill.audio.ffmpeg import open_with_ffmpeg
from mert_backfill.audio.libsndfile import open_with_libsndfile
from mert_backfill.audio.listening import MAX_DSD_RATE, MAX_RATE, Heard, listen
from mert_backfill.audio.prepared import PreparedTrack
from mert_backfill.audio.source import Source, open_source
from mert_backfill.audio.stream import NoSoundError
from mert_backfill.audio.windows import find_windows
from mert_backfill.errors import one_line
from mert_backfill.failures import Reason, Remark, TrackError

# Decoders differ by what encoders put before and behind the sound, so less than this is nothing.
_MARGIN_S = 0.5
_MISSING_SHARE = 0.05  # of the sound that there should be: more is remarked on
_UNREAD_BYTES = 1 << 13  # a last frame, and what a tag leaves; more is sound, maybe
_TOO_LITTLE_S = 1.0
_MUCH_UNREAD_BYTES = 1 << 16  # more than a second of mp3


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
    return cut_windows(read_sound(path, recipe), recipe)


@dataclass(frozen=True)
class Sound:
    """What is taken of a file.

    `y` is mono [shape=(n,), dtype=float32], `rate` its rate (in Hz); `cancels` tells that its
    channels are each other's opposite.
    """

    y: np.ndarray
    rate: int
    remark: str
    cancels: bool


def read_sound(path: str, recipe: recipes.Recipe) -> Sound:
    """Decode the seconds of a file that a recipe keeps; raises as `prepare_track` does."""
    with _told_as_track_errors():
        with open_source(path) as source:
            sound = _decode(source, recipe.kept_seconds)
        _validate(sound)
        return sound


def cut_windows(sound: Sound, recipe: recipes.Recipe) -> PreparedTrack:
    """Cut a sound into the windows of a recipe; raises as `prepare_track` does."""
    with _told_as_track_errors():
        y, rate = sound.y, sound.rate
        windows = find_windows(y, rate, recipe.windows)
        samples = tuple(
            resample(y[int(w.start_s * rate) : int(w.end_s * rate)], rate) for w in windows
        )
        for window in samples:  # huge numbers may be finite and what is made of them not
            _check_finite(window)
    names = tuple(window.name for window in windows)
    return PreparedTrack(
        window_names=names,
        windows=samples,
        duration_s=len(y) / rate,
        sample_rate=rate,
        pcm_sha256=_hash_windows(names, samples),
        remark=sound.remark,
    )


@contextmanager
def _told_as_track_errors() -> Iterator[None]:
    try:
        yield
    except TrackError:
        raise
    except MemoryError as error:
        raise TrackError("decode", Reason.OUT_OF_MEMORY, one_line(error)) from error
    except Exception as error:  # the libraries raise more than they document
        raise TrackError("decode", Reason.DECODE_ERROR, one_line(error)) from error


def _decode(source: Source, kept_seconds: int) -> Sound:
    """Return the first seconds of a file, or as much as it has."""
    marks.skip_tag_in_front(source)
    marks.refuse_encrypted(source)
    head = source.read_at(0, marks.HEAD_BYTES)
    says_s = marks.says_seconds(source)
    max_rate = MAX_DSD_RATE if marks.is_dsd(head) else MAX_RATE
    first = listen(open_with_libsndfile, source, kept_seconds, max_rate)
    heard = [first]
    if not first.seconds or _stopped_early(first, says_s, head):
        heard.append(listen(open_with_ffmpeg, source, kept_seconds, max_rate))
    is_other_longer = heard[-1].seconds > first.seconds + _MARGIN_S
    best = heard[-1] if is_other_longer or not first.seconds else first
    if not best.seconds:
        raise _nothing_decoded(head, [one.error for one in heard if one.error is not None])
    lengths = [says_s, *(one.says_s for one in heard), _length_by_bytes(best, source, says_s)]
    should_s = min(kept_seconds, max((length for length in lengths if length), default=0.0))
    is_short = best.seconds + _MARGIN_S < should_s
    has_left_much = min(one.unread_bytes for one in heard) > _MUCH_UNREAD_BYTES
    if best.seconds < _TOO_LITTLE_S and (
        (is_short and should_s > _TOO_LITTLE_S) or (has_left_much and not marks.is_counted(head))
    ):
        raise _only_crumbs(best, should_s)
    is_cut = (is_short and best.seconds < (1 - _MISSING_SHARE) * should_s) or (
        not best.is_all and marks.is_cut_ogg(source)
    )
    return Sound(best.y, best.rate, Remark.CUT_SHORT if is_cut else "", best.cancels)


def _stopped_early(heard: Heard, says_s: float | None, head: bytes) -> bool:
    """Tell whether there is a reason to ask the other decoder."""
    if heard.is_all:
        return False
    should_s = max(says_s or 0.0, heard.says_s or 0.0)
    has_left_sound = heard.unread_bytes > _UNREAD_BYTES and not marks.is_counted(head)
    return heard.error is not None or has_left_sound or heard.seconds + _MARGIN_S < should_s


def _length_by_bytes(heard: Heard, source: Source, says_s: float | None) -> float | None:
    """Return how long the bytes of an mp3 or AAC file would last if all were sound.

    None for other files, and where a tag says how many frames there are and they are there: what
    lies behind them is none.
    """
    head = source.read_at(0, marks.HEAD_BYTES)
    is_as_said = says_s is not None and abs(heard.seconds - says_s) <= _MARGIN_S
    if is_as_said or not heard.decoded_bytes or not marks.is_plain_frames(head):
        return None
    start, end = marks.audio_bytes(source)
    return heard.seconds * (end - start) / heard.decoded_bytes


def _only_crumbs(heard: Heard, should_s: float) -> TrackError:
    whole = f"of {should_s:.0f} s" if should_s else "of a file that holds more"
    ended = f" ({_describe(heard.error)})" if heard.error is not None else ""
    text = f"only {heard.seconds:.3f} s {whole} could be decoded{ended}; get the file again"
    return TrackError("decode", Reason.DECODE_ERROR, text)


def _nothing_decoded(head: bytes, errors: Sequence[Exception]) -> TrackError:
    """Return what to say of a file that neither decoder got a sample from."""
    told = "; ".join(map(_describe, errors)) or "no sample could be decoded"
    if any(isinstance(error, NoSoundError) for error in errors):
        return TrackError("decode", Reason.NOT_AUDIO, "there is no sound in the file")
    if any(type(error).__name__ == "DecoderNotFoundError" for error in errors):
        text = f"no decoder here knows this kind of sound ({told}); convert the file"
        return TrackError("decode", Reason.UNSUPPORTED_CODEC, text)
    if marks.looks_like_audio(head):
        text = f"the file is cut or damaged, no sound can be read ({told}); get it again"
        return TrackError("decode", Reason.DECODE_ERROR, text)
    text = f"this is no audio file, whatever its name says ({told})"
    return TrackError("decode", Reason.NOT_AUDIO, text)


def _describe(error: Exception) -> str:
    """Return type and message of a decoder's error, without the decorations of the libraries."""
    message = getattr(error, "error_string", None) or getattr(error, "strerror", None)
    return f"{type(error).__name__}: {message}" if message else one_line(error)


def _validate(sound: Sound) -> None:
    y, rate = sound.y, sound.rate
    _check_finite(y)
    # below 80 s there is one window, the whole; above, every window is longer than a second
    if _resampled_length(len(y), rate) < recipes.RECEPTIVE_FIELD:
        needed_s = recipes.RECEPTIVE_FIELD / recipes.SAMPLE_RATE
        text = (
            f"{len(y) / rate:.4f} s of sound, the model needs {needed_s:.4f} s; if the track is "
            "longer, get the file again"
        )
        raise TrackError("validate", Reason.TOO_SHORT, text)
    if sound.cancels:
        text = (
            "its channels cancel each other out in mono, as when one of them is the other "
            "upside down (a cable wired the wrong way); turn one channel around"
        )
        raise TrackError("validate", Reason.SILENT, text)
    if not y.any():
        raise TrackError("validate", Reason.SILENT, "digital silence: every sample is zero")


def _check_finite(y: np.ndarray) -> None:
    if not np.isfinite(y).all():
        text = "some samples are no numbers (NaN or infinite); export the track again"
        raise TrackError("validate", Reason.NON_FINITE, text)


def resample(y: np.ndarray, rate: int) -> np.ndarray:
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
