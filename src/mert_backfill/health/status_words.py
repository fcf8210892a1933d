"""Where the backlog stands, in words."""

from __future__ import annotations

from mert_backfill.health.status import Status
from mert_backfill.records.standing import Standing
from mert_backfill.words import counted, duration, listed, percent


def progress_line(status: Status) -> str:
    """Return the line for the whole backlog that a run shows; empty while nothing is planned."""
    tracks = status.tracks
    if tracks.total is None:
        return ""
    parts = [f"{tracks.done:,} of {counted(tracks.total, 'track')} done"]
    if tracks.failed:
        parts.append(f"{tracks.failed:,} failed")
    return ", ".join([*parts, *_speed(status)])


def status_lines(status: Status) -> list[str]:
    """Return what ``mert-backfill status`` says."""
    lines = ["a run is at work" if status.running else "no run is at work"]
    tracks, chunks = status.tracks, status.chunks
    if tracks.total is None:
        return [*lines, "nothing is planned yet: a run begins with that"]
    share = f" ({percent(tracks.done or 0, tracks.total)})" if tracks.total else ""
    parts = [f"{tracks.done:,} of {tracks.total:,} done{share}"]
    if tracks.failed:
        parts.append(f"{tracks.failed:,} failed ({listed(status.failures)})")
    if tracks.pending:
        parts.append(f"{tracks.pending:,} to do")
    lines.append(f"tracks: {', '.join(parts)}")
    parts = [f"{chunks.done:,} of {chunks.total:,} done"]
    if chunks.running:
        parts.append(f"{chunks.running:,} running")
    if chunks.waiting:
        parts.append(f"{chunks.waiting:,} waiting")
    lines.append(f"chunks: {', '.join(parts)}")
    if speed := ", ".join(_speed(status)):
        lines.append(speed if status.running else f"at the speed of the last chunks: {speed}")
    return lines


def _speed(status: Status) -> list[str]:
    if not status.tracks.pending or status.tracks_per_minute is None:
        return []
    parts = [f"{status.tracks_per_minute:.3g} per minute"]
    if status.seconds_left is not None:
        parts.append(f"about {duration(status.seconds_left)} left")
    return parts


def run_result(standing: Standing, page: str, *, limit: int | None) -> str:
    """Return how a run ended that did all there was to do.

    Parameters
    ----------
    standing : Standing
        What its audit found.
    page : str
        Where to read more.
    limit : int, optional
        How many tracks a run may embed.
    """
    if not standing.tracks:
        return f"there is no track in the library; see {page}"
    share = percent(standing.embedded, standing.tracks)
    parts = [
        f"{standing.embedded:,} of {counted(standing.tracks, 'track')} have a vector ({share})",
        f"{standing.failed:,} failed ({listed(standing.failures)})" if standing.failed else "",
        counted(standing.remarks, "remark") if standing.remarks else "",
        _left_open(standing.open, limit) if standing.open > 0 else "",
    ]
    return f"{', '.join(filter(None, parts))}; see {page}"


def _left_open(count: int, limit: int | None) -> str:
    if limit is not None:
        return f"{count:,} left for the next runs (limit is {limit})"
    return f"{count:,} left out by exclude_file, paths_file, or since they changed"


def unfinished(status: Status) -> str:
    """Return how a run ended that left chunks open; why each is, was said when it was left."""
    tracks, chunks = status.tracks, status.chunks
    if tracks.total is None or chunks.total is None:
        return "Not finished, see above. Go on with the same command."
    left = chunks.total - (chunks.done or 0)
    return (
        f"Not finished: {tracks.done:,} of {counted(tracks.total, 'track')} done, "
        f"{counted(left, 'chunk')} left open, see above. Go on with the same command."
    )


def stopped(status: Status | None) -> str:
    """Return how a run ended that the user stopped."""
    tracks = status.tracks if status else None
    if not tracks or not tracks.total:
        return "Stopped. Nothing is lost. Go on with the same command."
    return (
        f"Stopped. {tracks.done:,} of {tracks.total:,} done, nothing lost. "
        "Go on with the same command."
    )
