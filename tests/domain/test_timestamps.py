"""Times in JSON: written and read alike, to the millisecond."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import event_schemas
from gateway.domain.timestamps import rfc3339, seconds_of


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_323_894.123, "2026-11-22T05:04:54.123Z"),
        (1_795_323_894.1239, "2026-11-22T05:04:54.123Z"),
        (math.nextafter(1_795_323_895, 0), "2026-11-22T05:04:55.000Z"),
        (-0.5, "1969-12-31T23:59:59.500Z"),
    ],
)
def test_a_time_is_written_in_utc_with_milliseconds(at: float, text: str) -> None:
    assert rfc3339(at) == text


@given(st.integers(0, 4_102_444_800_000))
@example(1_795_323_894_123)
def test_a_written_time_is_read_as_the_same_millisecond(milliseconds: int) -> None:
    text = rfc3339(milliseconds / 1000)
    assert round(seconds_of(text) * 1000) == milliseconds
    assert rfc3339(seconds_of(text)) == text


def test_a_written_time_complies_with_the_schemas() -> None:
    event = {**event_schemas.example("task_progress"), "timestamp": rfc3339(1_795_323_894.5)}
    assert event_schemas.validator("task_progress").is_valid(event)


@pytest.mark.parametrize(
    "text", ["2026-11-22T07:04:54.123+02:00", "2026-11-22T05:04:54.123Z", "20261122T050454.123Z"]
)
def test_any_zone_is_read(text: str) -> None:
    assert seconds_of(text) == 1_795_323_894.123


@pytest.mark.parametrize("text", ["", "now", "2026-13-22T05:04:54Z", "1795323894"])
def test_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|month"):
        seconds_of(text)
