"""
Processes: what the operating system says of them, and how they end with what they have started.

Where there is no ``/proc`` (proc(5), Linux) the memory of a process is unknown, and its group is
killed without a look afterwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterable

__all__ = [
    "EXIT_MEMORY",
    "Ended",
    "end_all",
    "ending_of",
    "peak_bytes_of",
    "resident_bytes",
    "state_of",
]

# The exit code of a process that had no memory left: of sysexits.h EX_OSERR is the nearest.
EXIT_MEMORY = 71

# Processes that were killed may take a while to be gone: looks, and seconds between two.
LOOKS = 100
LOOK_S = 0.02
PROC = pathlib.Path("/proc")


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """
    How a process ended.

    Attributes:
        code: Its exit code; negative: the signal; None: unknown.
        peak_bytes: The most memory that it had; 0: unknown.
        freed_bytes: The memory that it had when it was last looked at; 0: unknown.
        left: The ids of processes that it has left behind, and that do not end.
        looked: Whether there was a look at what it left behind.
    """

    code: int | None = None
    peak_bytes: int = 0
    freed_bytes: int = 0
    left: tuple[int, ...] = ()
    looked: bool = False


def peak_bytes_of(usage: resource.struct_rusage) -> int:
    """Give the most memory that a process had; getrusage(2): kilobytes on Linux, bytes on macOS."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def ending_of(code: int) -> str:
    """Name how a process ended: by its exit code, or by the signal of a negative one."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def state_of(pid: int) -> str | None:
    """Give a process's state as one letter (R, S, T, Z, …); None: it is gone, or unknown."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None


def resident_bytes(pid: int | None = None) -> int | None:
    """
    Give the resident memory of a process.

    Args:
        pid: The process; None: this one.

    Returns:
        None: it is gone, or unknown.
    """
    try:
        pages = int((PROC / str(pid or "self") / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") or None


def end_all(leaders: Iterable[int], *, of: Callable[[int], int]) -> list[int]:
    """
    Kill processes and what they have started, and wait up to 2 s until all are gone. Blocks.

    Args:
        leaders: The ids of processes that lead a group or a session; they may be gone themselves.
        of: ``os.getpgid`` or ``os.getsid``: which of the two names what belongs to a leader.

    Returns:
        The ids of the processes that do not end.
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
                # A zombie has ended; only its parent has not asked how.
                if of(pid) in led and state_of(pid) != "Z":
                    living.append(pid)
                    os.kill(pid, signal.SIGKILL)
        if not living:
            break
        threading.Event().wait(LOOK_S)
    return living
