"""Breakers on a log that is kept: a node that comes after a lost one finds what is due."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from gateway import Task
from gateway.app.gateway import Gateway
from gateway.domain.breaker import Breaker
from gateway.domain.errors import StoreUnavailable
from gateway.ports import Draft
from tests.execution.kept import Cluster, Hook, until_killed

SETTINGS: dict[str, Any] = {"breaker_threshold": 2, "breaker_cooldown": 5.0, "max_attempts": 1}


def held(type: str) -> Hook:
    """Let no event of this type get to the log; its writer waits until it is killed."""

    async def before(drafts: Sequence[Draft]) -> None:
        if drafts[0].type == type:
            await asyncio.Event().wait()

    return before


def refused(type: str) -> Hook:
    """Have the store not take any event of this type."""

    async def before(drafts: Sequence[Draft]) -> None:
        if drafts[0].type == type:
            raise StoreUnavailable("the store is away")

    return before


class Calling:
    """
    A node that runs one agent, which calls the upstream that the breaker is about.

    Attributes:
        fails: Whether the upstream does.
    """

    def __init__(self, cluster: Cluster, agent: str) -> None:
        self.fails = False
        self._cluster = cluster
        self._agent = agent
        self.gateway, self.engine, self.log = cluster.node(self._declare)

    def _declare(self, gateway: Gateway) -> None:
        @gateway.agent(self._agent, breaker="upstream")
        async def ask(task: Task) -> str:
            if self.fails:
                raise ConnectionError("it is down")
            return "done"

    @property
    def breaker(self) -> Breaker:
        return self.engine.parts.state.breakers["upstream"]

    async def run(self, times: int = 1) -> None:
        """Ask the agent for something, and see that it ends as it should."""
        for _ in range(times):
            task_id = (await self.gateway.submit(self._agent)).task_id
            task = await self.engine.parts.ends.of(task_id)
            assert (task.status == "succeeded") is not self.fails

    async def half_open(self) -> None:
        """Let the breaker open, and cool down."""
        self.fails = True
        await self.run(times=2)
        await self._cluster.passing(0.1)
        assert self.breaker.state == "open"
        self.fails = False
        await self._cluster.passing(5)


@contextlib.asynccontextmanager
async def living(cluster: Cluster, agent: str = "asker") -> AsyncIterator[Calling]:
    """Run a node until it is killed."""
    node = Calling(cluster, agent)
    async with until_killed(node.engine):
        yield node


async def test_a_breaker_whose_node_is_killed_before_the_closing_is_closed_by_the_next() -> None:
    cluster = Cluster(**SETTINGS)
    async with living(cluster) as node:
        await node.half_open()
        node.log.before = held("system_recovered")
        await node.run(times=3)
    assert cluster.said("system_recovered") == []
    async with living(cluster) as node:
        await cluster.passing(0.1)
        assert (node.breaker.state, len(cluster.said("system_recovered"))) == ("closed", 1)
        await node.run()


async def test_a_breaker_whose_node_is_killed_before_it_reopens_is_reopened_by_the_next() -> None:
    cluster = Cluster(**SETTINGS)
    async with living(cluster) as node:
        await node.half_open()
        node.log.before = held("circuit_breaker_triggered")
        node.fails = True
        await node.run()
    assert len(cluster.said("circuit_breaker_triggered")) == 1
    async with living(cluster) as node:
        await cluster.passing(0.1)
        assert (node.breaker.state, node.breaker.version) == ("open", 2)
        await cluster.passing(5)
        await node.run(times=3)
        await cluster.passing(0.1)
        assert node.breaker.state == "closed"


async def test_a_breaker_whose_node_is_killed_before_it_opens_is_opened_by_the_next() -> None:
    """The log tells its failures, and nothing else of it."""
    cluster = Cluster(**SETTINGS)
    async with living(cluster) as node:
        node.log.before = held("circuit_breaker_triggered")
        node.fails = True
        await node.run(times=2)
    assert cluster.said("circuit_breaker_triggered") == []
    await cluster.passing(60)
    async with living(cluster) as node:
        await cluster.passing(0.1)
        assert (node.breaker.state, node.breaker.version) == ("open", 1)
        (opened,) = cluster.said("circuit_breaker_triggered")
        assert (opened["failure_rate"], opened["failure_threshold_reached"]) == (1.0, 2)


async def test_what_is_due_is_still_due_when_everything_is_read_anew() -> None:
    """The node lives on, and the store has not taken the closing before the hole."""
    cluster = Cluster(**SETTINGS)
    async with living(cluster) as node:
        await node.half_open()
        node.log.before = refused("system_recovered")
        await node.run(times=3)
        await cluster.passing(0.1)
        assert node.breaker.due() == "closed"
        node.log.before = None
        node.log.begin_anew()
        await cluster.passing(0.1)
        assert (node.breaker.state, len(cluster.said("system_recovered"))) == ("closed", 1)


async def test_a_node_that_comes_late_to_an_opening_looks_whether_it_is_still_due() -> None:
    """The node that should have opened it is dead, and by now the upstream works again."""
    cluster = Cluster(**SETTINGS)
    async with living(cluster, "other") as survivor:
        await survivor.run()  # it knows the breaker
        async with living(cluster) as node:
            node.log.before = held("circuit_breaker_triggered")
            node.fails = True
            await node.run(times=2)
        assert survivor.breaker.due() == "open"
        await survivor.run()
        assert survivor.breaker.due() is None
        await cluster.passing(60)
        assert (survivor.breaker.state, cluster.said("circuit_breaker_triggered")) == ("closed", [])
