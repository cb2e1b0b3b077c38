"""A pseudo-terminal: what a command looks like to a person, and to a pipe."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Mapping, Sequence

__all__ = ["COLUMNS", "on_a_terminal", "piped"]

COLUMNS = 80


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
