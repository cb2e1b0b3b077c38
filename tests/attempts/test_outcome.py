"""What an agent's code came to, wherever it has run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.attempts.calling import InputMismatch
from gateway.attempts.demands import NONE, demands_of
from gateway.attempts.outcome import Judged, JudgedElsewhere, acceptable, failed_beside, judge
from gateway.domain import own_failures
from gateway.domain.agent import AgentPolicy
from gateway.domain.agent_failures import InvalidResponse
from gateway.domain.redaction import Redacted
from gateway.domain.taught import Taught
from gateway.values import RESULT_BYTES_MAX
from tests.attempts.steps import Attempt


def judged(error: BaseException, *, asked: bool = False) -> Judged:
    return judge(error, AgentPolicy("echo"), NONE, taught=Taught(), now=0.0, asked=asked)


async def test_a_result_gets_its_form_and_meets_the_demands() -> None:
    demands = demands_of("echo", accept=lambda result: result == [1])
    assert await acceptable((1,), task_id="1", demands=demands) == [1]
    with pytest.raises(InvalidResponse):
        await acceptable((2,), task_id="1", demands=demands)


async def test_a_result_far_over_its_bound_is_refused_where_it_is_told() -> None:
    large = {"a": {1, *range(RESULT_BYTES_MAX)}}
    assert await acceptable(large, task_id="1", demands=NONE) is large


@pytest.mark.parametrize(
    ("error", "asked", "code", "cause"),
    [
        (InputMismatch("question", "required"), False, "invalid_input", "exception"),
        (asyncio.CancelledError(), False, "cancelled_itself", "exception"),
        (asyncio.CancelledError(), True, "cancelled", "cancelled"),
        (MemoryError(), False, "memory_limit_exceeded", "exception"),
    ],
)
def test_an_exception_is_judged(error: Any, asked: bool, code: str, cause: str) -> None:
    verdict = judged(error, asked=asked)
    assert (verdict.failure.error_code, verdict.cause) == (code, cause)
    assert verdict.detail["exception"].endswith(type(error).__name__)


def test_what_was_judged_where_the_code_ran_stays_as_it_is() -> None:
    there = Judged(own_failures.agent_lost("process_lost"), "agent_lost", Redacted({"a": 1}))
    assert judged(JudgedElsewhere(there)) is there


def test_what_fails_beside_an_attempt_is_told_until_the_attempt_ends(caplog: Any) -> None:
    there = Attempt()
    failed_beside("1", there.pieces, RuntimeError("early"))
    piece = there.pieces.take()
    assert piece is not None
    assert piece.failure == own_failures.background_failure()
    there.pieces.close()
    failed_beside("1", there.pieces, RuntimeError("late"))
    assert "a background task failed" in caplog.text
