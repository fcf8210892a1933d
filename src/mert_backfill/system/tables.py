r"""Reading and writing the text files: TSV, JSON and JSON lines.

Names that are not UTF-8 keep their bytes through surrogate escapes: the raw byte in TSV,
``\udcXX`` in JSON.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mert_backfill.system.atomic import write_atomically, write_text


def write_tsv(path: Path | str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a TSV file with a header, quoted as csv and pandas read it."""
    write_text(path, format_tsv(header, rows))


def format_tsv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return the text of a TSV file; None becomes an empty field."""
    buffer = io.StringIO(newline="")
    plain = csv.writer(buffer, delimiter="\t", lineterminator="\n")
    # csv leaves a carriage return bare when lines end with \n, and a bare one ends the row
    quoted = csv.writer(buffer, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in chain([header], rows):
        bare = any(isinstance(field, str) and "\r" in field for field in row)
        (quoted if bare else plain).writerow(row)
    return buffer.getvalue()


def read_tsv(path: Path | str) -> list[dict[str, str]]:
    """Read a TSV file written by `write_tsv`: one dictionary a row."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def write_json(path: Path | str, value: object) -> None:
    r"""Write `value` atomically as indented JSON.

    Text stays readable (not ``\u`` escaped) unless it holds surrogates, which UTF-8 cannot.
    """
    write_atomically(path, lambda file: file.write(format_json(value, indent=2).encode() + b"\n"))


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises
    ------
    OSError
        It cannot be read.
    ValueError
        It is not JSON.
    """
    data = Path(path).read_bytes()
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def format_json(value: object, indent: int | None = None) -> str:
    """Return `value` as JSON that is valid UTF-8, in readable letters where it can be."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, ensure_ascii=True, indent=indent)
    return text


def write_jsonl(path: Path | str, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    write_text(path, "".join(format_json(record) + "\n" for record in records))


def read_jsonl(path: Path | str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON lines file; lines damaged by a power cut are passed over."""
    if not Path(path).exists():
        return
    with open(path, "rb") as file:
        for line in file:
            record = parse_record(line)
            if record is not None:
                yield record


def parse_record(line: bytes) -> dict[str, Any] | None:
    """Return the object of one line, or None when the line is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
