"""Sidecars through the workflow: turned on later, only what is missing is made."""

from __future__ import annotations

import numpy as np

from support.project import EMBEDDED, Project


def test_sidecars_are_added_without_touching_vectors(project: Project) -> None:
    store = project.results / "embeddings" / project.profile()
    before = {path: path.stat().st_mtime_ns for path in store.glob("??/*.npy")}
    assert len(before) == len(EMBEDDED)
    project.configure(
        embedding={"sidecars": ["sections", "layers", "harmonic"]},
        chunking={"size": 100},
        runtime={"decode_workers": 1},  # librosa costs each of them some seconds
    )
    run = project.run()
    assert sorted(project.statuses(run.chunks)) == sorted(EMBEDDED)
    assert {path: path.stat().st_mtime_ns for path in store.glob("??/*.npy")} == before
    rows = project.read_json("meta/meta.json")["tracks"].values()
    for path in before:
        identity = path.stem
        vector = np.load(path, allow_pickle=False)
        sections = np.load(store / "sections" / identity[:2] / path.name, allow_pickle=False)
        layers = np.load(store / "layers" / identity[:2] / path.name, allow_pickle=False)
        assert sections.shape == (3, len(vector))
        assert layers.shape == (3, 5, len(vector))  # the demo model has 4 layers
        assert sections.dtype == layers.dtype == np.float16
        # these tracks are short: the whole is the one window, and so the vector
        assert np.isnan(sections[[0, 2]]).all()
        assert np.array_equal(sections[1], vector)
        assert np.array_equal(layers[1, -1], vector)
        core = store / "sections" / "core" / identity[:2] / path.name
        assert np.array_equal(np.load(core, allow_pickle=False), vector)
        (row,) = [row for row in rows if row.get("embedding") == str(path)]
        named = {row[f"embedding_{window}"] for window in ("intro", "core", "late")}
        assert (named, row["embedding_version"]) == ({str(core)}, "v2_section")
        harmonic = np.load(store / "harmonic" / identity[:2] / path.name, allow_pickle=False)
        features = row["features"]["chroma_profile"] + row["features"]["tonnetz_profile"]
        assert np.array_equal(np.array(features, np.float32), harmonic)
    (table,) = [project.read_tsv(f"chunks/{chunk}.tracks.tsv") for chunk in run.chunks]
    assert list(table[0])[-1] == "seconds_harmonic"
    assert all(float(told["seconds_harmonic"]) > 0 for told in table)
    assert project.snakemake().nothing_to_do
