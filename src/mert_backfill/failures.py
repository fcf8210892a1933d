"""Why tracks fail, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
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
SUSPECT = frozenset({Reason.DECODE_TIMEOUT, Reason.DECODER_CRASHED})


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
    stage: Stage
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

    def is_quarantine_of(self, size_bytes: int, mtime_ns: int) -> bool:
        """Tell whether it keeps a file from being tried: it is for good, and the file the same."""
        return self.permanent and self.is_of_file(size_bytes, mtime_ns)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Failure:
        """Read a record back; keys that this version does not know are passed over."""
        return cls(**{name: record[name] for name in cls.__dataclass_fields__})


def is_permanent(reason: Reason, previous: Failure | None) -> bool:
    """Tell whether a track that fails for `reason` is quarantined.

    Parameters
    ----------
    reason : Reason
        Why it fails now.
    previous : Failure or None
        The failure before, if the file has not changed since.
    """
    if reason in SUSPECT:
        return previous is not None and previous.reason in {suspect.value for suspect in SUSPECT}
    return reason in HOPELESS
