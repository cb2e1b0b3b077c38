"""
Gateways on one durable log, for the scenarios that are about several of them.

The tests of a module share a NATS server (the fixture ``nats``); each has a log of its own on it
(the fixture ``store``, as settings of a gateway).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2

from gateway.app.clock import SystemClock
from tests.scenarios.harness import Event, GatewayProcess, browser, gateway_process

__all__ = [
    "LEDGER_AGENTS",
    "QUICK",
    "Asker",
    "is_away",
    "is_ready",
    "judge_ends",
    "seeded",
    "two_nodes",
    "until",
    "whole",
]

LEDGER_AGENTS = "tests.scenarios.ledger_agents:gateway"
# Quick to notice a lost worker; a node that is started needs less.
QUICK = {"heartbeat_timeout": 2, "offline_after": 6, "retry_base": 0.05, "rate_http": 0}

CLOCK = SystemClock()


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[random.Random]:
    """Chance that can be repeated; the seed is told when the test fails."""
    try:
        yield random.Random(seed)
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise


async def is_ready(gateway: GatewayProcess) -> bool:
    return (await gateway.http.get("/ready")).status_code == 200


async def is_away(gateway: GatewayProcess) -> bool:
    """Whether the gateway says that it should not be asked."""
    return not await is_ready(gateway)


async def until(holds: Any, *, within_s: float = 15.0) -> None:
    """Wait until something that is asked for holds."""
    async with asyncio.timeout(within_s):
        while not await holds():
            await CLOCK.sleep(0.02)


async def whole(gateway: GatewayProcess, tasks: set[str]) -> list[Event]:
    """Every event of the log, when all tasks have ended; checked as a complete recording."""
    async with browser(gateway.url, since="start") as late:
        await late.until(
            lambda _: tasks <= {event["task_id"] for event in late.all("task_finished")},
            within_s=60,
        )
        late.check(complete=True)
        return list(late.events)


def judge_ends(events: list[Event], tasks: set[str]) -> None:
    """Every task was done to its end, once, and its text has each line once and in order."""
    ends = [event for event in events if event["type"] == "task_finished"]
    assert Counter(event["task_id"] for event in ends) == Counter(tasks)
    assert {event["outcome"] for event in ends} == {"succeeded"}
    for event in ends:
        lines = event["result"].split()
        assert lines == [str(number) for number in range(1, len(lines) + 1)]


class Asker:
    """
    A client that asks again, at one node after another, until a task has been taken.

    Attributes:
        accepted: Key → the ids that it was answered with.
        refused: How often there was no answer, or none but 503.
    """

    def __init__(self, *ports: int) -> None:
        self._ports = itertools.cycle(ports)
        self._http = httpx2.AsyncClient(timeout=5)
        self._numbers = itertools.count()
        self._loads: list[asyncio.Future[None]] = []
        self._over = False
        self.accepted: dict[str, set[str]] = {}
        self.refused = 0

    async def __aenter__(self) -> Asker:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for load in self._loads:
            load.cancel()
        await asyncio.gather(*self._loads, return_exceptions=True)
        await self._http.aclose()

    def begin(self, chance: random.Random, *, at_once: int = 2) -> None:
        """Ask for one short text after another until ``end``."""

        async def load() -> None:
            while not self._over:
                await self.ask(f"key-{next(self._numbers)}", str(chance.randrange(1, 6)))
                await CLOCK.sleep(0.05)

        self._loads = [asyncio.ensure_future(load()) for _ in range(at_once)]

    async def end(self) -> set[str]:
        """Ask no more; give all tasks. A key that was asked for again has got the same task."""
        self._over = True
        await asyncio.gather(*self._loads)
        tasks = set().union(*self.accepted.values())
        assert {len(known) for known in self.accepted.values()} == {1}
        assert len(tasks) == len(self.accepted)
        return tasks

    async def ask(self, key: str, question: str) -> None:
        """Ask for a text until a node has taken it."""
        body = {"agent": "scribe", "input": {"question": question}, "user_id": "asker"}
        while True:
            url = f"http://127.0.0.1:{next(self._ports)}/api/tasks"
            try:
                answer = await self._http.post(url, json=body, headers={"Idempotency-Key": key})
            except httpx2.HTTPError:
                self.refused += 1
                await CLOCK.sleep(0.02)
                continue
            assert answer.status_code in (201, 503), answer.text
            if answer.status_code == 201:
                self.accepted.setdefault(key, set()).add(answer.json()["task_id"])
                return
            self.refused += 1
            await CLOCK.sleep(0.05)


@contextlib.asynccontextmanager
async def two_nodes(
    store: dict[str, Any], *, target: str | None = None, **options: Any
) -> AsyncIterator[tuple[GatewayProcess, GatewayProcess]]:
    async with (
        gateway_process(target=target, **options, **store) as first,
        gateway_process(target=target, **options, **store) as second,
    ):
        yield first, second
