"""
Classification: which failure a raised exception is.

The order is the rule: control flow and cancellation, the leaves of groups, what the gateway's
own exceptions say, then for each exception of the cause chain what it tells: its code, the
status, its classes, errno, and where these leave the kind open, the upstream's sentence. The
outermost exception that tells something decides; one that tells nothing is a wrapper. Where no
exception tells anything, what their texts say of a status or a code counts. What then tells
nothing at all is a mistake in the agent's code.

A language model is blamed only where one was asked (``language_models``).

``classify`` never raises, and no text of an exception is in what it returns. The failures that
the gateway makes itself are in ``own_failures``.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from gateway.domain import retry_hints, sentences, signatures
from gateway.domain.agent_failures import AgentFailure, NotRetryable
from gateway.domain.databases import database_code
from gateway.domain.error_codes import CODES, failure_with
from gateway.domain.errors import GatewayError, LogError, RequestError
from gateway.domain.evidence import (
    LEAVES_MAX,
    Evidence,
    attribute,
    called,
    chain_of,
    evidence_of,
    leaves_of,
    names_of,
    text_of,
)
from gateway.domain.failure import Failure
from gateway.domain.known_exceptions import KNOWN
from gateway.domain.language_models import asked_model, request_kind
from gateway.domain.retry_hints import delay_of
from gateway.domain.taught import Taught

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


# What a failure's class says, where no language model was asked.
_OF_SERVICES = {llm: other for llm, other in signatures.BY_UPSTREAM.values() if llm != other} | {
    "llm_timeout": "network_timeout",
    "llm_context_too_long": "llm_context_too_long",
}

# What a program that says nothing has taught.
NOTHING = Taught()

# Where these are told, the reset headers and the upstream's sentence may say when to come back.
_WAITING = frozenset({"rate?", "busy?", "llm_overloaded", "upstream_unavailable"})


# Attributes of exceptions that say a delay, beside ``retry_after``; names as in retry_hints.
_DELAYS = ("retry_after_ms", "retry_after_seconds", "retry_delay", "retry_in", "resets_at")
_PARTS_MAX = 32
# As the names are found in texts, which are lower case.
_NAMES_LOWER = {name.lower(): code for name, code in signatures.NAMES.items()}


# A setting that is missing fails like a connection (urllib), or like an answer (pydantic).
_MAY_BE_SETTINGS = frozenset({"connection?", "response?"})
# So many texts are read of one failure, which may be a group of many chains.
_TEXTS_MAX = 32


@dataclasses.dataclass(slots=True)
class _Asked:
    now: float
    llm_upstream: bool
    taught: Taught
    texts_left: int = _TEXTS_MAX


class _Verdict(NamedTuple):
    code: str  # may still end in "?"
    retry_after_s: float | None = None
    status: int | None = None


def classify(
    error: BaseException, *, now: float, llm_upstream: bool = True, taught: Taught = NOTHING
) -> Failure:
    """
    Tell what kind of failure an exception is.

    Args:
        error: Anything that was raised; also groups, cancellations and hostile objects.
        now: Seconds since the Unix epoch, to turn dates of upstreams into delays.
        llm_upstream: Whether the agent declared that it waits for a language model. What does
            not say whom it is about is then about the model.
        taught: What the program said about exceptions of its own.
    """
    try:
        asked = _Asked(now=now, llm_upstream=llm_upstream, taught=taught)
        return _classify(error, asked, depth=0)
    except Exception:  # noqa: BLE001 - an exception that fails when it is read is a failure of its agent, too
        return failure_with("agent_exception")


def _classify(error: BaseException, asked: _Asked, *, depth: int) -> Failure:
    now, llm_upstream = asked.now, asked.llm_upstream
    code = _control_flow(error)
    if code == "cancelled":
        return failure_with(code)
    chain = list(chain_of(error))
    for step in chain:
        if (failure := asked.taught.failure_of(step, now=now)) is not None:
            return failure
    if code is not None:
        return failure_with(code)
    held: _Verdict | None = None
    decided: list[BaseException] = []
    hint: float | None = None
    for step in chain:
        if issubclass(type(step), BaseExceptionGroup):
            if depth < _GROUP_DEPTH_MAX and held is None:
                return _worst(step, asked, depth=depth)
            continue
        if issubclass(type(step), AgentFailure):
            if held is None:
                return _own(step, llm=_llm(chain, [], declared=llm_upstream))
            continue
        verdict, delay = _judge(step, now=now)
        hint = delay if hint is None else hint
        if verdict is None:
            continue
        if held is not None and not _refines(verdict, held):
            continue
        held = verdict
        decided.append(step)
        if held.code not in signatures.REFINED_BY:
            break
    if held is None and hint is None:
        held = _of_texts(chain, asked)
    if held is None:
        # All that is known is when to ask again, and that is what a rate limit says.
        held = _Verdict("agent_exception" if hint is None else "rate?")
    return failure_with(
        _exact_code(held.code, llm=_llm(chain, decided, declared=llm_upstream)),
        retry_after_s=held.retry_after_s if hint is None else hint,
        facts=_facts(chain, status=held.status, request=request_kind(chain)),
    )


def _llm(chain: list[BaseException], decided: list[BaseException], *, declared: bool) -> bool:
    """Tell whether a language model was asked: whoever decided knows best."""
    for step in (*reversed(decided), *chain):
        asked = asked_model(step)
        if asked is not None:
            return asked
    return declared


def _control_flow(error: BaseException) -> str | None:
    cls = type(error)
    # A class that is known in its package is what it is there: Google's Cancelled is a status.
    names = {key[1] for key in names_of(error) if key not in KNOWN}
    if names & signatures.CANCELLED:
        return "cancelled"
    if names & signatures.INPUT_REQUIRED:
        return "input_required"
    if names & signatures.CONTROL_FLOW:
        return "control_flow"
    if issubclass(cls, Exception | BaseExceptionGroup | SystemExit):
        return None
    # PyO3 raises a panic of Rust code as a BaseException, out of reach of `except Exception`.
    return None if "PanicException" in names else "control_flow"


def _worst(group: BaseException, asked: _Asked, *, depth: int) -> Failure:
    """Classify a group by its worst leaf; one that was cancelled, or waits, is no reason."""
    leaves = leaves_of(group, count_max=_INNER_LEAVES_MAX if depth else LEAVES_MAX)
    failures = [_classify(leaf, asked, depth=depth + 1) for leaf in leaves]
    reasons = [
        failure
        for failure in failures
        if failure.error_type != "cancelled" and failure.error_code != "input_required"
    ]
    if not failures:
        return failure_with("agent_exception")
    if reasons:
        return min(reasons, key=_badness)
    waiting = (failure for failure in failures if failure.error_code == "input_required")
    return next(waiting, failures[0])


def _badness(failure: Failure) -> tuple[bool, bool, int, float]:
    rank = (
        _WORST_FIRST.index(failure.error_type)
        if failure.error_type in _WORST_FIRST
        else len(_WORST_FIRST)
    )
    return failure.is_recoverable, failure.retryable, rank, -(failure.retry_after_s or 0.0)


def _own(error: BaseException, *, llm: bool) -> Failure:
    """Classify an ``AgentFailure`` by what it says about itself, which is trusted."""
    error_type = attribute(error, "error_type")
    code = attribute(error, "error_code")
    default = attribute(error, "default_code")
    if attribute(error, "exact") is not True and isinstance(default, str):
        code = default if llm else _OF_SERVICES.get(default, default)
    failure = failure_with(
        code if isinstance(code, str) else "",
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
    delay = _hint(error, evidence, now=now)
    code = (
        database_code(error, names)
        or _of_protocol(error, names)
        or _of_words(evidence, names)
        or _of_classes(error, names)
        or _of_errno(error)
    )
    if code is None:
        return None, delay
    if code in _WAITING and delay is None:
        delay = _hint_of_limit(evidence, now=now, code=code)
    return _Verdict(code, delay, evidence.status), delay


def _of_gateway(error: BaseException) -> _Verdict:
    """Classify what the gateway answered to the agent's code, such as a lock that is held."""
    if issubclass(type(error), LogError):
        return _Verdict("internal_error")
    delay = delay_of(attribute(error, "retry_after"))
    if issubclass(type(error), RequestError) and delay is not None:
        return _Verdict("upstream_conflict", delay)
    return _Verdict("agent_exception")


def _of_protocol(error: BaseException, names: list[tuple[str, str]]) -> str | None:
    """Read the codes of gRPC and of JSON-RPC, which are no statuses."""
    if ("grpc", "RpcError") in names:
        found = signatures.GRPC.get(str(attribute(called(error, "code"), "name")))
        details = called(error, "details") if found == "bad?" else None
        sentence = details[:2_000].lower() if isinstance(details, str) else ""
        return sentences.said(sentence, status=400) or found
    if names[0][0] in ("mcp", "fastmcp"):
        number = attribute(error, "code") or attribute(attribute(error, "error"), "code")
        return signatures.JSON_RPC.get(number) if isinstance(number, int) else None
    return None


def _of_words(evidence: Evidence, names: list[tuple[str, str]]) -> str | None:
    status = evidence.status
    words = (*evidence.words, *(name.lower() for _, name in names))
    if (code := _strong(words, evidence.message, status=status)) is not None:
        return code
    if status == 403 and (
        retry_hints.used_up(evidence.headers) or "retry-after" in evidence.headers
    ):
        return "rate?"  # GitHub's limits
    decisive = status is not None and status >= 400
    if decisive or evidence.words:
        code = sentences.said(evidence.message, status=status if decisive else None)
        if code is not None:
            return code
    if decisive:
        assert status is not None
        return signatures.STATUS.get(status) or signatures.STATUS[status // 100]
    return next((signatures.WEAK_WORDS[w] for w in words if w in signatures.WEAK_WORDS), None)


def _strong(words: tuple[str, ...], message: str, *, status: int | None) -> str | None:
    for word in words:
        code = signatures.STRONG_WORDS.get(word)
        if word in signatures.THROTTLED:
            return sentences.said(message, status=status, words_decide=True) or code
        if code is not None:
            return code
    return None


def _of_classes(error: BaseException, names: list[tuple[str, str]]) -> str | None:
    for key in names:
        code = KNOWN.get(key) or signatures.NAMES.get(key[1])
        if key[1] == "LocalProtocolError" and "illegal header" in text_of(error):
            return "configuration_error"  # an empty key, or one with a line break
        if code in _MAY_BE_SETTINGS and sentences.SETTINGS.search(text_of(error)):
            return "configuration_error"
        if code is not None:
            return code
    return None


def _of_errno(error: BaseException) -> str | None:
    number = attribute(error, "errno") if issubclass(type(error), OSError) else None
    return signatures.ERRNO.get(number) if isinstance(number, int) else None


def _of_texts(chain: list[BaseException], asked: _Asked) -> _Verdict | None:
    """Classify by what the texts of a chain say, where nothing else tells anything."""
    for step in chain[: asked.texts_left]:
        asked.texts_left -= 1
        told = sentences.told(text_of(step))
        if told is None:
            continue
        names = [("", word) for word in told.words]
        evidence = Evidence(told.status, told.words, told.message, {}, None)
        code = _of_words(evidence, names) or _named(told.words)
        if code is None and told.status is None and not told.words:
            code = sentences.said(told.message, status=None)
        if code is not None:
            return _Verdict(code, _hint_of_limit(evidence, now=asked.now, code=code), told.status)
    return None


def _named(words: tuple[str, ...]) -> str | None:
    return next((_NAMES_LOWER[word] for word in words if word in _NAMES_LOWER), None)


def _hint(error: BaseException, evidence: Evidence, *, now: float) -> float | None:
    """Read the delay that an exception, its headers or its body gives in a field of its own."""
    delay = retry_hints.retry_after_of_value(evidence.retry_after, now=now)
    if delay is None:
        delay = retry_hints.retry_after(evidence.headers, now=now)
    if delay is not None:
        return delay
    details = attribute(error, "details")
    own = {name: attribute(error, name) for name in _DELAYS}
    parts = (own, *evidence.parts, *(details if isinstance(details, list | tuple) else ()))
    return retry_hints.retry_after_of_parts(parts[:_PARTS_MAX], now=now)


def _hint_of_limit(evidence: Evidence, *, now: float, code: str) -> float | None:
    delay = None
    if code == "rate?":
        delay = retry_hints.retry_after_of_limits(evidence.headers, now=now)
        for part in evidence.parts:
            if delay is None:
                headers = {str(name).lower(): str(value)[:64] for name, value in part.items()}
                delay = retry_hints.retry_after_of_limits(headers, now=now)
    if delay is None and code in _WAITING:
        said = sentences.outside(evidence.message)
        delay = retry_hints.retry_after_of_sentence(said, now=now)
    return delay


def _refines(verdict: _Verdict, held: _Verdict) -> bool:
    exact = CODES[_exact_code(verdict.code, llm=True)]
    return exact.error_type in signatures.REFINED_BY[held.code]


def _exact_code(code: str, *, llm: bool) -> str:
    of_model, of_service = signatures.BY_UPSTREAM.get(code, (code, code))
    return of_model if llm else of_service


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
