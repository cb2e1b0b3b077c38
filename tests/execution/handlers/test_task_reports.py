"""What workers report of their tasks: at a pace that people can follow, and as they found it."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from gateway.domain.timestamps import seconds_of
from tests.execution.holders.test_registry import hand
from tests.execution.world import World


async def test_pieces_reach_people_at_most_ten_times_a_second(here: World) -> None:
    """Whoever reports faster is answered later, and nothing is lost or out of order."""
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
    ("reported", "resources", "leftovers", "told"),
    [
        ("failed", ["process"], ["temp_files: note"], "failed"),
        ("partial", ["process"], [], "partial"),
        (None, ["process"], [], "success"),
        (None, ["process"], ["temp_files: note"], "partial"),
        # Nobody calls it clean while something is left.
        ("success", ["process"], ["temp_files: note"], "partial"),
    ],
)
async def test_what_is_left_is_told_as_whoever_looked_found_it(
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
