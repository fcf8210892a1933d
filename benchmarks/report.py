"""The page of a large library: what it takes to draw, its size, and when a browser can use it.

A library of 13,000 tracks and one of 100,000, made by code: with a map, 1,000 failures and 2,000
folders. The browser is that of tests/browser; without one the page is drawn only. It can be used
when search, hover and zoom answer, counted from the call. Read it with the load in mind.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from mert_backfill.failures import ADVICE, Failure
from mert_backfill.health.audit import AuditRecord
from mert_backfill.health.counts import LibraryCounters, RowCounters, TrackCounters
from mert_backfill.health.coverage import FolderCoverage
from mert_backfill.health.history import HistoryEntry
from mert_backfill.health.report import ReportInputs, write_report
from mert_backfill.health.report_map import NEAREST, Atlas
from mert_backfill.library.roots import Root
from mert_backfill.recipes import CANONICAL
from mert_backfill.records.atlas import About, AtlasTrack, MapPlace
from mert_backfill.records.summary import Summary
from mert_backfill.records.tracks import TrackRow
from mert_backfill.results import Results
from mert_backfill.store.profile import Profile

SIZES = (13_000, 100_000)
GENRES = ("House", "Ambient", "Techno", "Jazz", "Drum & Bass", "Dub", "Soul", "Disco")
FORMATS = ("mp3", "mp3", "flac", "m4a", "wav")
CALLS = 3


def inputs_of(size: int) -> ReportInputs:
    """Return what the page of a library shows that does not exist."""
    rng = np.random.default_rng(0)
    groups = rng.integers(26, size=size)
    places = rng.normal(0, 6, (26, 2))[groups] + rng.normal(0, 0.8, (size, 2))
    tracks = [
        AtlasTrack(
            track_id=f"{number:020x}",
            meta_key="",
            path=f"/music/{GENRES[group % 8]}/Artist {number % 400}/{number}.{FORMATS[number % 5]}",
            artist=f"Artist {number % 400}",
            title=f"Title of Song {number}",
            duration_s=120.0,
            profile="canonical-00000000",
        )
        for number, group in enumerate(groups)
    ]
    near = rng.integers(size, size=(size, NEAREST))
    atlas = Atlas(
        about=About("canonical-00000000", meta_rebuilt="2026-11-25T12:00:00+00:00"),
        tracks=tracks,
        places={
            track.track_id: MapPlace(float(x), float(y), 1970 + number % 55)
            for number, (track, (x, y)) in enumerate(zip(tracks, places, strict=True))
        },
        neighbors=[
            (track.track_id, tracks[other].track_id, 0.9 - rank / 50)
            for track, row in zip(tracks, near, strict=True)
            for rank, other in enumerate(row)
        ],
        duplicates=[],
    )
    reasons = list(ADVICE)
    failures = [
        Failure(
            path=f"/music/{GENRES[number % 8]}/Artist {number % 400}/failed {number}.mp3",
            track_id=f"{size + number:020x}",
            chunk="part001-00000000",
            stage="decode",
            reason=reasons[number % len(reasons)],
            error="LibsndfileError: Format not recognised.",
            permanent=True,
            attempts=1,
            size_bytes=1,
            mtime_ns=1,
            timestamp="2026-11-25T12:00:00+00:00",
        )
        for number in range(1_000)
    ]
    library = LibraryCounters(
        TrackCounters(tracks=size, embedded=size // 3, open=size - size // 3),
        TrackCounters(tracks=size, embedded=size),
    )
    nothing = RowCounters()
    return ReportInputs(
        audit=AuditRecord(nothing, nothing),
        summary=Summary({"audio_files_found": size}, {}),
        history=[HistoryEntry("2026-11-25T12:00:00+00:00", nothing, nothing, library)],
        folders=[
            FolderCoverage("main", f"{GENRES[n % 8]}/Artist {n}", FORMATS[n % 5], 9, 3, 8, 0, 0, 1)
            for n in range(2_000)
        ],
        failures=failures,
        remarks={},
        tracks=[
            TrackRow(track.track_id, track.path, "embedded", 0.2, 4.0, 120.0, track.track_id)
            for track in tracks
        ],
        chunks=[],
        profile=Profile(CANONICAL, "canonical-00000000", "0" * 64, {}, 1024, 24, "none", None),
        roots=[Root("main", Path("/music"))],
        atlas=atlas,
    )


def usable_after_ms(page: Path) -> float | None:
    """Return after how long a browser can use the page (in ms), the median of a few calls."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        return None
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless=new", "no-sandbox", "disable-gpu"):
        options.add_argument(f"--{argument}")
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        times = []
        for _ in range(CALLS):
            browser.get(page.as_uri())
            (ready,) = WebDriverWait(browser, 120).until(
                lambda shown: shown.find_elements("css selector", "#map[data-ready]")
            )
            times.append(float(ready.get_dom_attribute("data-ready")))
        return median(times)
    finally:
        browser.quit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    print("| tracks | CPU s to draw | MB | usable after |\n| ---: | ---: | ---: | ---: |")
    for size in parser.parse_args().sizes:
        inputs = inputs_of(size)
        with tempfile.TemporaryDirectory() as folder:
            results = Results(Path(folder))
            start = time.process_time()
            write_report(results, inputs)
            seconds = time.process_time() - start
            megabytes = results.report.stat().st_size / 1e6
            ready = usable_after_ms(results.report)
            told = "no browser" if ready is None else f"{ready:,.0f} ms"
            print(f"| {size:,} | {seconds:.1f} | {megabytes:.1f} | {told} |", flush=True)


if __name__ == "__main__":
    main()
