"""``gateway dead-letters``: what is shown, what is asked for, and what is told of a mistake."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from gateway.app.dead_letters import show
from gateway.domain.errors import ConfigurationError, GatewayError, NotFound
from tests.transports.world import SECRET, token, world

LETTER = {
    "task_id": "t1",
    "agent_name": "search",
    "user_id": "ann",
    "input": {"q": "é"},
    "reason": "attempts_exhausted",
    "attempts": 3,
    "errors": [{"attempt": 3, "error_code": "llm_timeout", "error_type": "timeout"}],
    "died_at": "2026-11-22T05:04:54.123Z",
}
UNTAKEN = {**LETTER, "task_id": "t2", "agent_name": None, "attempts": 0, "errors": []}
RETRIED = {**LETTER, "task_id": "t3", "retried_as": "t9"}


class Keeper:
    """A gateway that has these letters, and notes what it is asked."""

    def __init__(self, url: str, letters: list[dict[str, Any]]) -> None:
        self.url = url
        self.letters = letters
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def answer(self, name: str, params: Any, caller: Any) -> Any:
        self.asked.append((name, dict(params)))
        if name == "dead_letter.list":
            start = int(params.get("cursor", 0))
            # A page may end before its limit.
            end = start + min(params["limit"], 2)
            more = end < len(self.letters)
            return {"items": self.letters[start:end], "next": str(end) if more else None}
        if params["task_id"] == "none":
            raise NotFound("there is no dead letter none", field="task_id")
        if name == "dead_letter.retry":
            new = f"new-{params['task_id']}"
            return {"task_id": new, "status": "pending", "position": {}, "warning": "no_worker"}
        return LETTER


@contextlib.asynccontextmanager
async def keeper(*letters: dict[str, Any], **settings: Any) -> AsyncIterator[Keeper]:
    async with world(**settings) as here:
        kept = Keeper(here.ws, list(letters))
        here.engine.script = kept.answer
        yield kept


async def shown(kept: Keeper, *, limit: int | None = None, as_json: bool = False) -> None:
    filters = {"agent": "search", "reason": None}
    await show(kept.url, None, filters=filters, limit=limit, as_json=as_json)


# --- list -----------------------------------------------------------------------------------


async def test_letters_are_a_table_over_all_pages(capsys: pytest.CaptureFixture[str]) -> None:
    async with keeper(LETTER, UNTAKEN, RETRIED) as kept:
        await shown(kept)
    said = capsys.readouterr()
    died = ["2026-11-22", "05:04:54"]
    why = "attempts_exhausted"
    assert [line.split() for line in said.out.splitlines()[1:]] == [
        [*died, "t1", "search", "ann", "3", why, "llm_timeout", "-"],
        [*died, "t2", "-", "ann", "0", why, "-", "-"],
        [*died, "t3", "search", "ann", "3", why, "llm_timeout", "t9"],
    ]
    assert said.err == ""
    assert kept.asked == [
        ("dead_letter.list", {"agent": "search", "limit": 500}),
        ("dead_letter.list", {"agent": "search", "limit": 500, "cursor": "2"}),
    ]


@pytest.mark.parametrize(("limit", "number"), [(1, 1), (2, 2), (3, 3), (4, 4), (9, 5), (None, 5)])
async def test_no_more_letters_are_shown_than_were_asked_for(
    limit: int | None, number: int, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    letters = [{**LETTER, "task_id": f"t{count}"} for count in range(5)]
    async with keeper(*letters) as kept:
        await shown(kept, limit=limit, as_json=True)
    lines = capsysbinary.readouterr().out.splitlines()
    assert [orjson.loads(line) for line in lines] == letters[:number]


@pytest.mark.parametrize("as_json", [False, True])
async def test_no_letters_are_no_lines(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    async with keeper() as kept:
        await shown(kept, as_json=as_json)
    said = capsys.readouterr()
    assert (said.out, bool(said.err)) == ("", not as_json)


# --- mistakes -------------------------------------------------------------------------------


async def test_who_is_no_operator_is_told_how_to_be_one_at_the_first_letter() -> None:
    async with world(secret=SECRET) as here:
        for given in (None, token("ann", "events:read tasks:write")):
            with pytest.raises(GatewayError, match="GATEWAY_TOKEN"):
                await show(here.ws, given, filters={}, limit=None, as_json=False)
        operator = token("ops", "admin")
        await show(here.ws, operator, filters={}, limit=None, as_json=False)


async def test_a_gateway_that_is_not_there_is_named() -> None:
    with pytest.raises(GatewayError, match=r"http://127\.0\.0\.1:9: no answer"):
        await show("http://127.0.0.1:9", None, filters={}, limit=None, as_json=False)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://x:port", "ws://["])
async def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="--url"):
        await show(url, None, filters={}, limit=None, as_json=False)


async def test_an_http_address_serves_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    async with keeper(LETTER) as kept:
        address = kept.url.replace("ws", "http", 1).removesuffix("/ws")
        for slash in ("", "/"):
            await show(address + slash, None, filters={}, limit=None, as_json=True)
    assert len(capsys.readouterr().out.splitlines()) == 2
