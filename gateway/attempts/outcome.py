"""
Outcome: what the agent's code came to, as a result in JSON or as a failure with its detail.

The rule: it is the same in whichever process the code has run.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from gateway.attempts.calling import InputMismatch
from gateway.attempts.demands import Demands
from gateway.attempts.json_forms import as_json
from gateway.attempts.pieces import Pieces
from gateway.domain import own_failures
from gateway.domain.agent import AgentPolicy
from gateway.domain.description import describe
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import AttemptOver, TooLarge
from gateway.domain.failure import Failure
from gateway.domain.redaction import Redacted
from gateway.domain.taught import Taught
from gateway.values import RESULT_BYTES_MAX

__all__ = ["Judged", "JudgedElsewhere", "acceptable", "failed_beside", "judge"]

logger = logger_of(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """
    A failure of the agent's code.

    Attributes:
        failure: What it is.
        cause: How it came to us: exception, cancelled or agent_lost.
        detail: For operators.
    """

    failure: Failure
    cause: str
    detail: Redacted


class JudgedElsewhere(Exception):
    """The code has failed in another process, where the failure was judged."""

    def __init__(self, judged: Judged) -> None:
        super().__init__(judged.failure.error_code)
        self.judged = judged


async def acceptable(result: Any, *, task_id: str, demands: Demands) -> Any:
    """Give the JSON form of a result that meets the agent's demands; else raise what is wrong."""
    about = f"task {task_id}"
    try:
        result = as_json(result, field="result", bytes_max=RESULT_BYTES_MAX, about=about)
    except TooLarge:
        return result  # which is refused where it is told, as all that is too large
    await demands.require(result)
    return result


def judge(
    error: BaseException,
    policy: AgentPolicy,
    demands: Demands,
    *,
    taught: Taught,
    now: float,
    asked: bool,
) -> Judged:
    """
    Tell what kind of failure an exception of the agent's code is.

    Args:
        now: Seconds since the Unix epoch, for dates in a Retry-After.
        asked: Whether somebody outside has cancelled the code.
    """
    if isinstance(error, JudgedElsewhere):
        return error.judged
    if isinstance(error, InputMismatch):
        failure = own_failures.invalid_input(error.field, error.rule)
    else:
        llm_upstream = policy.upstream is not None
        failure = demands.classified(error, now=now, llm_upstream=llm_upstream, taught=taught)
    if failure.error_code == "cancelled" and not asked:
        # A connection of its own that was lost, a task of its own that it had cancelled.
        failure = own_failures.cancelled_itself()
    cause = "cancelled" if failure.error_type == "cancelled" else "exception"
    return Judged(failure, cause, describe(error))


def failed_beside(task_id: str, pieces: Pieces, error: BaseException) -> None:
    """Tell what a background task raised; after the attempt's end that is for operators only."""
    told = False
    with contextlib.suppress(AttemptOver):
        told = pieces.add_failure(own_failures.background_failure(), describe(error))
    if not told:
        logger.error("task %s: a background task failed", task_id, exc_info=error)
