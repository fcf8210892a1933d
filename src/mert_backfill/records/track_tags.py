"""The tags of tracks, as the journals noted them when the files were decoded."""

from __future__ import annotations

from mert_backfill.results import Results
from mert_backfill.system.tables import read_jsonl
from mert_backfill.tags import Tags


def read_track_tags(results: Results) -> dict[str, Tags]:
    """Return the tags of every track that any chunk has decoded, by track id.

    A track that was decoded more than once has the tags of the last time.
    """
    tags: dict[str, Tags] = {}
    noted: dict[str, str] = {}  # track id to the time of its note
    for path in results.journals():
        for record in read_jsonl(path):
            try:
                if record["event"] not in ("embedded", "reused"):
                    continue
                row, at = record["row"], str(record["at"])
                found = Tags(_text(row.get("artist")), _text(row.get("title")))
                if at >= noted.get(row["track_id"], ""):
                    tags[row["track_id"]], noted[row["track_id"]] = found, at
            except (AttributeError, KeyError, TypeError):  # a line that a power cut damaged
                continue
    return tags


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
