"""The two processes of ``gateway work``; what they do for tasks is in the scenarios."""

from __future__ import annotations

import subprocess
import sys


def test_what_cannot_be_worked_with_is_said_and_ends_both_processes() -> None:
    """The inner process says why, and the outer one ends with its exit code."""
    ran = subprocess.run(
        [sys.executable, "-m", "gateway", "work", "no_such_module:gateway"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 2
    assert "no_such_module" in ran.stderr
    assert "Traceback" not in ran.stderr
