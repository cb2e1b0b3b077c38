"""The real clock and real ids, as far as a test can pin them down."""

from __future__ import annotations

import uuid

from gateway.app.clock import RandomIds, SystemClock


async def test_the_clock_counts_since_1970_and_never_back() -> None:
    clock = SystemClock()
    assert clock.wall() > 1_700_000_000
    before = clock.monotonic()
    await clock.sleep(0)
    assert clock.monotonic() >= before


def test_an_id_is_a_uuid_of_version_7_that_begins_with_the_time() -> None:
    """RFC 9562, 5.7: 48 bits of milliseconds, so that ids sort by the time they were made."""
    clock, ids = SystemClock(), RandomIds()
    before = int(clock.wall() * 1000)
    made = [uuid.UUID(text) for text in (ids.uuid7() for _ in range(1000))]
    after = int(clock.wall() * 1000) + 1
    assert {(one.version, one.variant) for one in made} == {(7, uuid.RFC_4122)}
    assert all(before <= one.int >> 80 <= after for one in made)
    assert len(set(made)) == 1000


def test_an_id_is_written_in_small_letters_with_dashes() -> None:
    text = RandomIds().uuid7()
    assert text == str(uuid.UUID(text))


def test_chance_is_from_zero_up_to_below_one() -> None:
    ids = RandomIds()
    assert all(0 <= ids.random() < 1 for _ in range(1000))
