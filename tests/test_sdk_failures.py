"""
Real failures of real SDKs: what they raise against a faulty server, and how it is classified.

The table is the specification: a change of a row is a change of what users see.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import httpx2
import openai
import pytest

from gateway.domain.agent_failures import InvalidResponse
from gateway.domain.classification import classify
from gateway.domain.failure import Failure
from gateway.domain.messages import user_message
from tests.upstream import DNS_URL, Upstream, upstream_process

# Short where the timeout is what is tested; connecting to a busy machine may take long.
TIMEOUT = httpx2.Timeout(0.6, connect=20.0, pool=20.0)
AT_ONCE_MAX = 8
QUESTION = [{"role": "user", "content": "hi"}]


class Expected(NamedTuple):
    error_type: str
    error_code: str
    retry_possible: bool
    suggested_action: str
    retry_after_s: float | None = None


RATE = ("rate_limit", "llm_rate_limit", True)
BUSY = ("service_unavailable", "llm_overloaded", True)
CONTEXT = Expected("invalid_input", "llm_context_too_long", False, "shorten_input")
BAD_REQUEST = Expected("invalid_input", "llm_bad_request", False, "contact_support")
QUOTA = Expected("resource_limit", "quota_exhausted", False, "contact_support")
LATE = Expected("timeout", "llm_timeout", True, "wait")
DOWN = Expected("service_unavailable", "upstream_unavailable", True, "wait")
INVALID = Expected("validation_error", "llm_invalid_response", True, "wait")
BUG = Expected("processing_error", "agent_exception", True, "wait")
BROKEN = Expected("network_error", "connection_interrupted", True, "wait")
FAILED = Expected("network_error", "connection_failed", True, "wait")

SAME_FOR_ALL: dict[str, Expected] = {
    "400_context": CONTEXT,
    "400_content_filter": Expected("content_refused", "llm_content_filtered", False, "none"),
    "400_billing": QUOTA,
    "400_plain": BAD_REQUEST,
    "401": Expected("auth_error", "llm_auth_failed", False, "contact_support"),
    "402": QUOTA,
    "403": Expected("auth_error", "llm_permission_denied", False, "contact_support"),
    "404": Expected("invalid_input", "llm_model_not_found", False, "contact_support"),
    "408": LATE,
    "409": Expected("service_unavailable", "upstream_conflict", True, "wait"),
    "413": CONTEXT,
    "422": BAD_REQUEST,
    "429_ra7": Expected(*RATE, "wait", 7.0),
    "429_ms1500": Expected(*RATE, "wait", 1.5),
    "429_date30": Expected(*RATE, "wait", 30.0),
    "429_none": Expected(*RATE, "wait"),
    "429_quota": QUOTA,
    "429_ra600": Expected(*RATE, "retry_later", 600.0),
    "429_xratelimit": Expected(*RATE, "wait", 90.0),
    "500": DOWN,
    "502_html": DOWN,
    "503_ra20": Expected(*BUSY, "wait", 20.0),
    "503": Expected(*BUSY, "wait"),
    "504": LATE,
    "529": Expected(*BUSY, "wait"),
    "200_garbage": INVALID,
    "timeout": LATE,
    "close_before": BROKEN,
    "reset_before": BROKEN,
    "bad_http": BROKEN,
    "body_cut": BROKEN,
    "body_stall": LATE,
    "refused": FAILED,
    "dns": FAILED,
    "s_drop": BROKEN,
    "s_reset": BROKEN,
    "s_stall": LATE,
}
# Where the three clients differ: the SDKs read the body, and raw HTTP does not.
BY_CLIENT: dict[tuple[str, str], Expected] = {
    ("200_html", "openai"): BUG,
    ("200_html", "anthropic"): BUG,
    ("200_html", "httpx2"): INVALID,
    ("200_empty_obj", "openai"): BUG,
    ("200_empty_obj", "anthropic"): BUG,
    ("200_error_body", "openai"): BUG,
    ("200_error_body", "anthropic"): BUG,
    ("s_badjson", "openai"): INVALID,
    ("s_badjson", "anthropic"): INVALID,
    ("s_error", "openai"): DOWN,
    ("s_error", "anthropic"): Expected(*BUSY, "wait"),
}
# Where the client raises nothing: an agent that checks the answer raises InvalidResponse.
SILENT = [
    ("200_empty_obj", "httpx2"),
    ("200_error_body", "httpx2"),
    ("s_early_end", "openai"),
    ("s_early_end", "anthropic"),
    ("s_early_end", "httpx2"),
    ("s_badjson", "httpx2"),
    ("s_error", "httpx2"),
]

CLIENTS = ("openai", "anthropic", "httpx2")


def plain_http() -> httpx2.AsyncClient:
    """Make a client without certificates, which take longer to load than the whole exchange."""
    return httpx2.AsyncClient(timeout=TIMEOUT, verify=False)


async def ask_openai(root: str, stream: bool) -> str | None:
    async with openai.AsyncOpenAI(
        base_url=root + "/v1", api_key="sk-test-key", max_retries=0, http_client=plain_http()
    ) as client:
        create: Any = client.chat.completions.create
        if not stream:
            answer = await create(model="m", messages=QUESTION)
            text: str | None = answer.choices[0].message.content
            return text
        text, finished = "", False
        async for chunk in await create(model="m", messages=QUESTION, stream=True):
            text += chunk.choices[0].delta.content or ""
            finished = finished or chunk.choices[0].finish_reason is not None
        return text if finished else None


async def ask_anthropic(root: str, stream: bool) -> str | None:
    # It takes seconds, which every process that collects the tests would spend.
    import anthropic

    async with anthropic.AsyncAnthropic(
        base_url=root, api_key="sk-ant-test-key", max_retries=0, http_client=plain_http()
    ) as client:
        create: Any = client.messages.create
        if not stream:
            answer = await create(model="m", max_tokens=9, messages=QUESTION)
            text: str | None = answer.content[0].text
            return text
        text, finished = "", False
        async for event in await create(model="m", max_tokens=9, messages=QUESTION, stream=True):
            if event.type == "content_block_delta":
                text += event.delta.text
            finished = finished or event.type == "message_stop"
        return text if finished else None


async def ask_httpx2(root: str, stream: bool) -> str | None:
    async with plain_http() as client:
        url, body = root + "/v1/chat/completions", {"messages": QUESTION, "stream": stream}
        if not stream:
            response = await client.post(url, json=body)
            response.raise_for_status()
            answer = response.json()
            text: str | None = (
                answer["choices"][0]["message"]["content"] if answer.get("choices") else None
            )
            return text
        async with client.stream("POST", url, json=body) as response:
            response.raise_for_status()
            lines = [line async for line in response.aiter_lines()]
        return "".join(lines) if "data: [DONE]" in lines else None


ASK: dict[str, Callable[[str, bool], Awaitable[str | None]]] = {
    "openai": ask_openai,
    "anthropic": ask_anthropic,
    "httpx2": ask_httpx2,
}


async def raised_by(client: str, fault: str, upstream: Upstream) -> BaseException | None:
    """Ask, and give what was raised; None: nothing was, and the answer was unusable."""
    root = {"refused": upstream.refused_url, "dns": DNS_URL}.get(fault) or upstream.at(fault)
    try:
        answer = await ASK[client](root, fault.startswith("s_"))
    except Exception as error:  # noqa: BLE001 - whatever it is, is what is tested
        return error
    assert answer is None, f"{client} got an answer from {fault}: {answer}"
    return None


def now() -> float:
    return time.time()  # noqa: TID251 - compared with the dates of a server in the world


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


def assert_is(failure: Failure, expected: Expected, case: str) -> None:
    got = Expected(
        failure.error_type,
        failure.error_code,
        failure.retry_possible,
        failure.suggested_action,
        failure.retry_after_s,
    )
    assert got[:4] == expected[:4], case
    if expected.retry_after_s is None:
        assert got.retry_after_s is None, case
    else:
        assert got.retry_after_s == pytest.approx(expected.retry_after_s, abs=2.0), case


CASES = [
    (fault, client, expected) for fault, expected in SAME_FOR_ALL.items() for client in CLIENTS
]
CASES += [(fault, client, expected) for (fault, client), expected in BY_CLIENT.items()]


async def test_every_failure_of_every_client_is_what_the_table_says(upstream: Upstream) -> None:
    """All rows at once, since most of the time is spent waiting for timeouts."""
    gate = asyncio.Semaphore(AT_ONCE_MAX)

    async def ask(fault: str, client: str) -> tuple[BaseException | None, float]:
        async with gate:
            return await raised_by(client, fault, upstream), now()

    errors = await asyncio.gather(*(ask(fault, client) for fault, client, _ in CASES))
    for (fault, client, expected), (error, raised_at) in zip(CASES, errors, strict=True):
        case = f"{client}, {fault}: {error!r}"
        assert error is not None, case
        failure = classify(error, now=raised_at, llm_upstream=True)
        assert_is(failure, expected, case)
        assert failure.retryable == (
            failure.retry_possible and failure.error_type != "processing_error"
        ), case


async def test_an_error_that_a_framework_wraps_is_the_same_failure(upstream: Upstream) -> None:
    """Frameworks wrap what SDKs raise, with `from` or in an except block."""

    async def wrapped(client: str, fault: str, *, explicitly: bool) -> BaseException:
        error = await raised_by(client, fault, upstream)
        assert error is not None
        try:
            try:
                raise error
            except BaseException as cause:
                if explicitly:
                    raise FrameworkError("step failed") from cause
                raise FrameworkError("step failed")  # noqa: B904 - the context is what is tested
        except FrameworkError as outer:
            return outer

    for fault in ("429_ra7", "401", "503_ra20", "refused", "close_before", "400_context"):
        for client in CLIENTS:
            for explicitly in (True, False):
                outer = await wrapped(client, fault, explicitly=explicitly)
                failure = classify(outer, now=now(), llm_upstream=False)
                assert_is(failure, SAME_FOR_ALL[fault], f"{client}, {fault}, {explicitly}")


class FrameworkError(Exception):
    """The error of a framework that is in no table."""


@pytest.mark.parametrize(("fault", "client"), SILENT)
async def test_an_answer_that_raises_nothing_is_for_the_agent_to_report(
    upstream: Upstream, fault: str, client: str
) -> None:
    """A stream that ends early raises nothing in any client; an agent that checks can say so."""
    assert await raised_by(client, fault, upstream) is None
    assert_is(classify(InvalidResponse("no end"), now=now()), INVALID, fault)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_server_answers_when_nothing_is_wrong(
    upstream: Upstream, client: str, stream: bool
) -> None:
    """Otherwise every failure above could be the test server's own mistake."""
    assert "hello" in (await ASK[client](upstream.at("fine"), stream) or "")


async def test_a_timeout_is_the_models_when_a_model_was_asked(upstream: Upstream) -> None:
    """Otherwise it is the network's: no user should read of a language model that is not there."""
    async with httpx2.AsyncClient(timeout=0.2, verify=False) as client:
        with pytest.raises(httpx2.ReadTimeout) as raised:
            await client.get(upstream.at("timeout") + "/weather")
    assert classify(raised.value, now=0.0, llm_upstream=False).error_code == "network_timeout"
    assert classify(raised.value, now=0.0, llm_upstream=True).error_code == "llm_timeout"
    asked = await raised_by("httpx2", "timeout", upstream)
    assert asked is not None
    failure = classify(asked, now=0.0, llm_upstream=False)
    assert failure.error_code == "llm_timeout"
    assert failure.facts == {"phase": "read", "request": "chat"}


async def test_no_text_of_an_upstream_reaches_a_user(upstream: Upstream) -> None:
    """The 401 quotes a key, as those of real upstreams do."""
    error = await raised_by("openai", "401", upstream)
    assert error is not None
    assert "sk-" in str(error)
    failure = classify(error, now=0.0)
    sentence = user_message(failure.error_code, failure.error_type, will_retry=False, delay_s=None)
    assert "sk-" not in sentence + str(failure.facts)


# --- the server itself ----------------------------------------------------------------------


async def test_a_schedule_is_played_once_and_its_last_fault_stays(upstream: Upstream) -> None:
    upstream.schedule("503", "429_ra7", "fine")
    async with plain_http() as client:
        statuses = [
            (await client.post(upstream.url + "/v1/chat/completions", json={})).status_code
            for _ in range(4)
        ]
    assert statuses == [503, 429, 200, 200]
    assert [call.fault for call in upstream.calls] == ["503", "429_ra7", "fine", "fine"]
    assert upstream.times == sorted(upstream.times)


async def test_a_call_on_hold_is_answered_on_release(upstream: Upstream) -> None:
    upstream.schedule("hold")
    asking = asyncio.create_task(ask_httpx2(upstream.url, False))
    await upstream.wait_for_calls(1)
    assert not asking.done()
    upstream.release()
    assert await asking == "hello world"


async def test_the_server_is_controlled_over_http(upstream: Upstream) -> None:
    """Scenarios with several processes share one server this way."""
    async with httpx2.AsyncClient(base_url=upstream.url, verify=False) as client:
        assert (await client.post("/control", json={"faults": ["nonsense"]})).status_code == 400
        await client.post("/control", json={"faults": ["529", "fine"], "answer": "hi"})
        await client.post("/v1/messages", json={})
        seen = (await client.get("/control")).json()
        assert seen["count"] == 1
        assert seen["calls"][0] | {"at": 0} == {
            "at": 0,
            "path": "/v1/messages",
            "fault": "529",
            "protocol": "anthropic",
            "stream": False,
        }
        assert await ask_httpx2(upstream.url, False) == "hi"
        assert (await client.post("/control", json={"reset": True})).json()["count"] == 0


async def test_an_upstream_that_was_down_comes_back_on_its_port(upstream: Upstream) -> None:
    url = upstream.url
    await upstream.stop()
    with pytest.raises(httpx2.ConnectError):
        await ask_httpx2(url, False)
    await upstream.start()
    assert await ask_httpx2(url, False) == "hello world"


async def test_the_server_runs_as_a_process_of_its_own() -> None:
    async with upstream_process() as url, httpx2.AsyncClient(base_url=url, verify=False) as client:
        await client.post("/control", json={"faults": ["503"]})
        assert (await client.post("/v1/chat/completions", json={})).status_code == 503
        seen = (await client.get("/control")).json()
    assert seen["times"][0] <= asyncio.get_running_loop().time()
