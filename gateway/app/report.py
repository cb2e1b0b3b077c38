"""
Reports of jobs that are no agent's tasks: a nightly import, a script, a loop in another service.

    gateway.report("nightly-import", message="the feed has no rows", user_id="42")

    with gateway.reporting("nightly-import", user_id="42"):
        import_everything()

Synchronous, and of the standard library alone: what reports may have nothing else installed, and
has to start quickly. A report never raises and never takes longer than it was allowed: a gateway
that is away is a line in the log of the job, which goes on as if there were none.

All failures of one name and user are one failure with one ``error_id``, which is computed from
both; so a later success, in another process, can say that it is over.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.client.addresses import http_root

__all__ = ["failure_of", "recovered", "report", "reporting"]

DEFAULT_URL = "http://127.0.0.1:8000"
NOBODY = "local"
# How long a report may take in all, in seconds, and how often it is tried within that.
WITHIN_S = 10.0
TRIES_MAX = 4
# Seconds before the second try; doubles with each.
WAIT_S = 0.25
# Of a text that a report carries, in characters: what is longer is cut, not refused.
MESSAGE_CHARS_MAX = 4_000
USER_MESSAGE_CHARS_MAX = 500
TOKEN_BYTES_MAX = 64 * 1024
ANSWER_BYTES_MAX = 64 * 1024

_NAMESPACE = uuid.UUID("6f1b3a52-6d0e-5c0b-9a55-0c6e7c2f4e10")


def failure_of(name: str, user_id: str) -> str:
    """Give the ``error_id`` of the failure that all reports of this name and user are."""
    return str(uuid.uuid5(_NAMESPACE, f"{user_id}\n{name}"))


def report(
    name: str,
    *,
    message: str,
    user_id: str = NOBODY,
    error_type: str | None = None,
    error_code: str | None = None,
    user_message: str | None = None,
    detail: Mapping[str, Any] | None = None,
    url: str | None = None,
    token: str | None = None,
    within: float = WITHIN_S,
) -> str | None:
    """
    Report that a job has failed; its user is told at once, and operators see why.

    It is tried again while the gateway does not answer, under one idempotency key, so that it
    counts once. It never raises: that it could not be told is logged as a warning.

    Args:
        name: What the job is called, in place of an agent: 1 to 128 of A-Z a-z 0-9 . _ ~ @ : -
        message: What went wrong, for operators.
        user_id: Whom it concerns.
        error_type: The class of the failure, such as ``timeout``; None: as the code has it.
        error_code: The exact kind; None: the type's.
        user_message: A sentence for people, at most 500 characters; None: the gateway has one.
        detail: What operators alone are to see, as JSON.
        url: The gateway; None: ``GATEWAY_URL``, else http://127.0.0.1:8000.
        token: A token with the scope ``agent``; None: ``GATEWAY_TOKEN``, or the file that
            ``GATEWAY_TOKEN_FILE`` names.
        within: How long it may take in all, in seconds.

    Returns:
        The failure's ``error_id``; None: it could not be told.
    """
    said = {
        "type": "agent_error",
        "user_id": user_id,
        "agent_name": name,
        "error_id": failure_of(name, user_id),
        "message": message[:MESSAGE_CHARS_MAX] or "it has failed",
        "error_type": error_type,
        "error_code": error_code,
        "user_message": user_message[:USER_MESSAGE_CHARS_MAX] if user_message else None,
        "detail": None if detail is None else dict(detail),
    }
    event = {field: value for field, value in said.items() if value is not None}
    refused = _publish(event, url, token, within)
    if refused is None:
        return str(said["error_id"])
    _warn(f"the failure of {name} could not be reported: {refused}")
    return None


def recovered(
    name: str,
    *,
    user_id: str = NOBODY,
    url: str | None = None,
    token: str | None = None,
    within: float = WITHIN_S,
) -> None:
    """
    Report that a job works: what was reported of this name and user before, is over.

    Nothing is told if nothing was reported. The arguments are those of ``report``.
    """
    event = {
        "type": "system_recovered",
        "user_id": user_id,
        "agent_name": name,
        "error_id": failure_of(name, user_id),
    }
    refused = _publish(event, url, token, within)
    if refused is not None:
        _warn(f"the success of {name} could not be reported: {refused}")


@contextlib.contextmanager
def reporting(
    name: str,
    *,
    user_id: str = NOBODY,
    user_message: str | None = None,
    detail: Mapping[str, Any] | None = None,
    url: str | None = None,
    token: str | None = None,
    within: float = WITHIN_S,
) -> Iterator[None]:
    """
    Report the exception that leaves the block, and raise it on; a success ends what was reported.

    Type, code, text and stack are found as they are for an agent. Leaving by ``SystemExit(0)``,
    ``KeyboardInterrupt`` or ``GeneratorExit`` is no failure. The arguments are those of ``report``.
    """
    where: dict[str, Any] = {"user_id": user_id, "url": url, "token": token, "within": within}
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        if not (isinstance(error, SystemExit) and error.code in (None, 0)):
            _report_exception(name, error, user_message, detail or {}, where)
        raise
    recovered(name, **where)


def _report_exception(
    name: str,
    error: BaseException,
    user_message: str | None,
    detail: Mapping[str, Any],
    where: Mapping[str, Any],
) -> None:
    # Only now: a job that does well never loads the tables.
    from gateway.app.clock import SystemClock
    from gateway.domain.classification import classify
    from gateway.domain.description import describe

    failure = classify(error, now=SystemClock().wall(), llm_upstream=False)
    described = describe(error)
    report(
        name,
        message=f"{described['exception']}: {described['text']}",
        error_type=failure.error_type,
        error_code=failure.error_code,
        user_message=user_message,
        detail={**detail, **described},
        **where,
    )


# --- the way there ------------------------------------------------------------------------------


def _publish(
    event: Mapping[str, Any], url: str | None, token: str | None, within_s: float
) -> str | None:
    """Publish an event, and tell why that did not work; None: it did, or there is nothing to do."""
    try:
        root = http_root(url or os.environ.get("GATEWAY_URL") or DEFAULT_URL)
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(_random_id())}
        if bearer := token or _token():
            headers["Authorization"] = f"Bearer {bearer}"
        body = json.dumps(event, default=str).encode()
    except Exception as error:  # noqa: BLE001 - whatever it was given, a report never raises
        return str(error) or type(error).__name__
    until = _now() + within_s
    refused = ""
    for number in range(TRIES_MAX):
        left_s = until - _now()
        if left_s <= 0:
            break
        refused, wait_s = _post(root, body, headers, left_s)
        if not refused:
            return None
        if wait_s is None:
            break
        wait_s = max(wait_s, WAIT_S * 2**number)
        if number + 1 == TRIES_MAX or _now() + wait_s >= until:
            break
        time.sleep(wait_s)
    return f"{root}: {refused}"


def _post(
    root: str, body: bytes, headers: Mapping[str, str], limit_s: float
) -> tuple[str, float | None]:
    """
    Make one try.

    Returns:
        Why it is not taken, "" if it is; and after how many seconds another try may do better,
        None: it would not.
    """
    scheme, _, place = root.partition("://")
    host, slash, path = place.partition("/")
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(host, timeout=limit_s)
    except http.client.InvalidURL as error:
        return str(error), None
    try:
        connection.request("POST", f"{slash}{path}/api/events", body, dict(headers))
        response = connection.getresponse()
        answer = response.read(ANSWER_BYTES_MAX)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"no answer ({error or type(error).__name__})", 0.0
    finally:
        connection.close()
    return _verdict(response.status, answer)


def _verdict(status: int, answer: bytes) -> tuple[str, float | None]:
    try:
        said = json.loads(answer)
    except ValueError:
        said = None
    problem = said if isinstance(said, dict) else {}
    if status == 201 and "event_id" in problem:
        return "", None
    if (status, problem.get("code"), problem.get("field")) == (404, "not_found", "error_id"):
        return "", None  # nothing was reported that could be over
    if "code" not in problem and status < 500:
        return f"what answers there is no gateway: HTTP {status}; GATEWAY_URL names one", None
    told = str(problem.get("detail") or f"HTTP {status}")
    if status in (401, 403):
        told += "; GATEWAY_TOKEN has to be a token with the scope agent"
    wait = problem.get("retry_after")
    again = status >= 500 or status == 429
    return told, (float(wait) if isinstance(wait, int | float) else 0.0) if again else None


def _warn(text: str) -> None:
    # Only now, as it is seldom needed: it loads what finds secrets in texts.
    from gateway.domain.diagnostics import logger_of

    logger_of("gateway.report").warning("%s", text)


def _token() -> str | None:
    if token := os.environ.get("GATEWAY_TOKEN"):
        return token
    if path := os.environ.get("GATEWAY_TOKEN_FILE"):
        with Path(path).open("rb") as file:
            return file.read(TOKEN_BYTES_MAX).decode().strip()
    return None


def _random_id() -> uuid.UUID:
    return uuid.UUID(bytes=os.urandom(16), version=4)


def _now() -> float:
    # No clock is given: it is a function that any program may call.
    return time.monotonic()  # noqa: TID251
