"""Events that a worker publishes about its own tasks, on the ways of its operations."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.errors import Conflict, InvalidParams, NotFound, StaleTerm
from tests.execution.hands import Hand, hand
from tests.execution.world import World


@pytest.mark.parametrize(
    ("reported", "resources", "leftovers", "told"),
    [
        ("failed", ["process"], ["temp_files: note"], "failed"),
        ("partial", ["process"], [], "partial"),
        (None, ["process"], [], "success"),
        (None, ["process"], ["temp_files: note"], "partial"),
        # It is not called clean while something is left.
        ("success", ["process"], ["temp_files: note"], "partial"),
    ],
)
async def test_a_cleanup_is_told_as_the_worker_found_it(
    here: World, reported: str | None, resources: list[str], leftovers: list[str], told: str
) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    status = {} if reported is None else {"cleanup_status": reported}
    await worker.tell(
        "event.publish",
        type="resource_cleanup",
        resources_cleaned=resources,
        leftovers=leftovers,
        memory_freed=1,
        **status,
    )
    (cleanup,) = here.said("resource_cleanup")
    assert cleanup["cleanup_status"] == told
    assert (cleanup["resources_cleaned"], cleanup["leftovers"]) == (resources, leftovers)
    await worker.tell("task.complete", result=1)


# --- a report is the operation of its type -------------------------------------------------------


async def report(worker: Hand, type: str, **fields: Any) -> Any:
    """Publish an event about the task that a worker has claimed."""
    return await worker.tell("event.publish", type=type, **fields)


async def test_a_failure_report_ends_the_attempt_and_gives_its_event(here: World) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer", max_attempts=1)
    await worker.claim()
    await worker.tell("task.update", text="so far")
    answer = await report(worker, "agent_error", error_type="rate_limit")
    (error,) = here.said("agent_error")
    assert answer == {
        "event_id": error["event_id"],
        "position": {"epoch": error["epoch"], "offset": error["offset"]},
        "error_id": error["error_id"],
    }
    assert (error["cause"], error["error_type"]) == ("reported", "rate_limit")
    assert here.state.tasks[task_id].status == "dead_lettered"


async def test_a_partial_result_is_kept_with_its_task(here: World) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    answer = await report(worker, "partial_result", step="one", data={"a": 1})
    assert answer["error_id"] is None
    (task,) = here.state.live.values()
    assert task.preserved.steps == {"one": {"a": 1}}
    await worker.tell("task.complete", result=1)


async def test_a_report_that_says_nothing_is_refused(here: World) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    with pytest.raises(InvalidParams, match="says nothing"):
        await report(worker, "partial_result")
    await worker.tell("task.complete", result=1)


@pytest.mark.parametrize(
    "type", ["recovery_attempt", "system_recovered", "partial_result_preserved"]
)
async def test_what_comes_next_is_for_the_gateway_to_say(here: World, type: str) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    before = len(here.events)
    with pytest.raises(Conflict) as refused:
        await report(worker, type)
    assert refused.value.field == "type"
    assert len(here.events) == before
    await worker.tell("task.complete", result=1)


@pytest.mark.parametrize("missing", ["agent_id", "term"])
async def test_a_report_names_the_lease_under_which_it_is_made(here: World, missing: str) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    about = {**worker.proof, "task_id": worker.claimed["task_id"], "term": 1}
    del about[missing]
    with pytest.raises(InvalidParams) as refused:
        await here.call("event.publish", worker.caller, type="agent_error", **about)
    assert refused.value.field == missing
    await worker.tell("task.complete", result=1)


# --- cleaning up ---------------------------------------------------------------------------------


async def test_a_cleanup_may_be_told_after_the_end_by_the_worker_that_made_the_attempt(
    here: World,
) -> None:
    worker, other = await hand(here), await hand(here)
    await here.submit("writer")
    await worker.claim()
    await worker.tell("task.complete", result=1)
    await report(worker, "resource_cleanup", resources_cleaned=["process"])
    assert here.said("resource_cleanup")[0]["resources_cleaned"] == ["process"]
    other.claimed = worker.claimed
    with pytest.raises(StaleTerm, match="no attempt under that term"):
        await report(other, "resource_cleanup", resources_cleaned=["process"])
    worker.claimed["term"] = 2
    with pytest.raises(StaleTerm):
        await report(worker, "resource_cleanup", resources_cleaned=["process"])
    worker.claimed["task_id"] = "unknown"
    with pytest.raises(NotFound):
        await report(worker, "resource_cleanup", resources_cleaned=["process"])
    assert len(here.said("resource_cleanup")) == 1


@pytest.mark.parametrize("field", ["resources_cleaned", "leftovers"])
@pytest.mark.parametrize("value", ["process", [1], {"a": 1}, None])
async def test_what_was_cleaned_up_is_a_list_of_names(here: World, field: str, value: Any) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    with pytest.raises(InvalidParams) as refused:
        await report(worker, "resource_cleanup", **{field: value})
    assert refused.value.field == field
    await worker.tell("task.complete", result=1)
