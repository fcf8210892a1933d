"""Messages go to the terminal in one line, and with all there is to know to the file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from mert_backfill.system.logs import configure_logging


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """Yield the root logger, and leave it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield root
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("root_logger")
def test_a_traceback_is_for_the_file_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "logs" / "x.log"
    configure_logging(log)
    try:
        raise ValueError("deep inside")
    except ValueError:
        logging.getLogger("mert_backfill").exception("internal error")
    assert capsys.readouterr().err == "internal error\n"
    text = log.read_text()
    assert "Traceback" in text
    assert "ValueError: deep inside" in text
    assert " ERROR internal error\n" in text


@pytest.mark.usefixtures("root_logger")
def test_a_log_is_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "x.log"
    for message in ("one", "two"):
        configure_logging(log)
        logging.getLogger("mert_backfill").info(message)
    assert [line.split()[-1] for line in log.read_text().splitlines()] == ["one", "two"]
    assert capsys.readouterr().err == "one\ntwo\n"


@pytest.mark.usefixtures("root_logger")
def test_a_name_that_is_not_utf8_is_escaped(tmp_path: Path) -> None:
    configure_logging(tmp_path / "x.log")
    logging.getLogger("mert_backfill").info("%s", "Beyonc\udce9.mp3")
    assert "Beyonc\\udce9.mp3" in (tmp_path / "x.log").read_text(encoding="utf-8")


@pytest.mark.usefixtures("root_logger")
def test_other_libraries_are_quiet_and_no_file_is_needed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(None)
    for name in ("transformers", "httpx"):
        assert not logging.getLogger(name).isEnabledFor(logging.WARNING)
    logging.getLogger("httpx").warning("a request was made")
    logging.getLogger("httpx").error("broken")
    assert capsys.readouterr().err == "broken\n"
