"""Every case of the field: what is seen has to be what is right."""

from __future__ import annotations

import re

import pytest

from tests.field.__main__ import CASES, line
from tests.field.case import Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_report_of_the_field_is_right_here(case: Case) -> None:
    """Each was seen by somebody, somewhere, and was wrong here or there."""
    assert case.run() == case.right, f"{case.report}: {case.title}"


def test_every_case_has_its_own_id_and_names_its_report() -> None:
    ids = [case.id for case in CASES]
    assert len(set(ids)) == len(ids)
    for case in CASES:
        assert re.fullmatch(r"[FN]\d\d[a-z]?", case.id)
        assert case.report == "neighbour" or re.search(r"#\d+", case.report), case.id
        assert case.right != case.was


def test_a_line_tells_id_report_was_and_is() -> None:
    case = Case("F99", "a/b#1", "a title", "was wrong", "is right", lambda: "is wrong")
    assert line(case, "is wrong") == "WRONG  F99   a/b#1  a title\n         was  was wrong\n" + (
        "         is   is wrong\n         not  is right"
    )
    assert line(case, "is right").startswith("right  F99 ")
