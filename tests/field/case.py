"""
A case: one public report, rebuilt as a small input, with what was wrong and what is right.

``docs/field.md`` tells how to add one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from gateway.domain.classification import classify
from gateway.domain.failure import Failure
from gateway.domain.messages import user_message

__all__ = ["NOW", "Case", "failed", "named", "raised"]

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@dataclasses.dataclass(frozen=True)
class Case:
    """
    One report.

    Attributes:
        id: Its number (``F03``); a neighbour that nobody reported has a letter more (``F03b``).
        report: Where it was reported, as owner/name#number or project#number.
        title: The input, in own words.
        was: What was seen before.
        right: What has to be seen.
        run: Gives what is seen now.
    """

    id: str
    report: str
    title: str
    was: str
    right: str
    run: Callable[[], str]


def named(error: BaseException, *, upstream: bool = False) -> str:
    """
    Say how the gateway names what was raised.

    Args:
        error: The exception.
        upstream: Whether the agent declared an ``upstream``.
    """
    failure = classify(error, now=NOW, llm_upstream=upstream)
    said = [failure.error_code, "retried" if failure.retryable else "not retried"]
    if not failure.counts:
        said.append("not counted")
    if failure.retry_after_s is not None:
        said.append(f"after {failure.retry_after_s:g} s")
    if failure.suggested_action not in ("wait", "none"):
        said.append(failure.suggested_action)
    return ", ".join(said)


def failed(error: BaseException, *, upstream: bool = False) -> str:
    """Say what a user reads of it."""
    failure: Failure = classify(error, now=NOW, llm_upstream=upstream)
    return user_message(
        failure.error_code,
        failure.error_type,
        will_retry=False,
        delay_s=failure.retry_after_s,
        action=failure.suggested_action,
    )


def raised(function: Callable[[], Any]) -> BaseException:
    """Give what a function raises."""
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - whatever it is, is what is tried
        return error
    raise AssertionError("nothing was raised")
