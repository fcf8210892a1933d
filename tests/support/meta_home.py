"""A library in disorder: a music folder of empty files and the meta.json of a Windows program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mert_backfill.config import load_settings
from mert_backfill.counters import SCAN_SUMS
from mert_backfill.health.jobs import audit_library
from mert_backfill.library.paths import track_id
from mert_backfill.meta.rebuild import rebuild_library
from mert_backfill.meta.tidy import Tidied, tidy_library, untidy_library
from mert_backfill.records.summary import Summary, write_summary
from mert_backfill.results import Results
from mert_backfill.settings import Settings
from mert_backfill.store.vectors import VectorStore
from support.fakes import D, a_profile

PROFILE = a_profile()
ALL = ("relink", "merge", "archive")
CUES = [{"t": 1.5}, {"t": 2}]
Rows = dict[str, dict[str, Any]]


class Home:
    """A music folder of empty files, a store, and the meta.json of a Windows program."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.music = folder, folder / "music"
        self.music.mkdir()
        self.live = folder / "data" / "meta.json"
        self.live.parent.mkdir()
        self.rows: Rows = {}

    @property
    def results(self) -> Results:
        return self.settings().results

    def settings(self, *apply: str, **more: Any) -> Settings:
        pairs = [{"from": "C:/Music", "to": "music"}, {"from": "F:/", "to": "f"}]
        meta = {"baseline": "data/meta.json", "path_map": pairs, **more.pop("meta", {})}
        config = {
            "library": {"roots": [{"name": "lib", "path": "music"}]},
            "meta": meta,
            "model": {"name": "."},
            "apply": ",".join(apply),
            **more,
        }
        return load_settings(config, self.folder)

    def file(self, name: str, *, embedded: bool = False) -> str:
        """Make a file; return its key as this meta.json spells it."""
        path = self.music / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if embedded:
            store = VectorStore(self.results.store(PROFILE.name), D)
            store.write(track_id("lib", name), np.ones(D))
        return "C:\\Music\\" + name.replace("/", "\\")

    def row(self, key: str, **fields: Any) -> str:
        self.rows[key] = fields
        return key

    def rebuild(self) -> bytes:
        """Write the live meta.json and rebuild it; return what was made."""
        document = {"version": 3, "tracks": self.rows, "playlists": [1]}
        self.live.write_text(json.dumps(document, indent=1, ensure_ascii=False), "utf-8")
        rebuild_library(self.settings(), PROFILE)
        return self.meta()

    def tidy(self, *apply: str, **more: Any) -> Tidied:
        return tidy_library(self.settings(*(apply or ALL), **more), PROFILE)

    def untidy(self) -> None:
        untidy_library(self.settings(), PROFILE)

    def audit(self) -> None:
        names = {name for total, parts in SCAN_SUMS for name in (total, *parts)}
        write_summary(self.results.summary, Summary(dict.fromkeys(names, 0), {}))
        audit_library(self.settings(), PROFILE)

    def meta(self) -> bytes:
        return self.results.meta.read_bytes()

    def tracks(self) -> Rows:
        return json.loads(self.meta())["tracks"]

    def state(self) -> dict[str, bytes]:
        """Return all that tidying writes."""
        return {
            path.name: path.read_bytes()
            for path in (self.results.meta, self.results.meta_source, self.results.tidied)
            if path.exists()
        }

    def fill(self) -> None:
        """Add one row of each kind, and rebuild."""
        self.row(self.file("House/There.mp3"), bpm=120)
        self.row("C:\\Music\\Old\\Artist - Moved Song.mp3", bpm=128.50, cues=CUES, embedding="gone")
        self.file("New/Artist - Moved Song.mp3", embedded=True)
        self.row("Artist - Bare Song.mp3", mytags=["x"])
        self.file("New/Artist - Bare Song.mp3")
        own = self.file("House/Zwei Wörter.mp3")
        self.row("c:/music/HOUSE/Zwei Wörter.mp3", bpm=99, cues=CUES, tags=["b"], rating=5)
        self.row(own, bpm=100, cues=[{"t": 1}], tags=["a"])
        (self.folder / "f").mkdir()
        (self.folder / "f" / "other.txt").touch()
        self.row("F:\\gone.mp3", artist="A", title="B")
        self.row("E:\\gone.mp3", artist="A", title="C")
        self.row("E:\\Artist - Unseen Song.mp3", bpm=1)
        self.file("New/Artist - Unseen Song.mp3")
        self.rebuild()
