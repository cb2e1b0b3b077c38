"""A failure: which ones count against a breaker, and that it is immutable."""

from __future__ import annotations

import dataclasses

import pytest

import event_schemas
from gateway.domain.failure import COUNTED_TYPES, RETRIED_TYPES, Failure


def failure(error_type: str, *, counted: bool = True) -> Failure:
    return Failure(
        error_type=error_type,
        error_code="of_its_own",
        retryable=False,
        retry_possible=True,
        is_recoverable=True,
        suggested_action="wait",
        counted=counted,
    )


TYPES = event_schemas.document("failure")["$defs"]["error_type"]["enum"]


@pytest.mark.parametrize("error_type", TYPES)
def test_a_failure_counts_if_its_type_does_and_it_is_not_exempt(error_type: str) -> None:
    assert failure(error_type).counts is (error_type in COUNTED_TYPES)
    assert not failure(error_type, counted=False).counts


def test_the_callers_doing_and_the_gateways_refusals_count_against_no_breaker() -> None:
    uncounted = set(TYPES) - COUNTED_TYPES
    assert uncounted == {
        *("invalid_input", "content_refused", "cancelled", "auth_error", "resource_limit"),
        *("circuit_open", "agent_lost", "internal_error"),
    }


def test_a_mistake_of_the_agent_counts_and_is_not_retried() -> None:
    assert {"processing_error"} == COUNTED_TYPES - RETRIED_TYPES
    assert {"agent_lost"} == RETRIED_TYPES - COUNTED_TYPES


def test_a_failure_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        failure("timeout").retryable = True  # type: ignore[misc]
    assert failure("timeout").facts == {}
