"""
What one request costs the loop, whatever it holds: others wait for as long.

Measured is the processor time between two turns of the loop, in units of what Python's own parser
takes for a megabyte of numbers (20 ms on a quiet machine): both are slower on a busy one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import orjson
from websockets.sync.client import connect

from gateway.protocol.operations import OPERATIONS, SESSION_PARAMS
from gateway.protocol.strict_json import CONTAINERS_MAX, NAMES_MAX, VALUES_MAX
from tests.soak import times
from tests.transports.mcp_client import HEADERS, call
from tests.transports.test_bad_input import filled
from tests.transports.world import CLOCK, SECRET, World, token, world

# The largest that may be sent, with room for the rest of the message.
BYTES = 1024 * 1024 - 4096
MEGABYTE = "[" + "0," * (512 * 1024) + "0]"
# How often a request that seems to cost too much is tried again: others run here, too.
TRIES = 5
# How many units one request may cost.
MOST = 2.0
DEEP: Any = json.loads("[" * 40 + "]" * 40)

SHAPES: dict[str, bytes] = {
    shape: orjson.dumps(value)
    for shape, value in {
        "numbers": [0] * (VALUES_MAX - 100),
        "half a megabyte of numbers": [0] * (BYTES // 4),
        "empty arrays": [[]] * (CONTAINERS_MAX - 100),
        "a megabyte of empty arrays": [[]] * (BYTES // 3),
        "deep arrays": [DEEP] * ((CONTAINERS_MAX - 100) // 41),
        "names": {f"n{number}": [] for number in range(NAMES_MAX - 100)},
        "a megabyte of names": {f"n{number}": 0 for number in range(BYTES // 12)},
        "a text": "x" * BYTES,
        "escapes": "\u0001" * (BYTES // 6),
        "what looks like secrets": "token=&quot;" * (BYTES // 12),
    }.items()
}
# How many of them each operation gets, by turns.
SHAPES_EACH = times(1, 3)


class Loop:
    """Watches the loop that it was made on; ``longest_s`` is its longest turn so far."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def watch(self) -> None:
        while True:
            began = time.thread_time()
            await CLOCK.sleep(0)
            self.longest_s = max(self.longest_s, time.thread_time() - began)


def unit_s() -> float:
    """Measure what a megabyte of numbers takes Python's parser now."""
    began = time.thread_time()
    json.loads(MEGABYTE)
    return time.thread_time() - began


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[tuple[World, Loop]]:
    async with world(secret=SECRET, rate_http=0, rate_ws=0, publish_bytes=0) as here:
        loop = Loop()
        watching = asyncio.create_task(loop.watch())
        gc.collect()
        gc.freeze()  # as `serve` does
        try:
            yield here, loop
        finally:
            gc.unfreeze()
            watching.cancel()


def cost(loop: Loop, ask: Callable[[], Any]) -> float:
    """Ask until it costs no more than it may, and give the least that it has cost, in units."""
    least = float("inf")
    for _ in range(TRIES):
        loop.longest_s = 0.0
        ask()
        time.sleep(0.003)  # the turn that has answered ends
        least = min(least, loop.longest_s / unit_s())
        if least <= MOST:
            break
    return least


def frames() -> Iterator[tuple[str, bytes]]:
    """Calls of each operation and method, with something huge in one of its parameters."""
    values = itertools.cycle((shape, orjson.Fragment(value)) for shape, value in SHAPES.items())
    tables = {**{name: one.params for name, one in OPERATIONS.items()}, **SESSION_PARAMS}
    for number, (name, schema) in enumerate(tables.items()):
        fields = [*schema["properties"], "zzz"]
        for shape, value in itertools.islice(values, SHAPES_EACH):
            field = fields[number % len(fields)]
            params = {**filled(schema), field: value}
            frame = {"jsonrpc": "2.0", "id": 1, "method": name, "params": params}
            yield f"{name} {field}: {shape}", orjson.dumps(frame)


async def test_no_message_holds_up_the_loop() -> None:
    async with watched() as (here, loop):

        def client() -> dict[str, float]:
            costs = {}
            with connect(here.ws, max_size=None) as socket:
                given = {"token": token("ann", "admin")}
                hello = {"jsonrpc": "2.0", "id": 0, "method": "connect", "params": given}
                socket.send(json.dumps(hello))
                socket.recv()

                def ask(frame: bytes) -> None:
                    socket.send(frame, text=True)
                    socket.recv()

                for what, frame in frames():
                    costs[what] = cost(loop, functools.partial(ask, frame))
            return costs

        costs = await asyncio.to_thread(client)
    assert len(costs) == SHAPES_EACH * (len(OPERATIONS) + len(SESSION_PARAMS))
    assert {what: round(units, 2) for what, units in costs.items() if units > MOST} == {}


async def test_no_body_holds_up_the_loop() -> None:
    async with watched() as (here, loop):

        def client() -> dict[str, float]:
            headers = {**HEADERS, "authorization": f"Bearer {token('ann', 'admin')}"}
            costs = {}
            with contextlib.closing(HTTPConnection("127.0.0.1", here.port)) as connection:

                def ask(path: str, body: bytes) -> None:
                    connection.request("POST", path, body, headers)
                    connection.getresponse().read()

                for shape, value in SHAPES.items():
                    order = {"agent": "a", "priority": orjson.Fragment(value)}
                    worker = {"handle": "a", "agents": orjson.Fragment(value)}
                    for path, given in (
                        ("/api/tasks", order),
                        ("/api/agents", worker),
                        ("/mcp", call("task.create", order)),
                    ):
                        asking = functools.partial(ask, path, orjson.dumps(given))
                        costs[f"{path}: {shape}"] = cost(loop, asking)
            return costs

        costs = await asyncio.to_thread(client)
    assert {what: round(units, 2) for what, units in costs.items() if units > MOST} == {}
