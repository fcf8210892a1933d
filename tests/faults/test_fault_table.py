from fault_table import FOLDER, PAGE, SECTIONS, make_page, read_faults


def test_the_page_is_what_the_suite_makes() -> None:
    assert PAGE.read_text(encoding="utf-8") == make_page(), (
        "docs/reliability.md differs from the suite; run: python tests/faults/fault_table.py"
    )


def test_every_part_of_the_suite_is_on_the_page() -> None:
    found = {path.name for path in FOLDER.glob("test_*.py")} - {"test_fault_table.py"}
    assert found == set(SECTIONS)
    assert all(read_faults(FOLDER / name) for name in SECTIONS)
