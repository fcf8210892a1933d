"""Why tracks fail, what is odd about others, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal

Stage = Literal["stat", "decode", "validate", "embed", "write"]


class Reason(StrEnum):
    """The reasons of a failure, as they are written into the failure records."""

    EMPTY_FILE = "empty_file"
    NOT_AUDIO = "not_audio"
    UNSUPPORTED_CODEC = "unsupported_codec"
    DECODE_ERROR = "decode_error"
    TOO_SHORT = "too_short"
    SILENT = "silent"
    NON_FINITE = "non_finite"
    DECODE_TIMEOUT = "decode_timeout"
    DECODER_CRASHED = "decoder_crashed"
    FILE_MISSING = "file_missing"
    PERMISSION_DENIED = "permission_denied"
    IO_ERROR = "io_error"
    OUT_OF_MEMORY = "out_of_memory"
    EMBED_ERROR = "embed_error"
    WRITE_ERROR = "write_error"


class Remark(StrEnum):
    """What may be odd about a track that has its vector all the same."""

    CUT_SHORT = "cut_short"
    NO_HARMONIC = "no_harmonic"


# what each of them means to a collector, and what he can do about it
ADVICE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        Reason.EMPTY_FILE: ("the file has no content", "get it again"),
        Reason.NOT_AUDIO: ("not music, whatever its name says", "look what it is; delete it"),
        Reason.UNSUPPORTED_CODEC: (
            "copy-protected, or in a format that no decoder here knows",
            "get it without protection, or convert it",
        ),
        Reason.DECODE_ERROR: ("damaged, or a download that broke off", "get it again"),
        Reason.TOO_SHORT: ("next to no sound in it", "get it again, if it should be longer"),
        Reason.SILENT: (
            "silence, or channels that cancel each other out in mono",
            "listen to it; turn one channel around, or get it again",
        ),
        Reason.NON_FINITE: ("samples that are no numbers", "export or convert it again"),
        Reason.DECODE_TIMEOUT: (
            "not read in time: damaged, or a drive that is too slow",
            "play it; a higher runtime.track_timeout_s helps a slow drive",
        ),
        Reason.DECODER_CRASHED: ("so damaged that it took the decoder down", "get it again"),
        Reason.FILE_MISSING: ("gone between the scan and the run", "run again"),
        Reason.PERMISSION_DENIED: ("you may not read it", "change its permissions"),
        Reason.IO_ERROR: ("the drive could not read it", "check the drive; get it again"),
        Reason.OUT_OF_MEMORY: (
            "it took more memory than there is; damaged, if it is small",
            "get it again; close other programs",
        ),
        Reason.EMBED_ERROR: ("the model failed on it", "run again; report it if it stays"),
        Reason.WRITE_ERROR: ("its vector could not be written", "check the disk of results/"),
        Remark.CUT_SHORT: (
            "embedded, but its sound ends before the file says that it does",
            "play its end; get it again if it broke off",
        ),
        Remark.NO_HARMONIC: (
            "embedded, but too short, too silent, or at a rate (below 9 or above 192 kHz) at which "
            "its harmony cannot be told",
            "nothing",
        ),
    }
)
# the file itself is hopeless: no later run can do better while it is unchanged
HOPELESS = frozenset(
    {
        Reason.EMPTY_FILE,
        Reason.NOT_AUDIO,
        Reason.UNSUPPORTED_CODEC,
        Reason.DECODE_ERROR,
        Reason.TOO_SHORT,
        Reason.SILENT,
        Reason.NON_FINITE,
    }
)
# the file took the process down or hung it: hopeless from the second time on
_SUSPECT = frozenset({Reason.DECODE_TIMEOUT, Reason.DECODER_CRASHED})


class TrackError(Exception):
    """One track cannot be embedded; the chunk goes on.

    Parameters
    ----------
    stage : str
        Where it happened: stat, decode, validate, embed or write.
    reason : Reason
        One of the reasons that failure records know.
    error : str
        Type and message of what was raised, on one line.
    """

    def __init__(self, stage: Stage, reason: Reason, error: str) -> None:
        super().__init__(f"{reason.value}: {error}")
        self.stage: Stage = stage
        self.reason = reason
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:  # so that it survives the way between processes
        return (TrackError, (self.stage, self.reason, self.error))


@dataclass(frozen=True)
class Failure:
    """A failure record; the fields are those of ``chunks/CHUNK.failed.jsonl``.

    `size_bytes` and `mtime_ns` are the file's when it failed; `timestamp` is UTC, ISO 8601.
    """

    path: str
    track_id: str
    chunk: str
    stage: str
    reason: str
    error: str
    permanent: bool
    attempts: int
    size_bytes: int
    mtime_ns: int
    timestamp: str

    def as_record(self) -> dict[str, Any]:
        """Return the record as it is written."""
        return asdict(self)

    def is_of_file(self, size_bytes: int, mtime_ns: int) -> bool:
        """Tell whether the file has still the size and time that it had when it failed."""
        return (self.size_bytes, self.mtime_ns) == (size_bytes, mtime_ns)

    def is_like(self, other: Failure) -> bool:
        """Tell whether the same file failed for the same reason."""
        same_file = self.is_of_file(other.size_bytes, other.mtime_ns)
        return same_file and self.reason == other.reason

    def is_quarantine_of(self, size_bytes: int, mtime_ns: int) -> bool:
        """Tell whether it keeps a file from being tried: it is for good, and the file the same."""
        return self.permanent and self.is_of_file(size_bytes, mtime_ns)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Failure:
        """Read a record back; keys that this version does not know are passed over."""
        return cls(**{name: record[name] for name in cls.__dataclass_fields__})


def is_suspect(stage: str, reason: str) -> bool:
    """Tell whether the file may be to blame for what happened to the process that read it.

    It died, hung, or took all the memory that a decoder may take.
    """
    return reason in _SUSPECT or (reason == Reason.OUT_OF_MEMORY and stage == "decode")


def is_permanent(error: TrackError, previous: Failure | None) -> bool:
    """Tell whether a track that fails so is quarantined.

    Parameters
    ----------
    error : TrackError
        Why it fails now.
    previous : Failure or None
        The failure before, if the file has not changed since.
    """
    if is_suspect(error.stage, error.reason):
        return previous is not None and is_suspect(previous.stage, previous.reason)
    return error.reason in HOPELESS
