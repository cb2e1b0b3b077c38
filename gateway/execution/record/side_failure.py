"""
A failure beside an attempt: something that the attempt has started failed, and the attempt goes on.

The rule: it is told to the owner, and changes nothing of the task. The end of the task ends it.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.attempts.pieces import Piece
from gateway.domain import messages
from gateway.domain.agent import AgentPolicy
from gateway.domain.failure import Failure
from gateway.domain.task import Task
from gateway.execution.record.failure_fields import Fields

__all__ = ["side_failure"]


def side_failure(
    task: Task,
    piece: Piece,
    about: Callable[[Failure, str, AgentPolicy, str], Fields],
    *,
    new_id: Callable[[], str],
) -> Fields:
    """
    Give the fields of the ``agent_error`` that tells of it.

    Args:
        about: Gives the failure fields, as ``TaskDrafts.about`` does.
        new_id: Gives its error_id, unless a failure of the task is open, whose it takes.
    """
    failure = piece.failure
    assert failure is not None
    name = task.agent_name or task.task_id
    said = messages.user_message(
        failure.error_code, failure.error_type, will_retry=False, delay_s=None
    )
    return {
        "severity": "warning",
        "agent_name": name,
        "message": messages.developer_message(failure, agent_name=name, attempt=task.attempt),
        "detail": piece.detail,
        "will_retry": False,
        "max_attempts": task.max_attempts,
        "cause": "exception",
        **about(failure, task.error_id or new_id(), AgentPolicy(name), said),
    }
