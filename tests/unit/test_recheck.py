"""Rechecking sets vectors aside that were made of less sound than there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mert_backfill.audio.prepared import DecodeResult, PreparedTrack
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.failures import Reason, TrackError
from mert_backfill.health.recheck import Recheck, recheck_vectors
from mert_backfill.records.ledger import read_embedded
from mert_backfill.results import Results
from support.fakes import FakeDecoder, FakeEncoder
from support.libraries import Library


class Decoder:
    """Answers with a length (in seconds), or an error, for each name."""

    def __init__(self, **answers: float | TrackError) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def decode(self, tracks: Iterator[tuple[str, str]]) -> Iterator[DecodeResult]:
        for track_id, path in tracks:
            self.asked.append(Path(path).stem)
            answer = self.answers[Path(path).stem]
            if isinstance(answer, TrackError):
                yield DecodeResult(track_id, 0.1, None, answer)
            else:
                window = np.ones(400, np.float32)
                prepared = PreparedTrack(("core",), (window,), answer, 24000, "0" * 64)
                yield DecodeResult(track_id, 0.1, prepared, None)


def embed(library: Library, *names: str) -> Results:
    """Embed tracks, of 3 s each as far as the journal knows."""
    library.add(*names)
    job = library.job(*names)
    ChunkRun(job, FakeEncoder, FakeDecoder()).run()
    return job.results


def forget_remarks(results: Results, **changes: object) -> None:
    """Make the journals what earlier versions wrote: without remarks."""
    for journal in results.journals():
        records = [json.loads(line) for line in journal.read_text().splitlines()]
        for record in records:
            if "row" in record:
                del record["row"]["remark"]
                record["row"].update(changes)
        journal.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_vector_of_less_than_there_is_is_set_aside(tmp_path: Path) -> None:
    library = Library(tmp_path)
    results = embed(library, "whole.mp3", "short.mp3", "drm.mp3", "gone.mp3", "cloud.mp3")
    forget_remarks(results)
    locked = TrackError("decode", Reason.UNSUPPORTED_CODEC, "copy-protected")
    gone = TrackError("stat", Reason.FILE_MISSING, "no such file")
    cloud = TrackError("stat", Reason.EMPTY_FILE, "the file has no content")
    decoder = Decoder(whole=3.2, short=90.0, drm=locked, gone=gone, cloud=cloud)
    store = library.job("whole.mp3").store.vectors
    before = store.path(library.id("short.mp3")).read_bytes()
    found = recheck_vectors(results, decoder)
    path = {name: f"{library.music}/{name}.mp3" for name in ("short", "drm", "gone", "cloud")}
    assert found == Recheck(
        whole=1,
        superseded={
            path["short"]: "made of 3.0 s, of 90.0 s that there are",
            path["drm"]: "no music: unsupported_codec: copy-protected",
        },
        unread=(path["gone"], path["cloud"]),
    )
    aside = store.path(library.id("short.mp3"))
    assert not aside.exists()
    assert aside.with_name(f"{aside.name}.superseded").read_bytes() == before
    for name in ("whole.mp3", "gone.mp3", "cloud.mp3"):
        assert store.path(library.id(name)).exists()
    # those that are set aside are not asked about again
    again = Decoder(whole=3.2, gone=gone, cloud=cloud)
    assert recheck_vectors(results, again).superseded == {}
    assert again.asked == ["whole", "gone", "cloud"]


def test_what_this_version_made_is_not_decoded_again(tmp_path: Path) -> None:
    results = embed(Library(tmp_path), "a.mp3")
    decoder = Decoder()
    assert recheck_vectors(results, decoder) == Recheck(0, {}, ())
    assert decoder.asked == []


def test_noise_of_full_length_is_found_too(tmp_path: Path) -> None:
    results = embed(Library(tmp_path), "dts.mp3", "good.mp3")
    forget_remarks(results, duration_s=120.0)
    noise = TrackError("decode", Reason.UNSUPPORTED_CODEC, "its samples are a DTS stream")
    found = recheck_vectors(results, Decoder(dts=noise, good=120.0))
    assert (found.whole, len(found.superseded)) == (1, 1)


def test_the_last_vector_of_a_track_counts(tmp_path: Path) -> None:
    library = Library(tmp_path)
    results = embed(library, "a.mp3")
    forget_remarks(results)
    library.job("a.mp3").store.vectors.path(library.id("a.mp3")).unlink()
    ChunkRun(library.job("a.mp3"), FakeEncoder, FakeDecoder()).run()
    (track,) = read_embedded(results)
    assert (track.duration_s, track.remark) == (3.0, "")
    with open(results.journals()[0], "a", encoding="utf-8") as journal:
        journal.write('{"event": "embedded", "row": 1}\n{"event": "reused", "row": {}}\n{')
    assert read_embedded(results) == [track]
