"""The table of requirements and the tests agree, both ways."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests import requirements
from tests.requirements import COVERED_BY, NOTES, REQUIREMENTS, STRUCK, TESTS, marked_tests

ROWS = {row.id: row for row in REQUIREMENTS}
TABLES = {"WS": (19, 14), "WEFT": (22, 22), "MESH": (19, 21), "FLUX": (19, 20)}


def test_every_row_of_the_four_tables_is_there_once() -> None:
    expected = [
        row
        for table, (scenarios, weaknesses) in TABLES.items()
        for row in [
            *(f"{table}-{number:02}" for number in range(1, scenarios + 1)),
            *(f"{table}-W{number}" for number in range(1, weaknesses + 1)),
        ]
    ]
    assert [row.id for row in REQUIREMENTS] == expected


def test_behaviours_are_single_sentences_of_their_own() -> None:
    behaviours = [row.behaviour for row in REQUIREMENTS]
    assert len(set(behaviours)) == len(behaviours)
    assert [text for text in behaviours if text.endswith(".") or len(text) > 130] == []


def test_a_marker_names_a_row_that_exists_and_is_required() -> None:
    named = set(marked_tests())
    assert sorted(named - set(ROWS)) == []
    assert sorted(named & set(STRUCK)) == []


def test_the_tests_listed_are_those_that_name_the_row() -> None:
    """Where this fails, the lists below are what belongs into COVERED_BY."""
    found = marked_tests()
    differing = {
        row: found.get(row, ())
        for row in sorted(set(found) | set(COVERED_BY))
        if sorted(found.get(row, ())) != sorted(COVERED_BY.get(row, ()))
    }
    lines = [f'    "{row}": {tests},' for row, tests in differing.items()]
    assert not lines, "COVERED_BY and the markers differ:\n" + "\n".join(lines)


def test_reasons_and_notes_belong_to_rows() -> None:
    assert set(STRUCK) | set(NOTES) | set(COVERED_BY) <= set(ROWS)
    assert not set(STRUCK) & set(COVERED_BY)


def test_the_count_adds_up() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.requirements"],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    covered = sum(row.state == "covered" for row in REQUIREMENTS)
    left = len(ROWS) - covered - len(STRUCK)
    assert run.stdout == (
        f"requirements: {covered} of {len(ROWS)} rows covered, {len(STRUCK)} struck, {left} open\n"
    )


# --- how markers are read ------------------------------------------------------------------------

SOURCE = """
@pytest.mark.requirement("WS-01", "WS-02")
@pytest.mark.parametrize("x", [1])
async def test_one(): ...

@pytest.mark.requirement("WS-03")
class TestGroup:
    @pytest.mark.requirement("WS-03")
    @pytest.mark.requirement("WS-04")
    def test_two(self): ...
    def test_three(self): ...
    def helper(self): ...

def test_four(): ...
"""


def test_markers_of_functions_and_classes_are_read() -> None:
    assert dict(requirements._tests_in(ast.parse(SOURCE), ())) == {
        "test_one": ("WS-01", "WS-02"),
        "TestGroup::test_two": ("WS-03", "WS-04"),
        "TestGroup::test_three": ("WS-03",),
        "test_four": (),
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("@pytest.mark.requirement(ROW)\ndef test_one(): ...", "not a row id"),
        ("pytestmark = pytest.mark.requirement('WS-01')", "belongs on a test"),
        ("@pytest.mark.requirement('WS-01')\ndef helper(): ...", "belongs on a test"),
    ],
)
def test_a_marker_that_could_be_overlooked_is_refused(source: str, message: str) -> None:
    """Otherwise a test could name a row that nobody can find."""
    with pytest.raises(ValueError, match=message):
        list(requirements._tests_in(ast.parse(source), ()))
