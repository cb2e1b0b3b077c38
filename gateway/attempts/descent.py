"""
Descent: what a process has started, and what that has started, whoever is its parent by now.

A process that begins a session of its own, and whose parent has ended, is found by no group and
no session. On Linux its nearest ancestor that adopts orphans becomes its parent (prctl(2),
``PR_SET_CHILD_SUBREAPER``). The rule: where that cannot be looked at, nothing is said of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Collection
from typing import Any

from gateway.attempts.processes import PROC, state_of

__all__ = ["adopt_orphans", "children_of", "descendants_of", "die_with_parent", "kill_adopted"]

# Of linux/prctl.h.
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def adopt_orphans() -> None:
    """Be the parent of all that this process's descendants leave behind; Linux only."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends, whose id is ``parent``; Linux only."""
    _prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it was faster
        os.kill(os.getpid(), signal.SIGKILL)


def children_of(pid: int) -> list[int] | None:
    """List the children of a process, zombies included; None: unknown, or it is gone."""
    found: list[int] = []
    try:
        for thread in (PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                found += map(int, (thread / "children").read_text().split())
    except OSError:
        return None
    return found


def descendants_of(pid: int) -> list[int]:
    """List the processes below one, as far as they are known."""
    found = children_of(pid) or []
    for child in found:  # grows meanwhile
        found += children_of(child) or []
    return found


def kill_adopted(keep: Collection[int]) -> list[int] | None:
    """
    Kill the children of this process, with all below them, and ask how its zombies have ended.

    Args:
        keep: Ids of children that are left alone, with all below them.

    Returns:
        The ids of those that have not ended yet; None: it is unknown.
    """
    children = children_of(os.getpid())
    if children is None:
        return None
    living: list[int] = []
    for child in set(children) - set(keep):
        if state_of(child) in ("Z", None):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)
            continue
        for pid in (child, *descendants_of(child)):
            # One below has ended when it is a zombie; a child has when it is asked how, next time.
            if pid == child or state_of(pid) != "Z":
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
                living.append(pid)
    return living


def _prctl(option: int, value: int) -> Any:
    with contextlib.suppress(OSError, AttributeError):
        return ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
