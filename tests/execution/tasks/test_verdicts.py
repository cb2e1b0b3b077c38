"""After a failed attempt: another one, the fallback, or an end, and each is told."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import Gateway, Task
from gateway.attempts.pieces import Rest
from gateway.domain.agent import AgentPolicy
from gateway.domain.error_codes import failure_with
from gateway.domain.failure import Failure
from gateway.domain.own_failures import agent_lost, cancelled
from gateway.domain.recovery import Backoff, Next
from gateway.domain.task import Task as Record
from gateway.errors import (
    AuthFailed,
    ContentRefused,
    InvalidInput,
    InvalidResponse,
    NotRetryable,
    RateLimited,
    ResourceExhausted,
    ServiceUnavailable,
)
from gateway.execution.guards.breakers import StandIn
from gateway.execution.record.dead_letter_drafts import DeadLetterDrafts
from gateway.execution.tasks.verdicts import Verdicts
from tests.execution.conftest import OpenWorld
from tests.execution.kept import Cluster, until_killed
from tests.execution.record.room import NOW, Room
from tests.execution.world import World


async def stand_in(task: Task, *args: Any, **kwargs: Any) -> str:
    """A fallback."""
    return "stand-in"


async def test_a_retry_waits_longer_each_time(here: World) -> None:
    @here.gateway.agent("flaky", max_attempts=4)
    async def flaky(task: Task) -> str:
        if task.attempt < 4:
            raise RateLimited
        return "done"

    task = await here.run("flaky")
    assert (task.status, task.attempt, task.error_id) == ("succeeded", 4, None)
    recoveries = here.said("recovery_attempt")
    assert [r["attempt_number"] for r in recoveries] == [1, 2, 3]
    assert [r["attempt"] for r in recoveries] == [2, 3, 4]
    delays = [r["backoff_delay"] for r in recoveries]
    assert delays == sorted(delays)
    assert 0.5 <= delays[0] < 1 <= delays[1] < 2 <= delays[2] < 4
    (error_id,) = {e["error_id"] for e in here.said("agent_error", "system_recovered")}
    assert here.said("task_finished")[0]["error_id"] == error_id
    assert here.said("system_recovered")[0]["attempts_made"] == 4


async def test_retry_after_is_honoured(here: World) -> None:
    times: list[float] = []

    @here.gateway.agent("limited", max_attempts=2)
    async def limited(task: Task) -> str:
        times.append(here.engine.clock.monotonic())
        if task.attempt == 1:
            raise RateLimited(retry_after=100.0)
        return "done"

    await here.run("limited")
    assert times[1] - times[0] >= 100
    (error,) = here.said("agent_error")
    assert (error["estimated_recovery_time"], error["recovery_estimate_source"]) == (
        100.0,
        "upstream_retry_after",
    )


async def test_a_retry_after_beyond_the_callers_deadline_ends_it_at_once(here: World) -> None:
    """Waiting would only hide the end."""

    @here.gateway.agent("limited", max_attempts=2)
    async def limited(task: Task) -> None:
        raise RateLimited(retry_after=100.0)

    task = await here.run("limited", timeout=99.0)
    finished = here.said("task_finished")[0]
    assert (task.status, finished["reason"]) == ("failed", "retry_after_deadline")
    assert finished["duration"] < 1


async def test_attempts_exhausted_are_a_dead_letter_with_every_error(here: World) -> None:
    @here.gateway.agent("flaky", max_attempts=3)
    async def flaky(task: Task, word: str) -> None:
        raise ServiceUnavailable if task.attempt < 3 else InvalidResponse

    task = await here.run("flaky", {"word": "a"})
    (letter,) = here.said("task_dead_lettered")
    assert (letter["reason"], letter["attempts"], letter["severity"]) == (
        "attempts_exhausted",
        3,
        "critical",
    )
    assert [error["attempt"] for error in letter["errors"]] == [1, 2, 3]
    assert [error["error_type"] for error in letter["errors"]] == [
        "service_unavailable",
        "service_unavailable",
        "validation_error",
    ]
    assert (task.status, task.input) == ("dead_lettered", {"word": "a"})
    assert here.types(task.task_id)[-1] == "task_finished"


@pytest.mark.parametrize(
    "raised", [NotRetryable, InvalidInput, ContentRefused, AuthFailed, ResourceExhausted]
)
async def test_a_failure_that_cannot_get_well_is_not_tried_again(
    here: World, raised: type[Exception]
) -> None:
    @here.gateway.agent("bad", max_attempts=3)
    async def bad(task: Task) -> None:
        raise raised

    task = await here.run("bad")
    assert (task.status, task.attempt) == ("failed", 1)
    assert here.said("recovery_attempt", "task_dead_lettered") == []
    assert not here.said("agent_error")[0]["will_retry"]


# --- the fallback ----------------------------------------------------------------------------


async def test_the_fallback_answers_when_attempts_are_exhausted(here: World) -> None:
    @here.gateway.agent("flaky", max_attempts=2, fallback=stand_in)
    async def flaky(task: Task) -> None:
        raise RateLimited

    task = await here.run("flaky")
    finished = here.said("task_finished")[0]
    assert (task.result, finished["degraded"], finished["served_by"]) == (
        "stand-in",
        True,
        "stand_in",
    )
    assert [r["strategy"] for r in here.said("recovery_attempt")] == [
        "exponential_backoff",
        "fallback",
    ]
    assert here.said("system_recovered")[0]["scope"] == "task"


@pytest.mark.parametrize("raised", [ValueError, NotRetryable])
async def test_a_mistake_of_the_agent_goes_to_the_fallback_at_once(
    here: World, raised: type[Exception]
) -> None:
    @here.gateway.agent("bad", max_attempts=3, fallback=stand_in)
    async def bad(task: Task) -> None:
        raise raised

    task = await here.run("bad")
    assert (task.status, task.attempt, task.degraded) == ("succeeded", 2, True)


async def test_a_mistake_of_the_caller_does_not_go_to_the_fallback(here: World) -> None:
    @here.gateway.agent("bad", fallback=stand_in)
    async def bad(task: Task) -> None:
        raise ContentRefused

    assert (await here.run("bad")).status == "failed"


@pytest.mark.parametrize(
    ("raised", "status"), [(RateLimited, "dead_lettered"), (ValueError, "failed")]
)
async def test_a_fallback_that_fails_ends_the_task(
    here: World, raised: type[Exception], status: str
) -> None:
    async def bad_stand_in(task: Task) -> None:
        raise KeyError("no")

    @here.gateway.agent("bad", max_attempts=1, fallback=bad_stand_in)
    async def bad(task: Task) -> None:
        raise raised

    task = await here.run("bad")
    assert (task.status, here.said("task_finished")[0]["reason"]) == (status, "fallback_failed")


@pytest.mark.parametrize("name", ["<lambda>", "ein-Ersatz-ö", "x" * 200, ""])
async def test_a_fallback_may_have_any_name(here: World, name: str) -> None:
    """A lambda's name is no name that events may carry; the agent is served all the same."""

    async def nameless(task: Task) -> str:
        return "stand-in"

    nameless.__name__ = name

    @here.gateway.agent("bad", max_attempts=1, fallback=nameless)
    async def bad(task: Task) -> None:
        raise RateLimited

    assert (await here.run("bad")).result == "stand-in"


# --- the retry budget ------------------------------------------------------------------------


async def test_a_storm_of_failures_does_not_become_a_storm_of_retries(
    open_world: OpenWorld,
) -> None:
    """All at once is when it matters: of a hundred that fail together ten are tried again."""
    here = await open_world(breaker_threshold=10_000, breaker_rate=1.0, workers=200)

    @here.gateway.agent("down", max_attempts=2, upstream="model")
    async def down(task: Task) -> None:
        await here.passing(1)
        raise ValueError if task.attempt > 1 else ServiceUnavailable

    ids = [await here.submit("down") for _ in range(9)]
    for task_id in ids:
        await here.done(task_id)
    assert len(here.said("recovery_attempt")) == 9
    assert here.said("task_dead_lettered", reason="retry_budget") == []


async def test_an_empty_budget_is_told_as_the_reason(open_world: OpenWorld) -> None:
    here = await open_world(breaker_threshold=10_000, workers=200)

    @here.gateway.agent("down", max_attempts=2, breaker="a", upstream="model")
    async def down(task: Task, number: int) -> None:
        await here.passing(1)
        if number < 19:
            raise ServiceUnavailable

    @here.gateway.agent("careful", max_attempts=2, breaker="b", upstream="model", fallback=stand_in)
    async def careful(task: Task) -> None:
        await here.passing(2)
        raise ServiceUnavailable

    ids = [await here.submit("down", {"number": number}) for number in range(38)]
    careful_id = await here.submit("careful")
    for task_id in [*ids, careful_id]:
        await here.done(task_id)
    first = [
        event
        for event in here.said("recovery_attempt")
        if event["strategy"] == "exponential_backoff"
    ]
    assert len(first) == 10
    assert len(here.said("task_dead_lettered", reason="retry_budget")) == 9
    # A task with a fallback does not wait for the budget.
    assert here.state.tasks[careful_id].degraded


# --- call by call ----------------------------------------------------------------------------

SEARCH = AgentPolicy("search", max_attempts=3)
SEARCH_OR_STAND_IN = AgentPolicy("search", max_attempts=3, fallback="stand_in")
DOWN = failure_with("upstream_unavailable")


class Judging:
    """Verdicts over an agent, and a task of it that runs."""

    def __init__(self, policy: AgentPolicy = SEARCH, **changes: Any) -> None:
        self.room = Room(policy, **changes)
        self.policy = policy
        self.verdicts = Verdicts(
            state=self.room.state,
            drafts=self.room.task_drafts,
            dead_letters=DeadLetterDrafts(self.room.intake),
            policies=self.room.policies,
            backoff=Backoff(1.0, 30.0),
            clock=self.room.clock,
            ids=self.room.ids,
        )

    async def task(self, **asked: Any) -> Record:
        return await self.room.running(**asked)

    async def fails(self, task: Record, failure: Failure = DOWN) -> None:
        """Let the task's attempt fail, and the log accept what follows."""
        await self.room.lifecycle.fail(task.task_id, task.term, failure, cause="exception")


async def test_the_backoff_lies_between_half_and_all_of_its_length() -> None:
    judging = Judging()
    task = await judging.task()
    for chance, delay_s in ((0.0, 0.5), (0.5, 0.75)):
        judging.room.ids.chance = chance
        assert judging.verdicts.after(task, DOWN) == Next("retry", delay_s=delay_s)


async def test_a_backoff_that_reaches_the_deadline_is_no_retry() -> None:
    judging = Judging()
    judging.room.ids.chance = 0.0
    for timeout, step in ((0.501, "retry"), (0.5, "failed")):
        task = await judging.task(timeout=timeout)
        assert judging.verdicts.after(task, DOWN).step == step


async def test_a_budget_counts_the_retries_that_the_log_has_accepted() -> None:
    """What is only judged costs nothing; another writer may have been first."""
    judging = Judging()
    tasks = [await judging.task() for _ in range(11)]
    for _ in range(100):
        after = judging.verdicts.after(tasks[0], DOWN)
    assert after.step == "retry"
    for task in tasks[:10]:
        await judging.fails(task)
    assert judging.verdicts.after(tasks[10], DOWN) == Next("dead_lettered", reason="retry_budget")
    judging.room.clock.now += 31
    assert judging.verdicts.after(tasks[10], DOWN).step == "retry"


async def test_calls_make_room_in_the_budget_and_reassignments_take_none() -> None:
    judging = Judging(breaker_threshold=1000, breaker_rate=1.0)
    tasks = [await judging.task() for _ in range(110)]
    for task in tasks[11:]:
        await judging.fails(task, agent_lost("stalled"))
    for task in tasks[:10]:
        await judging.fails(task)
    assert judging.verdicts.after(tasks[10], DOWN).step == "retry"
    await judging.fails(tasks[10])
    assert judging.verdicts.after(tasks[11], DOWN).reason == "retry_budget"


async def test_agents_of_one_upstream_share_its_budget_by_what_the_log_says_of_it() -> None:
    """A node that does not know the agent reads its upstream's name in the log."""
    judging = Judging(AgentPolicy("search", max_attempts=3, upstream="model"))
    tasks = [await judging.task() for _ in range(2)]
    assert {task.budget for task in tasks} == {"model"}
    for _ in range(10):
        judging.room.state.budgets.of("model", NOW).retrying(NOW)
    assert judging.verdicts.after(tasks[0], DOWN).reason == "retry_budget"


async def test_an_attempt_by_the_fallback_is_no_call_of_the_upstream() -> None:
    judging = Judging(SEARCH_OR_STAND_IN)
    task = await judging.room.task()
    await judging.room.start(task, way=StandIn("stand_in"))
    assert list(judging.room.state.budgets) == []


async def test_what_one_node_retries_no_other_node_retries_again() -> None:
    """Two nodes that each keep a budget would let an upstream that is down have twice as much."""
    cluster = Cluster(breaker_threshold=1000, breaker_rate=1.0)

    def declare(gateway: Gateway) -> None:
        @gateway.agent("down", max_attempts=2, upstream="model")
        async def down(task: Task) -> None:
            raise ServiceUnavailable

    one, two = cluster.node(declare), cluster.node(declare)
    async with until_killed(one.engine):
        for _ in range(10):
            await one.gateway.submit("down")
        await cluster.passing(0.1)
    assert len(cluster.said("recovery_attempt")) == 10
    async with until_killed(two.engine):
        task_id = (await two.gateway.submit("down")).task_id
        await cluster.passing(0.1)
        (end,) = cluster.said("task_finished", task_id=task_id)
        assert end["reason"] == "retry_budget"
        assert await two.engine.parts.watch.save()
        await cluster.passing(31)
    restored = cluster.node(declare)
    async with until_killed(restored.engine):
        kept = {budget.name: budget for budget in restored.state.budgets}
        assert kept["model"] == next(iter(two.state.budgets))


async def test_a_failure_of_the_fallback_ends_as_the_agents_failure_said() -> None:
    judging = Judging(SEARCH_OR_STAND_IN)
    task = await judging.task()
    task.mode = "fallback"
    for first, step in (("rate_limit", "dead_lettered"), ("processing_error", "failed")):
        task.last_error = {"error_type": first}
        after = judging.verdicts.after(task, DOWN)
        assert (after.step, after.reason) == (step, "fallback_failed")


async def test_the_fallback_is_not_for_a_block_that_runs_elsewhere() -> None:
    """The block's own code has got the exception already."""
    judging = Judging(SEARCH_OR_STAND_IN)
    task = await judging.task(max_attempts=1)
    assert judging.verdicts.after(task, DOWN).step == "fallback"
    task.reserved_for = "n1"
    assert judging.verdicts.after(task, DOWN).reason == "attempts_exhausted"


# --- held back by the breaker ----------------------------------------------------------------


async def test_a_retry_is_announced_for_when_the_breaker_probes() -> None:
    judging = Judging(breaker_cooldown=30.0)
    task = await judging.task()
    breaker = judging.room.state.breaker("search", "agent")
    breaker.state, breaker.probe_at = "open", NOW + 12.0
    assert judging.verdicts.after(task, DOWN) == Next("retry", delay_s=12.0)


async def test_the_failure_that_opens_the_breaker_waits_for_its_cooldown() -> None:
    judging = Judging(breaker_threshold=2, breaker_cooldown=30.0)
    task = await judging.task()
    assert judging.verdicts.after(task, DOWN).delay_s < 1
    judging.room.state.breaker("search", "agent").consecutive = 1
    assert judging.verdicts.after(task, DOWN).delay_s == 30.0


async def test_a_longer_backoff_than_the_breakers_is_kept() -> None:
    judging = Judging()
    task = await judging.task()
    breaker = judging.room.state.breaker("search", "agent")
    breaker.state, breaker.probe_at = "open", NOW + 12.0
    slow = failure_with("llm_rate_limit", retry_after_s=20.0)
    assert judging.verdicts.after(task, slow).delay_s == 20.0


async def test_a_task_that_the_breaker_holds_back_goes_to_its_fallback() -> None:
    judging = Judging(SEARCH_OR_STAND_IN)
    task = await judging.task()
    breaker = judging.room.state.breaker("search", "agent")
    breaker.state, breaker.probe_at = "open", NOW + 12.0
    assert judging.verdicts.after(task, DOWN) == Next("fallback")


async def test_a_task_that_the_breaker_holds_back_beyond_its_deadline_ends() -> None:
    judging = Judging()
    breaker = judging.room.state.breaker("search", "agent")
    for probe_in_s, step in ((11.9, "retry"), (12.0, "failed")):
        task = await judging.task(timeout=12.0)
        breaker.state, breaker.probe_at = "open", NOW + probe_in_s
        assert judging.verdicts.after(task, DOWN).step == step
        breaker.state = "closed"


async def test_a_lost_worker_is_not_held_back() -> None:
    judging = Judging()
    task = await judging.task()
    breaker = judging.room.state.breaker("search", "agent")
    breaker.state, breaker.probe_at = "open", NOW + 12.0
    assert judging.verdicts.after(task, agent_lost("stalled")) == Next("reassign")


# --- the events ------------------------------------------------------------------------------


async def events(
    judging: Judging, task: Record, after: Next, rest: Rest | None = None
) -> list[str]:
    drafts = judging.verdicts.drafts(
        task, DOWN, after, cause="exception", detail=None, rest=rest or Rest()
    )
    await judging.room.intake.append(drafts)
    return [draft.type for draft in drafts]


async def test_a_failure_is_told_before_what_comes_next() -> None:
    judging = Judging()
    assert await events(judging, await judging.task(), Next("retry", delay_s=1.0)) == [
        "agent_error",
        "recovery_attempt",
    ]
    assert await events(judging, await judging.task(), Next("failed", reason="r")) == [
        "agent_error",
        "task_finished",
    ]
    assert await events(judging, await judging.task(), Next("dead_lettered", reason="r")) == [
        "agent_error",
        "task_dead_lettered",
        "dead_letter_changed",
        "task_finished",
    ]


async def test_what_is_kept_is_told_first_and_only_if_there_is_something() -> None:
    judging = Judging()
    retry = Next("retry", delay_s=1.0)
    progress_only = await events(judging, await judging.task(), retry, Rest(progress=0.5))
    assert progress_only[0] == "agent_error"
    with_text = await events(judging, await judging.task(), retry, Rest(text="x"))
    assert with_text[0] == "partial_result_preserved"


async def test_all_events_of_a_failure_carry_one_id_until_the_task_is_well() -> None:
    judging = Judging()
    task = await judging.task()
    await events(judging, task, Next("retry", delay_s=1.0), Rest(text="x"))
    first = task.error_id
    await judging.room.start(task)
    await events(judging, task, Next("failed", reason="r"), Rest(text="y"))
    assert {event["error_id"] for event in judging.room.said("agent_error")} == {first}
    assert judging.room.said("task_finished")[0]["error_id"] == first


async def test_a_failure_that_is_not_the_agents_gives_its_permit_back() -> None:
    judging = Judging()
    task = await judging.task()
    drafts = judging.verdicts.drafts(
        task,
        cancelled("user"),
        Next("cancelled", reason="cancelled_by_user"),
        cause="cancelled",
        detail=None,
        rest=Rest(),
    )
    await judging.room.intake.append(drafts)
    breaker = judging.room.state.breakers["search"]
    assert (breaker.consecutive, breaker.window.counts(NOW)) == (0, (0, 0))
