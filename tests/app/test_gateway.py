"""The gateway as a program sees it, on the real clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import Gateway, Task
from gateway.domain.errors import (
    ConfigurationError,
    InvalidParams,
    Rejected,
    TaskFailed,
    TooLarge,
)
from gateway.domain.settings import Settings
from gateway.errors import NotRetryable, RateLimited

FAST = Settings(retry_base=0.001, retry_max=0.002, drain_grace=0.1)


async def test_a_task_is_submitted_and_its_result_awaited() -> None:
    gateway = Gateway(FAST)

    @gateway.agent("echo")
    async def echo(task: Task, word: str) -> str:
        return word

    assert await echo(None, "called") == "called"  # type: ignore[arg-type]
    async with gateway.lifespan():
        handle = await gateway.submit("echo", {"word": "yes"}, user_id="42")
        assert await handle.result() == "yes"
        assert await handle.result() == "yes"
        shown = await handle.status()
    assert (shown["task_id"], shown["user_id"]) == (handle.task_id, "42")
    assert shown["status"] == "succeeded"


async def test_a_task_that_failed_says_how() -> None:
    gateway = Gateway(FAST)

    @gateway.agent("bad")
    async def bad(task: Task) -> None:
        raise NotRetryable

    async with gateway.lifespan():
        handle = await gateway.submit("bad")
        with pytest.raises(TaskFailed) as failed:
            await handle.result()
    assert (failed.value.status, failed.value.task_id) == ("failed", handle.task_id)
    assert failed.value.error is not None
    assert failed.value.error["error_code"] == "agent_exception"


async def test_giving_up_the_wait_does_not_give_up_the_task() -> None:
    gateway = Gateway(FAST)
    running, go = asyncio.Event(), asyncio.Event()

    @gateway.agent("slow")
    async def slow(task: Task) -> str:
        running.set()
        await go.wait()
        return "done"

    async with gateway.lifespan():
        handle = await gateway.submit("slow")
        waiting = asyncio.ensure_future(handle.result())
        other = asyncio.ensure_future(handle.result())
        await running.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go.set()
        assert await other == "done"


async def test_a_gateway_that_does_not_run_says_what_to_do() -> None:
    gateway = Gateway(FAST)
    with pytest.raises(ConfigurationError, match="lifespan"):
        await gateway.submit("echo")
    with pytest.raises(ConfigurationError, match="lifespan"):
        async with gateway.attempt("echo"):
            raise AssertionError("it was let in")
    async with gateway.lifespan():
        pass
    with pytest.raises(ConfigurationError, match="lifespan"):
        await gateway.submit("echo")


async def test_what_is_submitted_is_checked() -> None:
    gateway = Gateway(FAST)
    async with gateway.lifespan():
        for agent, options in (
            ("two words", {}),
            ("echo", {"user_id": "*"}),
            ("echo", {"priority": 11}),
            ("echo", {"timeout": -1.0}),
            ("echo", {"max_attempts": 101}),
            ("echo", {"idempotency_key": "x" * 256}),
            ("echo", {"input": {1, 2}}),
        ):
            with pytest.raises(InvalidParams):
                await gateway.submit(agent, **options)
        with pytest.raises(TooLarge):
            await gateway.submit("echo", "x" * 270_000)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "two words"},
        {"name": ""},
        {"name": "*"},
        {"name": "x" * 129},
        {"timeout": 0.0},
        {"timeout": -1.0},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"timeout": 1e12},
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"breaker": "two words"},
        {"upstream": "two words"},
    ],
)
def test_an_agent_is_declared_right_or_not_at_all(options: dict[str, Any]) -> None:
    """At the decorator, where its author sees it, and not with the first user's task."""
    gateway = Gateway(FAST)
    name = options.pop("name", "echo")
    with pytest.raises(ConfigurationError):
        gateway.agent(name, **options)(lambda task: None)


def test_a_name_is_taken_once() -> None:
    gateway = Gateway(FAST)
    gateway.agent("echo")(lambda task: None)
    with pytest.raises(ConfigurationError, match="echo"):
        gateway.agent("echo")(lambda task: None)


async def test_the_number_of_attempts_is_the_environments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Agents are declared when their module is imported, before any setting is read."""
    gateway = Gateway()

    @gateway.agent("flaky")
    async def flaky(task: Task) -> None:
        raise RateLimited

    @gateway.agent("sure", max_attempts=1)
    async def sure(task: Task) -> None:
        raise RateLimited

    monkeypatch.setenv("GATEWAY_MAX_ATTEMPTS", "2")
    monkeypatch.setenv("GATEWAY_RETRY_BASE", "0.001")
    monkeypatch.setenv("GATEWAY_DRAIN_GRACE", "0.1")
    async with gateway.lifespan():
        for name, attempts in (("flaky", 2), ("sure", 1)):
            handle = await gateway.submit(name)
            with pytest.raises(TaskFailed):
                await handle.result()
            assert (await handle.status())["attempt"] == attempts
        handle = await gateway.submit("undeclared")
        assert (await handle.status())["max_attempts"] == 2


def test_settings_are_fixed_once_it_is_in_use() -> None:
    gateway = Gateway()
    gateway.configure(FAST)
    assert gateway.settings is FAST
    assert gateway.engine.parts.settings is FAST
    with pytest.raises(ConfigurationError, match="in use"):
        gateway.configure(Settings())


async def test_supervised_code_gives_its_result_to_whoever_looks() -> None:
    gateway = Gateway(FAST)
    async with gateway.lifespan():
        async with gateway.attempt("search", user_id="42") as task:
            task.result = [1, 2]
        assert gateway.engine.parts.state.tasks[task.task_id].result == [1, 2]


async def test_a_gateway_that_leaves_takes_nothing() -> None:
    gateway = Gateway(FAST)
    async with gateway.lifespan():
        await gateway.engine.drain()
        with pytest.raises(Rejected):
            await gateway.submit("echo")
