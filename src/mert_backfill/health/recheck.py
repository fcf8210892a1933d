"""Finds vectors that earlier versions made of less sound than the file has, or of noise.

They believed a decoder that stopped early (at a damaged frame, at the seam of two joined files),
and took encrypted bytes, DTS or the rounding noise of channels that cancel out for music. Vectors
made since then have a remark in their record, empty or not, and are not looked at again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mert_backfill.audio.prepared import DecodeResult, TrackDecoder
from mert_backfill.failures import Reason
from mert_backfill.records.ledger import EmbeddedTrack, read_embedded
from mert_backfill.results import Results
from mert_backfill.store.vectors import SUPERSEDED_ENDING, shard_path

logger = logging.getLogger(__name__)

# why a file that gave a vector once may be refused now; others say that it is another file, or
# none at the moment
_NO_MUSIC = frozenset({Reason.UNSUPPORTED_CODEC, Reason.SILENT, Reason.DECODE_ERROR})
_TOLD_EVERY = 500
_MARGIN_S = 0.5  # decoders differ by what encoders put around the sound


@dataclass(frozen=True)
class Recheck:
    """What decoding the tracks again showed.

    Attributes
    ----------
    whole : int
        Tracks whose vector was made of all the sound that there is.
    superseded : mapping
        Path of a track to what is wrong with its vector, in words; the vector was renamed to end
        in ``.superseded``, so that the next run makes it again.
    unread : tuple of str
        Paths of tracks that could not be read now; their vectors stay.
    """

    whole: int
    superseded: Mapping[str, str]
    unread: tuple[str, ...]


def recheck_vectors(results: Results, decoder: TrackDecoder) -> Recheck:
    """Decode again what earlier versions decoded, and set aside the vectors that are wrong.

    Parameters
    ----------
    results : Results
        The results folder.
    decoder : TrackDecoder
        Decodes the tracks.
    """
    doubtful = _doubtful(results)
    whole = 0
    superseded: dict[str, str] = {}
    unread: list[str] = []
    tracks = ((track_id, made[0].path) for track_id, made in doubtful.items())
    for done, result in enumerate(decoder.decode(tracks)):
        if done and not done % _TOLD_EVERY:
            logger.info("tracks decoded again: %d of %d", done, len(doubtful))
        made = doubtful[result.track_id]
        if result.error is not None and result.error.reason not in _NO_MUSIC:
            unread.append(made[0].path)
            continue
        wrong = [(one, text) for one in made if (text := _what_is_wrong(one, result))]
        whole += not wrong
        for one, text in wrong:
            vector = _vector(results, one)
            vector.rename(vector.with_name(vector.name + SUPERSEDED_ENDING))
            superseded[one.path] = text
    return Recheck(whole, superseded, tuple(unread))


def _doubtful(results: Results) -> dict[str, list[EmbeddedTrack]]:
    """Return, by track id, the vectors that earlier versions made."""
    found: dict[str, list[EmbeddedTrack]] = {}
    for made in read_embedded(results):
        if made.remark is None and _vector(results, made).is_file():
            found.setdefault(made.track_id, []).append(made)
    return found


def _what_is_wrong(made: EmbeddedTrack, result: DecodeResult) -> str:
    if result.prepared is None:
        return f"no music: {result.error}"
    seconds = result.prepared.duration_s
    if seconds > made.duration_s + _MARGIN_S:
        return f"made of {made.duration_s:.1f} s, of {seconds:.1f} s that there are"
    return ""


def _vector(results: Results, made: EmbeddedTrack) -> Path:
    return shard_path(results.store(made.profile), made.track_id)
