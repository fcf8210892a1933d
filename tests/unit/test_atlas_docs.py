"""The examples of docs/atlas.md do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mert_backfill.atlas.index import write_index
from mert_backfill.results import Results
from support import REPO
from support.atlases import a_track, write_atlas

EXAMPLES = dict(
    re.findall(
        r"<!-- example: (\w+) -->\n```python\n(.*?)```",
        (REPO / "docs" / "atlas.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
)
TITLES = ["Zero", "One", "Two", "Three", "Four", "Five", "Six"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an atlas: seven tracks along a line, more or less."""
    folder = tmp_path_factory.mktemp("docs")
    results = Results(folder / "results")
    tracks = [a_track(f"/music/{title}.mp3", "A", title) for title in TITLES]
    angles = np.array([0, 0.1, 0.21, 0.33, 3.0, 3.3, 3.7])
    vectors = 3 + np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    write_atlas(results, tracks, vectors)
    write_index(results, [track.meta_key for track in tracks], vectors)
    return folder


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("pandas", r"cosine\s+title\s+0\s+0\.9\d+\s+One\s+1\s+0\.9\d+\s+Two"),
        ("duckdb", r"Zero.*One.*0\.9"),
        ("faiss", r"\['Zero', 'One', 'Two', 'Three', "),
        ("hnswlib", r"\['/music/Zero.mp3', '/music/One.mp3', "),
    ],
)
def test_an_example_does_what_it_says(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    printed: str,
) -> None:
    if name == "hnswlib":
        pytest.importorskip("hnswlib")
    monkeypatch.chdir(folder)
    exec(compile(EXAMPLES[name], name, "exec"), {})
    assert re.search(printed, capsys.readouterr().out, re.DOTALL)


def test_each_example_is_tried() -> None:
    assert set(EXAMPLES) == {"pandas", "duckdb", "faiss", "hnswlib"}
