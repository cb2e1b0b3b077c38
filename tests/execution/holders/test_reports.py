"""Reports of workers: under their own term, at a pace that people can follow."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from gateway.domain.errors import (
    Conflict,
    InvalidParams,
    NotFound,
    RequestError,
    StaleTerm,
    Unavailable,
)
from gateway.domain.timestamps import seconds_of
from gateway.execution.holders import reports
from tests.execution.hands import (
    ends,
    hand,
    registered,
)
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import World


async def test_pieces_of_one_task_come_at_most_ten_times_a_second(here: World) -> None:
    """A worker that reports faster is answered later; nothing is lost or out of order."""
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    await asyncio.gather(
        *(
            worker.tell("task.update", text=f"{number} ", progress=number / 50)
            for number in range(50)
        )
    )
    told = here.said("partial_result", "task_progress")
    times = [seconds_of(event["timestamp"]) for event in told]
    assert all(later - at >= 0.099 for at, later in itertools.pairwise(times))
    text = "".join(event["text"] for event in here.said("partial_result"))
    assert text.split() == [str(number) for number in range(50)]
    await worker.tell("task.complete", result=1)


async def test_the_pace_of_one_task_holds_no_other_back(here: World) -> None:
    workers = [await hand(here), await hand(here)]
    for worker in workers:
        await here.submit("writer")
        await worker.claim()
    first, second = workers
    slow = [asyncio.ensure_future(first.tell("task.update", text="x")) for _ in range(20)]
    await here.passing(0.05)
    await second.tell("task.update", text="y")
    assert not slow[1].done()
    await asyncio.gather(*slow)
    for worker in workers:
        await worker.tell("task.complete", result=1)


@pytest.mark.parametrize(
    ("operation", "params", "error"),
    [
        ("task.update", {"progress": 1.01}, InvalidParams),
        ("task.update", {"progress": -0.01}, InvalidParams),
        ("task.update", {"data": {"x": 1}}, InvalidParams),
        ("task.update", {"step": "one", "data": "x" * 262_145}, RequestError),
        ("task.update", {"text": "x" * 65_537}, InvalidParams),
        ("task.update", {"term": 2}, StaleTerm),
        ("task.update", {"term": 0}, InvalidParams),
        ("task.complete", {"result": "x" * 262_145}, RequestError),
        ("task.complete", {"result": 1, "term": 2}, StaleTerm),
        ("task.complete", {"result": 1, "task_id": "unknown"}, NotFound),
        ("task.fail", {}, InvalidParams),
        ("task.release", {"term": 99}, StaleTerm),
        ("task.heartbeat", {"lease_ttl": 0}, InvalidParams),
        ("agent.heartbeat", {"status": "dancing"}, InvalidParams),
    ],
)
async def test_a_call_that_is_refused_changes_nothing(
    here: World, operation: str, params: dict[str, Any], error: type[RequestError]
) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    said = here.types()
    lease = {"task_id": worker.claimed["task_id"], "term": 1} if "task." in operation else {}
    with pytest.raises(error):
        await here.call(operation, worker.caller, **{**worker.proof, **lease, **params})
    assert here.types() == said
    await worker.tell("task.complete", result=1)


async def test_after_the_end_every_report_is_too_late(here: World) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    await worker.tell("task.complete", result=1)
    said = here.types()
    for operation, params in (
        ("task.complete", {"result": 2}),
        ("task.fail", {"message": "no"}),
        ("task.update", {"progress": 0.1}),
        ("task.heartbeat", {}),
        ("task.release", {}),
    ):
        with pytest.raises(StaleTerm):
            await worker.tell(operation, **params)
    with pytest.raises(Conflict):
        await worker.claim(task_id=worker.claimed["task_id"])
    assert here.types() == said


async def test_a_node_that_knows_less_than_a_worker_refuses_none_of_its_reports() -> None:
    """It was given its task by another node; this one catches up, or says that it cannot know."""
    cluster = Cluster()
    ahead, behind = cluster.node(), cluster.node()
    async with until_killed(ahead.engine), until_killed(behind.engine):
        caller, proof = await registered(ahead)
        task_id = (await ahead.gateway.submit("writer")).task_id
        behind.log.behind = True
        claim = await ahead.engine.call("task.claim", proof, caller)
        about = {**proof, "task_id": task_id, "term": claim["term"]}
        beating = asyncio.ensure_future(behind.engine.call("task.heartbeat", about, caller))
        await cluster.passing(0.5)
        behind.log.behind = False
        assert (await beating)["term"] == claim["term"]

        behind.log.behind = behind.log.away = True
        await ahead.engine.call("task.release", about, caller)
        claim = await ahead.engine.call("task.claim", proof, caller)
        about["term"] = claim["term"]
        with pytest.raises(Unavailable):
            await behind.engine.call("task.complete", {**about, "result": 1}, caller)
        behind.log.behind = behind.log.away = False
        await behind.engine.call("task.complete", {**about, "result": 1}, caller)
        assert ends(cluster) == [("succeeded", None)]


# --- what a report becomes -----------------------------------------------------------------------


async def test_an_update_becomes_progress_then_a_step_then_text(here: World) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    answer = await worker.tell(
        "task.update", plan=["one", "two"], progress=0.5, step="one", data={"a": 1}, text="so"
    )
    told = here.said("task_progress", "partial_result")
    assert [(event["type"], event.get("step"), event.get("text")) for event in told] == [
        ("task_progress", "one", None),
        ("partial_result", "one", None),
        ("partial_result", None, "so"),
    ]
    (task,) = here.state.live.values()
    assert (answer["task_id"], answer["term"]) == (task.task_id, 1)
    assert (task.plan, task.progress, task.preserved.steps) == (
        ("one", "two"),
        0.5,
        {"one": {"a": 1}},
    )
    await worker.tell("task.complete", result=1)


async def test_a_step_without_data_is_where_the_worker_is_and_nothing_is_kept(
    here: World,
) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    await worker.tell("task.update", step="two")
    (task,) = here.state.live.values()
    assert (task.step, task.preserved.steps) == ("two", {})
    await worker.tell("task.complete", result=1)


async def test_the_last_report_brings_steps_that_were_not_told_before(here: World) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer")
    await worker.claim()
    await worker.tell("task.complete", result={"b": 2}, steps={"one": 1})
    task = here.state.tasks[task_id]
    assert (task.status, task.result, task.preserved.steps) == ("succeeded", {"b": 2}, {"one": 1})


async def test_a_failure_that_a_worker_reports_is_told_with_what_is_kept(here: World) -> None:
    """Its own words go to operators, without secrets."""
    worker = await hand(here)
    await here.submit("writer", max_attempts=1)
    await worker.claim()
    await worker.tell(
        "task.fail",
        message="token=sk-abcdefghijklmnopqrstuvwxyz0123456789 was refused",
        error_type="service_unavailable",
        steps={"one": 1},
        text="so far",
        progress=0.25,
        plan=["one", "two"],
    )
    (error,) = here.said("agent_error")
    assert (error["error_type"], error["cause"]) == ("service_unavailable", "reported")
    assert "was refused" in error["detail"]["reported_message"]
    assert "sk-abc" not in str(error)
    (kept,) = here.said("partial_result_preserved")
    assert (kept["preserved_data"], kept["preserved_text"]) == ({"one": 1}, "so far")
    assert kept["lost_data"] == ["two"]
    public = b"".join(entry.public for entry in here.entries)
    assert b"was refused" not in public


@pytest.mark.parametrize(
    ("error_type", "cause"), [("agent_lost", "agent_lost"), ("cancelled", "cancelled")]
)
async def test_a_worker_that_was_stopped_says_so_and_the_agent_is_not_to_blame(
    here: World, error_type: str, cause: str
) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer", max_attempts=1)
    await worker.claim()
    await worker.tell("task.fail", message="stopped", error_type=error_type)
    assert here.said("agent_error")[0]["cause"] == cause
    assert here.state.breaker("writer", "agent").consecutive == 0
    assert not here.state.tasks[task_id].live


async def test_a_report_on_anothers_task_is_refused_and_counted(here: World) -> None:
    holder, other = await hand(here), await hand(here)
    await here.submit("writer")
    await holder.claim()
    other.claimed = holder.claimed
    before = here.engine.meters.stale_terms
    with pytest.raises(StaleTerm, match="not held by this worker") as refused:
        await other.tell("task.complete", result=1)
    assert refused.value.field == "agent_id"
    assert here.engine.meters.stale_terms == before + 1
    await holder.tell("task.complete", result=1)


async def test_the_pace_of_tasks_told_of_long_ago_is_forgotten(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "PACED_MAX", 2)
    workers = [await hand(here) for _ in range(4)]
    for worker in workers:
        await here.submit("writer")
        await worker.claim()
        await worker.tell("task.update", text="x")
    update: Any = here.engine.handlers["task.update"]
    paced = update.__self__._reports._next_piece_at
    assert list(paced) == [worker.claimed["task_id"] for worker in workers[2:]]
    for worker in workers:
        await worker.tell("task.complete", result=1)


async def test_what_a_worker_has_numbered_counts_once_however_often_it_is_said(
    here: World,
) -> None:
    """A worker without an answer says it again: text would come twice, a step be shown twice."""
    worker = await hand(here)
    task = here.state.tasks[await here.submit("writer")]
    assert (await worker.claim())["piece"] == 0
    update = {"progress": 0.5, "step": "a", "data": [1], "text": "Hello ", "piece": 1}
    for _ in range(3):
        renewed = await worker.tell("task.update", **update)
        assert renewed["term"] == 1
    await worker.tell("task.update", text="world", piece=3)
    await worker.tell("task.update", text="late", piece=2)
    assert (await worker.claim(task_id=task.task_id))["piece"] == 3
    assert [event["piece"] for event in here.said("partial_result")] == [1, 2, 3]
    assert len(here.said("task_progress")) == 1
    assert (task.preserved.steps, task.preserved.text) == ({"a": [1]}, "Hello world")
    await worker.tell("task.update", text="!")
    await worker.tell("task.update", text="!")
    assert task.preserved.text == "Hello world!!", "without a number each is another"
    await worker.tell("task.complete", result=1)


async def test_the_rest_of_an_update_is_taken_when_its_beginning_is_known(here: World) -> None:
    """The step was written and the answer lost before the text was: only the text is missing."""
    worker = await hand(here)
    task = here.state.tasks[await here.submit("writer")]
    await worker.claim()
    await worker.tell("task.update", step="a", data=1, piece=1)
    await worker.tell("task.update", step="a", data=1, text="text", piece=1)
    assert [event.get("text") for event in here.said("partial_result")] == [None, "text"]
    assert task.preserved.text == "text"
    await worker.tell("task.complete", result=1)


async def test_each_attempt_numbers_its_pieces_anew(here: World) -> None:
    worker = await hand(here)
    task = here.state.tasks[await here.submit("writer", max_attempts=2)]
    await worker.claim()
    await worker.tell("task.update", text="one ", piece=7)
    await worker.tell("task.fail", message="once", error_type="network_error", retry_after=0)
    await here.until(lambda: (task.next_attempt_at or 0.0) <= here.engine.clock.wall())
    assert (await worker.claim())["piece"] == 0
    await worker.tell("task.update", text="two", piece=1)
    assert task.preserved.text == "one two"
    await worker.tell("task.complete", result=1)


@pytest.mark.parametrize("piece", [0, -1, 1.5, "1", None, True, 2**53])
async def test_a_number_that_cannot_be_is_named(here: World, piece: Any) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    with pytest.raises(InvalidParams) as refused:
        await worker.tell("task.update", text="x", piece=piece)
    assert refused.value.field == "piece"
    await worker.tell("task.complete", result=1)
