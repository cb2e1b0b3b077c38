"""What a declaration says of exceptions and results, in this process and in a worker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import Gateway, Task
from gateway.attempts.demands import Demands, UnacceptableResult, demands_of
from gateway.domain.errors import ConfigurationError
from tests.execution.world import World
from tests.worker.test_desk import at_desk


class NotForMe(ValueError):
    """An exception below the one that is named."""


async def test_what_is_excluded_is_the_inputs_fault_and_opens_no_breaker(here: World) -> None:
    """One user's bad inputs are not the agent's failures: the others are still served."""

    @here.gateway.agent("strict", exclude=(ValueError,))
    async def strict(task: Task, number: int) -> int:
        if number < 0:
            raise NotForMe("no negative numbers")
        return number

    for _ in range(6):
        task = await here.run("strict", {"number": -1})
        assert (task.status, task.attempt) == ("failed", 1)
    told = {(error["error_type"], error["will_retry"]) for error in here.said("agent_error")}
    assert told == {("invalid_input", False)}
    assert here.said("circuit_breaker_triggered") == []
    assert (await here.run("strict", {"number": 2})).result == 2


async def test_an_exception_that_is_not_named_still_counts(here: World) -> None:
    @here.gateway.agent("strict", exclude=ValueError)
    async def strict(task: Task) -> None:
        raise KeyError("x")

    assert (await here.run("strict")).status == "failed"
    assert here.said("agent_error")[0]["error_code"] == "agent_exception"


async def test_a_group_is_excluded_when_all_its_leaves_are(here: World) -> None:
    @here.gateway.agent("group", exclude=(ValueError,))
    async def group(task: Task, also: bool) -> None:
        raise ExceptionGroup("both", [NotForMe(), KeyError() if also else ValueError()])

    await here.run("group", {"also": False})
    await here.run("group", {"also": True})
    codes = [error["error_code"] for error in here.said("agent_error")]
    assert codes == ["invalid_input", "agent_exception"]


async def test_a_block_excludes_what_its_agents_declaration_names(here: World) -> None:
    @here.gateway.agent("strict", exclude=(ValueError,))
    async def strict(task: Task) -> None: ...

    with pytest.raises(NotForMe):
        async with here.gateway.attempt("strict"):
            raise NotForMe
    (error,) = here.said("agent_error")
    assert error["error_type"] == "invalid_input"


async def test_a_result_that_is_not_acceptable_is_tried_again(here: World) -> None:
    """An empty answer after the model's limit is no success, however it was returned."""

    @here.gateway.agent("writer", accept=lambda text: bool(text))
    async def writer(task: Task) -> str:
        return "" if task.attempt == 1 else "words"

    task = await here.run("writer")
    (error,) = here.said("agent_error")
    assert (error["error_type"], error["error_code"]) == (
        "validation_error",
        "unacceptable_result",
    )
    assert (error["will_retry"], task.status, task.result) == (True, "succeeded", "words")


async def test_a_schema_says_what_is_acceptable_of_the_fallback_too(here: World) -> None:
    async def offline(task: Task) -> dict[str, int]:
        return {"n": 1}

    @here.gateway.agent(
        "counter",
        max_attempts=2,
        fallback=offline,
        accept={"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
    )
    async def counter(task: Task) -> dict[str, str]:
        return {"n": "secret words"}

    task = await here.run("counter")
    assert (task.result, task.degraded) == ({"n": 1}, True)
    assert "rule type" in here.said("agent_error")[0]["message"]
    assert "secret words" not in str(here.said("agent_error"))


async def test_a_predicate_may_be_async_and_its_own_mistakes_are_the_agents(here: World) -> None:
    async def judge(result: str) -> bool:
        await here.passing(1)
        return len(result) > result.count("x")

    @here.gateway.agent("judged", accept=judge)
    async def judged(task: Task, what: Any) -> Any:
        return what

    assert (await here.run("judged", {"what": "fine"})).status == "succeeded"
    assert (await here.run("judged", {"what": 7})).status == "failed"
    assert here.said("agent_error")[0]["error_code"] == "agent_exception"


async def test_the_result_of_a_block_is_judged_too(here: World) -> None:
    @here.gateway.agent("writer", accept=bool)
    async def writer(task: Task) -> None: ...

    with pytest.raises(UnacceptableResult):
        async with here.gateway.attempt("writer") as task:
            task.result = ""
    assert here.said("agent_error")[0]["error_code"] == "unacceptable_result"


async def test_a_worker_tells_of_both_as_the_gateway_does() -> None:
    worker = Gateway()

    @worker.agent("strict", exclude=(ValueError,), accept={"type": "string", "minLength": 1})
    async def strict(task: Task, word: str) -> str:
        if word == "bad":
            raise ValueError
        return "" if task.attempt == 1 else word

    async with at_desk(worker, retry_base=0.01) as scene:
        assert (await scene.run("strict", {"word": "bad"})).status == "failed"
        task = await scene.run("strict", {"word": "good"})
        assert (task.status, task.result) == ("succeeded", "good")
        told = [(e["error_type"], e["error_code"]) for e in scene.said("agent_error")]
        assert told == [
            ("invalid_input", "invalid_input"),
            ("validation_error", "unacceptable_result"),
        ]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"exclude": ("ValueError",)}, "exclude takes classes"),
        ({"exclude": (asyncio.CancelledError,)}, "exclude cannot name CancelledError"),
        ({"exclude": BaseException}, "exclude cannot name BaseException"),
        ({"accept": {"type": "strnig"}}, "accept is no JSON Schema"),
        ({"accept": "words"}, "accept takes a function"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(options: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"agent echo: {named}"):
        Gateway().agent("echo", **options)(lambda task: None)


async def test_without_a_demand_everything_will_do() -> None:
    await Demands().require(None)
    assert demands_of("echo") == Demands()
