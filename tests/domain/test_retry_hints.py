"""How long an upstream wants us to wait: every form it is said in, and every form of nonsense."""

from __future__ import annotations

import datetime
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.retry_hints import (
    RETRY_AFTER_MAX_S,
    delay_of,
    retry_after,
    retry_after_of_limits,
)

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("value", "delay"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 07:59:00 GMT", 0.0),
        ("99999999", RETRY_AFTER_MAX_S),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e5", None),
        ("soon", None),
        ("", None),
        ("Fri, 99 Jan 2027 08:00:00 GMT", None),
        ("Fri, 15 Jan 2027 08:00:30 -0000", 30.0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", RETRY_AFTER_MAX_S),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, delay: float | None) -> None:
    """RFC 9110, 10.2.3; a date in the past means now."""
    assert retry_after({"retry-after": value}, now=NOW) == delay


def test_milliseconds_are_more_exact_than_seconds() -> None:
    assert retry_after({"retry-after-ms": "1500", "retry-after": "2"}, now=NOW) == 1.5
    assert retry_after({"retry-after-ms": "x", "retry-after": "2"}, now=NOW) == 2.0


@pytest.mark.parametrize(
    ("name", "value", "delay"),
    [
        ("x-ratelimit-reset-requests", "1m30s", 90.0),
        ("x-ratelimit-reset-tokens", "6ms", 0.006),
        ("x-ratelimit-reset-tokens", "6m0s", 360.0),
        ("x-ratelimit-reset-requests", "1h2m3.5s", 3723.5),
        ("x-ratelimit-reset", "12", 12.0),
        ("x-ratelimit-reset", "1800000045", 45.0),
        ("ratelimit-reset", "3", 3.0),
        ("anthropic-ratelimit-requests-reset", "2027-01-15T08:00:20Z", 20.0),
        ("anthropic-ratelimit-input-tokens-reset", "2027-01-15T10:00:20+02:00", 20.0),
        ("anthropic-ratelimit-requests-reset", "2027-01-15T07:00:00Z", 0.0),
        ("anthropic-ratelimit-requests-reset", "2027-01-15T08:00:20", 20.0),
        ("anthropic-ratelimit-requests-reset", "0001-01-01T00:00:00+14:00", 0.0),
        ("anthropic-ratelimit-requests-reset", "tomorrow", None),
        ("x-ratelimit-reset-requests", "30x", None),
        ("x-ratelimit-remaining-requests", "30", None),
    ],
)
def test_reset_headers_are_read_in_all_their_forms(
    name: str, value: str, delay: float | None
) -> None:
    """No SDK reads them."""
    assert retry_after_of_limits({name: value}, now=NOW) == pytest.approx(delay)


def test_the_limit_that_is_used_up_decides() -> None:
    """The others come along with every answer and mean nothing."""
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "12s",
        "x-ratelimit-remaining-tokens": "900",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert retry_after_of_limits(headers, now=NOW) == 12.0
    del headers["x-ratelimit-remaining-requests"], headers["x-ratelimit-remaining-tokens"]
    assert retry_after_of_limits(headers, now=NOW) == 360.0


def test_a_delay_given_as_a_number_is_bounded() -> None:
    assert delay_of(7) == 7.0
    assert delay_of(datetime.timedelta(seconds=3)) == 3.0
    assert delay_of(10**400) == RETRY_AFTER_MAX_S
    nonsense_values: list[object] = [-0.1, math.nan, math.inf, -math.inf, True, None, "7", []]
    for nonsense in nonsense_values:
        assert delay_of(nonsense) is None


@given(st.text(max_size=60))
def test_no_header_breaks_the_reader(value: str) -> None:
    headers = {
        "retry-after": value,
        "retry-after-ms": value,
        "x-ratelimit-reset-requests": value,
        "anthropic-ratelimit-requests-reset": value,
    }
    for delay in (retry_after(headers, now=NOW), retry_after_of_limits(headers, now=NOW)):
        assert delay is None or 0 <= delay <= RETRY_AFTER_MAX_S
