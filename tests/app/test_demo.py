"""
The demonstration, as a person that starts it sees it: a real process, real sockets, the real SDK.

The story is watched until all of it was seen. How long that takes is the story's own affair;
the bound is only there to end a test that would wait for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from gateway.app.clock import SystemClock
from gateway.app.demo.agents import PROMPTS
from gateway.app.demo.faults import BY_SCHEDULE, FAULTS
from gateway.client.connection import Connection
from gateway.domain.compliance import check_stream
from tests.soak import SOAK
from tests.transports.http_client import plain_http

Event = dict[str, Any]

# How many times as fast as for a person; `make soak` sees what a person sees.
PACE = 1.0 if SOAK else 5.0

CLOCK = SystemClock()
COMMAND = Path(sys.executable).with_name("gateway")
START_LIMIT_S = 45.0
STORY_LIMIT_S = 75.0
LOOK_S = 0.05
END_LIMIT_S = 20.0


# --- the process ---------------------------------------------------------------------------------


@dataclasses.dataclass
class Demo:
    """A demonstration that runs in a process of its own."""

    process: asyncio.subprocess.Process
    url: str

    def connection(self, user_id: str) -> Connection:
        url = self.url.replace("http", "ws", 1) + "/ws"
        return Connection(url, user_id=user_id, topics=(f"user:{user_id}",))

    async def end(self) -> tuple[int, str]:
        """SIGTERM; returns the exit code, and what it and its workers said to the last."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(END_LIMIT_S):
            _, said = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, said.decode()


@contextlib.asynccontextmanager
async def demo() -> AsyncIterator[Demo]:
    process = await asyncio.create_subprocess_exec(
        str(COMMAND),
        *("demo", "--port", "0", "--pace", str(PACE)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_LIMIT_S):
            first = (await process.stdout.readline()).decode().split()
        assert first[:1] == ["ready"], first
        yield Demo(process, first[1])
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def record(
    connection: Connection, until: Callable[[list[Event]], bool], *, limit_s: float = STORY_LIMIT_S
) -> list[Event]:
    """Take events until ``until`` says that there are enough."""
    events: list[Event] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            async for event in connection:
                events.append(event)
                if until(events):
                    break
    return events


# --- the story -----------------------------------------------------------------------------------


def is_like(event: Event, **fields: Any) -> bool:
    return all(event.get(name) == value for name, value in fields.items())


# What has to be seen, each as one event: first a wait and a recovery, then an outage.
STORY: dict[str, Event] = {
    "an error with a countdown": {
        "type": "agent_error",
        "error_type": "rate_limit",
        "estimated_recovery_time": 2.0 / PACE,
        "recovery_estimate_source": "upstream_retry_after",
    },
    "another try": {"type": "recovery_attempt", "strategy": "exponential_backoff"},
    "a recovery": {"type": "system_recovered", "scope": "task", "agent_name": "reader"},
    "an opening": {"type": "circuit_breaker_triggered", "breaker": "model"},
    "a refusal": {"type": "request_rejected", "reason": "circuit_breaker_open"},
    "a stand-in": {"type": "task_finished", "outcome": "succeeded", "degraded": True},
    "a test": {"type": "circuit_breaker_test_request", "breaker": "model"},
    "a closing": {"type": "system_recovered", "scope": "breaker"},
}


def not_seen(events: list[Event]) -> list[str]:
    missing = [
        name
        for name, fields in STORY.items()
        if not any(is_like(event, **fields) for event in events)
    ]
    return missing if continued(events) else [*missing, "a continuation"]


def continued(events: list[Event]) -> list[tuple[str, str]]:
    """What was preserved of an attempt, and the result of a later attempt at the same task."""
    results = {
        event["task_id"]: event
        for event in events
        if is_like(event, type="task_finished", outcome="succeeded", degraded=False)
    }
    return [
        (event["preserved_text"], results[event["task_id"]]["result"])
        for event in events
        if is_like(event, type="partial_result_preserved")
        and event["preserved_text"]
        and event["task_id"] in results
        and results[event["task_id"]]["attempt"] > event["attempt"]
    ]


@pytest.mark.timeout(150)
async def test_the_page_shows_agents_fail_and_recover() -> None:
    async with demo() as running:
        async with running.connection("demo") as watching:
            events = await record(watching, lambda seen: not not_seen(seen))
        assert not_seen(events) == []
        assert check_stream(events) == []
        for preserved, result in continued(events):
            assert result.startswith(preserved)
            assert result.count(preserved) == 1
        in_order = [
            next(place for place, event in enumerate(events) if is_like(event, **STORY[name]))
            for name in ("an opening", "a refusal", "a test", "a closing")
        ]
        assert in_order == sorted(in_order)
        assert await running.end() == (0, "")


# --- what a person does --------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def unwatched() -> AsyncIterator[Demo]:
    """A demonstration without a browser, so that no story is played: only what tests ask for."""
    async with demo() as running:
        yield running
        async with plain_http(running.url) as client:
            assert await events_of(client, "demo") == []
        assert await running.end() == (0, "")


@pytest_asyncio.fixture(loop_scope="session")
async def http(unwatched: Demo) -> AsyncIterator[httpx2.AsyncClient]:
    async with plain_http(unwatched.url) as client:
        yield client
        await client.put("/demo/upstream", json={"mode": BY_SCHEDULE})


async def submit(http: httpx2.AsyncClient, user_id: str, **order: Any) -> None:
    answer = await http.post("/api/tasks", json={"user_id": user_id, **order})
    assert answer.status_code == 201, answer.text


async def events_of(http: httpx2.AsyncClient, user_id: str) -> list[Event]:
    about = {"topic": f"user:{user_id}", "since": "0", "limit": "500"}
    events: list[Event] = (await http.get("/api/events", params=about)).json()["items"]
    return events


async def told(
    http: httpx2.AsyncClient, user_id: str, until: Callable[[list[Event]], bool]
) -> list[Event]:
    """Read all of a user's events, again and again, until ``until`` says that there are enough."""
    async with asyncio.timeout(STORY_LIMIT_S):
        while True:
            events = await events_of(http, user_id)
            if until(events):
                return events
            await CLOCK.sleep(LOOK_S)


def finished(count: int) -> Callable[[list[Event]], bool]:
    """Whether so many tasks have ended."""
    return lambda events: sum(is_like(event, type="task_finished") for event in events) == count


@pytest.mark.timeout(120)
@pytest.mark.asyncio(loop_scope="session")
async def test_a_person_says_what_the_upstream_does(http: httpx2.AsyncClient) -> None:
    """On the page that is a choice; what is chosen holds for every call, whatever the schedule."""
    shown = (await http.get("/demo/upstream")).json()
    assert shown["mode"] == BY_SCHEDULE
    assert [fault["name"] for fault in shown["faults"]] == [fault.name for fault in FAULTS]
    assert shown["schedule"]
    agents = (await http.get("/demo/agents")).json()["items"]
    assert [agent["name"] for agent in agents] == [*("reader", "summarizer", "keywords", "writer")]

    chosen = await http.put("/demo/upstream", json={"mode": "broken"})
    assert (chosen.status_code, chosen.json()["mode"]) == (200, "broken")
    prompt = {"question": agents[0]["prompt"]}
    await submit(http, "ann", agent="reader", input=prompt, max_attempts=1)
    events = await told(http, "ann", finished(1))
    (error,) = [event for event in events if is_like(event, type="agent_error")]
    assert error["error_type"] == "validation_error"

    await http.put("/demo/upstream", json={"mode": "fine"})
    await submit(http, "ann", agent="reader", input=prompt, max_attempts=1)
    events = await told(http, "ann", finished(2))
    assert is_like(events[-1], type="task_finished", outcome="succeeded", attempt=1)


@pytest.mark.timeout(120)
@pytest.mark.asyncio(loop_scope="session")
async def test_a_mode_that_does_not_exist_is_refused_with_those_that_do(
    http: httpx2.AsyncClient,
) -> None:
    refused = await http.put("/demo/upstream", json={"mode": "on fire"})
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["field"] == "mode"
    assert "stall" in refused.json()["detail"]
    for body in (b"", b"[]", b"{", b'{"mode": 5}', b'{"mode": "fine", "more": 1}'):
        assert (await http.put("/demo/upstream", content=body)).status_code == 400
    assert (await http.get("/demo/upstream")).json()["mode"] == BY_SCHEDULE


@pytest.mark.timeout(60)
async def test_the_demo_serves_this_machine_only() -> None:
    process = await asyncio.create_subprocess_exec(
        str(COMMAND), "demo", "--host", "0.0.0.0", stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert "serves this machine only" in said.decode()


# --- the workers ---------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.asyncio(loop_scope="session")
async def test_when_a_worker_is_killed_another_goes_on_from_what_was_saved(
    http: httpx2.AsyncClient,
) -> None:
    """Killed without a warning, in the middle of a sentence."""
    (prompt,) = [prompt.prompt for prompt in PROMPTS if prompt.name == "writer"]
    for user_id in ("bob", "bea", "ben", "bud"):
        await submit(http, user_id, agent="writer", input={"question": prompt})
        begun = await told(http, user_id, lambda events: len(texts_of(events)) >= 3)
        killed = (await http.post("/demo/workers/kill")).json()
        assert set(killed) == {"killed"}
        events = await told(http, user_id, finished(1))
        # On a machine that is busy with others the article may have been done before.
        if not is_like(events[-1], attempt=1):
            break
    assert check_stream(events) == []
    (error,) = [event for event in events if is_like(event, type="agent_error")]
    assert is_like(error, error_type="agent_lost", error_code="process_lost", attempt=1)
    (moved,) = [event for event in events if is_like(event, type="task_reassigned")]
    assert moved["previous_agent_id"] != moved["new_agent_id"]
    assert is_like(events[-1], type="task_finished", outcome="succeeded", attempt=2)
    ((preserved, result),) = continued(events)
    assert preserved.startswith("".join(texts_of(begun)))
    assert "".join(texts_of(events)) == result
    assert result.startswith(preserved)
    assert preserved != result


def texts_of(events: list[Event]) -> list[str]:
    return [e["text"] for e in events if is_like(e, type="partial_result") and e.get("text")]
