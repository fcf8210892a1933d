"""The report in a real browser, without a network.

Set up once: ``apt install chromium chromium-driver``, as Debian calls them, and selenium, which
requirements-dev.txt pins. Skipped where one of them is missing, and in CI.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.errors import visible
from mert_backfill.health.report import write_report
from mert_backfill.health.report_map import read_atlas
from mert_backfill.library.roots import Root
from mert_backfill.records.atlas import AtlasTrack, read_neighbors
from mert_backfill.results import Results
from support.atlases import a_track, write_atlas
from support.report_inputs import HOSTILE, failure, report_inputs, track

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    bool(os.environ.get("CI")) or not (CHROMIUM and DRIVER),
    reason="no browser here: apt install chromium chromium-driver",
)
webdriver = pytest.importorskip("selenium.webdriver")
WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait

TRACKS = 60
YEARS = [None if number % 5 else 1980 + number for number in range(TRACKS)]
FAILURES = 130
AWKWARD = 'Zoë "Ü" <b>Lumière</b> & \u202eevil \udcff – 東京'


@dataclass(frozen=True)
class Browser:
    """A browser that shows the report."""

    driver: Any
    results: Results

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        return [found.text for found in self.driver.find_elements("css selector", selector)]

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def type(self, selector: str, text: str) -> None:
        """Type a text, in place of the one that is there."""
        self.run(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'));",
            self.find(selector),
            text,
        )

    def console(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


def tracks() -> list[AtlasTrack]:
    """Return tracks of two folders and two formats, one with an awkward name."""
    return [
        a_track(
            f"/music/{('House', 'Techno')[number % 2]}/{number}.{('mp3', 'flac')[number % 3 == 0]}",
            None if number else "Vik",
            f"Song {number}" if number else AWKWARD,
        )
        for number in range(TRACKS)
    ]


def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((TRACKS, 16)).astype(np.float32)


def page(results: Results) -> None:
    write_atlas(results, tracks(), vectors(), years=YEARS)
    failures = [failure(f"/m/{number}.mp3", attempts=number) for number in range(FAILURES)]
    new = [track(number, track_id=tracks()[number].track_id) for number in range(9)]
    inputs = report_inputs(
        failures=[*failures, failure()],
        tracks=new,
        roots=[Root("main", Path("/music"))],
        atlas=read_atlas(results),
    )
    write_report(results, inputs)


def start() -> Any:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1200,1600"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(DRIVER))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    results = Results(tmp_path_factory.mktemp("report"))
    page(results)
    driver = start()
    try:
        shown = Browser(driver, results)
        driver.get(results.report.as_uri())
        WebDriverWait(driver, 60).until(lambda _: shown.texts("#map[data-ready]"))
        yield shown
    finally:
        driver.quit()


def test_nothing_is_asked_for_and_nothing_complains(browser: Browser) -> None:
    assert browser.console() == []
    log = browser.driver.get_log("performance")
    events = [json.loads(entry["message"])["message"] for entry in log]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert asked == [browser.results.report.as_uri()]


def test_charts_and_map_are_drawn(browser: Browser) -> None:
    sizes = browser.run(
        "return [...document.querySelectorAll('figure svg, #map canvas')].map("
        "(drawing) => [drawing.clientWidth, drawing.clientHeight]);"
    )
    assert len(sizes) == 7
    assert all(width > 200 and height > 30 for width, height in sizes)
    coloured = browser.run(
        "const map = document.querySelector('#map canvas');"
        "const { data } = map.getContext('2d').getImageData(0, 0, map.width, map.height);"
        "return data.filter((value, place) => place % 4 === 3 && value > 0).length;"
    )
    assert coloured > 10 * TRACKS


def test_search_finds_a_track_with_an_awkward_name(browser: Browser) -> None:
    """Accents and case are not asked for, and what the name holds is text."""
    browser.type("#map-search", "zoe u lumiere 東京")
    (name,) = browser.texts("#map-found .file")
    assert name == 'Vik – Zoë "Ü" <b>Lumière</b> & \\u202eevil \\udcff – 東京'
    assert browser.run("return document.querySelector('#map b')") is None
    browser.type("#map-search", "no such track")
    assert browser.texts("#map-found li") == ["No track is called so."]


def test_the_nearest_are_those_of_the_table(browser: Browser) -> None:
    browser.type("#map-search", "Song 7")
    assert browser.texts("#map-found .file")[0] == "Song 7"
    browser.find("#map-found button").click()
    chosen = browser.find("#map-track").get_dom_attribute("data-track")
    assert chosen == tracks()[7].track_id
    shown = browser.run(
        "return [...document.querySelectorAll('.near li')].map("
        "(item) => [item.dataset.track, item.querySelector('.cosine').textContent]);"
    )
    table = read_neighbors(browser.results, chosen)[:10]
    assert shown == [[other, f"{round(cosine, 3):.3f}"] for _, other, cosine in table]


def test_a_click_on_a_point_chooses_its_track(browser: Browser) -> None:
    data = browser.run("return JSON.parse(document.getElementById('map-data').textContent)")
    browser.find("#map-zoom button:last-child").click()
    # the rightmost one lies by itself, at the edge of what is shown
    index = max(range(TRACKS), key=lambda place: data["x"][place])
    place = browser.run(
        "const [x, y, data] = [arguments[0], arguments[1], arguments[2]];"
        "const view = document.getElementById('map-view');"
        "view.scrollIntoView({ block: 'center' });"
        "const box = view.getBoundingClientRect();"
        "const middle = (values) => (Math.min(...values) + Math.max(...values)) / 2;"
        "const wide = (values) => Math.max(...values) - Math.min(...values);"
        "const scale = 1.08 * Math.max(wide(data.x) / box.width, wide(data.y) / box.height);"
        "return [(x - middle(data.x)) / scale, (middle(data.y) - y) / scale];",
        data["x"][index],
        data["y"][index],
        data,
    )
    actions = webdriver.ActionChains(browser.driver)
    view = browser.find("#map-view")
    actions.move_to_element_with_offset(view, *map(round, place)).click().perform()
    assert browser.find("#map-track").get_dom_attribute("data-track") == data["ids"][index]
    assert browser.find("#map-hint .file").text == data["names"][index]


def test_each_colouring_has_its_legend(browser: Browser) -> None:
    assert browser.texts("#map-colour option") == ["folder", "format", "year", "status"]
    for name, labels in (
        ("format", ["mp3", "flac"]),
        ("year", ["2030s", "2020s", "2010s", "2000s", "1990s", "1980s", "unknown"]),
        ("status", ["from before", "new"]),
        ("folder", ["House", "Techno"]),
    ):
        browser.find(f"#map-colour option[value={name}]").click()
        assert browser.texts("#map-legend li") == labels


def test_sorting_and_searching_a_table(browser: Browser) -> None:
    def attempts() -> list[str]:
        return browser.texts("#failures td:nth-child(6)")

    assert browser.find("#failures output").text == f"1–50 of {FAILURES + 1}"
    head = browser.find("#failures th:nth-child(6) button")
    head.click()
    assert attempts()[:4] == ["0", "1", "2", "2"]
    head.click()
    assert attempts()[:2] == [str(FAILURES - 1), str(FAILURES - 2)]
    assert browser.find("#failures th:nth-child(6)").get_dom_attribute("aria-sort") == "descending"
    browser.find("#failures .pages button:last-child").click()
    assert attempts()[0] == str(FAILURES - 51)
    browser.type("#failures input", "ALERT(1) 東京")
    assert browser.find("#failures output").text == "0"
    browser.type("#failures input", "alert(1)")
    (name,) = browser.texts("#failures .name")
    assert name.replace("\n", "") == visible(HOSTILE)
    browser.type("#failures input", "")


def test_a_phone_shows_why_a_song_failed_without_scrolling_sideways(browser: Browser) -> None:
    browser.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 400, "height": 850, "deviceScaleFactor": 2, "mobile": True},
    )
    try:
        wide = browser.run("return document.documentElement.scrollWidth")
        assert wide <= 400
        reason = browser.find("#failures tbody tr td:nth-child(2)").rect
        assert 0 <= reason["x"] < reason["x"] + reason["width"] <= 400
        assert "not music" in browser.find("#failures tbody tr td:nth-child(2)").text
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_console_stays_empty(browser: Browser) -> None:
    assert browser.console() == []
