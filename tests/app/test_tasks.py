"""``gateway tasks``: lists with ages, and one task with its attempts."""

from __future__ import annotations

from typing import Any

import click
import orjson
import pytest

from gateway.app.tasks import VALUE_CHARS_MAX, lines_of, show, show_one
from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.timestamps import seconds_of
from tests.app.terminal import COLUMNS, on_a_terminal
from tests.transports.world import World, world

NOW = seconds_of("2026-11-22T05:04:54.123Z")
TASK: dict[str, Any] = {
    "task_id": "t1",
    "status": "failed",
    "agent_name": "writer",
    "capability": None,
    "user_id": "ann",
    "priority": 5,
    "attempt": 2,
    "max_attempts": 3,
    "waiting_for": None,
    "error": {"error_code": "llm_timeout"},
    "created_at": "2026-11-22T05:02:54.123Z",
    "finished_at": "2026-11-22T05:03:54.123Z",
    "attempts": [
        {
            "attempt": 1,
            "agent_id": "w1",
            "started_at": "2026-11-22T05:02:54.123Z",
            "ended_at": "2026-11-22T05:03:24.123Z",
            "error": {"error_code": "llm_timeout"},
        },
        {"attempt": 2, "agent_id": None, "started_at": "2026-11-22T05:04:44.123Z"},
    ],
    "input": {"q": "why\x1b[2J"},
    "preserved": {"text": "", "steps": {}},
}


def drawn(**changes: Any) -> list[str]:
    return [click.unstyle(line) for line in lines_of({**TASK, **changes}, NOW)]


def test_a_task_is_its_fields_and_its_attempts() -> None:
    lines = drawn()
    assert lines[1:4] == [
        "status       failed (llm_timeout)",
        "agent        writer",
        "user         ann",
    ]
    assert "asked        2m ago" in lines
    assert "ended        1m ago" in lines
    assert [line.split() for line in lines[-3:]] == [
        ["ATTEMPT", "BEGAN", "LASTED", "ERROR", "WORKER"],
        ["1", "2m", "ago", "30.0s", "llm_timeout", "w1"],
        ["2", "10s", "ago", "10s", "so", "far", "-", "-"],
    ]
    assert not any("preserved" in line or "\x1b" in line for line in lines)


def test_one_that_waits_says_for_what_and_one_that_did_well_has_no_error() -> None:
    waits = {"waits_for": "upstream", "name": "model", "until": None}
    assert "status       waiting (waits for upstream model)" in drawn(
        status="waiting", waiting_for=waits
    )
    assert "status       succeeded" in drawn(status="succeeded")
    assert "agent        any that can do find" in drawn(agent_name=None, capability="find")


def test_a_long_value_is_cut_and_says_where_all_of_it_is() -> None:
    (line,) = [line for line in drawn(input="x" * 9_000) if line.startswith("input")]
    assert len(line) < VALUE_CHARS_MAX + 60
    assert line.endswith("… (--json has all)")


async def created(here: World, agent: str, user: str) -> str:
    params = {"agent": agent, "user_id": user, "input": {"q": 1}}
    task = await here.engine.call("task.create", params, LOCAL_OPERATOR)
    return str(task["task_id"])


async def test_tasks_are_listed_with_filters_and_shown_one_by_one(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    async with world() as here:
        ids = [await created(here, "writer", user) for user in ("ann", "bob", "ann")]

        async def listed(as_json: bool, **filters: str | None) -> list[bytes]:
            await show(here.http, None, filters=filters, limit=50, as_json=as_json)
            return capsysbinary.readouterr().out.splitlines()

        lines = await listed(False, user_id="ann", agent=None)
        assert [line.split()[0].decode() for line in lines[1:]] == [ids[2], ids[0]]
        assert [orjson.loads(line)["task_id"] for line in await listed(True)] == ids[::-1]
        assert await listed(False, status="succeeded") == []
        await show_one(here.http, None, ids[0], as_json=True)
        assert orjson.loads(capsysbinary.readouterr().out)["input"] == {"q": 1}
        code, said = await on_a_terminal(["tasks", "list", "--url", here.http])
        assert (code, max(map(len, click.unstyle(said).splitlines()))) <= (0, COLUMNS)
        assert ids[0] in said
