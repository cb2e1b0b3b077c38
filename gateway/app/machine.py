"""What this process uses of its machine; elsewhere than on Linux, memory is not known."""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["ThisMachine"]

# Where Linux tells the pages of this process, and the limit of its container (cgroup v2, then v1).
STATM = Path("/proc/self/statm")
LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


class ThisMachine:
    """
    A ``Machine``.

    Args:
        statm: Where the pages of this process stand.
        limits: Where the limit of its container may stand.
    """

    def __init__(self, statm: Path = STATM, limits: tuple[Path, ...] = LIMITS) -> None:
        self._statm = statm
        self._memory_bytes = _memory_bytes(limits)

    def busy_s(self) -> float:
        return time.process_time()

    def memory_share(self) -> float:
        try:
            pages = int(self._statm.read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / self._memory_bytes


def _memory_bytes(limits: tuple[Path, ...]) -> int:
    """Tell how much memory there is for this process."""
    found = []
    if hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in limits:
        try:
            found.append(int(limit.read_text()))
        except (OSError, ValueError):
            continue  # not there, or "max"
    return min(found, default=2**63)
