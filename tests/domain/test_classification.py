"""
What is made of anything that can be raised, without a network.

What real SDKs raise is in ``tests/test_sdk_failures.py``; here are the shapes of others, the
wrappers, the groups and the hostile ones.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import json
import sqlite3
import types
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import agent_failures, errors
from gateway.domain.classification import classify
from gateway.domain.error_codes import CODES, TYPES
from gateway.domain.failure import Failure

NOW = 1_800_000_000.0


def kind(error: BaseException, *, llm_upstream: bool = True) -> tuple[str, str]:
    failure = classify(error, now=NOW, llm_upstream=llm_upstream)
    return failure.error_type, failure.error_code


def make(
    name: str, *bases: type[BaseException], module: str = "vendor.errors", **attributes: Any
) -> Any:
    """An exception of a vendor's class, with attributes."""
    cls = type(name, bases or (Exception,), {"__module__": module})
    error = cls("do not show this: sk-secret123")
    for key, value in attributes.items():
        setattr(error, key, value)
    return error


def response(status: int, headers: dict[str, str] | None = None, body: object = None) -> Any:
    return types.SimpleNamespace(
        status_code=status, headers=headers or {}, content=json.dumps(body).encode()
    )


def caused(outer: BaseException, *causes: BaseException) -> BaseException:
    step = outer
    for cause in causes:
        step.__cause__ = cause
        step = cause
    return outer


# --- our own --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected", "retryable"),
    [
        (agent_failures.RateLimited(retry_after=7), ("rate_limit", "llm_rate_limit"), True),
        (
            agent_failures.ServiceUnavailable(),
            ("service_unavailable", "upstream_unavailable"),
            True,
        ),
        (agent_failures.UpstreamTimeout(), ("timeout", "llm_timeout"), True),
        (agent_failures.ConnectionLost(), ("network_error", "connection_interrupted"), True),
        (agent_failures.InvalidResponse(), ("validation_error", "llm_invalid_response"), True),
        (agent_failures.DatabaseLost(), ("database_error", "database_connection_lost"), True),
        (agent_failures.NotRetryable(), ("processing_error", "agent_exception"), False),
        (agent_failures.InvalidInput(), ("invalid_input", "invalid_input"), False),
        (agent_failures.ContentRefused(), ("content_refused", "llm_content_filtered"), False),
        (agent_failures.AuthFailed(), ("auth_error", "llm_auth_failed"), False),
        (agent_failures.ResourceExhausted(), ("resource_limit", "capacity_exceeded"), False),
        (
            agent_failures.ResourceExhausted(error_code="disk_full"),
            ("resource_limit", "disk_full"),
            False,
        ),
        (agent_failures.AgentFailure(error_code="my_own"), ("processing_error", "my_own"), False),
        (
            agent_failures.RateLimited(error_code="Not A Code"),
            ("rate_limit", "llm_rate_limit"),
            True,
        ),
    ],
)
def test_an_agents_own_account_is_taken_at_its_word(
    error: agent_failures.AgentFailure, expected: tuple[str, str], retryable: bool
) -> None:
    failure = classify(error, now=NOW)
    assert (failure.error_type, failure.error_code) == expected
    assert failure.retryable is retryable
    assert failure.retry_after_s == error.retry_after


def test_not_retryable_says_that_trying_again_is_no_use() -> None:
    failure = classify(agent_failures.NotRetryable(retry_after=3), now=NOW)
    assert (failure.retry_possible, failure.is_recoverable) == (False, False)
    assert failure.retry_after_s is None


def test_a_plain_exception_of_the_agent_is_not_retried_but_may_be_tried_again() -> None:
    failure = classify(ValueError("sk-secret123"), now=NOW)
    assert failure == Failure(
        error_type="processing_error",
        error_code="agent_exception",
        retryable=False,
        retry_possible=True,
        is_recoverable=True,
        suggested_action="wait",
    )


def test_a_lock_that_is_held_is_waited_for() -> None:
    held = errors.Conflict("lock is held", retry_after=4.0)
    failure = classify(held, now=NOW)
    assert (failure.error_code, failure.retry_after_s) == ("upstream_conflict", 4.0)
    assert kind(errors.InvalidParams("no")) == ("processing_error", "agent_exception")
    assert kind(errors.StoreUnavailable("no")) == ("internal_error", "internal_error")


# --- outcomes that are no failures ----------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        concurrent.futures.CancelledError(),
        KeyboardInterrupt(),
        GeneratorExit(),
        errors.AttemptOver("t1", 1),
        make("Cancelled", BaseException, module="trio"),
        make("ParentCommand", module="langgraph.errors"),
        make("SomeFrameworksInterrupt", BaseException),
        BaseExceptionGroup("all", [asyncio.CancelledError(), asyncio.CancelledError()]),
    ],
)
def test_cancellation_and_control_flow_are_outcomes_of_their_own(error: BaseException) -> None:
    failure = classify(error, now=NOW)
    assert failure.error_type == "cancelled"
    assert not failure.counts
    assert not failure.retryable


def test_an_exit_or_a_panic_is_the_agents_failure() -> None:
    assert kind(SystemExit(429)) == ("processing_error", "agent_exception")
    panic = make("PanicException", BaseException, module="pyo3_runtime")
    assert kind(panic) == ("processing_error", "agent_exception")


def test_a_timeout_whose_cause_is_a_cancellation_is_a_timeout() -> None:
    """asyncio.timeout raises it so."""
    assert kind(caused(TimeoutError(), asyncio.CancelledError())) == ("timeout", "llm_timeout")
    outer = caused(RuntimeError(), asyncio.CancelledError())
    assert kind(outer) == ("processing_error", "agent_exception")


# --- outside language models ----------------------------------------------------------------


def requests_error(name: str, *causes: BaseException) -> BaseException:
    """As requests makes them: its exceptions are OSErrors, the cause is the context."""
    error: BaseException = make(name, OSError, module="requests.exceptions")
    step = error
    for cause in causes:
        step.__context__ = cause
        step = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (make("ReadTimeout", module="httpx"), ("timeout", "network_timeout")),
        (make("ReadTimeout", OSError, module="requests"), ("timeout", "network_timeout")),
        (make("ServerTimeoutError", OSError, module="aiohttp"), ("timeout", "network_timeout")),
        (make("ConnectTimeout", module="httpx"), ("timeout", "network_timeout")),
        (make("APITimeoutError", module="openai"), ("timeout", "llm_timeout")),
        (TimeoutError(), ("timeout", "task_timeout")),
        (TimeoutError(errno.ETIMEDOUT, "x"), ("timeout", "task_timeout")),
        (
            requests_error("ConnectionError", make("ReadTimeoutError", module="urllib3")),
            ("timeout", "network_timeout"),
        ),
        (
            requests_error(
                "ConnectionError",
                make("MaxRetryError", module="urllib3"),
                make("NewConnectionError", module="urllib3"),
                ConnectionRefusedError(),
            ),
            ("network_error", "connection_failed"),
        ),
        (
            requests_error("ConnectionError", make("ProtocolError", module="urllib3")),
            ("network_error", "connection_interrupted"),
        ),
        (make("ServerDisconnectedError", OSError, module="aiohttp"),
         ("network_error", "connection_interrupted")),
        (make("ClientConnectorError", OSError, module="aiohttp"),
         ("network_error", "connection_failed")),
        (make("ClientOSError", OSError, module="aiohttp", errno=errno.ECONNRESET),
         ("network_error", "connection_interrupted")),
        (ConnectionError(), ("network_error", "connection_failed")),
        (ConnectionResetError(), ("network_error", "connection_interrupted")),
        (BrokenPipeError(), ("network_error", "connection_interrupted")),
        (OSError(errno.EHOSTUNREACH, "x"), ("network_error", "connection_failed")),
        (MemoryError(), ("resource_limit", "memory_limit_exceeded")),
        (OSError(errno.ENOMEM, "x"), ("resource_limit", "memory_limit_exceeded")),
        (OSError(errno.ENOSPC, "x"), ("resource_limit", "disk_full")),
        (OSError(errno.EMFILE, "x"), ("resource_limit", "capacity_exceeded")),
        (OSError(errno.ENOENT, "x"), ("processing_error", "agent_exception")),
        (
            caused(make("ConnectError", module="httpx"), OSError(errno.EMFILE, "x")),
            ("resource_limit", "capacity_exceeded"),
        ),
        (
            caused(make("ConnectError", module="httpx"), ConnectionResetError()),
            ("network_error", "connection_failed"),
        ),
        (json.JSONDecodeError("x", "", 0), ("validation_error", "upstream_invalid_response")),
        (make("ValidationError", ValueError, module="pydantic_core._pydantic_core"),
         ("validation_error", "upstream_invalid_response")),
        (make("ValidationError", ValueError, module="msgspec"),
         ("validation_error", "upstream_invalid_response")),
        (make("ValidationError", ValueError, module="shop.forms"),
         ("processing_error", "agent_exception")),
        (KeyError("choices"), ("processing_error", "agent_exception")),
    ],
)  # fmt: skip
def test_failures_outside_language_models(error: BaseException, expected: tuple[str, str]) -> None:
    assert kind(error, llm_upstream=False) == expected


def test_an_unexact_timeout_is_the_models_where_one_is_waited_for() -> None:
    assert kind(make("ReadTimeout", module="httpx")) == ("timeout", "llm_timeout")
    assert kind(TimeoutError()) == ("timeout", "llm_timeout")
    url = types.SimpleNamespace(path="/v1/messages")
    asked = make("ReadTimeout", module="httpx", request=types.SimpleNamespace(url=url))
    assert kind(asked, llm_upstream=False) == ("timeout", "llm_timeout")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("psycopg", "OperationalError"),
        ("psycopg.errors", "ConnectionTimeout"),
        ("psycopg_pool", "PoolTimeout"),
        ("asyncpg.exceptions", "ConnectionDoesNotExistError"),
        ("asyncpg.exceptions._base", "InterfaceError"),
        ("sqlalchemy.exc", "OperationalError"),
        ("sqlalchemy.exc", "TimeoutError"),
        ("sqlite3", "OperationalError"),
        ("redis.exceptions", "ConnectionError"),
        ("redis.exceptions", "TimeoutError"),
        ("pymongo.errors", "ServerSelectionTimeoutError"),
    ],
)
def test_a_lost_database_is_known_by_package_and_class(module: str, name: str) -> None:
    assert kind(make(name, module=module)) == ("database_error", "database_connection_lost")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("psycopg.errors", "UndefinedTable"),
        ("redis.exceptions", "ResponseError"),
        ("sqlalchemy.exc", "ProgrammingError"),
        ("agents.own", "OperationalError"),
    ],
)
def test_a_mistake_in_a_query_is_the_agents(module: str, name: str) -> None:
    code = "agent_exception" if module == "agents.own" else "query_rejected"
    assert kind(make(name, module=module)) == ("processing_error", code)


def test_sqlite_tells_mistakes_from_a_lost_database() -> None:
    """Both are OperationalError."""
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as mistake:
        connection.execute("SELECT * FROM nowhere")
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError) as closed:
        connection.execute("SELECT 1")
    with pytest.raises(sqlite3.OperationalError) as lost:
        sqlite3.connect("/nowhere/at/all.db")
    assert kind(mistake.value) == ("processing_error", "query_rejected")
    wrapped = caused(make("OperationalError", module="sqlalchemy.exc"), mistake.value)
    assert kind(wrapped) == ("processing_error", "query_rejected")
    for error in (closed.value, lost.value):
        assert kind(error) == ("database_error", "database_connection_lost")


# --- shapes of other vendors ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected", "retry_after_s"),
    [
        (make("ResponseError", status=503, headers={"Retry-After": "4"}), "llm_overloaded", 4),
        (make("HTTPError", OSError, code=429, headers={"retry-after": "4"}), "llm_rate_limit", 4),
        (make("Whatever", response=response(429, {"Retry-After": "9"})), "llm_rate_limit", 9),
        (make("Whatever", response=response(400, body={"error": "prompt is too long"})),
         "llm_context_too_long", None),
        (make("Whatever", status_code=500, retry_after=3), "upstream_unavailable", 3),
        (make("Whatever", status_code=503, retry_after="3"), "llm_overloaded", 3),
        (make("Whatever", retry_after=3), "llm_rate_limit", 3),
        (make("ClientError", code=429, status="RESOURCE_EXHAUSTED"), "llm_rate_limit", None),
        (make("ContextWindowExceededError", status_code=400), "llm_context_too_long", None),
        (make("ContentPolicyViolationError", status_code=400), "llm_content_filtered", None),
        (make("ClientError", response={
            "Error": {"Code": "ThrottlingException", "Message": "x"},
            "ResponseMetadata": {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "2"}},
        }), "llm_rate_limit", 2),
        (make("BadRequest", status_code=400, body={"error": {
            "code": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
         "llm_content_filtered", None),
        (make("RateLimitError"), "llm_rate_limit", None),
        (make("APIResponseValidationError", status_code=200), "llm_invalid_response", None),
        (make("OutputParserException", ValueError), "llm_invalid_response", None),
        (make("LengthFinishReasonError"), "llm_invalid_response", None),
        (make("ContentFilterFinishReasonError"), "llm_content_filtered", None),
        (make("Teapot", status_code=418), "llm_bad_request", None),
        (make("Cloudflare", status_code=524), "llm_timeout", None),
        (make("Redirect", status_code=302), "agent_exception", None),
    ],
)  # fmt: skip
def test_other_vendors_are_known_by_shape(
    error: BaseException, expected: str, retry_after_s: float | None
) -> None:
    failure = classify(error, now=NOW)
    assert (failure.error_code, failure.retry_after_s) == (expected, retry_after_s)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("You exceeded your current quota, please check your plan and billing details.",
         "quota_exhausted"),
        ("Your credit balance is too low", "quota_exhausted"),
        ("Quota exceeded: 15 requests per minute", "llm_rate_limit"),
        ("You exceeded your current quota. Please retry in 12.3s.", "llm_rate_limit"),
        ("You exceeded your current quota. Please try again in 12s.", "llm_rate_limit"),
        ("Please add a payment method at /account/billing", "llm_rate_limit"),
        ("Slow down", "llm_rate_limit"),
    ],
)  # fmt: skip
def test_a_quota_that_comes_back_by_itself_is_a_rate_limit(message: str, expected: str) -> None:
    error = make("ApiError", status_code=429, body={"error": {"message": message}})
    assert classify(error, now=NOW).error_code == expected


def test_a_sentence_counts_only_where_the_status_leaves_it_open() -> None:
    """Else what a user wrote, quoted by an upstream, could decide."""
    quoted = {"error": {"message": "no such model: 'context length'"}}
    assert kind(make("E", status_code=404, body=quoted))[1] == "llm_model_not_found"
    assert kind(make("E", status_code=500, body=quoted))[1] == "upstream_unavailable"


@pytest.mark.parametrize(
    ("path", "code", "facts"),
    [
        ("/v1/chat/completions", "llm_timeout", {"request": "chat", "phase": "read"}),
        ("/v1/Embeddings/", "llm_timeout", {"request": "embedding", "phase": "read"}),
        ("/weather", "network_timeout", {"phase": "read"}),
        (None, "network_timeout", {"phase": "read"}),
    ],
)
def test_the_path_of_a_request_tells_whether_a_model_was_asked(
    path: str | None, code: str, facts: dict[str, str]
) -> None:
    request = types.SimpleNamespace(url=types.SimpleNamespace(path=path))
    failure = classify(make("ReadTimeout", request=request), now=NOW, llm_upstream=False)
    assert (failure.error_code, failure.facts) == (code, facts)


def test_facts_are_known_ones_and_never_text() -> None:
    error = make("HTTPStatusError", response=response(429, body={"error": {"message": "sk-x"}}))
    failure = classify(caused(RuntimeError("sk-y"), error), now=NOW)
    assert failure.facts == {"status": 429}
    assert classify(make("ConnectTimeout"), now=NOW).facts == {"phase": "connect"}


# --- wrappers and chains --------------------------------------------------------------------


def test_a_wrapper_is_classified_by_its_cause_then_its_context() -> None:
    inner = make("APIStatusError", status_code=529)
    assert kind(caused(RuntimeError(), KeyError(), inner))[1] == "llm_overloaded"
    outer = RuntimeError()
    outer.__context__ = inner
    assert kind(outer)[1] == "llm_overloaded"
    outer.__suppress_context__ = True
    assert kind(outer)[1] == "agent_exception"


def test_a_wrappers_own_delay_counts() -> None:
    wrapper = make("FrameworkError", retry_after=5)
    failure = classify(caused(wrapper, make("E", status_code=503)), now=NOW)
    assert (failure.error_code, failure.retry_after_s) == ("llm_overloaded", 5.0)


def test_the_outermost_that_is_known_decides() -> None:
    assert (
        kind(caused(agent_failures.InvalidInput(), make("E", status_code=503)))[0]
        == "invalid_input"
    )
    assert kind(caused(RuntimeError(), agent_failures.InvalidResponse()))[0] == "validation_error"


def test_a_chain_is_followed_ten_deep_and_never_in_circles() -> None:
    def nested(depth: int) -> BaseException:
        return caused(RuntimeError(), *(RuntimeError() for _ in range(depth - 2)), MemoryError())

    assert kind(nested(10))[0] == "resource_limit"
    assert kind(nested(11))[0] == "processing_error"
    first, second = RuntimeError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert kind(first) == ("processing_error", "agent_exception")


# --- groups ---------------------------------------------------------------------------------


def test_of_a_group_the_worst_leaf_decides() -> None:
    leaves = [make("E", status_code=429), make("E", status_code=401), TimeoutError()]
    group = ExceptionGroup("a", [ExceptionGroup("b", leaves[:2]), leaves[2]])
    assert kind(group)[1] == "llm_auth_failed"
    assert kind(ExceptionGroup("c", [TimeoutError(), ValueError()]))[0] == "processing_error"


def test_of_equal_leaves_the_longest_delay_decides() -> None:
    group = ExceptionGroup("x", [agent_failures.RateLimited(retry_after=n) for n in (2, 9, 4)])
    assert classify(group, now=NOW).retry_after_s == 9.0


def test_a_cancelled_sibling_is_not_the_reason() -> None:
    group = BaseExceptionGroup("x", [asyncio.CancelledError(), make("E", status_code=503)])
    assert kind(group)[1] == "llm_overloaded"


def test_a_group_behind_a_wrapper_is_opened() -> None:
    group = ExceptionGroup("x", [RuntimeError(), make("E", status_code=429)])
    assert kind(caused(RuntimeError(), group))[0] == "processing_error"
    group = ExceptionGroup("x", [make("E", status_code=429)])
    assert kind(caused(RuntimeError(), group))[0] == "rate_limit"


def test_a_group_that_contains_itself_by_its_causes_ends() -> None:
    leaf = RuntimeError()
    leaf.__cause__ = ExceptionGroup("x", [leaf, RuntimeError()])
    assert kind(leaf)[0] == "processing_error"


class EmptyGroup(ExceptionGroup[Exception]):
    exceptions = ()


def test_a_group_whose_members_cannot_be_read_is_the_agents_failure() -> None:
    assert kind(EmptyGroup("x", [make("E", status_code=429)]))[1] == "agent_exception"


def test_a_group_of_cancellations_is_a_cancellation() -> None:
    group = BaseExceptionGroup("x", [asyncio.CancelledError(), asyncio.CancelledError()])
    assert kind(group) == ("cancelled", "cancelled")


def test_a_cause_that_is_exact_about_another_kind_does_not_replace_what_is_known() -> None:
    """A lost connection is refined by a timeout, not by a rate limit or by an agent's own word."""
    lost = make("APIConnectionError")
    assert kind(caused(lost, agent_failures.RateLimited(), make("ReadTimeout")))[1] == "llm_timeout"
    lost = make("APIConnectionError")
    assert kind(caused(lost, make("E", status_code=429)))[1] == "connection_failed"


def test_an_enormous_group_is_looked_at_in_part() -> None:
    group = ExceptionGroup("x", [TimeoutError() for _ in range(5000)])
    assert kind(group)[0] == "timeout"


# --- protocols -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "details", "code"),
    [
        ("RESOURCE_EXHAUSTED", "slow", "upstream_rate_limit"),
        ("UNAVAILABLE", "no", "upstream_unavailable"),
        ("UNAUTHENTICATED", "no", "upstream_auth_failed"),
        ("INVALID_ARGUMENT", "no", "upstream_bad_request"),
        ("INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens",
         "llm_context_too_long"),
        ("OK", "no", "upstream_unavailable"),
    ],
)  # fmt: skip
def test_grpc_tells_its_code_by_a_method(name: str, details: str, code: str) -> None:
    error = make("RpcError", module="grpc")
    error.code = lambda: types.SimpleNamespace(name=name)
    error.details = lambda: details
    assert kind(error, llm_upstream=False)[1] == code


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (-32602, "upstream_bad_request"),
        (-32603, "upstream_unavailable"),
        (-32000, "connection_interrupted"),
        (-32042, "input_required"),
        (-1, "tool_failed"),
    ],
)
def test_a_tool_of_mcp_tells_by_number_in_both_of_its_versions(number: int, code: str) -> None:
    """Whatever model the agent declared: it was not the model that was asked."""
    second = make("MCPError", module="mcp.shared.exceptions", code=number)
    first = make("McpError", module="mcp.shared.exceptions",
                 error=types.SimpleNamespace(code=number))  # fmt: skip
    assert kind(second)[1] == kind(first)[1] == code


def test_a_tool_that_failed_is_named_by_its_cause() -> None:
    tool = make("ToolException", module="langchain_core.tools.base")
    assert kind(tool, llm_upstream=False) == ("processing_error", "tool_failed")
    refused = make("E", response=response(401))
    assert kind(caused(tool, refused), llm_upstream=False)[1] == "upstream_auth_failed"


def test_the_texts_of_a_group_are_read_to_a_bound() -> None:
    """A text costs up to a millisecond, and a group has chains of many."""
    reads: list[int] = []

    class Counting(Exception):
        def __str__(self) -> str:
            reads.append(1)
            return "nothing"

    assert kind(ExceptionGroup("g", [Counting() for _ in range(255)]))[1] == "agent_exception"
    assert len(reads) == 32


# --- hostile exceptions ---------------------------------------------------------------------


class Trap:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __bool__(self) -> bool:
        raise RuntimeError("bool")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        raise RuntimeError("hash")


class Hostile(Exception):
    status_code = property(lambda self: 1 / 0)
    response = property(lambda self: (_ for _ in ()).throw(KeyboardInterrupt()))
    retry_after = property(lambda self: 1 / 0)
    __cause__ = property(lambda self: 1 / 0)

    def __str__(self) -> str:
        raise RuntimeError("str")

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("class")


class BadHeaders:
    def items(self) -> Any:
        raise OSError


def test_a_hostile_exception_is_a_plain_one() -> None:
    assert kind(Hostile()) == ("processing_error", "agent_exception")


class OddNumber(int):
    def __ge__(self, other: object) -> bool:
        raise RuntimeError("ge")


def test_an_exception_that_fails_when_it_is_classified_is_the_agents_failure() -> None:
    error = make("E", status_code=OddNumber(429))
    assert kind(error) == ("processing_error", "agent_exception")


def test_what_is_readable_still_counts() -> None:
    headers = types.SimpleNamespace(status_code=429, headers=BadHeaders())
    failure = classify(make("E", status_code="abc", response=headers), now=NOW)
    assert (failure.error_code, failure.retry_after_s) == ("llm_rate_limit", None)
    failure = classify(
        make("E", status_code=10**5000, code="x" * 10**6, body="[" * 60_000), now=NOW
    )
    assert failure.error_code == "agent_exception"


JUNK: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=100, max_value=599),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.builds(Trap),
    st.builds(BadHeaders),
    st.just(print),
    st.recursive(st.text(max_size=5), lambda inner: st.dictionaries(
        st.sampled_from(["error", "code", "type", "message", "Error", "innererror", "detail"]),
        inner, max_size=3)),
    st.dictionaries(st.sampled_from(["retry-after", "Retry-After-Ms", "x"]), st.text(max_size=9)),
)  # fmt: skip
FIELDS = [
    *("status_code", "response", "headers", "body", "code", "type", "status", "retry_after"),
    *("error_code", "default_code", "message", "details", "exceptions", "request", "errno"),
    *("sqlite_errorcode", "error_type", "sqlstate", "operation_name", "retry_after_ms"),
]
MAKERS: list[Callable[[], BaseException]] = [
    lambda: make("E"),
    lambda: make("ReadTimeout"),
    lambda: make("OperationalError", module="sqlite3"),
    lambda: make("E", agent_failures.AgentFailure),
    lambda: make("E", errors.RequestError),
    lambda: make("E", OSError),
    lambda: make("E", BaseException),
    lambda: Hostile(),
    lambda: make("RpcError", module="grpc"),
    lambda: make("MCPError", module="mcp.shared.exceptions"),
    lambda: RuntimeError("Error code: 429 - {'error': {'message': 'slow'}}"),
]


@given(
    st.sampled_from(MAKERS),
    st.dictionaries(st.sampled_from(FIELDS), JUNK, max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_classify_never_raises(
    maker: Callable[[], BaseException], attributes: dict[str, Any], nested: bool, wrapped: bool
) -> None:
    """A failure must not fail to be reported because of what was raised."""
    error = maker()
    for key, value in attributes.items():
        try:
            setattr(error, key, value)
        except AttributeError:  # a property of Hostile
            continue
    if nested:
        error = BaseExceptionGroup("g", [error, ValueError()])
    if wrapped:
        error = caused(RuntimeError(), error)
    failure = classify(error, now=NOW)
    assert failure.error_type in TYPES
    assert failure.error_code in CODES or failure.error_code.isidentifier()
    assert failure.retry_after_s is None or 0 <= failure.retry_after_s <= 86_400
    assert set(failure.facts) <= {"status", "request", "phase"}
