"""The drafts about tasks: each says the case, and complies with its schema."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.attempts.pieces import Piece, Rest
from gateway.domain.agent import AgentPolicy
from gateway.domain.breaker import Outcome
from gateway.domain.error_codes import failure_with
from gateway.domain.failure import Failure
from gateway.domain.messages import default_recovery_s
from gateway.domain.own_failures import agent_lost, cancelled, circuit_open
from gateway.domain.recovery import Next
from gateway.domain.task import Task
from gateway.domain.timestamps import rfc3339
from gateway.execution.guards.breakers import StandIn
from gateway.execution.record.task_drafts import LOST_BYTES_MAX, outcome_of
from gateway.ports import Draft
from tests.execution.record.room import NOW, Room, body_of, fact_of

POLICY = AgentPolicy("search", fallback="stand_in")
LIMITED = failure_with("llm_rate_limit")
RETRY = Next("retry", delay_s=2.0)
ERROR_ID = "00000000-0000-7000-8000-0000000000e1"
PROGRESS: dict[str, Any] = {"progress": 0.5, "step": None}


def error(room: Room, task: Task, failure: Failure = LIMITED, after: Next = RETRY) -> Draft:
    return room.task_drafts.error(
        task,
        failure,
        ERROR_ID,
        POLICY,
        after,
        cause="exception",
        detail=None,
        outcome=outcome_of(task, "failure"),
    )


async def failed(room: Room, failure: Failure = LIMITED) -> Task:
    """A task whose first attempt has failed."""
    task = await room.running()
    await room.intake.append([error(room, task, failure)])
    return task


# --- the envelope ----------------------------------------------------------------------------


async def test_an_event_about_a_task_carries_what_the_task_carries() -> None:
    room = Room()
    task = await room.task(
        correlation_id="c1", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    )
    event = body_of(room.task_drafts.of_task("task_progress", task, message="m", **PROGRESS))
    assert (event["user_id"], event["agent_name"], event["task_id"]) == (
        "ann",
        "search",
        task.task_id,
    )
    assert (event["attempt"], event["correlation_id"]) == (None, "c1")
    assert event["traceparent"].startswith("00-")
    assert not {"causation_id", "agent_id"} & event.keys()
    await room.start(task, "w1")
    event = body_of(room.task_drafts.of_task("task_progress", task, message="m", **PROGRESS))
    assert (event["attempt"], event["agent_id"]) == (1, "w1")


async def test_fields_that_are_given_win_over_the_tasks_own() -> None:
    room = Room()
    task = await room.running()
    draft = room.task_drafts.of_task(
        "task_progress", task, message="m", attempt=7, agent_id="w9", **PROGRESS
    )
    assert (body_of(draft)["attempt"], body_of(draft)["agent_id"]) == (7, "w9")
    assert draft.subject == f"task/{task.task_id}"


# --- estimates -------------------------------------------------------------------------------


def estimate(room: Room, failure: Failure) -> tuple[float, str]:
    fields = room.task_drafts.estimate(failure, POLICY)
    return fields["estimated_recovery_time"], fields["recovery_estimate_source"]


def test_a_failure_that_cannot_recover_has_no_time_to_wait() -> None:
    assert estimate(Room(), failure_with("llm_content_filtered")) == (0.0, "default")


def test_what_the_upstream_asks_for_is_the_best_estimate() -> None:
    room = Room()
    room.state.recoveries.add("search", "rate_limit", [5.0] * 3)
    asked = failure_with("llm_rate_limit", retry_after_s=7.0)
    assert estimate(room, asked) == (7.0, "upstream_retry_after")
    assert estimate(room, circuit_open(3.0)) == (3.0, "breaker_cooldown")


def test_an_open_breaker_says_when_it_probes() -> None:
    room = Room(POLICY)
    breaker = room.state.breaker("search", "agent")
    breaker.state, breaker.probe_at = "open", NOW + 12.0
    assert estimate(room, LIMITED) == (12.0, "breaker_cooldown")


def test_what_was_observed_comes_before_what_the_catalogue_says() -> None:
    room = Room()
    by_default = default_recovery_s("rate_limit", "llm_rate_limit")
    assert estimate(room, LIMITED) == (by_default, "default")
    room.state.recoveries.add("search", "rate_limit", [1.0, 5.0, 9.0])
    assert estimate(room, LIMITED) == (5.0, "observed_median")


# --- a failed attempt ------------------------------------------------------------------------


async def test_an_error_says_whether_it_is_tried_again() -> None:
    room = Room(POLICY)
    task = await room.running()
    event = body_of(error(room, task))
    assert (event["severity"], event["cause"], event["will_retry"]) == ("error", "exception", True)
    assert (event["error_id"], event["error_code"]) == (ERROR_ID, "llm_rate_limit")
    assert fact_of(error(room, task))["outcome"]["kind"] == "failure"
    for after in (Next("fallback"), Next("failed", reason="x")):
        assert not body_of(error(room, task, after=after))["will_retry"]


async def test_a_cancellation_is_no_alarm() -> None:
    room = Room(POLICY)
    task = await room.running()
    event = body_of(error(room, task, cancelled("user"), Next("cancelled", reason="cancelled")))
    assert event["severity"] == "info"


async def test_what_is_preserved_includes_what_was_not_told_yet() -> None:
    room = Room(POLICY)
    task = await room.running()
    await room.lifecycle.tell(task.task_id, 1, Piece(text="one "))
    await room.lifecycle.tell(task.task_id, 1, Piece(step="a", data=1))
    rest = Rest(steps={"b": 2}, text="two", plan=("a", "b", "c"))
    draft = room.task_drafts.partial_preserved(task, LIMITED, ERROR_ID, POLICY, rest)
    event = body_of(draft)
    assert (event["preserved_data"], event["preserved_text"]) == ({"a": 1, "b": 2}, "one two")
    assert (event["lost_data"], event["progress"]) == (["c"], pytest.approx(2 / 3, abs=0.01))
    assert event["expires_at"] == rfc3339(NOW + room.settings.partial_ttl)
    assert fact_of(draft)["steps"] == {"b": 2}
    # The task itself holds it only once the log does.
    assert task.preserved.text == "one "
    await room.intake.append([draft])
    assert task.preserved.text == "one two"


async def test_what_an_attempt_has_lost_is_told_though_its_plan_is_as_long_as_a_plan_may_be() -> (
    None
):
    """A draft that is too large could never be appended, and its task could never end."""
    room = Room(POLICY)
    task = await room.running()
    plan = tuple(f"{number:03}" + "\u0001" * 125 for number in range(256))
    most = room.settings.partial_bytes_task
    rest = Rest(text="x" * most, plan=plan)
    event = body_of(room.task_drafts.partial_preserved(task, LIMITED, ERROR_ID, POLICY, rest))
    assert (event["size"], len(event["preserved_text"])) == (most, most)
    assert event["lost_data"] == list(plan[: len(event["lost_data"])])
    assert 0 < len(orjson.dumps(event["lost_data"])) <= LOST_BYTES_MAX
    assert event["truncated"]
    # Of a plan that fits every step is named, and nothing is missing.
    rest = Rest(text="x", plan=tuple("abc"))
    event = body_of(room.task_drafts.partial_preserved(task, LIMITED, ERROR_ID, POLICY, rest))
    assert (event["lost_data"], event["truncated"]) == (["a", "b", "c"], False)


async def test_a_recovery_says_which_attempt_comes_and_when() -> None:
    room = Room(POLICY)
    task = await failed(room)
    event = body_of(room.task_drafts.recovery(task, LIMITED, ERROR_ID, POLICY, RETRY))
    assert (event["attempt"], event["attempt_number"], event["strategy"]) == (
        2,
        1,
        "exponential_backoff",
    )
    assert (event["backoff_delay"], event["next_attempt_at"]) == (2.0, rfc3339(NOW + 2))
    assert event["served_by"] is None
    by_fallback = room.task_drafts.recovery(task, LIMITED, ERROR_ID, POLICY, Next("fallback"))
    assert body_of(by_fallback)["served_by"] == "stand_in"


async def test_a_reassignment_names_both_holders_and_the_loss() -> None:
    room = Room(POLICY)
    task = await room.running()
    lost = agent_lost("heartbeat_lost")
    draft = room.task_drafts.error(
        task,
        lost,
        ERROR_ID,
        POLICY,
        Next("reassign"),
        cause="agent_lost",
        detail=None,
        outcome=None,
    )
    await room.intake.append([draft])
    event = body_of(room.task_drafts.reassigned(task, "w2"))
    assert (event["previous_agent_id"], event["new_agent_id"]) == ("w1", "w2")
    assert (event["reason"], event["attempt"], event["error_id"]) == ("heartbeat_lost", 2, ERROR_ID)
    assert [one["error_code"] for one in event["errors"]] == ["heartbeat_lost"]
    assert (event["estimated_recovery_time"], event["recovery_estimate_source"]) == (0.0, "default")


async def test_a_dead_letter_lists_every_error_and_that_of_the_running_attempt() -> None:
    room = Room(POLICY)
    task = await failed(room)
    await room.start(task)
    lost = agent_lost("stalled")
    letter = room.task_drafts.dead_lettered(task, lost, ERROR_ID, POLICY, "attempts_exhausted")
    event = body_of(letter)
    assert [(one["attempt"], one["error_code"]) for one in event["errors"]] == [
        (1, "llm_rate_limit"),
        (2, "stalled"),
    ]
    assert (event["severity"], event["attempts"], event["previous_agent_id"]) == (
        "critical",
        2,
        "w1",
    )


async def test_a_dead_letter_of_a_task_that_waits_lists_what_was_told() -> None:
    room = Room(POLICY)
    task = await failed(room)
    letter = room.task_drafts.dead_lettered(task, LIMITED, ERROR_ID, POLICY, "retry_budget")
    event = body_of(letter)
    assert len(event["errors"]) == 1
    assert event["message"] == (
        f"task dead lettered: reason retry_budget, agent {POLICY.name}, error {LIMITED.error_code}"
    )


# --- leases ----------------------------------------------------------------------------------


async def test_a_renewed_lease_says_until_when_and_judges_nothing() -> None:
    room = Room(POLICY)
    task = await room.running()
    draft = room.task_drafts.lease_changed(task, "renewed", 60.0)
    assert draft.operators_only
    assert body_of(draft)["expires_at"] == rfc3339(NOW + 60)
    assert fact_of(draft) == {"lease_ttl": 60.0}


async def test_a_lease_that_is_given_back_gives_the_permit_back_as_well() -> None:
    room = Room(POLICY)
    task = await room.running()
    draft = room.task_drafts.lease_changed(task, "released", None)
    assert body_of(draft)["expires_at"] is None
    assert fact_of(draft)["outcome"]["kind"] == "neutral"


# --- the end ---------------------------------------------------------------------------------


async def test_a_recovered_task_says_how_long_its_failure_lasted() -> None:
    room = Room(POLICY)
    task = await failed(room)
    room.clock.now += 4.5
    await room.start(task)
    event = body_of(room.task_drafts.recovered(task))
    assert (event["scope"], event["recovery_time"], event["error_id"]) == ("task", 4.5, ERROR_ID)
    assert event["attempts_made"] == 2


@pytest.mark.parametrize(
    ("outcome", "severity"),
    [("succeeded", "info"), ("cancelled", "info"), ("failed", "error"), ("dead_lettered", "error")],
)
async def test_an_end_says_its_outcome(outcome: str, severity: str) -> None:
    room = Room(POLICY)
    task = await room.running()
    room.clock.now += 3
    draft = room.task_drafts.finished(task, outcome)
    event = body_of(draft)
    assert (event["outcome"], event["severity"], event["duration"]) == (outcome, severity, 3.0)
    assert event["served_by"] == ("search" if outcome == "succeeded" else None)
    assert not event["degraded"]
    assert draft.state is None


async def test_an_end_by_the_fallback_is_degraded() -> None:
    room = Room(POLICY)
    task = await room.task()
    await room.start(task, way=StandIn("stand_in"))
    event = body_of(room.task_drafts.finished(task, "succeeded", result=1))
    assert (event["degraded"], event["served_by"]) == (True, "stand_in")
    failing = body_of(room.task_drafts.finished(task, "failed", reason="fallback_failed"))
    assert (failing["degraded"], failing["served_by"]) == (False, None)
    assert failing["message"] == "task failed: fallback_failed"


async def test_an_end_carries_steps_and_outcome_for_the_folds_alone() -> None:
    room = Room(POLICY)
    task = await room.running()
    judged = outcome_of(task, "success")
    draft = room.task_drafts.finished(task, "succeeded", judged=judged, steps={"last": 1})
    assert fact_of(draft)["steps"] == {"last": 1}
    assert fact_of(draft)["outcome"]["kind"] == "success"


@pytest.mark.parametrize(
    ("resources", "leftovers", "claimed", "status", "severity"),
    [
        (["temp_files"], [], None, "success", "info"),
        (["temp_files"], ["thread: x"], None, "partial", "warning"),
        ([], ["thread: x"], None, "failed", "warning"),
        ([], ["thread: x"], "success", "failed", "warning"),
        ([], [], "partial", "partial", "warning"),
    ],
)
async def test_a_cleanup_is_told_as_it_was_found(
    resources: list[str], leftovers: list[str], claimed: str | None, status: str, severity: str
) -> None:
    """A worker that claims success is not believed when it lists what is left."""
    room = Room(POLICY)
    task = await room.running()
    draft = room.task_drafts.cleaned(
        task,
        task.attempts[0],
        resources=resources,
        memory_freed=0,
        leftovers=leftovers,
        status=claimed,
    )
    event = body_of(draft)
    assert (event["attempt"], event["agent_id"]) == (1, task.holder)
    assert (event["cleanup_status"], event["severity"]) == (status, severity)
    assert (event["retry_possible"], event["is_recoverable"]) == (False, True)


async def test_a_cleanup_after_a_failure_belongs_to_it() -> None:
    room = Room(POLICY)
    task = await failed(room)
    event = body_of(
        room.task_drafts.cleaned(task, task.attempts[0], resources=[], memory_freed=0, leftovers=[])
    )
    assert (event["error_id"], event["error_code"]) == (ERROR_ID, "llm_rate_limit")
    assert event["retry_possible"]


async def test_an_attempt_without_a_breaker_has_no_outcome() -> None:
    room = Room(POLICY)
    task = await room.task()
    assert outcome_of(task, "failure") is None
    await room.start(task)
    assert outcome_of(task, "failure") == Outcome("search", 0, None, "failure")
