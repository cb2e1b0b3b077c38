"""A failure beside an attempt: told to the owner, and nothing of the task is changed by it."""

from __future__ import annotations

from typing import Any

from gateway import Task
from gateway.attempts.pieces import Piece
from gateway.domain import own_failures
from gateway.domain.redaction import redacted
from tests.execution.world import World


async def _told(here: World, task: Task, count: int) -> list[dict[str, Any]]:
    lifecycle = here.engine.parts.lifecycle
    known = here.state.tasks[task.task_id]
    for _ in range(count):
        piece = Piece(
            failure=own_failures.background_failure(), detail=redacted({"exception": "KeyError"})
        )
        await lifecycle.tell(task.task_id, known.term, piece)
    return here.said("agent_error")


async def test_it_changes_nothing_of_the_task_and_is_one_failure_with_its_next(
    here: World,
) -> None:
    async with here.gateway.attempt("endpoint", user_id="ann") as task:
        known = here.state.tasks[task.task_id]
        first, second = await _told(here, task, 2)
        assert (known.status, known.last_error, known.attempts[-1].error) == ("running", None, None)
        assert first["error_id"] == second["error_id"] == known.error_id
    assert (first["severity"], first["will_retry"], first["user_id"]) == ("warning", False, "ann")
    assert "goes on" in first["user_message"]
    assert here.said("task_finished")[0]["error_id"] == first["error_id"]
    assert here.said("system_recovered") == []
