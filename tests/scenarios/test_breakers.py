"""A breaker opens by real failures, refuses, lets three probes through, and closes by results."""

from __future__ import annotations

import asyncio

import pytest

from tests.scenarios.harness import Browser, GatewayProcess, browser, gateway_process
from tests.upstream import Upstream


async def open_by_failures(
    gateway: GatewayProcess, page: Browser, upstream: Upstream, *, failures: int
) -> None:
    """Fail for real until the breaker of "once" is open."""
    upstream.schedule("500")
    for _ in range(failures):
        task = await gateway.task("once", user_id="42")
        await page.finished(task["task_id"])
    await page.event("circuit_breaker_triggered", agent_name="once")


@pytest.mark.requirement("WS-02", "WEFT-W20")
async def test_the_fifth_failure_opens_once_and_the_sixth_request_does_not_reach_the_upstream() -> (
    None
):
    async with (
        Upstream() as upstream,
        gateway_process(upstream=upstream.url) as gateway,
        browser(gateway.url, "42") as page,
        browser(gateway.url, "bystander") as bystander,
    ):
        upstream.schedule("429_none")
        for number in range(6):
            task = await gateway.task("careful", user_id="42", max_attempts=1)
            finished = await page.finished(task["task_id"])
            assert finished["degraded"] is True
            assert len(page.all("circuit_breaker_triggered")) == (1 if number >= 4 else 0)
        assert upstream.count == 5
        opened = page.all("circuit_breaker_triggered")[0]
        assert opened["agent_name"] == "careful"
        assert opened["failure_threshold_reached"] == 5
        assert opened["cooldown_period"] == 30
        assert opened["fallback_active"] is True
        # It is for all users, also for those without a task.
        assert await bystander.event("circuit_breaker_triggered") == opened


@pytest.mark.requirement("WS-10", "WEFT-W20")
async def test_an_open_breaker_rejects_says_when_and_does_not_call_the_agent() -> None:
    async with (
        Upstream() as upstream,
        gateway_process(upstream=upstream.url) as gateway,
        browser(gateway.url, "42") as page,
    ):
        await open_by_failures(gateway, page, upstream, failures=5)
        calls = upstream.count
        response = await gateway.http.post(
            "/api/tasks", json={"agent": "once", "input": {"question": "x"}, "user_id": "42"}
        )
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["code"] == "circuit_breaker_open"
        assert 0 < int(response.headers["retry-after"]) <= 30
        reply = await page.call("task.create", agent="once", input={"question": "x"})
        assert isinstance(reply["error"]["code"], int)
        assert reply["error"]["data"]["code"] == "circuit_breaker_open"
        assert reply["error"]["data"]["retry_after"] > 0
        await page.until(lambda _: len(page.all("request_rejected")) == 2)
        for rejected in page.all("request_rejected"):
            assert "circuit_breaker" in rejected["reason"]
            assert rejected["retry_after"] > 0
        assert upstream.count == calls
        assert len(page.all("task_submitted")) == 5
        breakers = await gateway.get("/api/breakers")
        assert [item["state"] for item in breakers["items"] if item["name"] == "once"] == ["open"]


@pytest.mark.requirement("WS-11", "WEFT-W17")
async def test_half_open_lets_exactly_three_of_twenty_through() -> None:
    """Success closes; later one failure reopens, with a cooldown of its own."""
    async with (
        Upstream() as upstream,
        gateway_process(
            upstream=upstream.url, breaker_cooldown=0.5, env={"AGENT_LIMIT_S": "5"}
        ) as gateway,
        browser(gateway.url, "42") as page,
    ):
        await open_by_failures(gateway, page, upstream, failures=5)
        upstream.reset()
        upstream.schedule("hold")

        async def ask() -> int:
            response = await gateway.http.post(
                "/api/tasks", json={"agent": "once", "input": {"question": "x"}, "user_id": "42"}
            )
            return response.status_code

        async def first_through() -> None:
            while await ask() != 201:
                pass

        async with asyncio.timeout(5):
            await first_through()
        codes = await asyncio.gather(*(ask() for _ in range(20)))
        await upstream.wait_for_calls(3)
        assert codes.count(201) == 2
        assert codes.count(503) == 18
        assert upstream.count == 3
        probes = await page.until(
            lambda _: (
                len(page.all("circuit_breaker_test_request")) == 3
                and page.all("circuit_breaker_test_request")
            )
        )
        assert probes
        requests = page.all("circuit_breaker_test_request")
        assert len({request["test_request_id"] for request in requests}) == 3
        assert all(request["monitoring_enabled"] is True for request in requests)
        upstream.release()
        closed = await page.event("system_recovered", scope="breaker")
        assert closed["recovery_successful"] is True
        assert upstream.count == 3
        normal = await gateway.task("once", user_id="42")
        assert (await page.finished(normal["task_id"]))["outcome"] == "succeeded"

        await open_by_failures_again(gateway, page, upstream)


async def open_by_failures_again(
    gateway: GatewayProcess, page: Browser, upstream: Upstream
) -> None:
    """Open it a second time, let one probe fail: it opens anew, and says so louder."""
    upstream.schedule("500")
    for _ in range(5):
        task = await gateway.task("once", user_id="42")
        await page.finished(task["task_id"])
    opened = await page.until(
        lambda _: (
            len(page.all("circuit_breaker_triggered")) == 2
            and page.all("circuit_breaker_triggered")[1]
        )
    )
    assert opened["breaker_version"] == 2
    async with asyncio.timeout(5):
        while True:
            response = await gateway.http.post(
                "/api/tasks", json={"agent": "once", "input": {"question": "x"}, "user_id": "42"}
            )
            if response.status_code == 201:
                break
    reopened = await page.until(
        lambda _: (
            len(page.all("circuit_breaker_triggered")) == 3
            and page.all("circuit_breaker_triggered")[2]
        )
    )
    assert reopened["severity"] == "critical"
    assert reopened["breaker_version"] == 3
    assert reopened["error_id"] == opened["error_id"]
    refused = await gateway.http.post(
        "/api/tasks", json={"agent": "once", "input": {"question": "x"}, "user_id": "42"}
    )
    assert refused.status_code == 503


@pytest.mark.requirement("WS-W6")
async def test_the_configured_threshold_is_the_one_that_acts() -> None:
    """Three, and not a five built in; and every failure has an id of its own."""
    async with (
        Upstream() as upstream,
        gateway_process(upstream=upstream.url, breaker_threshold=3) as gateway,
        browser(gateway.url, "42") as page,
    ):
        upstream.schedule("500")
        for number in range(3):
            assert page.all("circuit_breaker_triggered") == []
            task = await gateway.task("once", user_id="42")
            finished = await page.finished(task["task_id"])
            assert finished["outcome"] == "dead_lettered"
            assert upstream.count == number + 1
        opened = await page.event("circuit_breaker_triggered")
        assert opened["failure_threshold_reached"] == 3
        assert len({error["error_id"] for error in page.all("agent_error")}) == 3
        assert len({event["event_id"] for event in page.events}) == len(page.events)


@pytest.mark.requirement("WS-W4")
async def test_a_client_cannot_simulate_failures_or_set_states() -> None:
    """What it sends beside the parameters is refused, and changes nothing."""
    async with (
        Upstream() as upstream,
        gateway_process(upstream=upstream.url) as gateway,
        browser(gateway.url, "42") as page,
    ):
        for flag in ("simulate_error", "circuit_breaker_state", "force_timeout"):
            reply = await page.call(
                "task.create", agent="once", input={"question": "x"}, **{flag: "open"}
            )
            assert reply["error"]["code"] == -32602
            assert reply["error"]["data"]["field"] == flag
        for type in ("circuit_breaker_triggered", "task_finished", "graceful_degradation"):
            reply = await page.call("event.publish", type=type, agent_name="once")
            assert reply["error"]["data"]["code"] == "not_permitted"
        upstream.schedule("fine")
        # Inside the input it is the agent's business, and the gateway does not look.
        task = await gateway.task("once", "simulate_error=true", user_id="42")
        finished = await page.finished(task["task_id"])
        assert finished["outcome"] == "succeeded"
        assert page.all("agent_error") == []
        assert page.all("circuit_breaker_triggered") == []
        assert (await gateway.get("/api/breakers"))["items"][0]["state"] == "closed"
