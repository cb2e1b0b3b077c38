"""
What the operating system says of processes, and how they are ended with what they have started.

Where there is no ``/proc`` nothing is known of a process's memory, and what it has started is
ended without a look afterwards.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterable

__all__ = ["end_all", "resident_bytes", "state_of"]

# How long processes that were killed may take to be gone: looks, and seconds between two.
LOOKS = 100
LOOK_S = 0.02
PROC = pathlib.Path("/proc")


def state_of(pid: int) -> str | None:
    """A process's state as one letter (R, S, T, Z, …); None: it is gone, or nobody can tell."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None


def resident_bytes(pid: int | None = None) -> int | None:
    """
    Resident memory of a process.

    Args:
        pid: None: this one.

    Returns:
        None: it is gone, or nobody can tell.
    """
    try:
        pages = int((PROC / str(pid or "self") / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") or None


def end_all(leaders: Iterable[int], *, of: Callable[[int], int]) -> list[int]:
    """
    Kill processes and what they have started, though they may be gone themselves.

    Args:
        leaders: Of groups or sessions.
        of: ``os.getpgid`` or ``os.getsid``: what is meant by belonging together.

    Returns:
        The ids of those that do not end.
    """
    led = frozenset(leaders)
    for leader in led:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
    living: list[int] = []
    for _ in range(LOOKS):
        living = []
        for entry in PROC.glob("[0-9]*"):
            pid = int(entry.name)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                # A zombie is gone; whoever should have noticed has not.
                if of(pid) in led and state_of(pid) != "Z":
                    living.append(pid)
                    os.kill(pid, signal.SIGKILL)
        if not living:
            break
        threading.Event().wait(LOOK_S)
    return living
