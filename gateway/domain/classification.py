"""
Classification: which failure a raised exception is.

The order is the rule: control flow and cancellation, the leaves of groups, what the gateway's
own exceptions say, then for each exception of the cause chain what it tells (words of the body,
the status, the names of its classes, errno). The outermost exception that tells something
decides; one that tells nothing is a wrapper. A chain that tells nothing at all is a mistake in
the agent's code.

``classify`` never raises, and no text of an exception is in what it returns. The failures that
the gateway makes itself are in ``own_failures``.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from gateway.domain import signatures
from gateway.domain.agent_failures import AgentFailure, NotRetryable
from gateway.domain.error_codes import CODES, failure_with
from gateway.domain.errors import GatewayError, LogError, RequestError
from gateway.domain.evidence import (
    LEAVES_MAX,
    Evidence,
    attribute,
    chain_of,
    evidence_of,
    leaves_of,
    names_of,
)
from gateway.domain.failure import Failure
from gateway.domain.retry_hints import delay_of, retry_after, retry_after_of_limits

__all__ = ["classify"]

# In a group the leaf that is least recoverable decides; among equal leaves, the type that comes
# first here.
_WORST_FIRST = (
    "resource_limit",
    "auth_error",
    "content_refused",
    "invalid_input",
    "processing_error",
    "database_error",
    "service_unavailable",
    "rate_limit",
    "network_error",
    "timeout",
    "validation_error",
)

# A group may be the cause of a wrapper in another group. So many levels are opened, and so many
# leaves of each inner group are read.
_GROUP_DEPTH_MAX = 2
_INNER_LEAVES_MAX = 16


class _Verdict(NamedTuple):
    code: str  # may still end in "?"
    retry_after_s: float | None = None
    status: int | None = None


def classify(error: BaseException, *, now: float, llm_upstream: bool = True) -> Failure:
    """
    Tell what kind of failure an exception is.

    Args:
        error: Anything that was raised; also groups, cancellations and hostile objects.
        now: Seconds since the Unix epoch, to turn dates of upstreams into delays.
        llm_upstream: Whether the agent declared that it waits for a language model. A timeout
            that does not say what timed out is then the model's.
    """
    try:
        return _classify(error, now=now, llm_upstream=llm_upstream, depth=0)
    except Exception:  # noqa: BLE001 - an exception that fails when it is read is a failure of its agent, too
        return failure_with("agent_exception")


def _classify(error: BaseException, *, now: float, llm_upstream: bool, depth: int) -> Failure:
    if (code := _control_flow(error)) is not None:
        return failure_with(code)
    chain = list(chain_of(error))
    request = _request_kind(chain)
    held: _Verdict | None = None
    hint: float | None = None
    for step in chain:
        if issubclass(type(step), BaseExceptionGroup):
            if depth < _GROUP_DEPTH_MAX and held is None:
                return _worst(step, now=now, llm_upstream=llm_upstream, depth=depth)
            continue
        if issubclass(type(step), AgentFailure):
            if held is None:
                return _own(step)
            continue
        verdict, delay = _judge(step, now=now)
        hint = delay if hint is None else hint
        if verdict is None:
            continue
        if held is not None and not _refines(verdict, held):
            continue
        held = verdict
        if held.code not in signatures.REFINED_BY:
            break
    if held is None:
        # All that is known is when to ask again, and that is what a rate limit says.
        held = _Verdict("agent_exception" if hint is None else "llm_rate_limit")
    return failure_with(
        _exact_code(held.code, llm=llm_upstream or request is not None),
        retry_after_s=held.retry_after_s if hint is None else hint,
        facts=_facts(chain, status=held.status, request=request),
    )


def _control_flow(error: BaseException) -> str | None:
    cls = type(error)
    names = {name for _, name in names_of(error)}
    if names & signatures.CANCELLED:
        return "cancelled"
    if names & signatures.CONTROL_FLOW:
        return "control_flow"
    if issubclass(cls, Exception | BaseExceptionGroup | SystemExit):
        return None
    # PyO3 raises a panic of Rust code as a BaseException, out of reach of `except Exception`.
    return None if "PanicException" in names else "control_flow"


def _worst(group: BaseException, *, now: float, llm_upstream: bool, depth: int) -> Failure:
    """Classify a group by its worst leaf; a leaf cancelled along with a sibling is no reason."""
    leaves = leaves_of(group, count_max=_INNER_LEAVES_MAX if depth else LEAVES_MAX)
    failures = [
        _classify(leaf, now=now, llm_upstream=llm_upstream, depth=depth + 1) for leaf in leaves
    ]
    reasons = [failure for failure in failures if failure.error_type != "cancelled"]
    if not failures:
        return failure_with("agent_exception")
    return min(reasons, key=_badness) if reasons else failures[0]


def _badness(failure: Failure) -> tuple[bool, bool, int, float]:
    rank = (
        _WORST_FIRST.index(failure.error_type)
        if failure.error_type in _WORST_FIRST
        else len(_WORST_FIRST)
    )
    return failure.is_recoverable, failure.retryable, rank, -(failure.retry_after_s or 0.0)


def _own(error: BaseException) -> Failure:
    """Classify an ``AgentFailure`` by what it says about itself, which is trusted."""
    error_type = attribute(error, "error_type")
    code = attribute(error, "error_code")
    default = attribute(error, "default_code")
    failure = failure_with(
        code if isinstance(code, str) else default if isinstance(default, str) else "",
        error_type=error_type if isinstance(error_type, str) else "processing_error",
        retry_after_s=delay_of(attribute(error, "retry_after")),
    )
    if issubclass(type(error), NotRetryable):
        return dataclasses.replace(
            failure,
            retryable=False,
            retry_possible=False,
            is_recoverable=False,
            suggested_action="contact_support",
            retry_after_s=None,
        )
    return failure


def _judge(error: BaseException, *, now: float) -> tuple[_Verdict | None, float | None]:
    """Classify one exception without its causes, and tell the delay in seconds it asks for."""
    if issubclass(type(error), GatewayError):
        return _of_gateway(error), None
    if issubclass(type(error), SystemExit):
        return _Verdict("agent_exception"), None  # its code is no HTTP status
    evidence = evidence_of(error)
    names = names_of(error)
    delay = _hint(evidence, now=now)
    code = (
        _of_database(error, names)
        or _of_words(evidence, names)
        or _of_classes(names)
        or _of_errno(error)
    )
    if code is None:
        return None, delay
    if code == "llm_rate_limit" and delay is None:
        delay = retry_after_of_limits(evidence.headers, now=now)
    return _Verdict(code, delay, evidence.status), delay


def _of_gateway(error: BaseException) -> _Verdict:
    """Classify what the gateway answered to the agent's code, such as a lock that is held."""
    if issubclass(type(error), LogError):
        return _Verdict("internal_error")
    delay = delay_of(attribute(error, "retry_after"))
    if issubclass(type(error), RequestError) and delay is not None:
        return _Verdict("upstream_conflict", delay)
    return _Verdict("agent_exception")


def _of_words(evidence: Evidence, names: list[tuple[str, str]]) -> str | None:
    status = evidence.status
    words = (*evidence.words, *(name.lower() for _, name in names))
    for word in words:
        if word in signatures.STRONG_WORDS:
            return signatures.STRONG_WORDS[word]
    decisive = status is not None and status >= 400
    if status in signatures.SENTENCE_STATUSES or (not decisive and evidence.words):
        for pattern, code in signatures.SENTENCES:
            if pattern.search(evidence.message) and not (
                code == "quota_exhausted" and signatures.TRANSIENT_SENTENCE.search(evidence.message)
            ):
                return code
    if decisive:
        assert status is not None
        return signatures.STATUS.get(status) or signatures.STATUS[status // 100]
    return next((signatures.WEAK_WORDS[w] for w in words if w in signatures.WEAK_WORDS), None)


def _of_database(error: BaseException, names: list[tuple[str, str]]) -> str | None:
    for package, name in names:
        if package not in signatures.DATABASE_PACKAGES:
            continue
        if package == "sqlite3" and name == "ProgrammingError":
            # A closed connection raises it as well, without an error code: only the text tells.
            closed = "closed database" in _text_of(error)
            return "database_connection_lost" if closed else "agent_exception"
        if name in signatures.DATABASE_ERRORS:
            code = attribute(error, "sqlite_errorcode")
            if isinstance(code, int):
                return signatures.SQLITE_CODES.get(code & 0xFF, "database_connection_lost")
            return "database?" if package == "sqlalchemy" else "database_connection_lost"
    return None


def _of_classes(names: list[tuple[str, str]]) -> str | None:
    for key in names:
        if key in signatures.PACKAGED:
            return signatures.PACKAGED[key]
    return next((signatures.NAMES[name] for _, name in names if name in signatures.NAMES), None)


def _of_errno(error: BaseException) -> str | None:
    number = attribute(error, "errno") if issubclass(type(error), OSError) else None
    return signatures.ERRNO.get(number) if isinstance(number, int) else None


def _hint(evidence: Evidence, *, now: float) -> float | None:
    delay = delay_of(evidence.retry_after)
    if delay is None and isinstance(evidence.retry_after, str):
        delay = retry_after({"retry-after": evidence.retry_after[:64]}, now=now)
    return retry_after(evidence.headers, now=now) if delay is None else delay


def _refines(verdict: _Verdict, held: _Verdict) -> bool:
    exact = CODES[_exact_code(verdict.code, llm=True)]
    return exact.error_type in signatures.REFINED_BY[held.code]


def _exact_code(code: str, *, llm: bool) -> str:
    match code:
        case "timeout?":
            return "llm_timeout" if llm else "network_timeout"
        case "limit?":
            return "llm_timeout" if llm else "task_timeout"
        case "connection?":
            return "connection_failed"
        case "database?":
            return "database_connection_lost"
        case _:
            return code


def _request_kind(chain: list[BaseException]) -> str | None:
    """Tell from the path of the request what was asked of a language model; None: not one."""
    for step in chain:
        path = attribute(attribute(attribute(step, "request"), "url"), "path")
        if isinstance(path, str):
            end = path[-64:].lower().rstrip("/")
            for ending, kind in signatures.LLM_PATHS.items():
                if end.endswith(ending):
                    return kind
    return None


def _facts(
    chain: list[BaseException], *, status: int | None, request: str | None
) -> dict[str, str | int | float]:
    facts: dict[str, str | int | float] = {}
    if status is not None:
        facts["status"] = status
    if request is not None:
        facts["request"] = request
    for step in chain:
        for _, name in names_of(step):
            if name in signatures.PHASES:
                facts.setdefault("phase", signatures.PHASES[name])
    return facts


def _text_of(error: BaseException) -> str:
    arguments = attribute(error, "args")
    first = arguments[0] if isinstance(arguments, tuple) and arguments else ""
    return first[:200].lower() if isinstance(first, str) else ""
