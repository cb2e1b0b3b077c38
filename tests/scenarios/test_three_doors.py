"""
One table of scenarios, played through each door, and through all of them in turn.

Each way has a gateway of its own, so that everything may be called alike. What one way gives, every
other way gives: each answer, each refusal with its field and its words, and each event that an
operator is told. A difference is a mistake of the gateway's, unless a door cannot say the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping
from typing import Any

import jwt
import pytest
import pytest_asyncio

from gateway.app.clock import SystemClock
from gateway.protocol.operations import OPERATIONS
from tests.scenarios.doors import Answer, Doors
from tests.scenarios.harness import Browser, Event, GatewayProcess, browser, gateway_process
from tests.scenarios.steps import Names, Scenario, Step, filled, fits
from tests.scenarios.table import CALLERS, TABLE

# The scenarios share the gateways; each has names of its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()
SECRET = "s" * 32

# The doors that the calls of each way go through, in turn.
WAYS: Mapping[str, tuple[str, ...]] = {
    "over HTTP": ("http",),
    "over a socket": ("socket",),
    "by tools": ("tool",),
    "by all in turn": ("http", "socket", "tool"),
}
SETTINGS: Mapping[str, Any] = {
    "token_secret": SECRET,
    "rate_http": 0,
    "rate_ws": 0,
    # Nothing happens by itself while the table is played.
    "heartbeat_timeout": 600,
    "offline_after": 1200,
    "lease_ttl": 600,
    "retry_base": 0.05,
    "breaker_threshold": 4,
    "partial_bytes_task": 2**14,
    "drain_grace": 0.1,
}

# How long an answer may take to become what it has to be, in seconds, and how often it is asked.
AGAIN_S, AGAIN_EVERY_S = 5.0, 0.02


def token(user_id: str, scope: str) -> str:
    claims = {"sub": user_id, "scope": scope, "exp": int(CLOCK.wall()) + 3600}
    return jwt.encode(claims, SECRET, "HS256")


TOKENS = {user_id: token(user_id, scope) for user_id, scope in CALLERS.items()}


@dataclasses.dataclass(frozen=True)
class Way:
    """One gateway, how its callers come in, and an operator that is told everything."""

    name: str
    gateway: GatewayProcess
    doors: Doors
    watching: Browser

    async def play(self, scenario: Scenario) -> list[str]:
        """Play a scenario; gives each answer, then each event that it has caused."""
        self.doors.begin()
        seen = len(await self._told())
        names, known = Names(self.watching.subscribed["epoch"]), dict[str, Any]()
        account = []
        for number, step in enumerate(scenario.steps, start=1):
            code, content = await self._answered(step, known)
            known[step.keep] = content
            account.append(f"{number} {step.operation}: {code}\n{names.text(content)}")
        events = [e for e in (await self._told())[seen:] if e["type"] not in scenario.beside]
        return account + [f"event {event['type']}\n{names.text(event)}" for event in events]

    async def _answered(self, step: Step, known: Mapping[str, Any]) -> Answer:
        params, gives = filled(step.params, known), filled(step.gives, known)
        door = await self.doors.next(step.operation, TOKENS[step.by])
        until = CLOCK.monotonic() + AGAIN_S
        while True:
            code, content = await door.call(step.operation, **params)
            if code == step.code and fits(content, gives):
                return code, content
            if not step.again or CLOCK.monotonic() > until:
                raise AssertionError(
                    f"{self.name}: {step.operation} {params} answered {code or 'done'} {content}, "
                    f"expected was {step.code or 'done'} {gives}"
                )
            await CLOCK.sleep(AGAIN_EVERY_S)

    async def _told(self) -> list[Event]:
        """Wait until the operator has been told everything, and give all of it."""
        head = (await self.gateway.get("/ready"))["position"]["offset"]
        await self.watching.until(lambda _: max([0, *self.watching.at]) >= head)
        return self.watching.events


@contextlib.asynccontextmanager
async def opened(name: str) -> AsyncIterator[Way]:
    async with (
        gateway_process(target=None, **SETTINGS) as gateway,
        browser(gateway.url, topics=["*"], since="start", token=TOKENS["operator"]) as watching,
    ):
        doors = Doors(gateway, WAYS[name])
        yield Way(name, gateway, doors, watching)
        await doors.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ways() -> AsyncIterator[list[Way]]:
    async with contextlib.AsyncExitStack() as stack:
        yield list(
            await asyncio.gather(*(stack.enter_async_context(opened(name)) for name in WAYS))
        )


@pytest.mark.requirement("MESH-06", "MESH-08", "MESH-W17")
@pytest.mark.parametrize("scenario", TABLE, ids=lambda scenario: scenario.sentence)
async def test_a_scenario_has_the_same_answers_and_events_by_every_way(
    ways: list[Way], scenario: Scenario
) -> None:
    # Each is played to its end, though another one has failed: the next scenario comes after it.
    played = await asyncio.gather(*(way.play(scenario) for way in ways), return_exceptions=True)
    accounts = []
    for account in played:
        if isinstance(account, BaseException):
            raise account
        accounts.append(account)
    for way, account in zip(ways[1:], accounts[1:], strict=True):
        for expected, found in zip(accounts[0], account, strict=False):
            assert found == expected, f"{way.name}, and not {ways[0].name}"
        assert len(account) == len(accounts[0])


async def test_the_table_has_every_operation_done_and_refused() -> None:
    steps = [step for scenario in TABLE for step in scenario.steps]
    done = {step.operation for step in steps if step.code is None}
    # What it counts is also what the doors themselves do: connections, bytes of the log.
    assert set(OPERATIONS) - done == {"stats.get"}
    assert {step.operation for step in steps if step.code is not None} == set(OPERATIONS)
    assert len({scenario.sentence for scenario in TABLE}) == len(TABLE)
