"""An assignment: what an attempt has to know, taken from the task that has just begun."""

from __future__ import annotations

import dataclasses

import pytest

from gateway import Task
from gateway.attempts.assignment import Assignment
from gateway.domain.preserved import Kept
from tests.execution.world import World


async def test_an_assignment_stays_as_it_was_whatever_becomes_of_the_task(here: World) -> None:
    made: list[Assignment] = []

    @here.gateway.agent("echo")
    async def echo(task: Task, word: str) -> str:
        made.append(Assignment.of(here.state.tasks[task.task_id], limit_s=7.0))
        task.preserve("step", 1)
        await here.passing(1)
        return word

    task = await here.run("echo", {"word": "yes"}, user_id="ann")
    assert task.preserved.steps == {"step": 1}
    assert made == [
        Assignment(
            task_id=task.task_id,
            user_id="ann",
            agent_name="echo",
            attempt=1,
            term=1,
            input={"word": "yes"},
            preserved=Kept({}, ""),
            limit_s=7.0,
        )
    ]
    with pytest.raises(dataclasses.FrozenInstanceError):
        made[0].attempt = 2  # type: ignore[misc]
