"""Config files: what is wrong with their YAML is told with line and cure."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mert_backfill.config_file import check_config_files, read_config_file
from mert_backfill.errors import UserError
from support.checks import refusal

# the same examples every time, and no clock: the machine may be busy
LAW = settings(derandomize=True, deadline=None, max_examples=200)
NO_CURLY = "in the {...} that begins here a comma or the closing } is missing"
NO_SQUARE = "in the [...] that begins here a comma or the closing ] is missing"
INDENTATION = "the indentation fits nothing above"
COLON = "a colon too many, or wrong indentation"
SINGLE = "single quotes, as in 'C:\\Users\\me\\Music'"

MISTAKES: dict[str, tuple[str, int, str]] = {
    "a tab": ("library:\n\troots: []\n", 2, "a tab; indent with spaces"),
    "a tab after spaces": ("a:\n  b: 1\n  \tc: 2\n", 3, "a tab; indent with spaces"),
    "no comma": ("library:\n  roots:\n    - {name: a path: b}\n", 3, NO_CURLY),
    "no comma between lines": ("a: {\n  b: 1\n  c: 2\n}\n", 1, NO_CURLY),
    "an open {": ("chunking: {size: 5\n", 1, NO_CURLY),
    "an open [": ("a:\n  b: [.mp3, .wav\nc:\n  d: x\n", 2, NO_SQUARE),
    "a comma too many": ("a: [b, , c]\n", 1, "a value or a closing bracket is missing"),
    "a backslash": ('a:\n  path: "C:\\Users\\me"\n', 2, SINGLE),
    "a backslash that YAML understands": ('a:\n  - {to: /x, from: "D:\\New"}\n', 2, SINGLE),
    "an open quote": ('a:\n  b: "abc\n  c: x\n', 2, "the quote that begins here is not closed"),
    "a quote in quotes": ("a:\n  b: 'it's'\n", 2, "something follows a closing quote"),
    "less indentation": ("a:\n  b:\n    - x\n   - y\n", 4, INDENTATION),
    "more indentation": ("a:\n  - name: b\n   path: c\n", 3, INDENTATION),
    "two colons": ("model: name: x\n", 1, COLON),
    "no space": ("a:\n  b:c\n  d: e\n", 2, "a space is missing after the colon"),
    "a glob": ("a: *.tmp\n", 1, "a value that begins with * must be in single quotes"),
    "a star": ("a: *x\n", 1, "a value that begins with * must be in single quotes"),
    "an @": ("a:\n  b: @x\n", 2, "a value that begins with @ must be in single quotes"),
    "a tag": ("a: !!python/x y\n", 1, "a value that begins with ! must be in single quotes"),
    "a section twice": (
        "a:\n  b: 1\nc: 2\na:\n  d: 3\n",
        4,
        "a stands here a second time, after line 1; put both together",
    ),
    "a key twice": ("a:\n  - b: 1\n    b: 2\n", 3, "b stands here a second time, after line 2"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_file_line_and_cure(tmp_path: Path, mistake: str) -> None:
    text, line, told = MISTAKES[mistake]
    path = tmp_path / "my.yaml"
    path.write_text(text, encoding="utf-8")
    found = refusal(lambda: read_config_file(path))
    assert found.startswith(f"config: {path}, line {line}: ")
    assert told in found


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: caf\xe9\n", "not in UTF-8; save it in that encoding"),
        (b"\xff\xfea\x00", "not in UTF-8; save it in that encoding"),
        (b"a: \x00\n", "no YAML: unacceptable character"),
        (b"a: 2026-13-45\n", "no YAML: month must be in 1..12"),
        (b"", "holds nothing"),
        (b"# a: 1\n", "holds nothing"),
        (b"just text\n", "holds no `key: value`"),
        (b"- a\n", "holds no `key: value`"),
        (b"[1]", "holds no `key: value`"),
    ],
)
def test_what_is_no_config_file_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(content)
    assert refusal(lambda: read_config_file(path)).startswith(f"config: {path}: {told}")


def test_a_file_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    assert refusal(lambda: read_config_file(path)).endswith(f"no file {path}; correct the path")
    assert "cannot be read" in refusal(lambda: read_config_file(tmp_path))
    (tmp_path / "my-library.yaml").touch()
    path = tmp_path / "mylibrary.yaml"
    told = refusal(lambda: read_config_file(path))
    assert told == f"config: there is no file {path}; did you mean my-library.yaml?"
    assert "correct the path" in refusal(lambda: read_config_file(tmp_path / "no" / "my.yaml"))


def test_a_pipe_is_left_to_its_one_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    check_config_files([tmp_path / "pipe", tmp_path / "none"])
    (tmp_path / "my.yaml").write_text("a: [\n", encoding="utf-8")
    told = refusal(lambda: check_config_files([tmp_path / "pipe", tmp_path / "my.yaml"]))
    assert "my.yaml, line 2: " in told


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ('a: "C:\\\\Users"\n', "C:\\Users"),
        ("a: 'C:\\Users'\n", "C:\\Users"),
        ("a: C:\\Users\n", "C:\\Users"),
        ('a: "x\\ty"\n', "x\ty"),
        ("a: http://x\n", "http://x"),
        ("a: 1 # \ta tab\n", 1),
    ],
)
def test_what_is_right_is_read(tmp_path: Path, text: str, held: Any) -> None:
    (tmp_path / "my.yaml").write_text(text, encoding="utf-8")
    assert read_config_file(tmp_path / "my.yaml") == {"a": held}


# no colon: "C:\x1f" is taken for a Windows path, see above
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters=":"), max_size=5)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@LAW
@given(st.dictionaries(_TEXT, _VALUES, min_size=1), st.booleans())
def test_whatever_yaml_and_json_write_is_read(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], as_json: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "law.yaml"
    text = json.dumps(values, indent="\t") if as_json else yaml.safe_dump(values)
    path.write_text(text, encoding="utf-8")
    assert read_config_file(path) == values


@LAW
@given(
    st.lists(st.sampled_from([*"ab:-[]{},'\"\\\t\n\n #&*!|>%@?~", ": ", "\n  ", "- "])).map("".join)
)
def test_whatever_is_written_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "law.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        held, told = read_config_file(path), ""
    except UserError as error:
        held, told = {}, str(error)
    assert isinstance(held, dict)
    assert not told or told.startswith(f"config: {path}")
