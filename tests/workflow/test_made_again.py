"""What must be embedded again, and what can be reused. The steps build on each other."""

from __future__ import annotations

import numpy as np

from mert_backfill.demo.model import make_demo_model
from support.project import (
    DRIFT,
    EMBEDDED,
    INTRO,
    KICK,
    KICK_COPY,
    NEWLINE,
    QUOTED,
    TAPE,
    Call,
    Finished,
    Project,
)

MOVED = "Odd/Band - Tape (2).flac"


def log_of(project: Project, call: Call) -> str:
    """Return the logs of the chunks of a call."""
    logs = project.results / "logs" / "embed_chunk"
    return "".join((logs / f"{name}.log").read_text(encoding="utf-8") for name in call.chunks)


def test_what_is_moved_or_copied_never_reaches_the_model(
    finished: Finished, project: Project
) -> None:
    """Moved and renamed in one go; and a vector that the same audio still has elsewhere."""
    (project.music / TAPE).rename(project.music / MOVED)
    project.vector(KICK).unlink()
    call = project.run()
    assert project.statuses(call.chunks) == {KICK: "reused", MOVED: "reused"}
    before = finished.project.vectors()
    assert project.vector(MOVED).read_bytes() == before[project.vector(TAPE).name]
    assert project.vector(KICK).read_bytes() == before[project.vector(KICK).name]
    (chunk,) = call.chunks
    rows = project.read_tsv(f"chunks/{chunk}.tracks.tsv")
    assert {(row["seconds_embed"], row["device"]) for row in rows} == {("", "")}
    assert "model loaded" not in log_of(project, call)


def test_a_lost_or_damaged_vector_is_made_again(finished: Finished, project: Project) -> None:
    before = finished.project.vectors()
    lost, cut, poisoned = (project.vector(name) for name in (INTRO, DRIFT, QUOTED))
    untouched = project.vector(NEWLINE).stat()
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:-10])
    vector = np.load(poisoned, allow_pickle=False)
    size = poisoned.stat().st_size
    np.save(poisoned, np.full_like(vector, np.nan))
    assert poisoned.stat().st_size == size
    call = project.run()
    assert project.pending() == [DRIFT, INTRO, QUOTED]
    assert project.statuses(call.chunks) == dict.fromkeys([DRIFT, INTRO, QUOTED], "embedded")
    assert "model loaded" in log_of(project, call)
    for path in (lost, cut, poisoned):
        assert path.read_bytes() == before[path.name]
    assert project.vector(NEWLINE).stat().st_mtime_ns == untouched.st_mtime_ns
    assert project.run().nothing_to_do


def test_a_lost_table_is_made_again_from_the_journal(project: Project) -> None:
    names = sorted(path.name for path in (project.results / "chunks").glob("*.tracks.tsv"))
    plan = project.read_json("gaps/plan.json")["chunks"]
    table = project.results / "chunks" / f"{plan[0]}.tracks.tsv"
    before = table.read_bytes()
    table.unlink()
    assert "tracks pending: 0, chunks remaining: 1" in project.run("-n").output
    call = project.run()
    assert call.chunks == plan[:1]
    assert table.read_bytes() == before
    assert sorted(path.name for path in table.parent.glob("*.tracks.tsv")) == names
    assert project.run().nothing_to_do


def test_all_lost_vectors_are_made_again(finished: Finished, project: Project) -> None:
    (project.music / MOVED).rename(project.music / TAPE)
    for path in (project.results / "embeddings").glob("*/*/*.npy"):
        path.unlink()
    call = project.run()
    assert project.counts()["pending_embedding_total"] == 10
    assert project.counts()["quarantined_total"] == 3
    statuses = project.statuses(call.chunks)
    assert set(statuses) == set(EMBEDDED)
    assert sorted(statuses.values()) == ["embedded"] * 9 + ["reused"]
    assert {statuses[KICK], statuses[KICK_COPY]} == {"embedded", "reused"}
    assert project.vectors() == finished.project.vectors()


def test_another_model_embeds_all_into_a_store_of_its_own(project: Project) -> None:
    old = project.profile()
    store = project.results / "embeddings" / old
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    make_demo_model(project.folder / "other", seed=1)
    project.configure(model={"name": "other"})
    call = project.run()
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before
    (new,) = {path.name for path in (project.results / "embeddings").iterdir()} - {old}
    assert set(project.statuses(call.chunks)) == set(EMBEDDED)
    assert {project.vector(name, new).name for name in EMBEDDED} == set(project.vectors(new))
    for name in EMBEDDED:
        assert project.vector(name, new).read_bytes() != project.vector(name, old).read_bytes()
    rows = project.read_json("meta/meta.json")["tracks"].values()
    assert {row["embedding_profile"] for row in rows} == {new}
    # and back: the old vectors are still there
    project.configure()
    assert project.run().chunks == []
    rows = project.read_json("meta/meta.json")["tracks"].values()
    assert {row["embedding_profile"] for row in rows} == {old}
