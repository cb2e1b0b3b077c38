"""``gateway tail``: how an event looks as a line, and what is said beside the events."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson
import pytest

from gateway.app.tail import (
    SAID_CHARS_MAX,
    _note,
    _own_topics,
    _refusal,
    _since,
    line_of,
    lines_of,
    tail,
)
from gateway.client.connection import Refused, Subscribed
from gateway.domain import task as tasks
from gateway.domain.errors import ConfigurationError, GatewayError
from gateway.domain.facts import Submitted
from gateway.domain.stream import Position
from gateway.domain.timestamps import seconds_of
from gateway.execution.record.task_drafts import TaskDrafts
from gateway.execution.record.waiting_drafts import Wait, WaitingDrafts
from tests.execution.record.room import NOW, Room, body_of
from tests.transports.world import SECRET, World, token, until, world

EVENT = {
    "timestamp": "2026-11-22T10:11:12.345Z",
    "offset": 5,
    "type": "agent_error",
    "severity": "error",
    "user_id": "42",
    "agent_name": "writer",
    "task_id": "019abb2f-0000-7000-8000-123456789abc",
    "attempt": 1,
    "user_message": "It failed.\nWe try again.",
}

# --- one line -------------------------------------------------------------------------------


def test_an_event_is_one_line_with_its_time_place_and_text() -> None:
    assert line_of(EVENT).plain.split() == [
        *("10:11:12.345", "5", "error", "agent_error"),
        *("user=42", "agent=writer", "task=56789abc", "attempt=1"),
        *("It", "failed.", "We", "try", "again."),
    ]


def test_a_task_that_does_not_move_is_a_line_that_says_why_and_for_how_long() -> None:
    """Whatever time was announced for its next attempt before."""
    room, until = Room(), seconds_of(str(EVENT["timestamp"])) + 29.8
    task = tasks.submitted(
        {**EVENT, "event_id": "e", "priority": 5, "timeout": 300.0, "max_attempts": 3},
        Submitted(),
        at=NOW,
        offset=1,
        bytes_max=1000,
    )
    drafts = WaitingDrafts(TaskDrafts(room.intake, room.state))
    draft = drafts.waiting(task, Wait("breaker", "writer", until), similar=())
    event = {**body_of(draft), "timestamp": EVENT["timestamp"], "offset": 6}
    assert line_of(event).plain.split()[3:] == [
        *("task_waiting", "user=42", "agent=writer", "task=56789abc"),
        *["the", "breaker", "writer", "holds", "it", "back,", "it", "probes", "at"],
        *["2026-11-22T10:11:42.145Z", "(in", "30", "s)"],
    ]


def test_an_event_that_says_little_is_a_line_all_the_same() -> None:
    event = {"timestamp": EVENT["timestamp"], "offset": 1, "type": "mode_changed"}
    assert line_of(event).plain.split() == ["10:11:12.345", "1", "info", "mode_changed"]


@pytest.mark.parametrize(
    ("length", "shown"), [(SAID_CHARS_MAX, SAID_CHARS_MAX), (SAID_CHARS_MAX + 1, SAID_CHARS_MAX)]
)
def test_a_long_text_is_cut_at_the_bound(length: int, shown: int) -> None:
    line = line_of(EVENT | {"user_message": "x" * length}).plain
    said = line.rpartition("  ")[2]
    assert len(said) == shown
    assert said.endswith("…") is (length > SAID_CHARS_MAX)


def test_text_that_begins_anew_says_so() -> None:
    """The lines of text above it do not count any more."""
    event = {**EVENT, "user_message": None, "text": "Here is", "replaces": True}
    assert line_of(event).plain.endswith("  (anew) Here is")


def test_an_unknown_severity_is_shown_without_a_style() -> None:
    assert "dire" in line_of(EVENT | {"severity": "dire"}).plain


def test_a_detail_is_a_line_for_each_value() -> None:
    detail = {
        "exception": "ValueError",
        "text": "two\nlines \x1b[31mred",
        "chain": [{"exception": "KeyError", "text": "é"}],
        "stack": ["a.py:1 in f", "b.py:2 in g"],
        "leaves": [],
        "status": 429,
    }
    assert lines_of(detail).plain.splitlines() == [
        '    exception: "ValueError"',
        r'    text: "two\nlines \u001b[31mred"',
        "    chain:",
        "      -",
        '        exception: "KeyError"',
        '        text: "é"',
        "    stack:",
        '      - "a.py:1 in f"',
        '      - "b.py:2 in g"',
        "    leaves: []",
        "    status: 429",
    ]


# --- notes ----------------------------------------------------------------------------------


def subscribed(*, recovered: bool, was_recovering: bool) -> Subscribed:
    return Subscribed(Position("e", 7), recovered, was_recovering, 3, None)


@pytest.mark.parametrize(
    ("kind", "told", "text"),
    [
        ("subscribed", subscribed(recovered=False, was_recovering=False), "following from e:7"),
        (
            "subscribed",
            subscribed(recovered=True, was_recovering=True),
            "caught up with 3 events at e:7",
        ),
        (
            "subscribed",
            subscribed(recovered=False, was_recovering=True),
            "the history is no longer kept; following from e:7",
        ),
        (
            "disconnected",
            {"code": 1012, "reason": "restarting", "retry_in": 1.25},
            "not connected: restarting, trying again in 1.2 s",
        ),
        ("disconnected", {"code": 1006, "reason": ""}, "not connected: 1006"),
        ("gap", {"from": 2, "to": 9}, "gap: offsets 2 to 9 are no longer kept"),
        ("heartbeat", {"degradation": {"user_message": "not recorded"}}, "not recorded"),
        ("heartbeat", {"offset": 1}, "everything is recorded again"),
        ("drain", {}, "the gateway is going down, coming back when it does"),
        ("news", {}, None),
    ],
)
def test_a_notice_is_a_sentence(kind: str, told: Any, text: str | None) -> None:
    assert _note(kind, told) == text


# --- what is followed -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hello", "topic"),
    [
        ({"user_id": "local", "scopes": ["admin", "agent"]}, "*"),
        ({"user_id": "42", "scopes": ["events:read"]}, "user:42"),
        ({"user_id": "auth0|5f 7c", "scopes": ["events:read:all"]}, "user:auth0|5f 7c"),
    ],
)
def test_without_topics_an_operator_follows_everything_and_a_user_itself(
    hello: dict[str, Any], topic: str
) -> None:
    """The gateway says who one is: it alone knows which claims of a token say so."""
    assert _own_topics(hello) == [topic]


def test_since_is_start_or_a_whole_position() -> None:
    assert _since(None) is None
    assert _since("start") == "start"
    assert _since("e:7") == Position("e", 7)
    for text in ("7", ":7", "e:", "e:x", "e:-1", "begin"):
        with pytest.raises(ConfigurationError, match="--since"):
            _since(text)


# --- over a connection ----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def tailing(
    here: World, *, as_json: bool, given: str | None = None, user_id: str | None = "ann"
) -> Any:
    following = asyncio.create_task(
        tail((), since="start", as_json=as_json, url=here.ws, token=given, user_id=user_id)
    )
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_events_come_as_json_lines_and_notes_beside_them(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    out, err = b"", b""

    def arrived(count: int) -> bool:
        nonlocal out, err
        captured = capsysbinary.readouterr()
        out, err = out + captured.out, err + captured.err
        return out.count(b"\n") >= count

    async with world() as here, tailing(here, as_json=True):
        await here.publish(count=2)
        await until(lambda: arrived(2))
    assert [orjson.loads(line)["offset"] for line in out.splitlines()] == [1, 2]
    assert err.startswith((b"caught up with", b"following from"))


async def test_a_users_own_events_come_by_a_token_that_names_its_claims_as_it_likes(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    out = b""

    def arrived() -> bool:
        nonlocal out
        out += capsysbinary.readouterr().out
        return b"\n" in out

    theirs = token("nobody", scope="admin", uid="auth0|5f 7c", roles=["events:read"])
    async with (
        world(secret=SECRET, token_user_claim="uid", token_scope_claim="roles") as here,
        tailing(here, as_json=True, given=theirs, user_id=None),
    ):
        await here.publish(user_id="nobody")
        await here.publish(user_id="auth0|5f 7c")
        await until(arrived)
    assert [orjson.loads(line)["user_id"] for line in out.splitlines()] == ["auth0|5f 7c"]


async def test_a_gateway_that_wants_a_token_is_told_how_to_give_one() -> None:
    async with world(secret=SECRET) as here:
        with pytest.raises(GatewayError, match="--token"):
            await tail((), since=None, as_json=True, url=here.ws, token=None, user_id=None)


async def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="--url"):
        await tail((), since=None, as_json=True, url="ftp://x", token=None, user_id=None)


async def test_a_gateway_that_is_not_there_is_named_with_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = ""

    def told() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return "\n" in said

    work = tail((), since=None, as_json=True, url="http://127.0.0.1:9", token=None, user_id=None)
    following = asyncio.create_task(work)
    try:
        await until(told)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert said.startswith("http://127.0.0.1:9: not connected: ")
    assert "`gateway serve`" in said
    assert "--url" in said


@pytest.mark.parametrize(
    ("code", "reason", "given", "said"),
    [
        (4500, "no token", None, "it asks for a token"),
        (4500, "expired", "x", "expired; give another"),
        (404, "", None, "what answers there is no gateway: HTTP 404"),
        (403, "", None, "no gateway at this path, or it does not let this client in"),
        (4501, "malformed", None, "refused with 4501: malformed"),
    ],
)
def test_a_refusal_is_a_sentence_with_the_address(
    code: int, reason: str, given: str | None, said: str
) -> None:
    told = _refusal("ws://h:1/ws", given, Refused(code, reason))
    assert told.startswith("http://h:1: ")
    assert said in told
