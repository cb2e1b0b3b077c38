"""
Forks: what a process that an agent forks must not have of this one.

``multiprocessing`` forks by default on Linux, up to Python 3.13. Signals of such a child went to
this process's loop, through the descriptor that wakes the loop, and were ignored in the child. The
rule: a child ends by its own signals, and holds nothing open that this process has closed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
import weakref

__all__ = ["guard_forks", "keep_port", "keep_socket"]

# What asks a process to end, and what the loop has handlers for.
ENDS = (signal.SIGTERM, signal.SIGINT)
# Where a process's descriptors are listed: Linux, then others.
DESCRIPTORS = ("/proc/self/fd", "/dev/fd")

_guarded = threading.Lock()
_masks = threading.local()
_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
_ports: set[int] = set()


def guard_forks() -> None:
    """Let the children that this process forks be processes of their own; for good, and once."""
    if _guarded.acquire(blocking=False) and hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_hold_signals, after_in_parent=_let_signals, after_in_child=_begin
        )


def keep_socket(kept: socket.socket) -> None:
    """Keep a socket to this process: no child that it forks holds it open."""
    _sockets.add(kept)


def keep_port(port: int) -> None:
    """Keep all sockets on a port of ours to this process, those of its clients included."""
    _ports.add(port)


def _hold_signals() -> None:
    # One that came before the child is ready would go to this process.
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)


def _let_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _begin() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for kept in _sockets:
        _let_go(kept.fileno())
    if _ports:
        for descriptor in _open():
            if _port_of(descriptor) in _ports:
                _let_go(descriptor)
    _let_signals()


def _open() -> list[int]:
    for folder in DESCRIPTORS:
        with contextlib.suppress(OSError):
            return [int(name) for name in os.listdir(folder)]
    return []


def _port_of(descriptor: int) -> int | None:
    """Give the port that an internet socket has here; None: it has none, or is none."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        looked_at = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        if looked_at.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        return int(looked_at.getsockname()[1])
    except OSError:
        return None
    finally:
        looked_at.detach()


def _let_go(descriptor: int) -> None:
    """Let go of what a descriptor stands for; the number stays taken, as objects still have it."""
    if descriptor < 0:
        return  # closed
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)
