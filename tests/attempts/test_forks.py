"""What a forked child has of the process that runs a loop: nothing of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A loop that hears SIGTERM, and a thread that forks while it runs, as a plain agent does.
PROGRAM = """
import asyncio, os, signal, socket, sys, threading
from gateway.attempts.forks import guard_forks, keep_port, keep_socket
from gateway.app.process import run

heard = []
kept, other = socket.socketpair()
free, end = socket.socketpair()
listener = socket.create_server(("127.0.0.1", 0))
keep_socket(kept)
keep_port(listener.getsockname()[1])


def child():
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(0)


def fork():
    pid = os.fork()
    if pid == 0:
        child()
    _, status = os.waitpid(pid, 0)
    print("ended", os.waitstatus_to_exitcode(status))
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        shut = [sock.fileno() for sock in (kept, listener) if os.fstat(sock.fileno()).st_rdev]
        print("closed", len(shut), "open", free.send(b"1"), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    print("here", kept.send(b"1"), listener.getsockname()[1] > 0)


async def main():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, heard.append, 1)
    await asyncio.to_thread(fork)
    await asyncio.to_thread(fork)
    print("heard", heard)
    os.kill(os.getpid(), signal.SIGTERM)
    while not heard:
        await asyncio.to_thread(int)
    print("heard", heard, flush=True)

LOOP
"""


@pytest.mark.parametrize("loop", ["run(main())", "guard_forks(); asyncio.run(main())"])
def test_a_child_ends_by_its_own_signal_and_lets_go_of_what_is_kept(loop: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM.replace("LOOP", loop)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    once = ["ended -15", "closed 2 open 1", "here 1 True"]
    assert ended.stdout.splitlines() == [*once, *once, "heard []", "heard [1]"]
