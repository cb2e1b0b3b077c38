"""
Commands of the gateway in processes of their own, started by forking one that has loaded it.

Loading is two thirds of what such a process takes to start, and tests start hundreds. What is
forked is a process like any other: it has its own pid, arguments, environment and files, is killed
by the same signals, and ends as Python ends.

    python -m tests.warm FD     # what forks; FD is its end of a socket pair
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import orjson

__all__ = ["WarmProcess", "started"]

# What a request says: arguments, environment and folder. Its files are standard output, standard
# error, and a pipe that gets a line with the pid and a line with the exit code.
REQUEST_BYTES_MAX = 2**18
# How long a process that has ended may leave its pipes open to its children, in seconds.
LEFT_OPEN_S = 0.5
LOADED = (
    "gateway.app.cli",
    "gateway.app.serve",
    "gateway.app.build",
    "gateway.app.gateway",
    "gateway.stores.jetstream.access",
    "gateway.stores.jetstream.log",
    "gateway.transports.mcp_tools",
)
_channel: list[socket.socket] = []


class WarmProcess:
    """
    A running command, with the methods of ``asyncio.subprocess.Process`` that tests use.

    Attributes:
        pid: Its process id.
        returncode: Its exit code; below 0, the signal that ended it. None: it runs.
        stdout: What it says on standard output.
        stderr: What it says on standard error; None: that goes elsewhere.
    """

    def __init__(self, pid: int, status: _Pipe, stdout: _Pipe, stderr: _Pipe | None) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout = stdout.reader
        self.stderr = None if stderr is None else stderr.reader
        pipes = [pipe for pipe in (status, stdout, stderr) if pipe is not None]
        self._ended = asyncio.create_task(self._watch(status.reader, pipes))

    async def _watch(self, status: asyncio.StreamReader, pipes: Sequence[_Pipe]) -> None:
        self.returncode = int(await status.readline())
        # What it has said is read; what it has left behind may hold them open.
        await asyncio.wait([pipe.lost for pipe in pipes], timeout=LEFT_OPEN_S)
        for pipe in pipes:
            pipe.transport.close()
        await asyncio.wait([pipe.lost for pipe in pipes])

    async def wait(self) -> int:
        """Wait for its end; gives its exit code."""
        await asyncio.shield(self._ended)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, sign: int) -> None:
        """Send a signal, if it runs."""
        if self.returncode is None:
            os.kill(self.pid, sign)

    def terminate(self) -> None:
        """Ask it to end, if it runs."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, if it runs."""
        self.send_signal(signal.SIGKILL)


async def started(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stderr: IO[bytes] | int | None,
) -> WarmProcess:
    """
    Start ``python -m gateway``.

    Args:
        arguments: What follows ``gateway``.
        env: Its whole environment. What Python reads of it at its start is this process's.
        cwd: Its working folder.
        stderr: Gets what it says on standard error; ``PIPE``: its ``stderr``; None: this process's.
    """
    status, status_end = await _Pipe.opened()
    stdout, stdout_end = await _Pipe.opened()
    if stderr == asyncio.subprocess.PIPE:
        errors, errors_end = await _Pipe.opened()
    else:
        assert not isinstance(stderr, int)
        errors, errors_end = None, os.dup(2 if stderr is None else stderr.fileno())
    request = orjson.dumps([list(arguments), dict(env), str(cwd)])
    assert len(request) <= REQUEST_BYTES_MAX
    ends = [stdout_end, errors_end, status_end]
    socket.send_fds(_forking(), [request], ends)
    for end in ends:
        os.close(end)
    return WarmProcess(int(await status.reader.readline()), status, stdout, errors)


class _Pipe(asyncio.StreamReaderProtocol):
    """
    The end of a pipe that is read.

    Attributes:
        reader: Reads it.
        lost: Is done when it is closed.
    """

    transport: asyncio.ReadTransport

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader(limit=2**20)
        self.lost = asyncio.get_running_loop().create_future()
        super().__init__(self.reader)

    @classmethod
    async def opened(cls) -> tuple[_Pipe, int]:
        """Make a pipe; gives one end, and the other's descriptor."""
        reading, writing = os.pipe()
        loop, end = asyncio.get_running_loop(), os.fdopen(reading, "rb", buffering=0)
        transport, pipe = await loop.connect_read_pipe(cls, end)
        pipe.transport = transport
        return pipe, writing

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set_result(None)


def _forking() -> socket.socket:
    """Give the channel to what forks; it lives as long as this process."""
    if not _channel:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BYTES_MAX)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
                cwd=Path(__file__).parent.parent,
                env={**os.environ, "PYTHONWARNINGS": "default"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        _channel.append(ours)

        atexit.register(process.wait)
        atexit.register(ours.close)  # first

    return _channel[0]


# --- what forks -----------------------------------------------------------------------------------


def serve(channel: socket.socket) -> list[str] | None:
    """Fork for each request, until the other end is closed; gives a child its arguments."""
    running: dict[int, tuple[int, int]] = {}  # its pidfd → its pid, and who wants its exit code
    with selectors.DefaultSelector() as ready:
        ready.register(channel, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is not channel:
                    pid, status = running.pop(key.fd)
                    ready.unregister(key.fd)
                    os.close(key.fd)
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    _tell(status, code)
                    os.close(status)
                    continue
                request, ends, _, _ = socket.recv_fds(channel, REQUEST_BYTES_MAX, 3)
                if not request:
                    return None
                pid = os.fork()
                if not pid:
                    for fd in (*running, *(wants for _, wants in running.values())):
                        os.close(fd)
                    return _become(request, ends)
                stdout, stderr, status = ends
                os.close(stdout)
                os.close(stderr)
                _tell(status, pid)
                pidfd = os.pidfd_open(pid)
                running[pidfd] = pid, status
                ready.register(pidfd, selectors.EVENT_READ)


def _tell(status: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the test is over
        os.write(status, b"%d\n" % number)


def _become(request: bytes, ends: list[int]) -> list[str]:
    """Take on files, environment and folder of a request; gives its arguments."""
    arguments, env, cwd = orjson.loads(request)
    stdout, stderr, status = ends
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    for end in (stdout, stderr, status):
        os.close(end)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    return [str(argument) for argument in arguments]


def main() -> None:
    """Load the gateway, then fork."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    for name in LOADED:
        __import__(name)
    gc.collect()
    with channel:
        arguments = serve(channel)
    if arguments is not None:
        sys.argv = ["gateway", *arguments]
        runpy.run_module("gateway", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
