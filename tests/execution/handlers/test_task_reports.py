"""Events that a worker publishes about its own tasks, on the ways of its operations."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_schemas import publication
from gateway.domain.errors import Conflict, InvalidParams, NotFound, RequestError, StaleTerm
from gateway.protocol.operations import OPERATIONS
from tests.execution.anything import VALUES
from tests.execution.hands import Hand, hand
from tests.execution.world import VirtualLoop, World, world

LEASES = OPERATIONS["event.publish"].events
# What a report on a task is refused for without a word to its user.
LEASE = ("task_id", "agent_id", "agent_secret", "term", "event")
UNDER_LEASE = sorted(type for type, lease in LEASES.items() if lease is not None)


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


async def test_a_key_is_taken_with_a_report_on_a_task_whose_term_does_as_well(here: World) -> None:
    """Any request may have the header; the log has an attempt's end once without it."""
    worker = await hand(here)
    await here.submit("writer", max_attempts=1)
    await worker.claim()
    await report(worker, "agent_error", error_type="rate_limit", idempotency_key="k")
    with contextlib.suppress(StaleTerm, Conflict):
        await report(worker, "agent_error", error_type="rate_limit", idempotency_key="k")
    assert len(here.said("agent_error")) == 1


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
    said: dict[str, Any]
    for said in ({}, {"progress": 0.5}, {"step": "one"}, {"text": ""}):
        with pytest.raises(InvalidParams):
            await report(worker, "partial_result", **said)
    assert here.said("task_progress") == []
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


async def test_a_cleanup_is_told_once_for_each_attempt_and_names_that_attempt(here: World) -> None:
    worker = await hand(here)
    await here.submit("writer", max_attempts=2)
    await worker.claim()
    first = dict(worker.claimed)
    await worker.tell("task.fail", message="no", error_type="timeout")
    await worker.claim(wait=30)
    await worker.tell("task.complete", result=1)
    told = {"type": "resource_cleanup", "resources_cleaned": ["process"]}
    await worker.tell("event.publish", **told)
    for _ in range(50):
        with pytest.raises(Conflict, match="told once"):
            await worker.tell("event.publish", **told)
    worker.claimed = first
    await worker.tell("event.publish", **told)
    assert [event["attempt"] for event in here.said("resource_cleanup")] == [2, 1]


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
    assert (refused.value.field or "").partition(".")[0] == field
    await worker.tell("task.complete", result=1)


# --- what cannot be taken ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "changes", "field"),
    [
        ("partial_result", {"text": "a", "plan": 7}, "plan"),
        ("partial_result", {"text": 7}, "text"),
        ("partial_result", {"text": "a", "progress": "half"}, "progress"),
        ("partial_result", {"text": "a", "piece": "one"}, "piece"),
        ("partial_result", {"text": "a", "lease_ttl": 5}, "lease_ttl"),
        ("agent_error", {"error_type": []}, "error_type"),
        ("agent_error", {"error_code": {}}, "error_code"),
        ("agent_error", {"retry_after": "soon"}, "retry_after"),
        ("agent_error", {"steps": [1]}, "steps"),
        ("agent_error", {"detail": 7}, "detail"),
        ("agent_error", {"text": 7}, "text"),
        ("agent_error", {"message": 7}, "message"),
        ("agent_error", {"user_id": 7}, "user_id"),
        ("resource_cleanup", {"memory_freed": "much"}, "memory_freed"),
        ("resource_cleanup", {"cleanup_status": []}, "cleanup_status"),
        *((type, {"foreign": 1}, "foreign") for type in UNDER_LEASE),
        *((type, {"severity": "info"}, "severity") for type in UNDER_LEASE),
        *((type, {"term": True}, "term") for type in UNDER_LEASE),
        *((type, {"term": 2**70}, "event") for type in UNDER_LEASE),
        *((type, {"agent_id": 7}, "agent_id") for type in UNDER_LEASE),
        *((type, {"task_id": []}, "task_id") for type in UNDER_LEASE),
        *((type, {"agent_secret": 7}, "agent_secret") for type in UNDER_LEASE),
    ],
)
async def test_a_report_that_does_not_comply_is_refused_by_its_field(
    here: World, type: str, changes: dict[str, Any], field: str
) -> None:
    """As its operation would have refused it; what is not known is refused, never passed over."""
    worker = await hand(here)
    task_id = await here.submit("writer")
    await worker.claim()
    before = len(here.events)
    about = {**worker.proof, "task_id": task_id, "term": 1, "type": type}
    if type == "partial_result":
        about["text"] = "a"
    with pytest.raises(InvalidParams) as refused:
        await here.call("event.publish", worker.caller, **{**about, **changes})
    assert refused.value.field == field
    if type == "agent_error" and field not in LEASE:
        return  # the attempt has failed all the same, see below
    assert (len(here.events), here.state.tasks[task_id].status) == (before, "running")
    await worker.tell("task.complete", result=1)


NAMES = sorted({name for type in UNDER_LEASE for name in publication(type)["properties"]})
OTHERS = ("plan", "steps", "detail", "retry_after", "lease_ttl", "term", "foreign", "agent_secret")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    reports=st.lists(
        st.tuples(
            st.sampled_from(UNDER_LEASE),
            st.dictionaries(st.sampled_from([*NAMES, *OTHERS]), VALUES, max_size=4),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_whatever_is_reported_of_a_task_complies_or_is_refused(
    reports: list[tuple[str, dict[str, Any]]],
) -> None:
    """A worker's report never meets an error of ours."""

    async def one() -> None:
        # However many of them fail, the next one is taken.
        async with world(complete=False, breaker_threshold=1000, breaker_rate=1.0) as here:
            worker = await hand(here)
            for type, fields in reports:
                await here.submit("writer", max_attempts=1)
                await worker.claim()
                about = {**worker.proof, "task_id": worker.claimed["task_id"], "term": 1}
                with contextlib.suppress(RequestError):
                    report = {**about, **fields, "type": type}
                    await here.call("event.publish", worker.caller, **report)
            here.entries.clear()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(one())


@pytest.mark.parametrize(
    "wrong",
    [{"steps": [1]}, {"detail": "text"}, {"plan": 5}, {"text": 5}, {"message": {}}, {"odd": 1}],
)
async def test_a_failure_report_that_does_not_comply_ends_the_attempt_all_the_same(
    here: World, wrong: dict[str, Any]
) -> None:
    """The worker says that it failed: its user has to hear of it, and not only at the limit."""
    worker = await hand(here)
    task_id = await here.submit("writer", user_id="ann", max_attempts=1)
    await worker.claim()
    with pytest.raises(InvalidParams) as refused:
        await report(worker, "agent_error", error_type="rate_limit", **wrong)
    assert refused.value.field in wrong
    (error,) = here.said("agent_error")
    assert (error["user_id"], error["task_id"]) == ("ann", task_id)
    assert (error["error_type"], error["error_code"]) == ("validation_error", "event_invalid")
    assert here.state.tasks[task_id].status == "dead_lettered"


async def test_a_failure_report_under_no_lease_ends_nothing(here: World) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer")
    await worker.claim()
    for wrong in ({"agent_secret": "another"}, {"term": 7}, {"term": "1"}):
        about = {**worker.proof, "task_id": task_id, "term": 1, **wrong}
        with pytest.raises(RequestError):
            await here.call("event.publish", worker.caller, type="agent_error", steps=[1], **about)
    assert here.said("agent_error") == []
    await worker.tell("task.complete", result=1)
    assert here.state.tasks[task_id].status == "succeeded"
