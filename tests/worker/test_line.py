"""The line between a keeper and its process, each in a process of its own, as in life."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from gateway.attempts.processes import state_of
from tests.transports.world import until

# What a worker's process does with its line: shows the keeper's words, says one thing, and waits.
CHILD = """
import os, sys, threading
from gateway.worker.line import Line
line = Line(int(sys.argv[1]))
line.say("holds", task_id="t", term=2, pid=os.getpid(), hello=line.hello)
threading.Event().wait(60)
"""

# A keeper: starts the process on a line, and passes on what comes over it.
KEEPER = f"""
import socket, subprocess, sys
ours, theirs = socket.socketpair()
with theirs:
    subprocess.Popen(
        [sys.executable, "-c", {CHILD!r}, str(theirs.fileno())], pass_fds=[theirs.fileno()]
    )
ours.sendall(sys.argv[1].encode())
with ours.makefile("rb") as lines:
    for line in lines:
        print(line.decode(), end="", flush=True)
"""


class Kept:
    """A keeper's process that runs, with its child."""

    def __init__(self, keeper: subprocess.Popen[bytes]) -> None:
        self.keeper = keeper
        self.first = self.next_line()
        self.pid: int = self.first["pid"]

    def next_line(self) -> dict[str, Any]:
        assert self.keeper.stdout is not None
        said: dict[str, Any] = orjson.loads(self.keeper.stdout.readline())
        return said

    def gone(self) -> bool:
        return state_of(self.pid) in (None, "Z")


HELLO = {"token": None, "telling": [["t", 1]], "agent_id": "w", "agent_secret": "s"}


@pytest.fixture
def kept() -> Iterator[Kept]:
    hello = orjson.dumps(HELLO) + b"\n"
    keeper = subprocess.Popen([sys.executable, "-c", KEEPER, hello], stdout=subprocess.PIPE)
    kept = None
    try:
        kept = Kept(keeper)
        yield kept
    finally:
        for pid in (keeper.pid, *([kept.pid] if kept else ())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        keeper.wait()
        assert keeper.stdout is not None
        keeper.stdout.close()


def test_the_process_reads_what_its_keeper_says_first(kept: Kept) -> None:
    assert kept.first["hello"] == HELLO


def test_each_message_is_one_line_that_names_its_kind(kept: Kept) -> None:
    assert (kept.first["say"], kept.first["task_id"], kept.first["term"]) == ("holds", "t", 2)


async def test_a_process_dies_with_its_keeper(kept: Kept) -> None:
    kept.keeper.kill()
    await until(kept.gone)


async def test_a_process_is_stopped_while_its_keeper_is(kept: Kept) -> None:
    """To the gateway they are one worker: one that was stopped does not go on beating."""
    kept.keeper.send_signal(signal.SIGSTOP)
    await until(lambda: state_of(kept.pid) == "T")
    kept.keeper.send_signal(signal.SIGCONT)
    # So that the keeper knows that it has to let the process run again.
    assert kept.next_line() == {"say": "stopped"}
    os.kill(kept.pid, signal.SIGCONT)
    await until(lambda: state_of(kept.pid) == "S")
