"""
The worker's side of the line to its keeper: what it holds, so that somebody knows if it dies.

The two are one worker to everybody else: what stops or kills the keeper stops or kills this
process, too. Lines are JSON, one a message, small enough that writing them never waits.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import threading
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.attempts.processes import state_of

__all__ = ["EXIT_MEMORY", "Line"]

# How a process ends that had no memory left: sysexits.h has nothing nearer than EX_OSERR.
EXIT_MEMORY = 71

# Between two looks at the keeper, in seconds.
LOOK_EVERY_S = 0.05
# Of linux/prctl.h: which signal this process gets when its parent is gone.
PR_SET_PDEATHSIG = 1
HELLO_BYTES_MAX = 65_536


class Line:
    """
    One end of the line.

    Args:
        descriptor: The socket that this process was started with.

    Attributes:
        hello: What the keeper said first: ``token``, ``agent_id`` and ``agent_secret`` of whom
            to come back as, and ``telling``, the tasks and terms that an earlier process has held
            and that the keeper has not told the gateway about yet.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        # The processes that agents start have nothing to say here.
        self._socket.set_inheritable(False)
        with self._socket.makefile("rb") as lines:
            first = lines.readline(HELLO_BYTES_MAX)
        self.hello: Mapping[str, Any] = orjson.loads(first) if first else {}
        self._lock = threading.Lock()
        # Where there is such a thing it works for a process that is stopped or busy, too.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        threading.Thread(target=self._watch, name="keeper", daemon=True).start()

    def say(self, kind: str, **about: Any) -> None:
        """Tell the keeper something; a keeper that is gone is told nothing."""
        line = orjson.dumps({"say": kind, **about}) + b"\n"
        with self._lock, contextlib.suppress(OSError):
            self._socket.sendall(line)

    def _watch(self) -> None:
        """Stop when the keeper is stopped, end when it is gone."""
        keeper = os.getppid()
        end = socket.socket(fileno=os.dup(self._socket.fileno()))
        while True:
            end.settimeout(LOOK_EVERY_S)
            try:
                gone = not end.recv(1)
            except TimeoutError:
                gone = False
            except OSError:
                gone = True
            if gone or os.getppid() != keeper:
                os.kill(os.getpid(), signal.SIGKILL)
            if state_of(keeper) == "T":
                # It reads this as soon as it runs again, and lets this process run, too.
                self.say("stopped")
                os.kill(os.getpid(), signal.SIGSTOP)
