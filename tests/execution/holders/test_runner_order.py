"""Which tasks this process takes: as many as it has slots, the most urgent first."""

from __future__ import annotations

from gateway import Task
from tests.execution.conftest import OpenWorld


async def test_no_more_run_at_once_than_there_are_workers(open_world: OpenWorld) -> None:
    here = await open_world(workers=3)
    inside = most = 0

    @here.gateway.agent("slow")
    async def slow(task: Task) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await here.passing(1)
        inside -= 1

    ids = [await here.submit("slow") for _ in range(10)]
    for task_id in ids:
        await here.done(task_id)
    assert most == 3


async def test_the_most_urgent_goes_first_then_the_oldest(open_world: OpenWorld) -> None:
    here = await open_world(workers=1)
    order: list[int] = []

    @here.gateway.agent("noter")
    async def noter(task: Task, number: int) -> None:
        order.append(number)

    priorities = [5, 10, 0, 5, 1, 0]
    ids = [
        await here.submit("noter", {"number": number}, priority=priority)
        for number, priority in enumerate(priorities)
    ]
    for task_id in ids:
        await here.done(task_id)
    assert order == [2, 5, 4, 0, 3, 1]
