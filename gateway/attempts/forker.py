"""
The forker: a process that has imported the agents' modules, and forks a cell for each attempt.

It runs no agents and no loop, so that it has no threads and no locks that a fork would copy in a
wrong state. The rule: what a cell leaves behind comes to this process, which ends it; and when
the process that started it is gone, it ends everything and goes, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib.util
import os
import pathlib
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from typing import Any, NoReturn

import orjson

from gateway.attempts.agents import Home, find_at_home
from gateway.attempts.cell import become_cell, live
from gateway.attempts.descent import adopt_orphans, children_of, kill_adopted
from gateway.attempts.folders import remove_folder
from gateway.attempts.processes import LOOK_S, LOOKS, peak_bytes_of, resident_bytes
from gateway.domain.redaction import redact_text

__all__ = ["Forker"]

# Of what is read at once, and of the sockets that come with it.
READ_BYTES, READ_SOCKETS = 65_536, 64
# Of the reason why an agent could not be found.
REASON_CHARS_MAX = 2_000


@dataclasses.dataclass(slots=True)
class _Dead:
    """A cell that has ended, and whose remains are looked for."""

    number: int
    status: int
    peak_bytes: int
    freed_bytes: int
    looks: int = 0


class Forker:
    """
    The life of this process.

    Args:
        line: To the process that started this one.
        folder: Holds the cells' temporary files, and goes with this process.
    """

    def __init__(self, line: socket.socket, folder: pathlib.Path) -> None:
        self._line = line
        self._folder = folder
        self._buffer = b""
        self._sockets: list[int] = []
        # The cells that live: their numbers, and the memory that they had when they were killed.
        self._cells: dict[int, int] = {}
        self._freed: dict[int, int] = {}
        self._dead: list[_Dead] = []
        # What the agents' modules have started when they were imported.
        self._helpers: set[int] = set()
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        for watched in (self._line, self._woken):
            self._selector.register(watched, selectors.EVENT_READ)

    def run(self) -> None:
        """Fork and end cells until the other end of the line is gone."""
        adopt_orphans()
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, signal.SIG_IGN)  # the other end says when it is over
        # Of threads that Python does not know, such as those of a library for algebra.
        warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        listening = True
        while listening or self._cells or self._dead:
            for key, _ in self._selector.select(LOOK_S if self._dead else None):
                if key.fileobj is self._line:
                    listening = self._hear()
                else:
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(READ_BYTES)
            if not listening:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(self._line)
                for pid in self._cells:
                    _kill(pid)
            self._reap()
            self._sweep()
        kill_adopted(keep=())
        remove_folder(self._folder)
        self._selector.close()
        for end in (self._line, self._woken, self._wake):
            end.close()

    def _hear(self) -> bool:
        """Do what was asked for; returns whether the other end is still there."""
        try:
            data, sockets, _, _ = socket.recv_fds(self._line, READ_BYTES, READ_SOCKETS)
        except OSError:
            return False
        self._sockets += sockets
        self._buffer += data
        *whole, self._buffer = self._buffer.split(b"\n")
        for asked in map(orjson.loads, whole):
            match asked["ask"]:
                case "find":
                    self._say("found", asked["number"], error=self._find(asked))
                case "start":
                    self._start(asked, socket.socket(fileno=self._sockets.pop(0)))
                case "end":
                    self._end(asked["number"])
        return bool(data)

    def _say(self, what: str, number: int, **more: Any) -> None:
        with contextlib.suppress(OSError):
            self._line.sendall(orjson.dumps({"say": what, "number": number, **more}) + b"\n")

    def _find(self, asked: dict[str, Any]) -> str | None:
        """Import what declares an agent; returns why that is not possible."""
        home = Home(**{**asked["home"], "modules": tuple(asked["home"]["modules"])})
        if all(module in sys.modules for module in home.modules):
            before = None
        else:
            before = set(children_of(os.getpid()) or ())
        sys.path[:] = asked["path"]
        try:
            find_at_home(home)
        except BaseException as error:  # noqa: BLE001 - an import may raise anything
            traceback.print_exc()
            return redact_text(f"{type(error).__name__}: {error}")[:REASON_CHARS_MAX]
        finally:
            if before is not None:
                self._helpers |= set(children_of(os.getpid()) or ()) - before - self._cells.keys()
                gc.collect()
                gc.freeze()  # cells share this memory as long as nobody writes to it
        return None

    # --- the life of a cell -----------------------------------------------------------------

    def _start(self, asked: dict[str, Any], connection: socket.socket) -> None:
        number = asked["number"]
        with connection:
            if (error := self._find(asked)) is not None:
                self._say("refused", number, error=error)
                return
            try:
                pid = self._fork(connection)
            except OSError as refusal:
                self._say("refused", number, error=str(refusal))
                return
        self._cells[pid] = number
        self._say("started", number, pid=pid)

    def _fork(self, connection: socket.socket) -> int:
        """Make a process for a cell, and give its id."""
        if threading.active_count() > 1:
            # A module has started threads when it was imported: their locks would be copied as
            # they are. A process that imports the modules by itself takes longer, and is safe.
            command = [sys.executable, "-m", "gateway.attempts.cell", str(connection.fileno())]
            popen = subprocess.Popen(command, pass_fds=[connection.fileno()], process_group=0)
            popen.returncode = 0  # how it ends is asked with wait4, not by this object
            return popen.pid
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_cell(parent, connection)
        return pid

    def _become_cell(self, parent: int, connection: socket.socket) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            os.setpgid(0, 0)
            become_cell(parent)
            self._selector.close()
            for end in (self._line, self._woken, self._wake):
                end.close()
            live(connection)
        finally:
            os._exit(1)

    def _end(self, number: int) -> None:
        for pid, its in self._cells.items():
            if its == number:
                self._freed[pid] = resident_bytes(pid) or 0
                _kill(pid)

    def _reap(self) -> None:
        """Ask how the processes have ended that have."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if (number := self._cells.pop(pid, None)) is not None:
                freed = self._freed.pop(pid, 0)
                self._dead.append(_Dead(number, status, peak_bytes_of(usage), freed))

    def _sweep(self) -> None:
        """
        End what dead cells have left behind, and tell how they ended.

        What a living cell has started is below that cell: so all else below this process is left.
        """
        if not self._dead:
            return
        left = kill_adopted(keep=self._cells.keys() | self._helpers)
        waiting: list[_Dead] = []
        for dead in self._dead:
            dead.looks += 1
            if left and dead.looks < LOOKS:
                waiting.append(dead)
                continue
            self._say(
                "ended",
                dead.number,
                code=os.waitstatus_to_exitcode(dead.status),
                peak_bytes=dead.peak_bytes,
                freed_bytes=dead.freed_bytes,
                left=left or [],
                looked=left is not None,
            )
        self._dead = waiting


def _kill(pid: int) -> None:
    """Kill a cell, and its group: where nothing can be looked at, that is all that is known."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    for preloaded in ("uvloop",):
        if importlib.util.find_spec(preloaded) is not None:
            importlib.import_module(preloaded)
    Forker(socket.socket(fileno=int(sys.argv[1])), pathlib.Path(sys.argv[2])).run()
