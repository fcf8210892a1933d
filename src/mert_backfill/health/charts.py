"""The charts of the report: Vega-Lite specifications, drawn to SVG.

They are drawn here and not in the browser, so that the page shows them without a script. Colours
are names of the page's palette, and follow its light and dark.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

import vl_convert

from mert_backfill.errors import visible
from mert_backfill.health.counts import LibraryCounters, TrackCounters
from mert_backfill.health.coverage import FolderCoverage, extension, shown_places
from mert_backfill.health.history import HistoryEntry
from mert_backfill.records.tracks import TrackRow
from mert_backfill.results import CHARTS

# name of a colour: the light one, the dark one
PALETTE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "page": ("#f6f4f0", "#14161a"),
        "card": ("#fffefb", "#1c1f24"),
        "text": ("#24282e", "#e8e5df"),
        "quiet": ("#666c75", "#9da2ab"),
        "line": ("#e4e0d8", "#31353c"),
        "embedded": ("#2f7f79", "#55b3a9"),
        "failed": ("#cf9429", "#e2b355"),
        "quarantined": ("#b9563f", "#e0806a"),
        "open": ("#c9c6bf", "#565b64"),
        "before": ("#9fc4c0", "#35625e"),
        "note": ("#fbf0d3", "#3a3116"),
        "note-text": ("#5e4708", "#f2dca0"),
    }
)
# what a track can be: the part of the library's counters, and its name on the page
OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        "embedded": "embedded",
        "failed": "failed, tried again",
        "quarantined": "failed for good",
        "open": "open",
    }
)
WIDTH = 400  # also what a phone shows, so that its letters stay readable
MAX_BARS = 12
MAX_POINTS = 60  # of a curve; with more they would hide it
_MIN_SHARE = 0.5  # percent; so that one failure among 100,000 tracks can be seen
_LENGTHS = {10: "to 10 s", 30: "to 30 s", 60: "to 1 min", 80: "to 80 s", 119.9: "to 2 min"}
_LONGEST = "2 min on"
_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
_SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = frozenset({"svg", "g", "path", "text", "line", "rect"})
_ATTRIBUTES = frozenset(
    {
        *("width", "height", "viewBox", "transform", "d", "x", "x2", "y", "y2", "dy"),
        *("fill", "fill-opacity", "opacity", "stroke", "stroke-opacity", "stroke-width"),
        *("stroke-dasharray", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit"),
        *("font-family", "font-size", "font-weight", "text-anchor"),
    }
)


@dataclass(frozen=True)
class Chart:
    """A chart of the report.

    Attributes
    ----------
    name : str
        Of its file; one of `CHARTS`.
    caption : str
        What it shows.
    spec : mapping
        Vega-Lite, without size of letters and the like.
    """

    name: str
    caption: str
    spec: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What it is called."""
        return CHARTS[self.name]


@dataclass(frozen=True)
class Segment:
    """A part of a bar; `start` and `end` in percent."""

    outcome: str
    count: int
    start: float
    end: float


def draw(chart: Chart) -> str:
    """Return a chart as SVG with the palette's names as colours.

    What a name in it may have brought is not taken over: only shapes and text are.
    """
    spec = {"width": WIDTH, **chart.spec, "config": _CONFIG}
    drawn = ElementTree.fromstring(vl_convert.vegalite_to_svg(spec))
    root = _cleaned(drawn)
    root.attrib.update({"role": "img", "aria-label": visible(f"{chart.title}. {chart.caption}")})
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode")


def in_light(svg: str) -> str:
    """Return a chart with light colours, for a file of its own."""
    return re.sub(r"var\(--([\w-]+)\)", lambda match: PALETTE[match[1]][0], svg)


def gap_chart(library: LibraryCounters) -> Chart:
    """Return what the tracks were at the baseline, and what they are now."""
    before, now = library.before.as_record(), library.now.as_record()
    labels = {
        outcome: f"{label}: {before[outcome]:,} before, {now[outcome]:,} now"
        for outcome, label in OUTCOMES.items()
        if before[outcome] or now[outcome]
    }
    rows = [
        {"when": when, "label": labels[part.outcome], "start": part.start, "end": part.end}
        for when, tracks in (("before", library.before), ("now", library.now))
        for part in stack_bar(tracks)
    ]
    spec = {
        "data": {"values": rows},
        "height": {"step": 40},
        "mark": {"type": "bar", "height": 26},
        "encoding": {
            "y": {"field": "when", "type": "nominal", "sort": ["before", "now"], **_NAMES},
            "x": {"field": "start", "type": "quantitative", "axis": None},
            "x2": {"field": "end"},
            "color": _colours(labels, columns=1),
        },
    }
    caption = f"{now['embedded']:,} of {now['tracks']:,} tracks have a vector."
    return Chart("gap", caption, spec)


def stack_bar(tracks: TrackCounters) -> list[Segment]:
    """Return a stacked bar of the library's counters; no part that exists is too thin to see."""
    counters = tracks.as_record()
    counts = {outcome: counters[outcome] for outcome in OUTCOMES if counters[outcome]}
    shares = {
        outcome: max(_MIN_SHARE, 100 * count / counters["tracks"])
        for outcome, count in counts.items()
    }
    scale = 100 / sum(shares.values()) if shares else 0
    segments, start = [], 0.0
    for outcome, share in shares.items():
        end = start + share * scale
        segments.append(Segment(outcome, counts[outcome], start, end))
        start = end
    return segments


def progress_chart(history: Sequence[HistoryEntry]) -> Chart:
    """Return the embedded tracks after each entry, with the start before the first.

    Runs are evenly spaced: hours of work and weeks of pause would else hide each other.
    """
    counts = [history[0].library.before.embedded]
    counts += [entry.library.now.embedded for entry in history]
    last, top = len(history), max(1, *(entry.library.now.tracks for entry in history))
    x = {
        "field": "run",
        "type": "quantitative",
        "scale": {"domain": [0, last], "nice": False},
        "axis": {
            "values": [0, last],
            "labelExpr": f"datum.value == 0 ? 'before' : '{_day(history[-1].when)}'",
            "labelFlush": True,
            "grid": False,
            "ticks": False,
        },
    }
    y = {
        "field": "tracks",
        "type": "quantitative",
        "scale": {"domain": [0, top], "nice": False},
        "axis": {"tickCount": 4, "format": ",d", "ticks": False},
    }
    line = {"type": "line", "color": _css("embedded"), "strokeWidth": 2.5}
    spec = {
        "data": {"values": [{"run": run, "tracks": count} for run, count in enumerate(counts)]},
        "height": 170,
        "encoding": {"x": x, "y": y},
        "layer": [
            {"mark": {"type": "area", "color": _css("embedded"), "opacity": 0.15}},
            {"mark": line},
            *([{"mark": _POINT}] if last <= MAX_POINTS else []),
        ],
    }
    runs = "1 run" if last == 1 else f"{last:,} runs"
    return Chart("progress", f"Tracks with a vector after {runs}.", spec)


def coverage_chart(folders: Sequence[FolderCoverage]) -> Chart:
    """Return the folders with the largest gaps, and how much of each has its vectors."""
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row, place in zip(folders, shown_places([row.place for row in folders]), strict=True):
        sums[place].update({name: getattr(row, name) for name in ("tracks", *OUTCOMES)})
    gaps = sorted(sums.items(), key=lambda item: item[1]["embedded"] - item[1]["tracks"])
    labels = {outcome: label for outcome, label in OUTCOMES.items() if outcome != "embedded"}
    labels = {"embedded": "embedded", **labels}
    rows = [
        {"folder": visible(place), "label": labels[outcome], "tracks": counts[outcome], "rank": i}
        for place, counts in gaps[:MAX_BARS]
        for i, outcome in enumerate(labels)
        if counts[outcome]
    ]
    used = {row["label"] for row in rows}
    order = [visible(place) for place, _ in gaps[:MAX_BARS]]
    spec = _bars(
        rows,
        name="folder",
        order=order,
        value="tracks",
        colour=_colours({o: text for o, text in labels.items() if text in used}, columns=3),
    )
    more = len(gaps) - MAX_BARS
    caption = "Tracks by folder, the largest gaps first"
    caption += f"; {more:,} more folders are in the table below." if more > 0 else "."
    return Chart("coverage", caption, spec)


def formats_chart(folders: Sequence[FolderCoverage]) -> Chart:
    """Return how many tracks there are of each format."""
    sums: Counter[str] = Counter()
    for row in folders:
        sums[visible(row.format)] += row.tracks
    rows = [{"format": name, "tracks": count} for name, count in sums.most_common(MAX_BARS)]
    spec = _bars(
        rows,
        name="format",
        order=[name for name, _ in sums.most_common(MAX_BARS)],
        value="tracks",
        colour={"value": _css("embedded")},
    )
    return Chart("formats", "Tracks of each format in the library.", spec)


def lengths_chart(tracks: Sequence[TrackRow]) -> Chart:
    """Return how long the tracks are that were decoded here."""
    counts: Counter[str] = Counter()
    for track in tracks:
        if track.duration_s is not None:
            name = next((text for top, text in _LENGTHS.items() if track.duration_s < top), None)
            counts[name or _LONGEST] += 1
    order = [*_LENGTHS.values(), _LONGEST]
    rows = [{"length": name, "tracks": counts[name]} for name in order]
    x = {
        "field": "length",
        "type": "nominal",
        "sort": order,
        "axis": {"labelAngle": 0, "ticks": False, "title": None},
    }
    y = {"field": "tracks", "type": "quantitative", "axis": None}
    spec = {
        "data": {"values": rows},
        "height": 150,
        "encoding": {"x": x, "y": y},
        "layer": [
            {"mark": {"type": "bar", "color": _css("embedded"), "width": {"band": 0.72}}},
            {
                "mark": {"type": "text", "dy": -8},
                "encoding": {"text": {"field": "tracks", "type": "quantitative", "format": ",d"}},
            },
        ],
    }
    return Chart("lengths", "Tracks by what was heard of them: 2 minutes at most.", spec)


def time_chart(tracks: Sequence[TrackRow]) -> Chart:
    """Return how long a track of each format takes to decode, and to pass the model."""
    steps = {"before": "decoding", "embedded": "model"}
    sums: defaultdict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    for track in tracks:
        if track.status == "embedded":
            entry = sums[visible(extension(track.path))]
            entry[0] += 1
            entry[1] += track.seconds_decode
            entry[2] += track.seconds_embed
    slowest = sorted(sums, key=lambda name: -(sums[name][1] + sums[name][2]) / sums[name][0])
    rows = [
        {"format": name, "label": step, "seconds": sums[name][i + 1] / sums[name][0], "rank": i}
        for name in slowest[:MAX_BARS]
        for i, step in enumerate(steps.values())
    ]
    spec = _bars(
        rows,
        name="format",
        order=slowest[:MAX_BARS],
        value="seconds",
        colour=_colours(steps, columns=2),
        number=".2f",
    )
    decode, embed = (sum(entry[i] for entry in sums.values()) for i in (1, 2))
    share = f"{100 * embed / (decode + embed):.0f} %" if decode + embed else "nothing"
    caption = f"Seconds for a track, by format. The model took {share} of the work."
    return Chart("time", caption, spec)


def _css(name: str) -> str:
    return f"var(--{name})"


_NAMES: dict[str, Any] = {"axis": {"title": None, "ticks": False, "labelLimit": 140}}
_POINT: dict[str, Any] = {
    "type": "point",
    "filled": True,
    "color": _css("embedded"),
    "opacity": 1,
    "size": 36,
}
_CONFIG: dict[str, Any] = {
    "background": None,
    "font": _FONT,
    "autosize": {"type": "fit-x", "contains": "padding"},
    "view": {"stroke": None},
    "text": {"color": _css("quiet"), "fontSize": 12},
    "axis": {
        "title": None,
        "domain": False,
        "gridColor": _css("line"),
        "labelColor": _css("quiet"),
        "labelFontSize": 12,
        "labelPadding": 6,
    },
    "legend": {
        "title": None,
        "orient": "bottom",
        "labelColor": _css("quiet"),
        "labelFontSize": 12,
        "labelLimit": 380,
        "symbolType": "square",
        "symbolStrokeWidth": 0,
        "rowPadding": 4,
    },
}


def _colours(labels: Mapping[str, str], columns: int) -> dict[str, Any]:
    """Return a scale of the palette's colours: name of a colour to its words."""
    return {
        "field": "label",
        "type": "nominal",
        "scale": {"domain": list(labels.values()), "range": [_css(name) for name in labels]},
        "legend": {"columns": columns},
    }


def _bars(
    rows: Sequence[Mapping[str, Any]],
    *,
    name: str,
    order: Sequence[str],
    value: str,
    colour: Mapping[str, Any],
    number: str = ",d",
) -> dict[str, Any]:
    """Return stacked bars that lie, with their sums at the ends."""
    y = {"field": name, "type": "nominal", "sort": list(order), **_NAMES}
    x = {"field": value, "type": "quantitative", "axis": None}
    bar = {
        "mark": {"type": "bar", "height": {"band": 0.66}},
        "encoding": {"color": colour, "order": {"field": "rank", "type": "quantitative"}},
    }
    text = {
        "mark": {"type": "text", "align": "left", "dx": 6},
        "encoding": {
            "x": {**x, "aggregate": "sum"},
            "text": {"field": value, "type": "quantitative", "aggregate": "sum", "format": number},
        },
    }
    return {
        "data": {"values": list(rows)},
        "height": {"step": 24},
        "encoding": {"x": x, "y": y},
        "layer": [bar, text],
    }


def _day(when: str) -> str:
    return f"{datetime.fromisoformat(when).astimezone():%d %b %Y}".lstrip("0")


def _cleaned(element: ElementTree.Element) -> ElementTree.Element:
    kept = {name: text for name, text in element.attrib.items() if name in _ATTRIBUTES}
    clean = ElementTree.Element(element.tag, kept)
    clean.text = element.text
    for child in element:
        if child.tag.removeprefix(f"{{{_SVG}}}") in _ELEMENTS:
            clean.append(_cleaned(child))
    return clean
