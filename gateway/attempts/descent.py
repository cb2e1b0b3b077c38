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
import threading
from collections.abc import Collection, Iterable
from typing import Any

from gateway.attempts.processes import LOOK_S, LOOKS, PROC, state_of

__all__ = [
    "adopt_orphans",
    "children_of",
    "descendants_of",
    "die_with_parent",
    "kill_adopted",
    "kill_trees",
    "reap_adopted",
]

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


def kill_trees(roots: Iterable[int]) -> list[int]:
    """
    Kill processes with all below them, and wait up to 2 s until they have ended. Blocks.

    They are stopped first, so that none leaves a child behind whose parent is somebody else then.

    Returns:
        The ids of those that do not end.
    """
    found: set[int] = set()
    new = set(roots)
    while new:
        for pid in new:
            _send(pid, signal.SIGSTOP)
        found |= new
        new = {below for pid in new for below in descendants_of(pid)} - found
    living = list(found)
    for _ in range(LOOKS):
        for pid in living:
            _send(pid, signal.SIGKILL)
        living = [pid for pid in living if state_of(pid) not in ("Z", None)]
        if not living:
            break
        threading.Event().wait(LOOK_S)
    return living


def reap_adopted(keep: Collection[int]) -> None:
    """Ask how children of this process have ended that have, but those to ``keep``."""
    for child in set(children_of(os.getpid()) or ()) - set(keep):
        if state_of(child) == "Z":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)


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
                _send(pid, signal.SIGKILL)
                living.append(pid)
    return living


def _send(pid: int, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, sign)


def _prctl(option: int, value: int) -> Any:
    with contextlib.suppress(OSError, AttributeError):
        return ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
