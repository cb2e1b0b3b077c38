"""
A failure beside an attempt: something that the attempt has started failed, and the attempt goes on.

The rule: it is told to the owner, and changes nothing of the task. The end of the task ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.attempts.pieces import Piece
from gateway.domain import messages
from gateway.domain.agent import AgentPolicy
from gateway.domain.task import Task
from gateway.ports import Draft

if TYPE_CHECKING:
    from gateway.execution.record.task_drafts import TaskDrafts

__all__ = ["side_failure"]


def side_failure(
    drafts: TaskDrafts, task: Task, piece: Piece, *, new_id: Callable[[], str]
) -> Draft:
    """Tell of it under the error_id of the task's failure, if one is open, else under a new one."""
    failure = piece.failure
    assert failure is not None
    error_id = task.error_id or new_id()
    name = task.agent_name or task.task_id
    said = messages.user_message(
        failure.error_code, failure.error_type, will_retry=False, delay_s=None
    )
    return drafts.of_task(
        "agent_error",
        task,
        severity="warning",
        agent_name=name,
        message=messages.developer_message(failure, agent_name=name, attempt=task.attempt),
        detail=piece.detail,
        will_retry=False,
        max_attempts=task.max_attempts,
        cause="exception",
        **drafts.about(failure, error_id, AgentPolicy(name), said),
    )
