"""Modes of a real gateway: set by an operator, entered under a real overload, and left again."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson
import pytest
import pytest_asyncio

from gateway.app.clock import SystemClock
from gateway.domain.timestamps import seconds_of
from tests.scenarios.harness import (
    Browser,
    Event,
    GatewayProcess,
    browser,
    gateway_process,
)
from tests.soak import times

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()
AGENTS = "tests.scenarios.busy_agents:gateway"
PERIOD_S = 2
LIMIT = times(300, 1_000)
SUBMITTED = 3 * LIMIT
# The rule for /health while it is overloaded, in seconds (FLUX-08, FLUX-09).
HEALTH_S = times(10, 1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    """A gateway that lets a test fill its queue, and finds a quarter of a processor too much."""
    async with gateway_process(
        target=AGENTS,
        queue_limit=LIMIT,
        queue_share=1,
        rate_http=0,
        degraded_lag=0.5,
        degraded_cpu=0.25,
        mode_period=PERIOD_S,
    ) as running:
        yield running


async def set_mode(gateway: GatewayProcess, mode: str) -> Event:
    answer = await gateway.http.put("/api/mode", json={"mode": mode})
    answer.raise_for_status()
    set_to: Event = answer.json()
    return set_to


async def create(
    gateway: GatewayProcess, agent: str = "nobody", *, priority: int = 5, **input: Any
) -> httpx2.Response:
    order = {"agent": agent, "input": input, "priority": priority}
    return await gateway.http.post("/api/tasks", json=order)


async def ended(page: Browser, degraded: Event) -> Event:
    """Wait until a degradation is told to be over."""
    id = degraded["degradation_id"]
    return await page.event("system_recovered", scope="mode", degradation_id=id, within_s=30)


@pytest.mark.requirement("FLUX-10", "FLUX-19", "FLUX-W4")
async def test_an_operators_mode_is_pushed_refuses_and_ends(gateway: GatewayProcess) -> None:
    async with browser(gateway.url, "ann") as page:
        for mode, refused, code in (
            ("degraded", 6, "degraded_mode"),
            ("read_only", 0, "read_only"),
            ("draining", 0, "draining"),
        ):
            assert (await set_mode(gateway, mode))["mode"] == mode
            degraded = await page.event("graceful_degradation", mode=mode, within_s=1)
            answer = await create(gateway, priority=refused)
            assert (answer.status_code, answer.json()["code"]) == (503, code)
            assert int(answer.headers["retry-after"]) >= 1
            async with browser(gateway.url, "bob", snapshot=True) as late:
                snapshot = late.subscribed["snapshot"]
                assert snapshot["mode"] == mode
                (told,) = snapshot["degradations"]
                assert told["degradation_id"] == degraded["degradation_id"]
            await set_mode(gateway, "normal")
            await ended(page, degraded)
        assert (await gateway.get("/api/stats"))["mode"] == "normal"
        taken = await create(gateway, priority=10)
        assert taken.status_code == 201
        await gateway.http.post(f"/api/tasks/{taken.json()['task_id']}/cancel")


@pytest.mark.requirement("WS-04")
async def test_a_full_queue_is_told_to_everyone_with_what_still_works_also_to_who_comes_later() -> (
    None
):
    """One waits for a task, one has nothing here, and two come when it is so already."""
    limit = 20
    async with (
        gateway_process(target=AGENTS, queue_limit=limit, queue_share=1) as gateway,
        browser(gateway.url, "ann") as ann,
        browser(gateway.url, "bob") as bob,
    ):
        for _ in range(limit):
            assert (await gateway.task("nobody", user_id="ann"))["status"] == "pending"
        told = await ann.event("graceful_degradation")
        assert await bob.event("graceful_degradation") == told
        assert told["mode"] == "degraded"
        assert told["available_features"] == ["tasks of priority 0 to 5", "blocking"]
        assert told["disabled_features"] == ["tasks of priority 6 to 10"]
        assert len(told["performance_impact"]) > 10
        # What it says is so.
        refused = await create(gateway, priority=6)
        assert (refused.status_code, refused.json()["code"]) == (503, "degraded_mode")
        taken = await create(gateway, "burner", priority=0, seconds=0)
        assert taken.status_code == 201

        async with browser(gateway.url, "cy", snapshot=True) as late:
            _, first = [orjson.loads(raw) for _, raw in late.frames[:2]]
            assert first["result"]["snapshot"]["mode"] == "degraded"
            assert first["result"]["snapshot"]["degradations"] == [told]
        path = "/api/events/stream?topic=user:dora&snapshot=true"
        async with gateway.http.stream("GET", path) as stream:
            lines = stream.aiter_lines()
            async with asyncio.timeout(5):
                while await anext(lines) != "event: snapshot":
                    pass
                data = (await anext(lines)).removeprefix("data: ")
            assert orjson.loads(data)["degradations"] == [told]


@pytest.mark.requirement("FLUX-09", "FLUX-W7")
@pytest.mark.parametrize(
    ("agent", "seconds", "why"),
    [("blocker", 1.5, "event loop"), ("burner", 4, "processor")],
)
async def test_what_is_really_busy_is_degraded_and_gets_well(
    gateway: GatewayProcess, agent: str, seconds: float, why: str
) -> None:
    async with browser(gateway.url) as page:
        # Within a period of the last change there is none: so it is made busy until there is.
        while not page.all("mode_changed", mode="degraded"):
            made = (await create(gateway, agent, seconds=seconds)).json()
            await page.finished(made["task_id"])
        (changed,) = page.all("mode_changed", mode="degraded")
        assert why in changed["message"]
        degraded = await page.event("graceful_degradation")
        assert "blocking" in degraded["available_features"]
        assert (await create(gateway, priority=6)).json()["code"] == "degraded_mode"
        important = await create(gateway, "burner", priority=5, seconds=0)
        await page.finished(important.json()["task_id"])
        await ended(page, degraded)
        await page.event("mode_changed", mode="normal")


@pytest.mark.requirement("FLUX-08", "FLUX-W8", "WEFT-W2")
async def test_more_than_it_can_take_is_refused_in_order_and_told(gateway: GatewayProcess) -> None:
    """Three times as many orders of mixed priorities as the limit, from ten clients."""
    priorities = itertools.cycle(range(11))
    orders = iter([next(priorities) for _ in range(SUBMITTED)])
    taken, refused = Counter[int](), Counter[int]()
    first_refused: dict[int, int] = {}
    slowest_s = 0.0
    done = asyncio.Event()

    async def client(http: httpx2.AsyncClient) -> None:
        for priority in orders:
            order = {"agent": "nobody", "priority": priority}
            answer = await http.post("/api/tasks", json=order)
            (taken if answer.status_code == 201 else refused)[priority] += 1
            first_refused.setdefault(priority, taken.total()) if answer.status_code == 503 else None

    async def watch(http: httpx2.AsyncClient) -> None:
        nonlocal slowest_s
        while not done.is_set():
            began = CLOCK.monotonic()
            (await http.get("/health")).raise_for_status()
            slowest_s = max(slowest_s, CLOCK.monotonic() - began)
            await CLOCK.sleep(0.02)

    async with (
        browser(gateway.url) as page,
        httpx2.AsyncClient(base_url=gateway.url, timeout=30) as http,
    ):
        watching = asyncio.create_task(watch(http))
        await asyncio.gather(*(client(http) for _ in range(10)))
        done.set()
        await watching
        degraded = await page.event("graceful_degradation")
        stats = await gateway.get("/api/stats")
        assert LIMIT <= stats["queue"]["depth"] <= 2 * LIMIT
        assert refused[0] == 0
        assert refused[10] > refused[5] >= refused[1]
        in_order = sorted(first_refused, key=lambda priority: first_refused[priority])
        assert in_order[0] >= 6
        assert slowest_s < HEALTH_S
        # Room again: the clients give up what waits.
        await asyncio.gather(
            *(
                http.post(f"/api/tasks/{task['task_id']}/cancel")
                for task in (await tasks_of(http))[: stats["queue"]["depth"]]
            )
        )
        await ended(page, degraded)
        at = [seconds_of(event["timestamp"]) for event in page.all("mode_changed")]
        gaps = [after - before for before, after in itertools.pairwise(at)]
        assert all(gap >= PERIOD_S - 0.01 for gap in gaps), gaps


async def tasks_of(http: httpx2.AsyncClient) -> list[Event]:
    """Everything that waits."""
    found: list[Event] = []
    cursor = None
    while True:
        after = "" if cursor is None else f"&cursor={cursor}"
        page = (await http.get(f"/api/tasks?status=pending&limit=500{after}")).json()
        found += page["items"]
        if (cursor := page["next"]) is None:
            return found
