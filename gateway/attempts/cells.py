"""
Cells, seen from the process that asks for them: each attempt of an isolated agent has one.

The rule: a cell is killed with everything that it has started, and nothing of it is left, however
the attempt ends, and also when this process is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import pathlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.attempts.agents import Declared
from gateway.attempts.assignment import Assignment
from gateway.attempts.cell_words import (
    Words,
    add_piece,
    assignment_words,
    error_words,
    judged_of,
)
from gateway.attempts.folders import remove_folder
from gateway.attempts.forks import keep_socket
from gateway.attempts.outcome import Judged, JudgedElsewhere
from gateway.attempts.pieces import Pieces
from gateway.attempts.processes import EXIT_MEMORY, Ended, ending_of
from gateway.attempts.task import Resources
from gateway.domain import own_failures
from gateway.domain.diagnostics import logger_of
from gateway.domain.error_codes import failure_with
from gateway.domain.errors import ConfigurationError
from gateway.domain.redaction import redacted
from gateway.domain.settings import Settings
from gateway.ports import Clock
from gateway.values import RESULT_BYTES_MAX

__all__ = ["Cell", "Cells"]

logger = logger_of(__name__)

# What a line from a cell holds beside a result or a step.
LINE_ROOM_BYTES = 128 * 1024
# Of what the forker says at once.
READ_BYTES = 65_536
# How long the end of a cell may take to be told, in seconds: the forker looks for 2 s for what the
# cell has left behind.
GONE_LIMIT_S = 4.0
# How long what a killed cell has said before may take to be read, in seconds.
LAST_WORDS_S = 1.0
# How long the forker may take to end by itself, in seconds; then it is killed.
FORKER_END_S = 5.0


class Cells:
    """
    The cells that this process asks for, and the forker that makes them.

    The forker starts with the first cell, or with ``find``.

    Args:
        settings: How much of a task is preserved.
        clock: Tells cells what time it is.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._partial_bytes_task = settings.partial_bytes_task
        self._clock = clock
        self._forker: _Forker | None = None
        # Forkers that are gone, whatever has killed them.
        self._closing: set[asyncio.Future[None]] = set()

    async def find(self, declared: Declared) -> None:
        """
        Have the modules imported that declare an agent, so that its first attempt begins at once.

        Raises:
            ConfigurationError: If it cannot be found there.
        """
        if (error := await self._running().find(declared)) is not None:
            raise ConfigurationError(
                f'agent {declared.policy.name} cannot be isolated, isolation="process" imports '
                f"its module in another process: {error}"
            )

    def open(self, declared: Declared, assignment: Assignment, *, fallback: bool) -> Cell:
        """
        Ask for a cell; it is on its way when this returns.

        Raises:
            OSError: If there can be no forker.
        """
        assert declared.home is not None
        told = {
            "home": dataclasses.asdict(declared.home),
            "assignment": assignment_words(assignment),
            "fallback": fallback,
            "now": self._clock.wall(),
            "partial_bytes_task": self._partial_bytes_task,
        }
        room = max(RESULT_BYTES_MAX, self._partial_bytes_task) + LINE_ROOM_BYTES
        return self._running().open(declared, told, line_bytes_max=room)

    async def close(self) -> None:
        """Kill all cells, and end the forker."""
        if self._forker is not None:
            forker, self._forker = self._forker, None
            await forker.close()
        if self._closing:
            await asyncio.wait(self._closing)

    def _running(self) -> _Forker:
        if self._forker is not None and self._forker.gone:
            closing = asyncio.ensure_future(self._forker.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._forker = None
        if self._forker is None:
            self._forker = _Forker()
        return self._forker


class Cell:
    """
    The process of one attempt.

    Attributes:
        folder: Its temporary folder, which the cell does not remove.
    """

    def __init__(
        self,
        forker: _Forker,
        number: int,
        connection: socket.socket,
        told: Words,
        *,
        line_bytes_max: int,
    ) -> None:
        self.folder = pathlib.Path(told["folder"])
        self._forker = forker
        self._number = number
        self._socket = connection
        self._told = told
        self._line_bytes_max = line_bytes_max
        self._resident_bytes = 0
        self._begun = self._cleared = False
        self._ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self.pid: int | None = None
        self.refusal: str | None = None

    async def result(self, pieces: Pieces, resources: Resources) -> Any:
        """
        Wait for the result of the agent's code.

        Args:
            pieces: What the code says is added there.
            resources: What the cell uses is written down there.

        Raises:
            JudgedElsewhere: If the code, or its process, has failed.
            AttemptOver: If the attempt has ended, and the code still says something.
        """
        self._begun = True
        resources.folder = self.folder
        pieces.go_on()  # the cell says whether text starts over
        reader, writer = await asyncio.open_unix_connection(
            sock=self._socket, limit=self._line_bytes_max
        )
        try:
            with contextlib.suppress(OSError):  # it has ended; how, is told below
                writer.write(orjson.dumps(self._told) + b"\n")
                await writer.drain()
                while line := await reader.readline():
                    said = orjson.loads(line)
                    if (piece := said.get("piece")) is not None:
                        add_piece(piece, pieces)
                    elif (number := said.get("flush")) is not None:
                        pieces.flush(_answer(writer, number))
                    else:
                        self._resident_bytes = said["resident_bytes"]
                        if (failed := said.get("failed")) is not None:
                            raise JudgedElsewhere(judged_of(failed))
                        return said["result"]
        except ValueError:
            logger.exception("task %s: its process does not speak", self._told["assignment"])
        finally:
            writer.close()
        self.kill()  # it may have closed its line, and live on
        raise JudgedElsewhere(self._lost(await self._gone()))

    def kill(self) -> None:
        """Kill it, and everything that it has started; does nothing if it has ended."""
        if not self._begun:
            self._socket.close()
        if not self._ended.done():
            self._forker.say({"ask": "end", "number": self._number})

    async def silence(self, running: asyncio.Future[Any]) -> None:
        """Kill it, and let ``running``, which waits for its result, read what it has said."""
        self.kill()
        await asyncio.wait({running}, timeout=LAST_WORDS_S)

    def abandon(self) -> None:
        """Kill it; its folder goes when it is gone, unless ``end`` has left that to a cleanup."""
        self.kill()
        if not self._cleared:
            self._ended.add_done_callback(lambda ended: remove_folder(self.folder))

    async def end(self, running: asyncio.Future[Any], resources: Resources) -> None:
        """Kill it if it lives, wait until all of it is gone, and write down what is left."""
        await self.silence(running)
        running.add_done_callback(lambda job: job.cancelled() or job.exception())
        resources.ended = await self._gone()
        self._cleared = True
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # nothing was put into it
            resources.folder = None

    async def _gone(self) -> Ended:
        """Wait until it has ended, with all that it has started, and tell how."""
        await asyncio.wait({self._ended}, timeout=GONE_LIMIT_S)
        if not self._ended.done():
            return Ended(left=() if self.pid is None else (self.pid,))
        ended = self._ended.result()
        freed_bytes = ended.freed_bytes or self._resident_bytes
        return dataclasses.replace(ended, freed_bytes=freed_bytes)

    def ended(self, ended: Ended) -> None:
        """Take how it has ended."""
        if not self._ended.done():
            self._ended.set_result(ended)

    def _lost(self, ended: Ended) -> Judged:
        if self.refusal is not None:
            detail = redacted({"process": "it could not be started", "text": self.refusal})
            return Judged(failure_with("agent_exception"), "exception", detail)
        ending = "unknown" if ended.code is None else ending_of(ended.code)
        detail = redacted({"process": ending, "peak_bytes": ended.peak_bytes})
        if ended.code == EXIT_MEMORY:
            return Judged(failure_with("memory_limit_exceeded"), "exception", detail)
        return Judged(own_failures.agent_lost("process_lost"), "agent_lost", detail)


class _Forker:
    """A forker, as this process sees it; belongs to the loop that it is made in."""

    def __init__(self) -> None:
        self.gone = False
        self._base = pathlib.Path(tempfile.mkdtemp(prefix="gateway-cells-"))
        self._numbers = itertools.count(1)
        self._cells: dict[int, Cell] = {}
        self._finding: dict[int, asyncio.Future[str | None]] = {}
        self._buffer = b""
        self._line, theirs = socket.socketpair()
        keep_socket(self._line)
        try:
            with theirs:
                self._popen = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "gateway.attempts.forker"),
                        *(str(theirs.fileno()), str(self._base)),
                    ],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    # A terminal's Ctrl-C is for the process that started it.
                    process_group=0,
                )
        except BaseException:
            self._line.close()
            remove_folder(self._base)
            raise
        self._line.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._line, self._hear)

    async def find(self, declared: Declared) -> str | None:
        """Have an agent found; returns why it cannot be."""
        number = next(self._numbers)
        found: asyncio.Future[str | None] = self._loop.create_future()
        self._finding[number] = found
        try:
            self.say({"ask": "find", "number": number, **_where(declared)})
            return await found
        finally:
            del self._finding[number]

    def open(self, declared: Declared, told: Words, *, line_bytes_max: int) -> Cell:
        """Ask for a cell that is told ``told``."""
        number = next(self._numbers)
        folder = tempfile.mkdtemp(prefix=f"task-{number}-", dir=self._base)
        ours, theirs = socket.socketpair()
        keep_socket(ours)
        cell = Cell(
            self,
            number,
            ours,
            {**told, "folder": folder, "path": sys.path},
            line_bytes_max=line_bytes_max,
        )
        self._cells[number] = cell
        with theirs:
            self.say({"ask": "start", "number": number, **_where(declared)}, theirs)
        return cell

    def say(self, words: Mapping[str, Any], connection: socket.socket | None = None) -> None:
        """Say something; when the forker is gone, that is noticed elsewhere."""
        line = orjson.dumps(words) + b"\n"
        try:
            if connection is None:
                self._line.sendall(line)
            else:
                socket.send_fds(self._line, [line], [connection.fileno()])
        except OSError as error:
            # It is gone, or imports for so long that its line is full: of thousands of attempts.
            logger.warning("the forker of isolated agents does not listen: %s", error)
            self._lose()

    async def close(self) -> None:
        """End it, and with it all cells."""
        self._lose()
        try:
            async with asyncio.timeout(FORKER_END_S):
                await asyncio.to_thread(self._popen.wait, FORKER_END_S)
        except (TimeoutError, subprocess.TimeoutExpired):
            self._popen.kill()
            self._popen.wait()
        remove_folder(self._base)

    def _hear(self) -> None:
        try:
            data = self._line.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        self._buffer += data
        *whole, self._buffer = self._buffer.split(b"\n")
        for said in map(orjson.loads, whole):
            self._heard(said["say"], said["number"], said)

    def _heard(self, what: str, number: int, said: Words) -> None:
        if what == "found":
            if (found := self._finding.get(number)) is not None and not found.done():
                found.set_result(said["error"])
            return
        cell = self._cells[number]
        if what == "started":
            cell.pid = said["pid"]
            return
        del self._cells[number]
        if what == "refused":
            cell.refusal = said["error"]
            cell.ended(Ended())
            return
        cell.ended(
            Ended(
                code=said["code"],
                peak_bytes=said["peak_bytes"],
                freed_bytes=said["freed_bytes"],
                left=tuple(said["left"]),
                looked=said["looked"],
            )
        )

    def _lose(self) -> None:
        """Know that the forker is gone, or goes; its cells end with it."""
        if self.gone:
            return
        self.gone = True
        self._loop.remove_reader(self._line)
        self._line.close()
        for cell in self._cells.values():
            cell.ended(Ended())
        for found in self._finding.values():
            if not found.done():
                found.set_result("the process that imports it has ended")
        self._cells = {}


def _where(declared: Declared) -> Words:
    assert declared.home is not None
    return {"home": dataclasses.asdict(declared.home), "path": sys.path}


def _answer(writer: asyncio.StreamWriter, number: int) -> Any:
    def answer(error: Exception | None) -> None:
        if not writer.is_closing():
            words = None if error is None else error_words(error)
            writer.write(orjson.dumps({"flushed": number, "error": words}) + b"\n")

    return answer
