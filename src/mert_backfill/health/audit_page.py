"""The audit for people, in Markdown."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from mert_backfill.counters import LIBRARY_SUMS, ROW_SUMS, SCAN_SUMS, spell_sum
from mert_backfill.errors import visible
from mert_backfill.failures import ADVICE, Failure
from mert_backfill.health.audit import Audit
from mert_backfill.health.counts import TrackCounters
from mert_backfill.health.wording import (
    ROW_WORDS,
    SCAN_WORDS,
    TRACK_WORDS,
    explain_calibration,
    headline,
)
from mert_backfill.hints import command
from mert_backfill.store.profile import Profile
from mert_backfill.system.atomic import write_text
from mert_backfill.words import counted

MAX_SAMPLES = 25
MAX_FAILURES = 1000


def write_audit_page(
    path: Path | str,
    audit: Audit,
    profile: Profile,
    *,
    start: TrackCounters | None = None,
    now: datetime | None = None,
) -> None:
    """Write ``audit.md``.

    Parameters
    ----------
    path : path
        The page.
    audit : Audit
        The audit.
    profile : Profile
        The profile of the store.
    start : TrackCounters, optional
        The tracks before the first run, see `headline`.
    now : datetime, optional
        When the page is made; it tells local time.
    """
    invalid, stale = audit.current.invalid, audit.current.stale
    made = (now or datetime.now().astimezone()).strftime("%Y-%m-%d %H:%M")
    sections = [
        "# Audit",
        f"**{headline(audit.library, start)}**",
        f"Made on {made}. Profile: {_code(profile.name)}; model: {_code(profile.model_name)}.",
        *([f"> **Note:** {_literal(profile.note)}"] if profile.note else []),
        *_unseen_section(audit.unseen),
        "## Failures",
        *_failures_section(audit.failures),
        *_remarks_section(audit.remarks),
        *_same_sound_section(audit.same_sound),
        *_counters_sections(audit),
        "## Sums",
        "Each was checked before this page was written.",
        _sums(audit),
        *_names_section(
            "Invalid embeddings",
            "These files exist but hold no usable vector: they are damaged, or of another size "
            "than this model makes. Those of tracks in the library are made again by "
            f"{_code(command())}, unless `meta.reembed` is `none`; the files themselves stay.",
            ("file", [str(file) for file in invalid]),
        ),
        *_names_section(
            "Stale rows",
            "The library holds no file for these rows; `meta.stale_policy` decides whether they "
            f"stay. {_code(command('triage', cores=1))} finds out where their files went.",
            ("row", stale),
        ),
        *_recipes_section(audit),
        "## Where the results are",
        f"- `../meta/meta.json`: the rebuilt meta.json; {_code(command('publish', cores=1))} "
        "writes it over the live one\n"
        f"- `../embeddings/{profile.name}/`: the vectors\n"
        "- `report.html`: this page with charts\n"
        "- `progress.md`: the counters over time",
    ]
    write_text(path, "\n\n".join(sections) + "\n")


def _counters_sections(audit: Audit) -> list[str]:
    rows, library = audit.record.as_record(), audit.library.as_record()
    return [
        "## Rows of meta.json",
        _counters_table(
            ("rows", "counter", "before", "now", "difference"),
            ROW_WORDS,
            {name: (rows["baseline"][name], now) for name, now in rows["current"].items()},
        ),
        "## Tracks of the library",
        _counters_table(
            ("tracks", "counter", "before", "now", "difference"),
            TRACK_WORDS,
            {name: (library["before"][name], now) for name, now in library["now"].items()},
        ),
        "## Files, before this run",
        _counters_table(
            ("files", "counter", "number"),
            SCAN_WORDS,
            {name: (count,) for name, count in audit.summary.counts.items()},
        ),
        "Counters that are 0 throughout are left out; `audit.json` and `../gaps/summary.json` hold "
        "all of them.",
    ]


def _counters_table(
    header: Sequence[str], words: Mapping[str, str], counts: Mapping[str, tuple[int, ...]]
) -> str:
    """Return a table of counters, with the difference where each has two values."""
    return _table(
        header,
        [
            (words.get(name, ""), f"`{name}`", *values, *_difference(values))
            for name, values in counts.items()
            if any(values)
        ],
    )


def _difference(values: tuple[int, ...]) -> list[str]:
    if len(values) < 2:
        return []
    before, now = values
    return [f"{now - before:+d}" if now != before else ""]


def _sums(audit: Audit) -> str:
    rows, library = audit.record.as_record(), audit.library.as_record()
    return "\n".join(
        f"- {where}: `{spell_sum(counters, total, parts)}`"
        for where, counters, sums in (
            ("rows at the baseline", rows["baseline"], ROW_SUMS),
            ("rows now", rows["current"], ROW_SUMS),
            ("library before", library["before"], LIBRARY_SUMS),
            ("library now", library["now"], LIBRARY_SUMS),
            ("last scan", audit.summary.counts, SCAN_SUMS),
        )
        for total, parts in sums
    )


def _failures_section(failures: Sequence[Failure]) -> list[str]:
    if not failures:
        return ["None."]
    hopeless = sum(failure.permanent for failure in failures)
    left_alone = (
        f"{counted(hopeless, 'track')} failed for good and will be left alone until the file "
        f"changes (quarantined). To try again all the same: "
        f"{_code(command(config='retry_failed=true'))}. "
        if hopeless
        else ""
    )
    others = "The others are tried again by each run. " if hopeless < len(failures) else ""
    return [
        _advice_table("reason", Counter(failure.reason for failure in failures)),
        *_cut_table(
            ("track", "reason"),
            [(_cell(failure.path), f"`{failure.reason}`") for failure in failures],
            MAX_FAILURES,
        ),
        f"{left_alone}{others}All of them are in `failures.tsv`; `retry_paths.txt` is the list to "
        "hand to `paths_file`.",
    ]


def _remarks_section(remarks: Mapping[str, str]) -> list[str]:
    if not remarks:
        return []
    rows = [(_cell(path), f"`{remark}`") for path, remark in remarks.items()]
    return [
        f"## Remarks ({len(remarks):,})",
        "These tracks have their vector, but something is odd about their sound.",
        _advice_table("remark", Counter(remarks.values())),
        _table(("track", "remark"), rows),
    ]


def _same_sound_section(groups: Sequence[Sequence[str]]) -> list[str]:
    """List the files that hold one sound."""
    if not groups:
        return []
    rows = [(_cell(first), _cell(path)) for first, *others in groups for path in others]
    return [
        f"## The same sound ({counted(len(groups), 'sound')} in several files)",
        "The first 120 s of these files are the same, and so is their vector. Nothing was deleted.",
        *_cut_table(("track", "the same sound"), rows, MAX_SAMPLES),
    ]


def _unseen_section(unseen: int) -> list[str]:
    if not unseen:
        return []
    return [
        f"> **Note:** {counted(unseen, 'new vector lies', 'new vectors lie')} where Windows cannot "
        "open them, while your meta.json is one of Windows. The cure: set "
        "`meta.publish_embeddings_to` to a folder beside your meta.json, then "
        f"{_code(command('publish', cores=1))} copies them there."
    ]


def _recipes_section(audit: Audit) -> list[str]:
    """Return which recipe made the vectors, and how that is known."""
    sections = []
    if audit.calibration is not None:
        sections.append(_literal(explain_calibration(audit.calibration)))
        rows = [
            (made.recipe, made.rows, made.first, made.last, f"{made.largest_distance:.2f}")
            for made in audit.calibration.by_recipe()
        ]
        header = ("recipe", "rows", "vectors from", "to", "largest distance")
        sections += [_table(header, rows)] if rows else []
    if audit.origins:
        rows_by_origin = [(one.recipe, one.origin, one.rows) for one in audit.origins]
        sections.append(_table(("recipe", "how it is known", "rows"), rows_by_origin))
    return ["## Which recipe made the vectors", *sections] if sections else []


def _advice_table(what: str, counts: Counter[str]) -> str:
    return _table(
        (what, "tracks", "what it means", "what to do"),
        [(f"`{word}`", count, *ADVICE.get(word, ("", ""))) for word, count in counts.most_common()],
    )


def _names_section(title: str, explanation: str, column: tuple[str, Sequence[str]]) -> list[str]:
    header, names = column
    if not names:
        return []
    rows = [(_cell(name),) for name in names]
    return [f"## {title} ({len(names):,})", explanation, *_cut_table((header,), rows, MAX_SAMPLES)]


def _cut_table(header: Sequence[str], rows: Sequence[Sequence[object]], most: int) -> list[str]:
    more = [f"... and {len(rows) - most:,} more."] if len(rows) > most else []
    return [_table(header, rows[:most]), *more]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _code(text: str) -> str:
    """Return text in backticks, which leave backslashes as they are; it may hold some itself."""
    shown = visible(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _cell(text: str) -> str:
    """Return text for a table: in backticks, unless it holds a bar, which ends a cell in these."""
    return _literal(text) if "|" in text else _code(text)


def _literal(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    shown = html.escape(visible(text), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#|~$!])", r"\\\1", shown)
