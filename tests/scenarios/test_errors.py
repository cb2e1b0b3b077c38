"""An agent fails, and its owner's browser knows: what, why, and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import jsonschema
import pytest
import pytest_asyncio

from tests.scenarios.harness import GatewayProcess, browser, gateway_process
from tests.upstream import Upstream

# The tests share a gateway and an upstream; each has users and tasks of its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT_S = 1.0

FAULTS = {
    # fault of the upstream: type, code, words for people, advice, may try again
    "timeout": ("timeout", "llm_timeout", "llm timeout", "wait", True),
    "429_ra7": ("rate_limit", "llm_rate_limit", "rate limit", "wait", True),
    "200_garbage": ("validation_error", "llm_invalid_response", "invalid response", "wait", True),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts() -> AsyncIterator[tuple[Upstream, GatewayProcess]]:
    """An upstream, and a gateway whose breakers do not open: that is another file's subject."""
    async with (
        Upstream() as upstream,
        gateway_process(
            upstream=upstream.url,
            env={"AGENT_LIMIT_S": str(LIMIT_S)},
            retry_base=0.05,
            breaker_threshold=1000,
            breaker_rate=1,
        ) as gateway,
    ):
        yield upstream, gateway


Parts = tuple[Upstream, GatewayProcess]


@pytest.mark.requirement("WS-01", "WS-W1")
async def test_a_model_call_over_its_limit_reaches_its_owner_alone(parts: Parts) -> None:
    upstream, gateway = parts
    upstream.reset()
    async with (
        browser(gateway.url, "owner") as owner,
        browser(gateway.url, "stranger") as stranger,
    ):
        upstream.schedule("timeout")
        task = await gateway.task("once", user_id="owner")
        started = await owner.event("task_started", task_id=task["task_id"])
        error = await owner.event("agent_error")
        assert owner.at[error["offset"]] - owner.at[started["offset"]] < LIMIT_S + 1.0
        await owner.finished(task["task_id"])
        assert len(owner.all("agent_error")) == 1
        assert error["error_type"] == "timeout"
        assert error["error_code"] == "llm_timeout"
        assert error["is_recoverable"] is True
        assert error["user_id"] == "owner"
        assert error["agent_name"] == "once"
        assert error["severity"] == "error"

        # The sentinel does arrive, so that nothing before it is still on its way.
        upstream.schedule("fine")
        sentinel = await gateway.task("once", user_id="stranger")
        await stranger.finished(sentinel["task_id"])
        assert {event["user_id"] for event in stranger.events} == {"stranger"}


@pytest.mark.requirement("WS-08", "WS-W2", "WS-W8")
async def test_each_failure_says_what_it_is_and_what_to_do(parts: Parts) -> None:
    """Class and exact kind are two fields; nothing internal is in the words for people."""
    upstream, gateway = parts
    upstream.reset()
    async with (
        browser(gateway.url, "42") as page,
    ):
        for fault, (type, code, words, action, may_retry) in FAULTS.items():
            upstream.schedule(fault)
            task = await gateway.task("once", user_id="42")
            error = await page.event("agent_error", task_id=task["task_id"])
            assert (error["error_type"], error["error_code"]) == (type, code)
            assert len(error["user_message"]) > 10
            assert words in error["user_message"].lower()
            assert error["suggested_action"] == action
            assert error["retry_possible"] is may_retry
            assert error["estimated_recovery_time"] >= 0
            for secret in ("sk-test", "Traceback", "/", "127.0.0.1", "Error"):
                assert secret not in error["user_message"]
            assert "detail" not in error
            await page.finished(task["task_id"])
        waits = {error["error_code"]: error for error in page.all("agent_error")}
        limited = waits["llm_rate_limit"]
        assert limited["estimated_recovery_time"] == 7
        assert limited["recovery_estimate_source"] == "upstream_retry_after"


@pytest.mark.requirement("WS-12")
async def test_every_real_failure_complies_with_the_published_schema(parts: Parts) -> None:
    """Validated as a stranger would: with a plain validator, and the schema as it is served."""
    faults = ("timeout", "429_none", "429_quota", "reset_before", "200_garbage")
    upstream, gateway = parts
    upstream.reset()
    async with (
        browser(gateway.url, "schema") as page,
    ):
        listed = await gateway.get("/schemas")
        assert "agent_error" in {item["type"] for item in listed["items"]}
        schema = await gateway.get("/schemas/agent_error.json")
        validator = jsonschema.Draft202012Validator(schema)
        for number, fault in enumerate(faults):
            upstream.schedule(fault)
            agent = "once" if number % 2 else "other"
            task = await gateway.task(agent, user_id="schema")
            await page.finished(task["task_id"])
        errors = page.all("agent_error")
        assert [error["error_type"] for error in errors] == [
            "timeout",
            "rate_limit",
            "resource_limit",
            "network_error",
            "validation_error",
        ]
        for error in errors:
            validator.validate(error)
            assert isinstance(error["timestamp"], str)
            assert isinstance(error["is_recoverable"], bool)
        exhausted = errors[2]
        assert exhausted["is_recoverable"] is False
        assert exhausted["estimated_recovery_time"] == 0


@pytest.mark.requirement("WS-14")
async def test_refused_credentials_are_told_and_not_tried_again(parts: Parts) -> None:
    upstream, gateway = parts
    upstream.reset()
    async with (
        browser(gateway.url, "refused") as page,
    ):
        upstream.schedule("401")
        task = await gateway.task("asker", user_id="refused")
        finished = await page.finished(task["task_id"])
        assert finished["outcome"] == "failed"
        assert upstream.count == 1
        error = page.all("agent_error")[0]
        assert error["error_type"] == "auth_error"
        assert error["will_retry"] is False
        assert error["suggested_action"] == "contact_support"
        assert page.all("recovery_attempt") == []


@pytest.mark.requirement("WS-17")
async def test_two_users_never_see_each_other(parts: Parts) -> None:
    """In both directions, with failures, partial results and replays; a sentinel ends each."""
    upstream, gateway = parts
    upstream.reset()
    async with (
        browser(gateway.url, "anna") as anna,
        browser(gateway.url, "ben") as ben,
    ):
        upstream.schedule("503", "fine", "s_reset", "fine")
        tasks = [
            await gateway.task(agent, user_id=user)
            for agent, user in (("asker", "anna"), ("streamer", "ben"), ("stepper", "anna"))
        ]
        await anna.finished(tasks[0]["task_id"])
        await ben.finished(tasks[1]["task_id"])
        await anna.finished(tasks[2]["task_id"])
        upstream.schedule("fine")
        for page, user in ((anna, "anna"), (ben, "ben")):
            sentinel = await gateway.task("asker", user_id=user)
            await page.finished(sentinel["task_id"])
        assert {event["user_id"] for event in anna.events} == {"anna"}
        assert {event["user_id"] for event in ben.events} == {"ben"}
        foreign = await ben.call("task.get", task_id=tasks[0]["task_id"])
        assert foreign["error"]["data"]["code"] == "not_found"
        spying = await ben.call("subscribe", topics=["user:anna"])
        assert spying["error"]["data"]["code"] == "not_permitted"
        async with browser(gateway.url, "ben", since="start") as again:
            await again.finished(sentinel["task_id"])
            assert {event["user_id"] for event in again.events} == {"ben"}


@pytest.mark.requirement("WS-W9")
async def test_events_without_a_listener_are_kept_and_delivered_later(parts: Parts) -> None:
    upstream, gateway = parts
    upstream.reset()
    async with (
        browser(gateway.url) as operator,
    ):
        upstream.schedule("500")
        task = await gateway.task("once", user_id="away")
        await operator.finished(task["task_id"])
        async with browser(gateway.url, "away", since="start") as page:
            finished = await page.finished(task["task_id"])
            assert finished["outcome"] == "dead_lettered"
            mine = [event["event_id"] for event in operator.events if event["user_id"] == "away"]
            assert [event["event_id"] for event in page.events] == mine
            assert len(page.all("agent_error")) == 1


async def test_operators_see_why_and_secrets_stay_out(parts: Parts) -> None:
    """The same event in two encodings: detail for operators, none of it for users."""
    upstream, gateway = parts
    upstream.reset()
    async with (
        browser(gateway.url) as operator,
        browser(gateway.url, "42") as page,
    ):
        upstream.schedule("fine")
        task = await gateway.task("careful", "explode", user_id="42")
        seen = await operator.event("agent_error", task_id=task["task_id"])
        told = await page.event("agent_error", task_id=task["task_id"])
        text = str(seen["detail"])
        assert "ValueError" in text
        assert "the agent's own mistake" in text
        assert "hunter2" not in text
        assert "detail" not in told
        assert "mistake" not in str(told)
        await asyncio.gather(page.finished(task["task_id"]), operator.finished(task["task_id"]))
