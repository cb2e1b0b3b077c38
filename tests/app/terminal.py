"""A pseudo-terminal: what a command looks like to a person, and to a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import AsyncIterator, Mapping, Sequence

__all__ = ["COLUMNS", "CTRL_C", "Seat", "on_a_terminal", "piped", "seated"]

COLUMNS = 80
CTRL_C = b"\x03"
SAID_WITHIN_S = 20.0

# The terminal is the process's own, as a shell's: a key of it may be a signal.
AT_ITS_TERMINAL = """
import fcntl, runpy, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
runpy.run_module("gateway", run_name="__main__", alter_sys=True)
"""


async def on_a_terminal(
    arguments: Sequence[str], *, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a command on a terminal of 80 columns; gives its exit code and all that it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=_environment(env),
    )
    os.close(theirs)
    said = await asyncio.to_thread(_read_all, ours)
    return await process.wait(), said.decode().replace("\r\n", "\n")


class Seat:
    """A person before a terminal of 80 columns and 24 lines on which a command runs."""

    def __init__(self, descriptor: int, process: asyncio.subprocess.Process) -> None:
        self._descriptor = descriptor
        self._process = process
        self._said = ""

    async def sees(self, text: str) -> None:
        """Wait until the command has written ``text`` after what was waited for before."""
        async with asyncio.timeout(SAID_WITHIN_S):
            while text not in self._said:
                piece = await asyncio.to_thread(os.read, self._descriptor, 65_536)
                self._said += piece.decode()
        self._said = self._said.partition(text)[2]

    async def press(self, key: bytes) -> int:
        """Press a key that ends the command; gives its exit code."""
        os.write(self._descriptor, key)
        async with asyncio.timeout(SAID_WITHIN_S):
            return await self._process.wait()


@contextlib.asynccontextmanager
async def seated(arguments: Sequence[str]) -> AsyncIterator[Seat]:
    """Run a command on a terminal of its own; one that still runs at the end is killed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AT_ITS_TERMINAL, *arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=_environment(None),
    )
    os.close(theirs)
    try:
        yield Seat(ours, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)


async def piped(
    arguments: Sequence[str], *, env: Mapping[str, str] | None = None, module: bool = True
) -> tuple[int, str, str]:
    """
    Run a command with pipes; gives its exit code, stdout and stderr.

    Args:
        module: Whether the arguments are those of ``gateway``, not Python's own.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *(("-m", "gateway") if module else ()), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(env),
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        own.pop(name, None)
    return {**own, "TERM": "xterm", **(env or {})}


def _read_all(descriptor: int) -> bytes:
    said = b""
    try:
        while piece := os.read(descriptor, 65_536):
            said += piece
    except OSError:  # Linux says so when the last writer has closed the terminal
        pass
    finally:
        os.close(descriptor)
    return said
