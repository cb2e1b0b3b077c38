"""
The demonstration, as whoever starts it sees it: a real process, real sockets, the real SDK.

The story is watched until all of it was seen. How long that takes is the story's own affair;
the bound is only there to end a test that would wait for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError

from gateway.app.clock import SystemClock
from gateway.app.demo import library, reading
from gateway.app.demo.agents import PROMPTS
from gateway.app.demo.faults import BY_SCHEDULE, FAULTS, Plan
from gateway.app.demo.model import TEXT_MARK, reply, words_of
from gateway.app.demo.pauses import Pauses
from gateway.app.demo.upstream import Upstream
from gateway.client.connection import Connection
from gateway.domain.compliance import check_stream
from gateway.domain.errors import InvalidParams
from tests.transports.world import hurried

Event = dict[str, Any]

# How many times as fast as for a person; `make soak` sees what a person sees.
PACE = 1.0 if os.environ.get("GATEWAY_SOAK") == "1" else 5.0

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
async def test_whoever_opens_the_page_sees_agents_fail_and_recover() -> None:
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
    """A demonstration that nobody looks at, so that no story is played: only what tests ask for."""
    async with demo() as running:
        yield running
        async with plain_http(running) as client:
            assert await events_of(client, "demo") == []
        assert await running.end() == (0, "")


@pytest_asyncio.fixture(loop_scope="session")
async def http(unwatched: Demo) -> AsyncIterator[httpx2.AsyncClient]:
    async with plain_http(unwatched) as client:
        yield client
        await client.put("/demo/upstream", json={"mode": BY_SCHEDULE})


def plain_http(running: Demo) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=running.url, trust_env=False, verify=False)


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


# --- the upstream --------------------------------------------------------------------------------


def conversation(task: str, question: str = "", begun: str | None = None) -> list[Event]:
    text = library.find(question).body
    messages = [
        {"role": "system", "content": task},
        {"role": "user", "content": f"{question}{TEXT_MARK}{text}"},
    ]
    return messages if begun is None else [*messages, {"role": "assistant", "content": begun}]


@contextlib.asynccontextmanager
async def upstream(mode: str, *, timeout: float = 20.0) -> AsyncIterator[AsyncOpenAI]:
    plan = Plan({})
    plan.choose(mode)
    server = Upstream(plan, CLOCK, Pauses(CLOCK, pace=5 * PACE))
    client = AsyncOpenAI(
        base_url=server.base_url,
        api_key="k",
        max_retries=0,
        timeout=timeout,
        http_client=DefaultAsyncHttpxClient(trust_env=False, verify=False),
    )
    with hurried():
        async with server.running(), client:
            yield client


async def test_the_upstream_streams_what_it_says_whole() -> None:
    messages: Any = conversation("Summarise.", "the lights of Eddystone")
    async with upstream("fine") as client:
        whole = await client.chat.completions.create(model="any", messages=messages)
        stream = await client.chat.completions.create(model="any", messages=messages, stream=True)
        pieces = [chunk.choices[0] async for chunk in stream]
    said = "".join(piece.delta.content or "" for piece in pieces)
    assert said == whole.choices[0].message.content == reply(messages)
    assert pieces[-1].finish_reason == "stop"


async def ask(client: AsyncOpenAI, messages: Any, *, stream: bool) -> None:
    if not stream:
        await client.chat.completions.create(model="any", messages=messages)
        return
    async for _ in await client.chat.completions.create(
        model="any", messages=messages, stream=True
    ):
        pass


@pytest.mark.parametrize("mode", [fault.name for fault in FAULTS if fault.name != "fine"])
@pytest.mark.parametrize("stream", [True, False])
async def test_every_fault_fails_in_the_sdk(mode: str, stream: bool) -> None:
    """And a server with a connection that stalls still ends at once."""
    messages = conversation("Summarise.", "the lights of Eddystone")
    async with upstream(mode, timeout=0.5) as client:
        with pytest.raises((OpenAIError, httpx2.HTTPError, ValueError)):
            await ask(client, messages, stream=stream)


async def test_what_is_no_conversation_is_refused() -> None:
    async with upstream("fine") as client:
        for body in (b"", b"{}", b'{"model": "m", "messages": []}', b'{"model": 1}'):
            url = f"{client.base_url}chat/completions"
            async with httpx2.AsyncClient(trust_env=False, verify=False) as http:
                assert (await http.post(url, content=body)).status_code == 400


def test_a_schedule_is_for_one_model_and_goes_round() -> None:
    plan = Plan({"one": ("500", "fine"), "two": ("drop",)})
    assert [plan.next_fault(model) for model in ("one", "two", "one", "one")] == [
        *("500", "drop", "fine", "500")
    ]
    assert plan.next_fault("unheard of") == "fine"
    assert plan.as_dict()["schedule"] == ["one: 500", "one: fine", "two: drop"]
    assert plan.as_dict()["next"] == [1, 2]
    plan.rewind()
    assert plan.next_fault("one") == "500"
    assert plan.calls == 6


def test_a_plan_that_rests_lets_everything_through_until_it_is_rewound() -> None:
    plan = Plan({"one": ("500", "fine")})
    plan.rest()
    assert [plan.next_fault("one"), plan.next_fault("one")] == ["fine", "fine"]
    assert plan.as_dict()["next"] == []
    plan.choose("drop")
    assert plan.next_fault("one") == "drop"
    plan.choose(BY_SCHEDULE)
    plan.rewind()
    assert plan.next_fault("one") == "500"


def test_a_choice_holds_for_every_call_and_moves_no_schedule_on() -> None:
    plan = Plan({"one": ("500", "fine")})
    plan.choose("stall")
    assert [plan.next_fault("one"), plan.next_fault("other")] == ["stall", "stall"]
    plan.choose(BY_SCHEDULE)
    assert plan.next_fault("one") == "500"
    with pytest.raises(InvalidParams):
        plan.choose("on fire")


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.name)
def test_what_is_said_stands_in_the_text(prompt: Any) -> None:
    text = " ".join(library.find(prompt.prompt).body.split())
    told = (reading.answer(prompt.prompt, text), reading.summary(text), reading.quote("", text))
    for said in told:
        assert said
        assert all(sentence in text for sentence in reading.sentences(said))
    assert all(word in text for word in reading.keywords(text))


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("What did Smeaton build?", "The lights of Eddystone"),
        ("How many words had the Queen's message through the cable?", "The Atlantic cable"),
        ("When does a half open breaker close?", "Circuit breakers"),
    ],
)
def test_a_question_finds_its_text(question: str, title: str) -> None:
    assert library.find(question).title == title


def test_an_answer_goes_on_after_its_beginning() -> None:
    """At any place, so that a beginning and what follows are the answer, once."""
    question = PROMPTS[0].prompt
    whole = reply(conversation("Answer.", question))
    words = words_of(whole)
    assert "".join(words) == whole
    for count in range(len(words) + 1):
        begun = "".join(words[:count])
        assert begun + reply(conversation("Answer.", question, begun)) == whole


def test_keywords_come_as_json() -> None:
    assert len(orjson.loads(reply(conversation("Name the keywords.")))["keywords"]) == 8
