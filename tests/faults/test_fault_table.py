import re

from support.fault_table import FOLDER, PAGE, SECTIONS, make_page, read_faults


def test_the_page_is_what_the_suite_makes() -> None:
    assert PAGE.read_text(encoding="utf-8") == make_page(), (
        "docs/reliability.md differs from the suite; run: make reliability"
    )


def test_every_part_of_the_suite_is_on_the_page() -> None:
    found = {path.name for path in FOLDER.glob("test_*.py")} - {"test_fault_table.py"}
    assert found == set(SECTIONS)
    assert all(read_faults(FOLDER / name) for name in SECTIONS)


def test_the_security_page_names_tests_that_exist() -> None:
    text = (PAGE.parent / "security.md").read_text(encoding="utf-8")
    paths = FOLDER.parent.glob("*/test_*.py")
    sources = {path.name: path.read_text(encoding="utf-8") for path in paths}
    named = set(re.findall(r"`(?:tests/\w+/)?(test_\w+(?:\.py)?)`", text))
    files = {name for name in named if name.endswith(".py")}
    assert files <= sources.keys()
    tests = {name for name in named if not name.endswith(".py")}
    assert len(tests) > 15
    assert [name for name in tests if f"def {name}(" not in "".join(sources.values())] == []
