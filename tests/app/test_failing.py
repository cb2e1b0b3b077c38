"""Agents whose tasks end badly are found in the newest tasks, whatever their breaker says."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.app.failing import FAILED_MIN, JUDGED, RECENT_S, judged
from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.timestamps import rfc3339
from tests.app.terminal import piped
from tests.transports.world import world

AT = 1_795_000_000.0


def task(status: str, code: str = "llm_auth_failed", **error: str) -> dict[str, Any]:
    told = {"error_type": "auth_error", "suggested_action": "contact_support", **error}
    failed = {"error": {"error_code": code, **told}} if status == "failed" else {}
    return {"task_id": f"of-{code}", "status": status, "finished_at": rfc3339(AT), **failed}


FAILED, SUCCEEDED = task("failed"), task("succeeded")


def test_many_failures_are_told_with_their_code_and_a_task_of_it() -> None:
    rare = task("failed", "task_timeout", error_type="timeout")
    assert judged("writer", [rare, *[FAILED] * FAILED_MIN], [SUCCEEDED], AT) == [
        {
            "agent": "writer",
            "failed": FAILED_MIN + 1,
            "ended": FAILED_MIN + 2,
            "error_code": "llm_auth_failed",
            "task_id": "of-llm_auth_failed",
        }
    ]


def test_few_failures_old_ones_and_a_small_share_are_not_told() -> None:
    many = [FAILED] * FAILED_MIN
    assert judged("writer", many, [], AT)
    assert not judged("writer", many[1:], [], AT)
    assert not judged("writer", many, [], AT + RECENT_S + 1)
    assert not judged("writer", many, [SUCCEEDED] * FAILED_MIN * 5, AT)


def test_the_newest_count_so_that_a_failure_that_begins_is_seen_soon() -> None:
    before = {**SUCCEEDED, "finished_at": rfc3339(AT - 60)}
    many = [FAILED] * (JUDGED // 5)
    (told,) = judged("writer", many, [before] * 100, AT)
    assert (told["failed"], told["ended"]) == (JUDGED // 5, JUDGED)
    assert not judged("writer", many[1:], [before] * 100, AT)


def test_what_is_the_callers_to_mend_or_an_open_breakers_does_not_count() -> None:
    resting = task("failed", error_type="circuit_open", suggested_action="wait")
    assert not judged("writer", [resting] * FAILED_MIN, [], AT)
    theirs = task("failed", error_type="invalid_input", suggested_action="none")
    assert not judged("writer", [theirs] * FAILED_MIN, [], AT)
    no_such_model = task("failed", error_type="invalid_input")
    assert judged("writer", [no_such_model] * FAILED_MIN, [], AT)


async def test_a_key_that_is_not_taken_any_more_is_seen_by_the_status() -> None:
    async with world() as here:
        call = here.engine.call
        worker = await call("agent.register", {"handle": "writer"}, LOCAL_OPERATOR)
        own = {"agent_id": worker["agent_id"], "agent_secret": worker["agent_secret"]}
        for _ in range(FAILED_MIN):
            made = await call("task.create", {"agent": "writer", "user_id": "7"}, LOCAL_OPERATOR)
            claimed = await call("task.claim", {**own, "task_id": made["task_id"]}, LOCAL_OPERATOR)
            failed = {"task_id": made["task_id"], "error_code": "llm_auth_failed", "message": "no"}
            term = claimed["term"]
            await call("task.fail", {**own, **failed, "term": term}, LOCAL_OPERATOR)
        code, out, _ = await piped(["status", "--url", here.http, "--json"])
        (told,) = orjson.loads(out)["attention"]
        assert (code, told["what"], told["name"]) == (1, "agent_failing", "writer")
        assert told["text"].endswith("5 of its newest 5 tasks in 10m, mostly llm_auth_failed")
