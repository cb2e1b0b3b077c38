"""Gateways on one durable log: killed, cut off from it, and standing in for each other."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.app.clock import SystemClock
from tests.app.test_alarm import Receiver
from tests.nats import NatsServer, free_ports, nats_server
from tests.scenarios.durable import (
    LEDGER_AGENTS,
    QUICK,
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
from tests.scenarios.proxy import Proxy
from tests.soak import times
from tests.upstream import Upstream

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.own_store]

CLOCK = SystemClock()


# --- one node ------------------------------------------------------------------------------------


@pytest.mark.requirement("FLUX-12", "FLUX-W1", "WEFT-02", "WEFT-W4")
async def test_a_gateway_killed_under_load_loses_nothing_and_doubles_nothing(
    store: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever was answered with 201 is finished once; workers come back by themselves."""
    kills, ledger = times(4, 100), tmp_path / "ledger"
    (port,) = free_ports(1)
    with seeded(random.randrange(10_000)) as chance:
        async with contextlib.AsyncExitStack() as stack:
            asker = await stack.enter_async_context(Asker(port))
            gateway = await stack.enter_async_context(
                gateway_process(target=None, port=port, **store)
            )
            env = {"LEDGER": str(ledger)}
            workers = [
                await stack.enter_async_context(
                    worker_process(gateway.url, target=LEDGER_AGENTS, env=env)
                )
                for _ in range(2)
            ]
            asker.begin(chance)
            for _ in range(kills):
                await CLOCK.sleep(chance.uniform(0.1, 1.0))
                await gateway.stop(signal.SIGKILL)
                gateway = await stack.enter_async_context(
                    gateway_process(target=None, port=port, **store)
                )
            tasks = await asker.end()
            judge_ends(await whole(gateway, tasks), tasks)
            for worker in workers:
                await worker.stop()


@pytest.mark.requirement("WEFT-01", "WEFT-18", "WS-03")
async def test_what_was_known_before_a_kill_is_known_after_it(store: dict[str, Any]) -> None:
    """A worker that only the log knows, a task that waits, and what a task had preserved."""
    async with gateway_process(target=None, **store) as first:
        registered = await first.http.post("/api/agents", json={"handle": "ghost"})
        agent_id = registered.json()["agent_id"]
        waiting = await first.task("nobody", user_id="ann")
        proof = {name: registered.json()[name] for name in ("agent_id", "agent_secret")}
        running = await first.task("ghost", user_id="ann")
        claim = await first.http.post("/api/tasks/claim", json=proof)
        assert claim.json()["task_id"] == running["task_id"]
        lease = {**proof, "term": claim.json()["term"]}
        update = {**lease, "step": "outline", "data": ["a", "b"]}
        path = f"/api/tasks/{running['task_id']}"
        assert (await first.http.post(f"{path}/update", json=update)).status_code == 200
        await first.stop(signal.SIGKILL)
    async with gateway_process(target=None, **store) as again:
        listed = await again.get("/api/agents?handle=ghost")
        assert [item["agent_id"] for item in listed["items"]] == [agent_id]
        assert listed["items"][0]["tasks"] == [running["task_id"]]
        assert (await again.get(f"/api/tasks/{waiting['task_id']}"))["status"] == "pending"
        partial = await again.get(f"{path}/partial")
        assert partial["preserved_data"] == {"outline": ["a", "b"]}
        # Its lease has outlived the gateway: it finishes as if nothing had been.
        done = await again.http.post(f"{path}/complete", json={**lease, "result": "done"})
        assert done.json()["status"] == "succeeded"
        # Nor has it to register again to be given the next.
        following = await again.task("ghost", user_id="ann")
        claim = await again.http.post("/api/tasks/claim", json=proof)
        assert claim.json()["task_id"] == following["task_id"]
        async with browser(again.url, "ann", since="start") as page:
            assert (await page.finished(running["task_id"]))["result"] == "done"


@pytest.mark.requirement("WEFT-04", "WEFT-10", "WEFT-W6", "WEFT-W1", "WEFT-W17", "FLUX-W13")
async def test_a_gateway_cut_off_from_its_store_lives_says_so_and_agrees_afterwards(
    nats: NatsServer, store: dict[str, Any]
) -> None:
    """Nothing comes back over open sockets: each write is answered with success or a clear no."""
    async with (
        Proxy(nats.port) as between,
        gateway_process(
            target=None, **store | {"store": f"nats://127.0.0.1:{between.port}"}
        ) as gateway,
        browser(gateway.url) as operator,
    ):
        before = await gateway.task("nobody", user_id="ann")
        between.stalled = True
        answers = await asyncio.gather(
            *(
                gateway.http.post(
                    "/api/tasks",
                    json={"agent": "nobody", "user_id": "ann"},
                    headers={"Idempotency-Key": f"k{number}"},
                )
                for number in range(20)
            )
        )
        assert {answer.status_code for answer in answers} <= {201, 503}
        refused = [answer for answer in answers if answer.status_code == 503]
        assert refused
        for answer in refused:
            assert answer.json()["code"] == "unavailable"
            assert int(answer.headers["retry-after"]) >= 1
        await until(lambda: is_away(gateway))
        told = await operator.until(lambda _: operator.degradation)
        assert told["scope"] == "store"
        assert "not ready" in (await gateway.http.get("/ready")).json()["detail"]
        assert (await gateway.http.get("/health")).json()["status"] == "ok"
        # What is known is still told.
        assert (await gateway.get(f"/api/tasks/{before['task_id']}"))["status"] == "pending"

        between.stalled = False
        between.cut()
        await until(lambda: is_ready(gateway))
        degraded = await operator.event("graceful_degradation", scope="store")
        recovered = await operator.event("system_recovered", scope="store")
        assert told["degradation_id"] == degraded["degradation_id"]
        assert recovered["degradation_id"] == degraded["degradation_id"]
        again = await asyncio.gather(
            *(
                gateway.http.post(
                    "/api/tasks",
                    json={"agent": "nobody", "user_id": "ann"},
                    headers={"Idempotency-Key": f"k{number}"},
                )
                for number in range(20)
            )
        )
        ids = [answer.json()["task_id"] for answer in again]
        assert len(set(ids)) == 20
        for first, second in zip(answers, ids, strict=True):
            assert first.status_code == 503 or first.json()["task_id"] == second
        submitted = Counter(event["task_id"] for event in operator.all("task_submitted"))
        assert submitted == Counter([before["task_id"], *ids])

        # Where the loss of its connections can be seen, it is known at once.
        between.refuse = True
        between.cut()
        await until(lambda: is_away(gateway), within_s=1.0)
        between.refuse = False
        await until(lambda: is_ready(gateway))


async def is_alerted(there: Receiver, times: int) -> bool:
    return len(there.asked) >= times


@pytest.mark.requirement("WEFT-16", "WEFT-17", "WEFT-W5")
async def test_a_store_that_is_killed_and_restarted_costs_an_attempt_at_the_most(
    store: dict[str, Any], tmp_path: Path
) -> None:
    """Work that ends while the store is away is told when it is back, once; alerts come before."""
    async with nats_server() as server, Upstream() as upstream, Receiver().listening() as there:
        settings = store | {"store": server.url, "alert_url": there.url}
        async with (
            gateway_process(upstream=upstream.url, **settings) as gateway,
            browser(gateway.url, "ann") as page,
        ):
            upstream.schedule("hold")
            task = await gateway.task("once", user_id="ann")
            await upstream.wait_for_calls(1)
            server.kill()
            upstream.release()
            await until(lambda: is_away(gateway))
            refused = await gateway.http.post("/api/tasks", json={"agent": "once"})
            assert refused.status_code == 503
            # An EventSource would not come back after 503, nor hear anything on a log that stands.
            stream = await gateway.http.get("/api/events/stream")
            assert stream.status_code == 200
            assert stream.text.startswith("retry: ")
            assert '"the store is away"' in stream.text
            await until(lambda: is_alerted(there, 1))
            alert = orjson.loads(there.asked[0][1])
            assert (alert["type"], alert["scope"]) == ("graceful_degradation", "store")
            assert alert["message"] == "the store is away: nothing new can be recorded"
            await server.start()
            finished = await page.finished(task["task_id"], within_s=20)
            assert finished["outcome"] == "succeeded"
            assert len(page.all("task_started")) == 1
            assert len(page.all("task_finished")) == 1
            recovered = await page.event("system_recovered", scope="store")
            assert recovered["recovery_time"] > 0
            # What was told before it could be recorded is not told again.
            degraded = await page.event("graceful_degradation", scope="store")
            await until(lambda: is_alerted(there, 2))
            assert [degraded["event_id"], recovered["event_id"]] == there.ids


@pytest.mark.requirement("WEFT-19")
async def test_a_gateway_told_to_stop_leaves_open_tasks_to_the_next_one(
    store: dict[str, Any],
) -> None:
    """What runs here beyond the grace is given back: no failure, and no attempt spent."""
    async with Upstream() as upstream:
        upstream.schedule("hold", "fine")
        settings = store | {"drain_grace": 0.5}
        async with gateway_process(upstream=upstream.url, **settings) as first:
            running = await first.task("once", user_id="ann")
            await upstream.wait_for_calls(1)
            waiting = await first.task("nobody", user_id="ann")
            assert await first.stop() == 0
        async with (
            gateway_process(upstream=upstream.url, **settings) as again,
            browser(again.url, "ann", since="start") as page,
        ):
            finished = await page.finished(running["task_id"])
            assert finished["outcome"] == "succeeded"
            assert page.all("agent_error") == []
            assert (await again.get(f"/api/tasks/{waiting['task_id']}"))["status"] == "pending"


# --- two nodes -----------------------------------------------------------------------------------


async def seen(gateway: GatewayProcess, position: Event) -> Event:
    """Events up to a position that another node has given."""
    where = f"{position['epoch']}:{position['offset']}"
    events: Event = await gateway.get(f"/api/events?min_position={where}&since=0")
    return events


@pytest.mark.requirement("WEFT-03", "FLUX-W2")
async def test_what_is_written_on_one_node_is_read_on_the_other(store: dict[str, Any]) -> None:
    async with two_nodes(store) as (first, second):
        task = await first.task("nobody", user_id="ann")
        position = task["position"]
        where = f"{position['epoch']}:{position['offset']}"
        shown = await second.get(f"/api/tasks/{task['task_id']}?min_position={where}")
        assert shown["status"] == "pending"
        cancelled = await second.http.post(f"/api/tasks/{task['task_id']}/cancel")
        assert cancelled.status_code == 200
        registered = await first.http.post("/api/agents", json={"handle": "either"})
        agent_id = registered.json()["agent_id"]
        proof = {name: registered.json()[name] for name in ("agent_id", "agent_secret")}

        async def known() -> bool:
            return (await second.http.get(f"/api/agents/{agent_id}")).status_code == 200

        await until(known)
        # It beats on one and is well on both, longer than it may be silent.
        for _ in range(8):
            beat = await second.http.post(
                f"/api/agents/{agent_id}/heartbeat",
                json={"agent_secret": proof["agent_secret"]},
            )
            assert beat.status_code == 200
            await CLOCK.sleep(QUICK["heartbeat_timeout"] / 4)
        for node in (first, second):
            assert (await node.get(f"/api/agents/{agent_id}"))["status"] == "healthy"


@pytest.mark.requirement("WS-18", "FLUX-W2")
async def test_a_browser_whose_node_is_killed_goes_on_at_the_other(store: dict[str, Any]) -> None:
    """In the same order on both, nothing missing and nothing twice."""
    async with (
        two_nodes(store) as (first, second),
        browser(first.url, "ann") as page,
        browser(second.url) as other,
    ):
        for number in range(30):
            node = (first, second)[number % 2]
            await node.task("nobody", user_id="ann")
        await page.until(lambda _: len(page.all("task_submitted")) == 30)
        await other.until(lambda _: len(other.all("task_submitted")) == 30)
        page.may_be_lost = True
        await first.stop(signal.SIGKILL)
        last = page.events[-1]
        for _ in range(10):
            await second.task("nobody", user_id="ann")
        since = {"epoch": last["epoch"], "offset": last["offset"]}
        async with browser(second.url, "ann", since=since) as back:
            assert back.subscribed["recovered"] is True
            await back.until(lambda _: len(back.all("task_submitted")) == 10)
            await other.until(lambda _: len(other.all("task_submitted")) == 40)
            seen = (*page.all("task_submitted"), *back.all("task_submitted"))
            got = [e["event_id"] for e in seen]
            assert got == [e["event_id"] for e in other.all("task_submitted")]


@pytest.mark.requirement("MESH-09")
async def test_a_worker_and_its_node_are_killed_and_the_other_node_gives_its_task_on(
    store: dict[str, Any], tmp_path: Path
) -> None:
    env = {"LEDGER": str(tmp_path / "ledger")}
    async with (
        two_nodes(store) as (first, second),
        browser(second.url, "ann") as page,
        worker_process(first.url, target=LEDGER_AGENTS, env=env) as lost,
    ):
        task = await second.task("scribe", "200", user_id="ann")
        await page.event("partial_result", task_id=task["task_id"])
        async with worker_process(second.url, target=LEDGER_AGENTS, env=env) as heir:
            lost.process.kill()
            await first.stop(signal.SIGKILL)
            error = await page.event("agent_error", task_id=task["task_id"], within_s=20)
            assert error["error_type"] == "agent_lost"
            moved = await page.event("task_reassigned", task_id=task["task_id"])
            assert moved["previous_agent_id"] == lost.agent_id
            assert moved["agent_id"] == heir.agent_id
            finished = await page.finished(task["task_id"], within_s=30)
            assert finished["outcome"] == "succeeded"
            assert finished["result"].split() == [str(n) for n in range(1, 201)]


async def test_a_node_that_runs_agents_is_replaced_by_the_other(store: dict[str, Any]) -> None:
    """SIGKILL of the gateway that does the work: the other goes on from what was preserved."""
    async with (
        Upstream() as upstream,
        two_nodes(store, target="tests.scenarios.agents:gateway", upstream=upstream.url) as nodes,
    ):
        upstream.schedule("fine", "fine", "hold")
        async with browser(nodes[1].url, "ann") as on_second:
            async with browser(nodes[0].url, "ann") as on_first:
                task = await nodes[0].task("stepper", user_id="ann", timeout=60)
                await upstream.wait_for_calls(3)
                started = await on_first.event("task_started", task_id=task["task_id"])
                holders = {}
                for node in nodes:
                    for item in (await node.get("/api/agents?handle=gateway"))["items"]:
                        holders[item["agent_id"]] = item
                assert started["agent_id"] in holders
                await on_second.event("partial_result", step="step2")
                on_first.may_be_lost = on_second.may_be_lost = True
            # It cannot be told from outside which of the two has it: ask which is alive.
            upstream.schedule("fine")
            worker = await _worker_of(nodes, started["agent_id"])
            survivor = nodes[1] if worker is nodes[0] else nodes[0]
            async with browser(survivor.url, "ann", since="start") as page:
                await worker.stop(signal.SIGKILL)
                finished = await page.finished(task["task_id"], within_s=20)
                assert finished["outcome"] == "succeeded"
                kept = page.all("partial_result_preserved")[0]
                assert list(kept["preserved_data"]) == ["step1", "step2"]
                assert upstream.count == 4


async def _worker_of(nodes: tuple[GatewayProcess, GatewayProcess], agent_id: str) -> GatewayProcess:
    """The node of that agent_id: the one that goes on beating while the other is stopped."""
    nodes[0].process.send_signal(signal.SIGSTOP)
    try:
        await CLOCK.sleep(QUICK["heartbeat_timeout"] * 0.4)
        listed = (await nodes[1].get("/api/agents?handle=gateway"))["items"]
    finally:
        nodes[0].process.send_signal(signal.SIGCONT)
    newest = max(listed, key=lambda item: item["last_heartbeat"])
    return nodes[1] if newest["agent_id"] == agent_id else nodes[0]


async def test_a_breaker_is_one_over_all_nodes(store: dict[str, Any]) -> None:
    """Failures on both open it once; exactly three probes pass in all, whichever node is asked."""
    async with Upstream() as upstream:
        settings = store | {"breaker_cooldown": 1.0}
        async with (
            two_nodes(
                settings, target="tests.scenarios.agents:gateway", upstream=upstream.url
            ) as nodes,
            browser(nodes[0].url) as page,
        ):
            upstream.schedule("500")
            for number in range(5):
                task = await nodes[number % 2].task("once", user_id="ann")
                await page.finished(task["task_id"])
            opened = await page.event("circuit_breaker_triggered")
            assert opened["breaker_version"] == 1
            for node in nodes:

                async def is_open(node: GatewayProcess = node) -> bool:
                    items = (await node.get("/api/breakers"))["items"]
                    return any(item["state"] == "open" for item in items)

                await until(is_open)
                refused = await node.http.post("/api/tasks", json={"agent": "once"})
                assert refused.status_code == 503
            upstream.schedule("hold")
            await CLOCK.sleep(1.1)
            before = upstream.count
            answers = await asyncio.gather(
                *(
                    nodes[number % 2].http.post(
                        "/api/tasks", json={"agent": "once", "input": {"question": "?"}}
                    )
                    for number in range(20)
                )
            )
            passed = [answer for answer in answers if answer.status_code == 201]
            assert len(passed) == 3
            await upstream.wait_for_calls(before + 3)
            upstream.release()
            await page.event("system_recovered", scope="breaker")
            assert len(page.all("circuit_breaker_triggered")) == 1
            assert len(page.all("circuit_breaker_test_request")) == 3
            assert upstream.count == before + 3
