"""Every decision about a task's life: what it appends, on what it is based, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import Task
from gateway.attempts.pieces import Piece, Rest
from gateway.attempts.tries import Tries
from gateway.domain.agent import AgentPolicy
from gateway.domain.error_codes import failure_with
from gateway.domain.errors import (
    Conflict,
    ExpectationFailed,
    InvalidParams,
    NotFound,
    StaleTerm,
    TooLarge,
    Unavailable,
)
from gateway.domain.own_failures import agent_lost, cancelled, no_worker, shutdown
from gateway.domain.queue import routes_of
from gateway.domain.recovery import Next
from gateway.domain.redaction import Redacted
from gateway.domain.task import Task as Record
from gateway.errors import RateLimited
from gateway.execution.guards.breakers import Admission, StandIn
from gateway.values import RESULT_BYTES_MAX
from tests.execution.record.room import NOW, RacingLog, Room
from tests.execution.world import LateLog, World

SEARCH = AgentPolicy("search", max_attempts=3)
DOWN = failure_with("upstream_unavailable")


async def waiting(room: Room) -> Record:
    """A task whose first attempt has failed and that waits for the next."""
    task = await room.running()
    await room.lifecycle.fail(task.task_id, 1, DOWN, cause="exception")
    return task


# --- submission ------------------------------------------------------------------------------


async def test_a_submitted_task_is_known_when_the_call_returns() -> None:
    room = Room(SEARCH)
    task = await room.task(priority=2, correlation_id="c1", timeout=7.0)
    assert room.state.tasks[task.task_id] is task
    assert (task.status, task.priority, task.timeout_s) == ("pending", 2, 7.0)
    (event,) = room.said("task_submitted")
    assert (event["correlation_id"], event["max_attempts"]) == ("c1", 3)
    assert not {"causation_id", "traceparent"} & event.keys()


async def test_an_id_is_taken_once() -> None:
    room = Room(SEARCH)
    order = room.acceptance.order("search", input=1, user_id="ann")
    await room.lifecycle.submit("t1", order, None)
    with pytest.raises(ExpectationFailed):
        await room.lifecycle.submit("t1", order, None)
    assert room.types == ["task_submitted"]


async def test_a_task_that_is_a_probe_takes_its_permit_with_it_or_is_not_there() -> None:
    room = Room(SEARCH, breaker_permits=1)
    breaker = room.state.breaker("search", "agent")
    await room.intake.append([room.breaker_drafts.triggered(breaker)])
    room.clock.now += 30
    order = room.acceptance.order("search", input=1, user_id="ann")
    admission = room.breakers.admit(SEARCH, user_id="ann", task_id="t0", attempt=1)
    assert isinstance(admission, Admission)
    task = await room.lifecycle.submit("t1", order, admission)
    assert (task.probe, task.generation) == (admission.probe, 1)
    assert breaker.probes == {admission.probe}
    with pytest.raises(ExpectationFailed) as lost:
        await room.lifecycle.submit("t2", order, admission)
    assert (lost.value.subject, "t2" in room.state.tasks) == ("breaker/search", False)


async def test_the_input_is_not_in_the_event() -> None:
    room = Room(SEARCH)
    task = await room.task(input={"word": "a private matter"})
    assert "private" not in room.entries[0].operator.decode()
    assert task.input == {"word": "a private matter"}


# --- the beginning of an attempt -------------------------------------------------------------


async def test_each_attempt_has_a_term_of_its_own() -> None:
    room = Room(SEARCH)
    task = await room.task()
    assert await room.start(task, lease_ttl_s=60.0) == 1
    assert (task.status, task.holder, task.lease_expires_at) == ("running", "w1", NOW + 60)
    await room.lifecycle.fail(task.task_id, 1, DOWN, cause="exception")
    assert await room.start(task, "w2") == 2
    assert (task.term, task.holder, task.lease_expires_at) == (2, "w2", None)
    assert [event["attempt"] for event in room.said("task_started")] == [1, 2]


async def test_of_two_holders_that_start_at_once_one_is_told() -> None:
    room = Room(SEARCH, wrap=RacingLog)
    task = await room.task()
    log: Any = room.log
    log.rival = room.task_drafts.of_task(
        "task_progress", task, message="m", progress=0.1, step=None
    )
    log.races = 1
    with pytest.raises(ExpectationFailed):
        await room.start(task)
    assert (task.status, room.said("task_started")) == ("pending", [])


async def test_a_task_that_runs_or_has_ended_is_not_started() -> None:
    room = Room(SEARCH)
    task = await room.running()
    with pytest.raises(Conflict, match="is running"):
        await room.start(task)
    await room.lifecycle.succeed(task.task_id, 1, None)
    with pytest.raises(Conflict, match="is succeeded"):
        await room.start(task)


async def test_an_attempt_by_the_fallback_is_judged_by_no_breaker() -> None:
    room = Room(SEARCH)
    task = await room.task()
    await room.start(task, way=StandIn("stand_in"))
    (event,) = room.said("task_started")
    assert (event["mode"], event["served_by"]) == ("fallback", "stand_in")
    assert (task.breaker, task.tries_left) == (None, 3)


async def test_an_attempt_by_the_agent_is_judged_by_the_breaker_that_admitted_it() -> None:
    room = Room(SEARCH)
    task = await room.task()
    await room.start(task, way=Admission("model", 4))
    assert (task.breaker, task.generation, task.mode) == ("model", 4, "primary")


async def test_a_task_for_a_capability_gets_the_agent_that_takes_it() -> None:
    room = Room(SEARCH)
    task = await room.task(None, capability="flying")
    await room.start(task, way=Admission("bird", 0), agent_name="bird")
    assert task.agent_name == "bird"
    assert room.said("task_started")[0]["message"] == "attempt 1 of bird started"


async def test_a_start_after_a_loss_tells_that_the_task_is_anothers() -> None:
    room = Room(SEARCH)
    task = await room.running()
    await room.lifecycle.fail(task.task_id, 1, agent_lost("stalled"), cause="agent_lost")
    await room.start(task, "w2")
    assert room.types[-2:] == ["task_reassigned", "task_started"]
    await room.lifecycle.fail(task.task_id, 2, DOWN, cause="exception")
    room.clock.now += 60
    await room.start(task, "w3")
    assert len(room.said("task_reassigned")) == 1


async def test_a_start_without_an_answer_is_undone_when_it_turns_up() -> None:
    room = Room(SEARCH, wrap=LateLog)
    task = await room.task()
    log: Any = room.log
    log.late = True
    with pytest.raises(Unavailable):
        await room.start(task)
    await log.arrive()
    assert [event["event_id"] for event in room.said("task_started")] == room.undone


# --- the term --------------------------------------------------------------------------------


async def test_only_the_term_in_force_may_tell_anything() -> None:
    room = Room(SEARCH)
    task = await waiting(room)
    room.clock.now += 60
    await room.start(task, "w2")
    before = room.log.head
    life, id = room.lifecycle, task.task_id
    for term, says in ((1, "term 2 is in force"), (3, "term 2 is in force")):
        for telling in (
            life.tell(id, term, Piece(text="late")),
            life.succeed(id, term, "late"),
            life.fail(id, term, DOWN, cause="exception"),
        ):
            with pytest.raises(StaleTerm, match=says):
                await telling
    assert (room.meters.stale_terms, room.log.head) == (6, before)


async def test_after_the_end_no_term_is_in_force() -> None:
    room = Room(SEARCH)
    task = await room.running()
    await room.lifecycle.succeed(task.task_id, 1, "done")
    with pytest.raises(StaleTerm, match="the task succeeded"):
        await room.lifecycle.succeed(task.task_id, 1, "again")
    assert task.result == "done"
    assert len(room.said("task_finished")) == 1


async def test_a_task_that_is_not_known_is_not_found() -> None:
    life = Room(SEARCH).lifecycle
    for telling in (
        life.succeed("t9", 1, None),
        life.tell("t9", 1, Piece(text="x")),
        life.hurry("t9"),
        life.cleaned("t9", 1, resources=[], memory_freed=0, leftovers=[]),
    ):
        with pytest.raises(NotFound) as refused:
            await telling
        assert refused.value.field == "task_id"


# --- what an attempt tells -------------------------------------------------------------------


async def test_pieces_are_numbered_and_progress_is_not() -> None:
    room = Room(SEARCH)
    task = await room.running()
    for piece in (
        Piece(text="a"),
        Piece(progress=0.3, at_step="s", plan=("s", "t")),
        Piece(step="s", data={"x": 1}),
    ):
        await room.lifecycle.tell(task.task_id, 1, piece)
    assert [event["piece"] for event in room.said("partial_result")] == [1, 2]
    (progress,) = room.said("task_progress")
    assert (progress["progress"], progress["step"]) == (0.3, "s")
    assert (task.plan, task.preserved.text, task.preserved.steps) == (
        ("s", "t"),
        "a",
        {"s": {"x": 1}},
    )


async def test_a_piece_that_has_landed_is_not_told_again() -> None:
    room = Room(SEARCH)
    task = await room.running()
    tries = Tries()
    await room.lifecycle.tell(task.task_id, 1, Piece(text="a"), tries=tries)
    await room.lifecycle.tell(task.task_id, 1, Piece(text="a"), tries=tries)
    assert (task.preserved.text, tries.landed) == ("a", True)


async def test_a_piece_that_loses_a_race_has_the_number_that_is_next_then() -> None:
    room = Room(SEARCH, wrap=RacingLog)
    task = await room.running()
    log: Any = room.log
    log.rival = room.task_drafts.of_task("partial_result", task, message="m", piece=1, text="b")
    log.races = 1
    await room.lifecycle.tell(task.task_id, 1, Piece(text="a"))
    assert [event["piece"] for event in room.said("partial_result")] == [1, 2]
    assert task.preserved.text == "ba"


# --- the ends --------------------------------------------------------------------------------


async def test_a_task_that_never_failed_ends_with_one_event() -> None:
    room = Room(SEARCH)
    task = await room.running()
    await room.lifecycle.succeed(task.task_id, 1, {"a": 1}, steps={"last": 2})
    assert room.types[2:] == ["task_finished"]
    assert (task.result, task.preserved.steps) == ({"a": 1}, {"last": 2})


async def test_a_task_that_had_failed_recovers_before_it_ends() -> None:
    room = Room(SEARCH)
    task = await waiting(room)
    room.clock.now += 60
    await room.start(task)
    await room.lifecycle.succeed(task.task_id, 2, "done")
    assert room.types[-2:] == ["system_recovered", "task_finished"]
    ids = {room.said(type)[0]["error_id"] for type in ("agent_error", *room.types[-2:])}
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("result", "error"),
    [(float("nan"), InvalidParams), ({1}, InvalidParams), ("x" * RESULT_BYTES_MAX, TooLarge)],
)
async def test_a_result_that_cannot_be_kept_leaves_the_attempt_running(
    result: Any, error: type[Exception]
) -> None:
    room = Room(SEARCH)
    task = await room.running()
    with pytest.raises(error):
        await room.lifecycle.succeed(task.task_id, 1, result)
    assert (task.status, room.said("task_finished")) == ("running", [])


async def test_a_failed_attempt_returns_what_comes_next() -> None:
    room = Room(SEARCH)
    task = await room.running()
    after = await room.lifecycle.fail(
        task.task_id,
        1,
        DOWN,
        cause="exception",
        rest=Rest(text="rest"),
        detail=Redacted({"why": "x"}),
    )
    assert (after.step, task.status) == ("retry", "waiting")
    assert room.types[2:] == ["partial_result_preserved", "agent_error", "recovery_attempt"]
    assert room.said("agent_error")[0]["detail"] == {"why": "x"}
    assert task.preserved.text == "rest"


async def test_a_condition_beyond_the_term_is_asked_after_each_lost_race() -> None:
    """A lease that was renewed meanwhile has not expired."""
    room = Room(SEARCH, wrap=RacingLog)
    task = await room.task()
    await room.start(task, lease_ttl_s=60.0)
    log: Any = room.log
    log.rival = room.task_drafts.lease_changed(task, "renewed", 60.0)
    log.races = 1
    asked: list[int] = []

    def require(task: Record) -> None:
        asked.append(task.last_offset)
        if len(asked) == 2:
            raise Conflict("it was renewed")

    lost = agent_lost("lease_expired")
    with pytest.raises(Conflict):
        await room.lifecycle.fail(task.task_id, 1, lost, cause="agent_lost", require=require)
    assert (asked, task.status) == ([2, 3], "running")


async def test_a_task_that_waits_is_cancelled_without_an_error() -> None:
    room = Room(SEARCH)
    task = await waiting(room)
    before = len(room.types)
    error_id = task.error_id
    after = Next("cancelled", reason="cancelled_by_user")
    await room.lifecycle.end(task.task_id, cancelled("user"), cause="cancelled", after=after)
    assert room.types[before:] == ["task_finished"]
    assert room.said("task_finished")[0]["error_id"] == error_id


async def test_a_task_that_no_worker_takes_ends_with_an_error() -> None:
    room = Room(SEARCH)
    task = await room.task()
    after = Next("dead_lettered", reason="no_worker")
    await room.lifecycle.end(task.task_id, no_worker(), cause="timeout", after=after)
    assert room.types[1:] == [
        "agent_error",
        "task_dead_lettered",
        "dead_letter_changed",
        "task_finished",
    ]
    assert task.status == "dead_lettered"


async def test_a_task_ends_once() -> None:
    room = Room(SEARCH)
    task = await room.running()
    await room.lifecycle.give_up(task.task_id, shutdown())
    (finished,) = room.said("task_finished")
    assert (finished["outcome"], finished["reason"]) == ("failed", "shutdown")
    with pytest.raises(Conflict, match="has ended: failed"):
        await room.lifecycle.end(task.task_id, shutdown(), cause="exception", after=Next("failed"))
    await room.lifecycle.give_up(task.task_id, cancelled("operator"))
    assert len(room.said("task_finished")) == 1


async def test_a_task_that_is_given_up_by_cancellation_is_cancelled() -> None:
    room = Room(SEARCH)
    task = await room.running()
    await room.lifecycle.give_up(task.task_id, cancelled("operator"))
    assert task.status == "cancelled"
    assert room.said("agent_error")[0]["cause"] == "cancelled"


# --- after the end ---------------------------------------------------------------------------


async def test_a_cleanup_is_told_after_the_end_and_of_the_attempt_that_it_is_about() -> None:
    room = Room(SEARCH)
    task = await waiting(room)
    room.clock.now += 60
    await room.start(task)
    await room.lifecycle.succeed(task.task_id, 2, None)
    found: dict[str, Any] = {"resources": ["temp_files"], "memory_freed": 7, "leftovers": []}
    await room.lifecycle.cleaned(task.task_id, 1, **found)
    await room.lifecycle.cleaned(task.task_id, 2, **found)
    first, second = room.said("resource_cleanup")
    assert (first["error_code"], second["error_code"]) == ("upstream_unavailable", None)
    with pytest.raises(StaleTerm, match="no attempt was made under term 3"):
        await room.lifecycle.cleaned(task.task_id, 3, **found)


# --- hurry -----------------------------------------------------------------------------------


async def test_a_task_that_is_hurried_is_ready_at_once() -> None:
    room = Room(SEARCH)
    task = await waiting(room)
    assert room.state.queue.ready(routes_of(["search"]), NOW) == []
    await room.lifecycle.hurry(task.task_id)
    assert room.state.queue.ready(routes_of(["search"]), NOW) == [task]


async def test_only_a_task_that_waits_between_attempts_is_hurried() -> None:
    room = Room(SEARCH)
    task = await room.task()
    for status in ("pending", "running"):
        with pytest.raises(Conflict, match=f"is {status}, there is nothing to retry now"):
            await room.lifecycle.hurry(task.task_id)
        if status == "pending":
            await room.start(task)


async def test_a_retry_can_be_asked_for_during_the_backoff(here: World) -> None:
    @here.gateway.agent("limited", max_attempts=2)
    async def limited(task: Task) -> str:
        if task.attempt == 1:
            raise RateLimited(retry_after=100.0)
        return "done"

    task_id = await here.submit("limited", user_id="ann")
    await here.passing(10)
    answer = await here.call("task.retry", task_id=task_id)
    assert answer["task_id"] == task_id
    task = await here.done(task_id)
    assert task.result == "done"
    assert task.finished_at is not None
    assert task.finished_at - task.created_at < 20


async def test_there_is_nothing_to_retry_of_what_runs_or_succeeded(here: World) -> None:
    @here.gateway.agent("fine")
    async def fine(task: Task) -> None:
        await here.passing(10)

    task_id = await here.submit("fine")
    with pytest.raises(Conflict):
        await here.call("task.retry", task_id=task_id)
    await here.passing(1)
    with pytest.raises(Conflict):
        await here.call("task.retry", task_id=task_id)
    await here.done(task_id)
    with pytest.raises(Conflict):
        await here.call("task.retry", task_id=task_id)
