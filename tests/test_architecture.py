"""Imports between the rooms point one way; the contracts are in pyproject.toml."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak import times

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


# Ways to break the contracts; a third of them, and in `make soak` all.
BREAKS = [
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
]


@pytest.mark.parametrize(("path", "line", "contract"), BREAKS[:: times(3, 1)])
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


# Who may ask what the machine's clock on the wall says, and for what. Everybody else is given the
# log's time, or asks for durations alone: a clock that is set moves nothing that is due.
WALL = {
    "gateway/app/alarm.py": "a signature has its time",
    "gateway/app/report.py": "a Retry-After may be a date",
    "gateway/app/tokens.py": "a token's end is a date",
    "gateway/app/demo/upstream.py": "shown, as the model's API does",
    "gateway/attempts/attempt.py": "a Retry-After may be a date",
    "gateway/attempts/cells.py": "a Retry-After may be a date",
    "gateway/execution/node/log_time.py": "what is shown before anything is learnt of the log",
    "gateway/execution/node/skew.py": "compares it with the log's time",
    "gateway/stores/memory.py": "where a log begins",
    "gateway/transports/access.py": "a token's end is a date",
    "gateway/transports/event_stream.py": "a token's end is a date",
    "gateway/transports/http.py": "shown by /health",
    "gateway/transports/hub.py": "without an inside, in tests, it is the log's time",
    "gateway/transports/keys.py": "compared with the date on which a token was made",
    "gateway/transports/websocket.py": "a token's end is a date",
}
# These are built on the log's time by ``execution.parts``, under the name of a clock.
GIVEN_THE_LOGS = re.compile(r"gateway/execution/(guards|handlers|holders|node|record|tasks)/")
# And these on the machine's, which is why they may not look at the wall.
GIVEN_THE_MACHINES = (
    {"Attempts", "Journal", "LogTime", "Metering", "Modes", "Monitor", "Skew", "Volume"},
    "gateway/execution/(monitor|record/journal|guards/modes|guards/volume|tasks/metering)[.]py",
)


def test_nothing_is_due_by_a_clock_that_can_be_set() -> None:
    """A first synchronisation sets it by years, a machine that was asleep by hours."""
    asked = {
        path.relative_to(ROOT).as_posix(): len(re.findall(r"\.wall\b", path.read_text()))
        for path in (ROOT / "gateway").rglob("*.py")
    }
    assert {path for path, count in asked.items() if count and not GIVEN_THE_LOGS.match(path)} | {
        path for path in WALL if "/node/" in path
    } == {*WALL} | {"gateway/execution/parts.py"}
    parts = (ROOT / "gateway/execution/parts.py").read_text()
    given = {
        call.func.id
        for call in ast.walk(ast.parse(parts))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and any(
            isinstance(argument, ast.Name) and argument.id == "machine_clock"
            for argument in (*call.args, *(keyword.value for keyword in call.keywords))
        )
    }
    names, files = GIVEN_THE_MACHINES
    assert given == names
    for path, text in ((path, (ROOT / path).read_text()) for path in asked):
        if re.fullmatch(files, path):
            assert not re.search(r"(?<!intake)\.clock\.wall|self\._clock\.wall", text), path
