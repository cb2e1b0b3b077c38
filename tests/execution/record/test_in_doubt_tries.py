"""Every event that an attempt tells is in the log once, though the store leaves it in doubt."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gateway import Task
from gateway.domain.errors import ExpectationFailed, StoreUnavailable
from gateway.ports import Draft, EventLog
from tests.execution.conftest import OpenWorld
from tests.execution.world import World

ARRIVALS = ["at once", "between", "during the next", "after the next", "never"]


class DoubtfulLog:
    """
    The same log, which gives no answer to the first tries of one type of event.

    Args:
        about: The type.
        arrives: When they get there, as seen from the try that is answered.
        tries: How many are not answered.

    Attributes:
        doubts: How many were not.
    """

    def __init__(self, log: EventLog, about: str, arrives: str, tries: int) -> None:
        self._log = log
        self._about = about
        self._arrives = arrives
        self._tries = tries
        self.doubts = 0
        self._under_way: list[tuple[Sequence[Draft], Mapping[str, int] | None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        if self._about not in {draft.type for draft in drafts}:
            return await self._log.append(drafts, expected=expected)
        if self._tries:
            self._tries -= 1
            self.doubts += 1
            self._under_way.append((drafts, expected))
            if self._arrives == "at once":
                await self.arrive()
            raise StoreUnavailable("no answer", in_doubt=True)
        if self._arrives == "during the next":
            await self.arrive()
        offset = await self._log.append(drafts, expected=expected)
        if self._arrives == "after the next":
            await self.arrive()
        return offset

    async def arrive(self) -> None:
        """Let what is under way get there, as far as no other writer was first."""
        while self._under_way:
            drafts, expected = self._under_way.pop(0)
            with contextlib.suppress(ExpectationFailed):
                await self._log.append(drafts, expected=expected)


async def doubtful_world(
    open_world: OpenWorld, about: str, arrives: str, *, tries: int = 2
) -> tuple[World, DoubtfulLog]:
    logs: list[DoubtfulLog] = []

    def wrap(log: EventLog) -> DoubtfulLog:
        logs.append(DoubtfulLog(log, about, arrives, tries))
        return logs[0]

    return await open_world(wrap=wrap), logs[0]


async def settled(here: World, log: DoubtfulLog, task_id: str, arrives: str) -> None:
    """Wait until the task and all that is told of it is over."""
    if arrives == "between":
        await here.until(lambda: log.doubts == 2)
        await log.arrive()
    await here.done(task_id)
    assert log.doubts


@pytest.mark.parametrize("arrives", ARRIVALS)
async def test_a_piece_of_text_in_doubt_is_there_once(open_world: OpenWorld, arrives: str) -> None:
    here, log = await doubtful_world(open_world, "partial_result", arrives)

    @here.gateway.agent("writer", timeout=100.0)
    async def writer(task: Task) -> str:
        task.append("Hello ")
        await here.passing(10)
        task.append("world")
        await here.passing(1)
        return "done"

    task_id = await here.submit("writer")
    await settled(here, log, task_id, arrives)
    assert [event["text"] for event in here.said("partial_result")] == ["Hello ", "world"]
    assert [event["piece"] for event in here.said("partial_result")] == [1, 2]
    assert here.state.tasks[task_id].preserved.text == "Hello world"


@pytest.mark.parametrize("about", ["partial_result", "task_progress"])
@pytest.mark.parametrize("arrives", ARRIVALS)
async def test_a_step_and_progress_in_doubt_are_told_once(
    open_world: OpenWorld, arrives: str, about: str
) -> None:
    here, log = await doubtful_world(open_world, about, arrives)

    @here.gateway.agent("planner", timeout=100.0)
    async def planner(task: Task) -> str:
        task.progress(0.5, "second")
        await here.passing(10)
        task.preserve("first", {"a": 1})
        await here.passing(10)
        return "done"

    await settled(here, log, await here.submit("planner"), arrives)
    assert len(here.said("partial_result")) == 1
    assert len(here.said("task_progress")) == 1


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("arrives", ARRIVALS)
async def test_an_end_comes_after_the_piece_that_is_in_doubt(
    open_world: OpenWorld, arrives: str, fails: bool
) -> None:
    """What was streamed keeps its order, and none of it is lost."""
    here, log = await doubtful_world(open_world, "partial_result", arrives)

    @here.gateway.agent("writer", timeout=100.0, max_attempts=1)
    async def writer(task: Task) -> str:
        task.append("Hello ")
        await here.passing(0.5)
        task.append("world")
        if fails:
            raise ValueError
        return "done"

    task_id = await here.submit("writer")
    await settled(here, log, task_id, arrives)
    task = here.state.tasks[task_id]
    assert task.preserved.text == "Hello world"
    assert task.status == ("failed" if fails else "succeeded")
    told = [event["text"] for event in here.said("partial_result")]
    assert told == (["Hello "] if fails else ["Hello ", "world"])


@pytest.mark.parametrize("arrives", ARRIVALS)
async def test_a_cleanup_in_doubt_is_told_once(open_world: OpenWorld, arrives: str) -> None:
    here, log = await doubtful_world(open_world, "resource_cleanup", arrives)

    @here.gateway.agent("writer", timeout=100.0)
    async def writer(task: Task) -> str:
        task.temp_dir()
        return "done"

    await settled(here, log, await here.submit("writer"), arrives)
    (cleanup,) = here.said("resource_cleanup")
    assert cleanup["resources_cleaned"] == ["temp_files"]


async def test_a_piece_in_doubt_of_a_task_that_has_ended_is_not_told_again(
    open_world: OpenWorld,
) -> None:
    here, log = await doubtful_world(open_world, "partial_result", "never", tries=1)

    @here.gateway.agent("writer", timeout=100.0)
    async def writer(task: Task) -> str:
        task.append("Hello ")
        await here.passing(10)
        return "done"

    task_id = await here.submit("writer")
    await here.until(lambda: log.doubts)
    await here.call("task.cancel", task_id=task_id)
    await here.done(task_id)
    await log.arrive()
    assert here.said("partial_result") == []


async def test_no_follower_of_the_log_is_left_behind_by_tries(open_world: OpenWorld) -> None:
    """Nothing follows the log for longer than there are tries."""
    here, log = await doubtful_world(open_world, "partial_result", "between")

    @here.gateway.agent("writer", timeout=100.0)
    async def writer(task: Task) -> str:
        task.temp_dir()
        task.append("Hello ")
        await here.passing(10)
        return "done"

    before = len(log._readers._followers)
    await settled(here, log, await here.submit("writer"), "between")
    assert len(log._readers._followers) == before
