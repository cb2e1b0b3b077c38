"""Imports between the rooms point one way; the contracts are in pyproject.toml."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INSIDE = "Inside execution"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    # In a process of its own, since it imports what it finds by name.
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--no-logo"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The house, to be spoiled."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("gateway", "event_schemas"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_between_the_rooms_point_one_way() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("path", "line", "contract"),
    [
        ("gateway/domain/errors.py", "import gateway.ports", "Rooms import downwards only"),
        ("gateway/stores/__init__.py", "import gateway.execution", "Rooms import downwards only"),
        ("gateway/execution/__init__.py", "import gateway.client", "Rooms import downwards only"),
        ("gateway/attempts/__init__.py", "import gateway.stores", "Rooms import downwards only"),
        ("gateway/worker/__init__.py", "import gateway.transports", "Rooms import downwards only"),
        ("gateway/values.py", "import gateway.attempts", "Rooms import downwards only"),
        (
            "gateway/execution/record/intake.py",
            "import gateway.execution.tasks",
            "Inside execution",
        ),
        (
            "gateway/execution/guards/__init__.py",
            "import gateway.execution.tasks",
            "Inside execution",
        ),
        (
            "gateway/execution/tasks/__init__.py",
            "import gateway.execution.holders",
            "Inside execution",
        ),
        (
            "gateway/execution/holders/__init__.py",
            "import gateway.execution.node",
            "Inside execution",
        ),
        (
            "gateway/execution/handlers/__init__.py",
            "import gateway.execution.node",
            "Inside execution",
        ),
        ("gateway/execution/somebody.py", "", INSIDE),
        ("gateway/execution/__init__.py", "import gateway.stores", "The log is known by its port"),
        ("gateway/worker/__init__.py", "import gateway.execution", "A worker decides nothing"),
        ("gateway/utils.py", "", "every room is listed"),
        ("gateway/client/__init__.py", "import gateway.ports", "The client knows the wire"),
        ("gateway/protocol/__init__.py", "import asyncio", "Nothing below the ports waits"),
        ("gateway/domain/failure.py", "import orjson", "Nothing below the ports waits"),
        ("gateway/stores/__init__.py", "import event_schemas", "Only those who write"),
        ("event_schemas/__init__.py", "import gateway.domain", "The event schemas are documents"),
        ("gateway/app/__init__.py", "import pybreaker", "One file knows pybreaker"),
        ("gateway/transports/hub.py", "import prometheus_client", "One file knows the client of"),
        ("gateway/transports/mcp.py", "import mcp_types", "One file knows the MCP SDK"),
    ],
)
def test_an_import_that_points_the_wrong_way_is_found(
    copied: Path, path: str, line: str, contract: str
) -> None:
    """A contract that nothing can break would be no contract."""
    with (copied / path).open("a") as module:
        module.write(f"\n{line}\n")
    result = lint_imports(copied)
    assert result.returncode == 1, result.stderr
    broken = [text for text in result.stdout.splitlines() if " BROKEN" in text]
    assert [text for text in broken if contract in text], result.stdout
