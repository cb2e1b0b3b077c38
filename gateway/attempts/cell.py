"""
A cell: the process that makes one attempt at a task, and nothing else.

It is forked by the forker, and killed when the attempt is over. The rule: the agent's code finds
here what it finds in any other process, and what it says and comes to is told word for word.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import signal
import socket
import sys
import tempfile
import threading
import traceback
from typing import IO, Any, NoReturn

import orjson

from gateway.attempts.agents import Agents, Declared, Home, find_at_home
from gateway.attempts.background import Background
from gateway.attempts.calling import call
from gateway.attempts.cell_words import (
    Words,
    assignment_of,
    error_of,
    judged_words,
    piece_words,
)
from gateway.attempts.descent import adopt_orphans, die_with_parent
from gateway.attempts.outcome import Judged, acceptable, failed_beside, judge
from gateway.attempts.pieces import TEXT_CHARS_MAX, Flushed, Piece, Pieces
from gateway.attempts.processes import EXIT_MEMORY, resident_bytes
from gateway.attempts.task import Resources, Task
from gateway.attempts.threads import Threads
from gateway.domain import own_failures
from gateway.domain.description import describe
from gateway.domain.errors import RequestError
from gateway.values import RESULT_BYTES_MAX, measured

__all__ = ["become_cell", "live"]

# How long to wait, in seconds, between two looks at what the agent has said: ten thousand pieces
# a second become two hundred lines. Meanwhile text grows together, up to what a task preserves.
TELL_EVERY_S = 0.005
# The code's own thread, if it is a plain function. Hooks run where the attempt was asked for.
THREADS = 1


def become_cell(parent: int) -> None:
    """Prepare this process, whose parent is the forker."""
    for sign in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(sign, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    die_with_parent(parent)
    # While it lives, what its processes leave behind is its own.
    adopt_orphans()


def live(connection: socket.socket) -> NoReturn:
    """Make the attempt that the first line tells of, say what it came to, and end this process."""
    code = 1
    try:
        lines = connection.makefile("rb")
        if first := lines.readline():
            _run(_attempt(_Line(connection), lines, orjson.loads(first)))
    except MemoryError:
        code = EXIT_MEMORY
    except BaseException:  # noqa: BLE001 - nobody is above this but the operating system
        traceback.print_exc()
    finally:
        _flush_output()
        os._exit(code)


def _run(work: Any) -> None:
    # As the gateway and its workers do: agents find the loop that they are used to.
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


async def _attempt(line: _Line, lines: IO[bytes], told: Words) -> NoReturn:
    """Make the attempt and end the process; what else runs in it is not waited for."""
    sys.path[:] = told["path"]
    home = Home(**{**told["home"], "modules": tuple(told["home"]["modules"])})
    agents, declared = find_at_home(home)
    assignment = assignment_of(told["assignment"])
    tempfile.tempdir = os.environ["TMPDIR"] = told["folder"]
    bytes_max = told["partial_bytes_task"]
    pieces = Pieces(
        task_id=assignment.task_id,
        attempt=assignment.attempt,
        chars_max=bytes_max + 1,
        wake=lambda: teller.wake(),
        starts_over=assignment.attempt > 1,
    )
    teller = _Teller(pieces, line)
    threading.Thread(target=teller.run, name="teller", daemon=True).start()
    threading.Thread(
        target=_listen, args=(lines, teller, assignment), name="listener", daemon=True
    ).start()
    task = Task(
        assignment,
        pieces=pieces,
        resources=Resources(folder=pathlib.Path(told["folder"])),
        step_bytes_max=bytes_max,
    )
    end = await _made(task, agents, declared, pieces, told)
    teller.finish()
    _flush_output()
    line.say({**end, "resident_bytes": resident_bytes() or 0})
    os._exit(0)


async def _made(
    task: Task, agents: Agents, declared: Declared, pieces: Pieces, told: Words
) -> Words:
    """Call the agent's function, and say what it came to."""
    began_at = asyncio.get_running_loop().time()
    function = declared.fallback if told["fallback"] and declared.fallback else declared.function
    background = Background(lambda error: failed_beside(task.task_id, pieces, error))
    try:
        background.begin()
        try:
            result = await call(function, task, threads=Threads(THREADS))
        finally:
            background.end()
        result = await acceptable(result, task_id=task.task_id, demands=declared.demands)
        try:
            measured(result, field="result", bytes_max=RESULT_BYTES_MAX)
        except RequestError as error:
            failure = own_failures.unencodable_result(rule=error.code, bytes_max=RESULT_BYTES_MAX)
            return {"failed": judged_words(Judged(failure, "exception", describe(error)))}
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
        now = told["now"] + asyncio.get_running_loop().time() - began_at
        judged = judge(
            error,
            declared.policy,
            declared.demands,
            taught=agents.taught,
            now=now,
            asked=False,
        )
        return {"failed": judged_words(judged)}
    return {"result": result}


class _Line:
    """This process's end of the line; any thread may speak."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()

    def say(self, words: Words) -> None:
        """Say something; waits while the other side does not listen."""
        line = orjson.dumps(words) + b"\n"
        with self._lock, contextlib.suppress(OSError):  # the other side is gone, and this soon is
            self._socket.sendall(line)


class _Teller:
    """Tells what the attempt's code says, in a thread: the code may block the loop."""

    def __init__(self, pieces: Pieces, line: _Line) -> None:
        self._pieces = pieces
        self._line = line
        self._waiting = threading.Event()
        self._over = threading.Event()
        self._ended = threading.Event()
        self._flushes: dict[int, list[Flushed]] = {}
        self._flush = 0

    def wake(self) -> None:
        """Look whether there is something to tell."""
        self._waiting.set()

    def run(self) -> None:
        """Tell each piece until ``finish`` is called."""
        while not self._over.is_set():
            self._waiting.wait()
            self._waiting.clear()
            self._tell()
            self._over.wait(TELL_EVERY_S)
        self._ended.set()

    def finish(self) -> None:
        """Tell what waits. The code has ended, and says nothing more."""
        self._over.set()
        self._waiting.set()
        self._ended.wait()
        self._tell()
        rest = self._pieces.close()
        for start in range(0, len(rest.text), TEXT_CHARS_MAX):
            self._say(Piece(text=rest.text[start : start + TEXT_CHARS_MAX]))

    def flushed(self, number: int, error: Exception | None) -> None:
        """Take that all is told that was said before a flush; ``error``: it could not be."""
        for done in self._flushes.pop(number, ()):
            done(error)

    def _tell(self) -> None:
        flushing = self._pieces.take_flushing()
        while (piece := self._pieces.take()) is not None:
            self._say(piece)
        if flushing:
            self._flush += 1
            self._flushes[self._flush] = flushing
            self._line.say({"flush": self._flush})

    def _say(self, piece: Piece) -> None:
        self._line.say({"piece": piece_words(piece)})


def _listen(lines: IO[bytes], teller: _Teller, assignment: Any) -> None:
    """Hear what was flushed, and end this process when nobody asks for the attempt any more."""
    with contextlib.suppress(OSError, ValueError):
        for line in lines:
            said = orjson.loads(line)
            error = said["error"]
            teller.flushed(said["flushed"], None if error is None else error_of(error, assignment))
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


if __name__ == "__main__":
    become_cell(os.getppid())
    live(socket.socket(fileno=int(sys.argv[1])))
