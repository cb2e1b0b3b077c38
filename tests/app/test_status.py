"""``gateway status``: what is well and what is not, on a screen, as JSON, as an exit code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import orjson
import pytest

from gateway.app.status import ROWS_MAX, assessed, lines_of
from gateway.domain.access import LOCAL_OPERATOR
from tests.app.terminal import COLUMNS, on_a_terminal, piped
from tests.transports.world import SECRET, token, world

AT = "2026-11-22T05:04:54.123Z"
BREAKER = {
    "name": "writer",
    "scope": "agent",
    "state": "open",
    "opened_at": "2026-11-22T05:04:24.123Z",
    "probe_at": "2026-11-22T05:05:04.123Z",
    "failure_rate": 0.8,
    "failures": 4,
    "outcomes": 5,
}
WORKER = {
    "agent_id": "w1",
    "handle": "writers",
    "agents": ["writer"],
    "status": "healthy",
    "reason": "heartbeat",
    "health_score": 1.0,
    "tasks": ["t1"],
    "registered_at": "2026-11-22T04:00:00.000Z",
    "last_heartbeat": "2026-11-22T05:04:53.000Z",
}
LOST = {**WORKER, "status": "offline", "reason": "heartbeat_lost"}
FAILING = {
    "agent": "writer",
    "failed": 9,
    "ended": 12,
    "error_code": "llm_auth_failed",
    "task_id": "t9",
}
NORMAL = {"mode": "normal", "reason": "start", "since": None, "degradation_id": None}
DEGRADED = {
    "mode": "degraded",
    "reason": "overload",
    "since": "2026-11-22T05:00:54.123Z",
    "degradation_id": "d1",
}


def stats(**changed: Any) -> dict[str, Any]:
    return {
        "timestamp": AT,
        "position": {"epoch": "e", "offset": 7},
        "mode": "normal",
        "tasks": {"by_status": {"running": 1, "failed": 2}, "without_worker": {}},
        "queue": {"depth": 0, "oldest_age": None, "limit": 1000},
        "breakers": {"by_state": {"closed": 1}},
        "held_upstreams": {},
        "by_user": {"7": {"open": 1, "finished": 0, "failed": 2}},
        "degradations": [],
        "dead_letters": {"total": 0, "last_hour": 0},
        "unknown_exceptions": {"total": 0, "most": {}},
        "connections": 3,
        "log": {"events": 7, "bytes": 2048},
        **changed,
    }


def status(
    *,
    reason: str | None = None,
    mode: Mapping[str, Any] = NORMAL,
    breakers: Any = (),
    workers: Any = (),
    fail: Any = (),
    **changed: Any,
) -> dict[str, Any]:
    return assessed(
        "http://h:1",
        reason,
        stats=stats(**changed),
        mode=mode,
        counted=breakers,
        workers=workers,
        fail=fail,
    )


def screen(shown: dict[str, Any], width: int | None = None) -> str:
    return click.unstyle("\n".join(lines_of(shown, width=width)))


def test_all_is_well() -> None:
    shown = status(breakers=[{**BREAKER, "state": "closed"}], workers=[WORKER])
    assert shown["well"] is True
    assert shown["attention"] == []
    said = screen(shown)
    assert said.startswith("http://h:1  ready  2026-11-22 05:04:54 UTC\n\nmode          normal")
    assert "writers  writer  healthy  1.00    1      1s     heartbeat" in said


@pytest.mark.parametrize(
    ("given", "what", "text"),
    [
        ({"reason": "the store is away"}, "not_ready", "not ready: the store is away"),
        ({"mode": DEGRADED}, "mode", "the mode is degraded, since 4m (overload)"),
        (
            {"breakers": [BREAKER]},
            "breaker",
            "the breaker writer is open until 05:05:04 (in 10s)",
        ),
        (
            {"breakers": [{**BREAKER, "scope": "domain", "name": "eu-1"}]},
            "domain",
            "the failure domain eu-1 gets one task a second: 80% of its attempts fail",
        ),
        (
            {"tasks": {"by_status": {}, "without_worker": {"ghost": 2}}},
            "no_worker",
            "2 tasks of ghost wait: nobody serves it",
        ),
        (
            {"dead_letters": {"total": 4, "last_hour": 1}},
            "dead_letters",
            "1 task given up in the last hour",
        ),
        (
            {"fail": [FAILING]},
            "agent_failing",
            "writer fails: 9 of its newest 12 tasks in 10m, mostly llm_auth_failed",
        ),
        (
            {"held_upstreams": {"model": "2026-11-22T05:14:54.123Z"}},
            "upstream_held",
            "the upstream model asks not to be called until 05:14:54 (in 10m)",
        ),
        (
            {"queue": {"depth": 900, "oldest_age": 9.0, "limit": 1000}},
            "queue",
            "the queue is 90% full; 7 has most of the open tasks: 1",
        ),
        (
            {"workers": [LOST]},
            "worker",
            "the worker writers is offline (heartbeat_lost)",
        ),
        (
            {"workers": [{**WORKER, "status": "quarantined", "reason": "health"}]},
            "worker",
            "the worker writers is quarantined (health)",
        ),
    ],
)
def test_what_needs_a_person_is_named_with_what_to_do(
    given: dict[str, Any], what: str, text: str
) -> None:
    shown = status(**given)
    assert shown["well"] is False
    (told,) = shown["attention"]
    assert (told["what"], told["text"]) == (what, text)
    assert f"! {text}\n  {told['remedy']}\n" in screen(shown)


def test_a_degradation_that_nothing_else_tells_of_is_told() -> None:
    one = {
        "degradation_id": "d2",
        "scope": "store",
        "mode": "store_away",
        "since": None,
        "disabled_features": ["search"],
        "message": "the store was away",
    }
    own = [{**one, "scope": "agent"}, {**one, "scope": "gateway"}]
    assert [each["what"] for each in status(degradations=[one])["attention"]] == ["degradation"]
    assert status(degradations=own)["well"] is True
    assert "store_away  store  -    search" in screen(status(degradations=[one]))


def test_workers_that_left_as_told_or_were_lost_long_ago_are_history() -> None:
    long_ago = {**LOST, "last_heartbeat": "2026-11-22T03:00:00.000Z"}
    told = {**LOST, "reason": "goodbye"}
    shown = status(workers=[LOST, long_ago, told])["workers"]
    assert shown["by_status"] == {"offline": 3}
    assert shown["items"] == [LOST]


def test_a_lost_worker_in_whose_place_another_came_needs_nobody() -> None:
    beside = {**WORKER, "agent_id": "w2"}
    another = {**beside, "registered_at": "2026-11-22T05:04:54.000Z"}
    assert status(workers=[LOST, beside])["well"] is False
    assert status(workers=[LOST, another])["well"] is True
    (told,) = status(workers=[LOST, {**LOST, "agent_id": "w2"}])["attention"]
    assert told["text"] == "2 workers writers are offline (heartbeat_lost)"


def test_a_name_that_nobody_serves_is_told_with_one_that_was_perhaps_meant() -> None:
    waits = {"by_status": {}, "without_worker": {"wirter": 1}}
    (told,) = status(workers=[WORKER], tasks=waits)["attention"]
    assert told["remedy"].endswith("gateway work MODULE:GATEWAY; or is writer meant?")


def test_a_mode_that_is_normal_again_is_not_said_to_be_an_overload() -> None:
    again = {**DEGRADED, "mode": "normal"}
    assert "normal (after overload, for 4m)" in screen(status(mode=again))


def test_a_short_hold_is_no_matter_and_a_full_queue_of_nobody_names_nobody() -> None:
    short = {"model": "2026-11-22T05:05:50.123Z"}
    full = {"depth": 900, "oldest_age": 9.0, "limit": 1000}
    assert status(held_upstreams=short)["well"] is True
    assert status(queue=full, by_user={})["well"] is True


def test_holds_and_unknown_exceptions_are_shown_with_what_to_do() -> None:
    said = screen(
        status(
            held_upstreams={"model": "2026-11-22T05:06:54.123Z"},
            unknown_exceptions={"total": 9, "most": {"shop.BillingDown": 9}},
        )
    )
    assert "model  2m" in said
    assert "shop.BillingDown  9" in said
    assert "@gateway.classify(BillingDown, …)" in said


def test_a_user_who_may_not_see_exceptions_is_told_of_none() -> None:
    assert status(unknown_exceptions=None)["unknown_exceptions"] == {"total": 0, "most": []}


def test_a_long_table_ends_and_says_how_many_more() -> None:
    said = screen(status(workers=[WORKER] * (ROWS_MAX + 3)))
    assert said.count("writers") == ROWS_MAX
    assert "… and 3 more" in said


def test_a_narrow_terminal_cuts_names_and_nothing_else() -> None:
    worker = {**WORKER, "agents": ["a" * 30, "b" * 30], "handle": "h" * 30}
    said = screen(status(workers=[worker]), width=COLUMNS)
    assert max(map(len, said.splitlines())) <= COLUMNS
    assert "healthy  1.00" in said


# --- a real gateway -------------------------------------------------------------------------


async def test_colours_are_for_terminals_and_json_is_one_object() -> None:
    async with world() as here:
        await here.engine.call("agent.register", {"handle": "writer"}, LOCAL_OPERATOR)
        await here.engine.call("breaker.open", {"name": "writer"}, LOCAL_OPERATOR)
        code, said = await on_a_terminal(["status", "--url", here.http])
        assert code == 1
        assert "\x1b[31mopen" in said
        assert max(map(len, click.unstyle(said).splitlines())) <= COLUMNS
        code, said = await on_a_terminal(["status", "--url", here.ws], env={"NO_COLOR": "1"})
        assert (code, "\x1b" in said) == (1, False)
        code, out, err = await piped(["status", "--url", here.http, "--json"])
        assert (code, err) == (1, "")
        assert [each["name"] for each in orjson.loads(out)["breakers"]["not_closed"]] == ["writer"]


async def test_a_script_learns_from_the_exit_code_whether_one_was_let_in() -> None:
    async with world(secret=SECRET) as here:
        code, out, err = await piped(["status", "--url", here.http])
        assert (code, out) == (3, "")
        assert "it asks for a token" in err
        env = {"GATEWAY_TOKEN": token("ops", "admin")}
        code, out, _ = await piped(["status", "--url", here.http], env=env)
        assert (code, "\x1b" in out) == (0, False)
