"""
The worker process's end of the line to its keeper: it says what it holds, in case it dies.

To the gateway the two processes are one worker. So what stops or kills the keeper stops or kills
this process, too. Each message is one line of JSON, small enough that writing it never waits.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.attempts.descent import die_with_parent
from gateway.attempts.forks import keep_socket
from gateway.attempts.processes import state_of

__all__ = ["Line"]

# How often this process looks whether the keeper is stopped or gone, in seconds.
LOOK_EVERY_S = 0.05
# Of the keeper's first message; ``telling`` is as long as a worker has tasks.
HELLO_BYTES_MAX = 65_536


class Line:
    """
    One end of the line. From then on this process lives no longer than its keeper.

    Args:
        descriptor: The socket that this process was started with.

    Attributes:
        hello: The keeper's first message: ``token``; ``agent_id`` and ``agent_secret``, if the
            process is to come back as a worker that the gateway knows; and ``telling``, the tasks
            and terms that an earlier process has held and whose loss the keeper still has to tell.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        # Processes that agents start must not hold the line open.
        self._socket.set_inheritable(False)
        keep_socket(self._socket)
        with self._socket.makefile("rb") as lines:
            first = lines.readline(HELLO_BYTES_MAX)
        self.hello: Mapping[str, Any] = orjson.loads(first) if first else {}
        self._lock = threading.Lock()
        # Linux only. Unlike the thread below it works while this process is stopped or busy.
        die_with_parent(os.getppid())
        threading.Thread(target=self._watch, name="keeper", daemon=True).start()

    def say(self, kind: str, **about: Any) -> None:
        """Tell the keeper something; nothing happens if the keeper is gone."""
        line = orjson.dumps({"say": kind, **about}) + b"\n"
        with self._lock, contextlib.suppress(OSError):
            self._socket.sendall(line)

    def _watch(self) -> None:
        """Stop when the keeper is stopped, die when it is gone."""
        keeper = os.getppid()
        end = self._socket.dup()
        keep_socket(end)
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
                # The keeper reads this when it runs again, and then continues this process.
                self.say("stopped")
                os.kill(os.getpid(), signal.SIGSTOP)
