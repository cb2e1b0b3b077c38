"""The proofs themselves: no mock stands for a part, and no assertion is optional."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SCENARIOS = Path(__file__).parent

pytestmark = pytest.mark.own_store

MOCKS = ("unittest.mock", "mock", "pytest_mock", "responses", "respx", "aioresponses")


def imports(tree: ast.AST) -> Iterator[str]:
    """The names of all imported modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


# It plants faults into the gateway to see that its model finds them.
PLANTS_FAULTS = ("test_rights.py",)


@pytest.mark.requirement("WS-W1")
def test_no_test_uses_a_mock() -> None:
    for path in TESTS.rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert not set(imports(tree)) & set(MOCKS), path
        # A bound may be scaled down, by its name in capitals; nothing else is replaced.
        patched = [
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and ast.unparse(node.func) in ("monkeypatch.setattr", "monkeypatch.setitem")
            and not (isinstance(node.args[1], ast.Constant) and str(node.args[1].value).isupper())
        ]
        assert patched == [] or path.name in PLANTS_FAULTS, path


@pytest.mark.requirement("WS-W8")
def test_no_assertion_of_a_scenario_is_optional() -> None:
    """An ``assert`` below an ``if`` or an ``except`` may never be reached, and still be green."""
    for path in SCENARIOS.glob("test_*.py"):
        optional = [
            inner.lineno
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.If | ast.ExceptHandler)
            for inner in ast.walk(node)
            if isinstance(inner, ast.Assert)
        ]
        assert optional == [], path.name
