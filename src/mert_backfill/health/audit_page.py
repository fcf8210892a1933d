"""The audit for people, in Markdown."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mert_backfill.counters import LIBRARY_SUMS, ROW_SUMS, SCAN_SUMS, spell_sum
from mert_backfill.errors import visible
from mert_backfill.failures import ADVICE, Failure
from mert_backfill.health.audit import Audit
from mert_backfill.health.wording import headline
from mert_backfill.hints import command
from mert_backfill.store.profile import Profile
from mert_backfill.system.atomic import write_text

MAX_SAMPLES = 25


def write_audit_page(path: Path | str, audit: Audit, profile: Profile) -> None:
    """Write ``audit.md``.

    Parameters
    ----------
    path : path
        The page.
    audit : Audit
        The audit.
    profile : Profile
        The profile of the store.
    """
    invalid, stale = audit.current.invalid, audit.current.stale
    sections = [
        "# Audit",
        f"**{headline(audit.library)}**",
        f"Profile: {_literal(profile.name)}; model: {_literal(profile.model_name)}.",
        *([f"> **Note:** {_literal(profile.note)}"] if profile.note else []),
        *_counters_sections(audit),
        "## Sums",
        "Each was checked before this page was written.",
        _sums(audit),
        "## Failures",
        *_failures_section(audit.failures),
        *_remarks_section(audit.remarks),
        *_names_section(
            "Invalid embeddings",
            "These files exist but hold no usable vector, and an existing embedding is never "
            f"replaced. The cure: delete them, and run {_code(command())}.",
            ("file", [str(file) for file in invalid]),
        ),
        *_names_section(
            "Stale rows",
            "The library holds no file for these rows; `meta.stale_policy` decides whether they "
            "stay.",
            ("row", stale),
        ),
        "## Where the results are",
        f"- `../meta/meta.json`: the rebuilt meta.json; {_code(command('publish', cores=1))} "
        "writes it over the live one\n"
        f"- `../embeddings/{profile.name}/`: the vectors\n"
        "- `report.html`: this page with charts\n"
        "- `progress.md`: the counters over time",
    ]
    write_text(path, "\n\n".join(sections) + "\n")


def _counters_sections(audit: Audit) -> list[str]:
    rows = audit.record.as_record()
    library = audit.library.as_record()
    return [
        "## Rows of meta.json",
        _table(
            ("counter", "baseline", "now", "difference"),
            [
                (f"`{name}`", rows["baseline"][name], now, f"{rows['delta'][name]:+d}")
                for name, now in rows["current"].items()
            ],
        ),
        "`failed_total` counts every unresolved failure, `quarantined_total` those among them "
        "that are not tried again while the file is unchanged.",
        "## Tracks of the library",
        _table(
            ("tracks", "before", "now"),
            [(f"`{name}`", library["before"][name], now) for name, now in library["now"].items()],
        ),
        "## Last scan",
        _table(
            ("counter", "files"),
            [(f"`{name}`", count) for name, count in audit.summary.counts.items()],
        ),
    ]


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
    return [
        _advice_table("reason", Counter(failure.reason for failure in failures)),
        "All of them are in `failures.tsv`; `retry_paths.txt` is the list to hand to `paths_file`.",
    ]


def _remarks_section(remarks: Mapping[str, str]) -> list[str]:
    if not remarks:
        return []
    rows = [(f"`{remark}`", _literal(path)) for path, remark in remarks.items()]
    return [
        f"## Remarks ({len(remarks):,})",
        "These tracks have their embedding, but something is odd about their sound.",
        _advice_table("remark", Counter(remarks.values())),
        _table(("remark", "file"), rows),
    ]


def _advice_table(what: str, counts: Counter[str]) -> str:
    return _table(
        (what, "tracks", "what it means", "what to do"),
        [(f"`{word}`", count, *ADVICE.get(word, ("", ""))) for word, count in counts.most_common()],
    )


def _names_section(title: str, explanation: str, column: tuple[str, Sequence[str]]) -> list[str]:
    header, names = column
    if not names:
        return []
    table = _table((header,), [(_literal(name),) for name in names[:MAX_SAMPLES]])
    more = [f"... and {len(names) - MAX_SAMPLES:,} more."] if len(names) > MAX_SAMPLES else []
    return [f"## {title} ({len(names):,})", explanation, table, *more]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _code(text: str) -> str:
    """Return text in backticks, of which it may hold some itself."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _literal(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    shown = html.escape(visible(text), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#|~$!])", r"\\\1", shown)
