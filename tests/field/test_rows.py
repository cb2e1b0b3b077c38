"""The reports that take processes: each is tried by tests that are there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.field.rows import ROWS, Row

TESTS = Path(__file__).parents[1]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_the_tests_of_a_report_are_there(row: Row) -> None:
    assert row.tests
    for named in row.tests:
        file, _, test = named.partition("::")
        tree = ast.parse((TESTS / file).read_text())
        assert test in {node.name for node in ast.walk(tree) if isinstance(node, FUNCTIONS)}
    assert row.id in row.told()
