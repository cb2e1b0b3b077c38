"""Gateways whose store hears them and does not answer, loses its leader, or stands still."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.app.clock import SystemClock
from tests.nats import NatsServer, leader_of, nats_cluster, nats_server
from tests.scenarios.durable import (
    LEDGER_AGENTS,
    Asker,
    is_away,
    is_ready,
    judge_ends,
    seeded,
    two_nodes,
    until,
    whole,
)
from tests.scenarios.harness import (
    Event,
    GatewayProcess,
    browser,
    gateway_process,
    worker_process,
)
from tests.scenarios.proxy import Direction, Proxy
from tests.soak import times

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.own_store]

CLOCK = SystemClock()
ELECTION_S = 60.0  # of a cluster's leaders, on a busy machine


@contextlib.asynccontextmanager
async def under_load(
    *nodes: GatewayProcess, ledger: Path, chance: random.Random
) -> AsyncIterator[Asker]:
    """Two workers, each with a node, and a client that asks at both; judged at the end."""
    async with contextlib.AsyncExitStack() as stack:
        for number in range(2):
            url = nodes[number % len(nodes)].url
            env = {"LEDGER": str(ledger)}
            await stack.enter_async_context(worker_process(url, target=LEDGER_AGENTS, env=env))
        asker = await stack.enter_async_context(Asker(*(port_of(node) for node in nodes)))
        asker.begin(chance)
        await accepted(asker, 5)
        yield asker
        await accepted(asker, 5)
        tasks = await asker.end()
        seen = [await whole(node, tasks) for node in nodes]
        judge_ends(seen[0], tasks)
        # All nodes tell the same story, and know the same.
        assert all(events == seen[0] for events in seen)
        for node in nodes:
            listed = await every_task(node)
            assert {task["task_id"] for task in listed} == tasks
            assert {task["status"] for task in listed} == {"succeeded"}


def port_of(node: GatewayProcess) -> int:
    return int(node.url.rpartition(":")[2])


async def accepted(asker: Asker, count: int) -> None:
    """Wait until so many more tasks have been taken."""
    enough = len(asker.accepted) + count

    async def holds() -> bool:
        return len(asker.accepted) >= enough

    await until(holds, within_s=ELECTION_S)


async def every_task(node: GatewayProcess) -> list[Event]:
    items: list[Event] = []
    cursor = ""
    while True:
        page = await node.get(f"/api/tasks?limit=500{cursor}")
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = f"&cursor={page['next']}"


@pytest.mark.requirement("WEFT-10", "FLUX-W2")
@pytest.mark.parametrize("deaf", [True, False], ids=["hears nothing", "is not heard"])
async def test_a_node_with_half_a_connection_to_its_store_does_no_harm(
    nats: NatsServer, store: dict[str, Any], tmp_path: Path, deaf: bool
) -> None:
    """What it writes arrives and it does not learn so, or the other way round."""
    with seeded(random.randrange(10_000)) as chance:
        async with Proxy(nats.port) as between:
            half: Direction = between.back if deaf else between.out
            settings = store | {"store": f"nats://127.0.0.1:{between.port}"}
            async with (
                gateway_process(target=None, **settings) as cut_off,
                gateway_process(target=None, **store) as well,
                browser(cut_off.url) as at_cut_off,
                under_load(cut_off, well, ledger=tmp_path / "ledger", chance=chance) as asker,
            ):
                half.stalled = True
                await until(lambda: is_away(cut_off))
                await at_cut_off.until(lambda _: at_cut_off.degradation)
                # The other goes on, with the workers of both.
                assert await is_ready(well)
                before = asker.refused
                await accepted(asker, 5)
                assert asker.refused > before
                half.stalled = False
                await until(lambda: is_ready(cut_off))
                recovered = await at_cut_off.event("system_recovered", scope="store")
                assert recovered["recovery_time"] > 0


@pytest.mark.requirement("WEFT-16", "WEFT-W5")
async def test_a_cluster_that_loses_its_leader_loses_nothing_else(
    store: dict[str, Any], tmp_path: Path
) -> None:
    """Three servers of NATS, two gateways; the leader of the log is killed, and comes back."""
    with seeded(random.randrange(10_000)) as chance:
        async with nats_cluster(3) as servers:
            urls = ",".join(server.url for server in servers)
            settings = store | {"store": urls, "store_replicas": 3}
            async with (
                two_nodes(settings) as nodes,
                under_load(*nodes, ledger=tmp_path / "ledger", chance=chance) as asker,
            ):
                for _ in range(times(1, 10)):
                    leader = servers[await leader_of(servers, settings["store_stream"])]
                    leader.kill()
                    # Two of three go on without it.
                    await accepted(asker, 5)
                    await leader.start()
                    await accepted(asker, 5)


@pytest.mark.requirement("WEFT-10", "WEFT-W1")
async def test_no_caller_waits_for_a_store_that_stands_still(
    store: dict[str, Any], tmp_path: Path
) -> None:
    """Its sockets stay open, as with a disk that takes no more: each write has its limit."""
    with seeded(random.randrange(10_000)) as chance:
        async with nats_server() as server:
            settings = store | {"store": server.url, "store_timeout": 1}
            async with (
                two_nodes(settings) as nodes,
                browser(nodes[0].url) as page,
                under_load(*nodes, ledger=tmp_path / "ledger", chance=chance) as asker,
            ):
                await server.pause()
                first = {"agent": "scribe", "input": {"question": "3"}, "user_id": "asker"}
                key = {"Idempotency-Key": "first"}
                answer = await nodes[0].http.post("/api/tasks", json=first, headers=key)
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) >= 1
                for node in nodes:
                    await until(lambda node=node: is_away(node))
                await page.until(lambda _: page.degradation)
                refused = asker.refused

                async def asked_again() -> bool:
                    return asker.refused >= refused + 10

                await until(asked_again)
                server.resume()
                for node in nodes:
                    await until(lambda node=node: is_ready(node))
                # What was not answered may have been taken; under its key it is the same task.
                await asker.ask("first", "3")
                recovered = await page.event("system_recovered", scope="store")
                assert recovered["recovery_time"] > 0
