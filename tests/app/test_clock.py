"""The real clock and real ids, as far as a test can pin them down."""

from __future__ import annotations

import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

from gateway.app.clock import RandomIds, SystemClock

MADE = 200
# In a process of its own, since a process with threads had better not be forked.
FORKED = f"""
import os
from gateway.app.clock import RandomIds
RandomIds().uuid7()
child = os.fork()
if child:
    os.waitpid(child, 0)
    print("/", end="")
print(*(RandomIds().uuid7() for _ in range({MADE})), flush=True)
"""


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


def test_ids_that_threads_make_at_once_are_all_different() -> None:
    ids = RandomIds()
    with ThreadPoolExecutor(8) as threads:
        made = [text for some in threads.map(lambda _: _made(ids), range(8)) for text in some]
    assert len(made) == len({_chance_of(text) for text in made})


def test_a_process_that_was_forked_makes_other_ids() -> None:
    """What is left of the entropy stays with the process that has asked for it."""
    told = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, check=True, text=True
    )
    parent, child = ({_chance_of(text) for text in line.split()} for line in told.stdout.split("/"))
    assert len(parent) == len(child) == MADE
    assert not parent & child


def test_an_id_is_written_in_small_letters_with_dashes() -> None:
    text = RandomIds().uuid7()
    assert text == str(uuid.UUID(text))


def test_chance_is_from_zero_up_to_below_one() -> None:
    ids = RandomIds()
    assert all(0 <= ids.random() < 1 for _ in range(1000))


def _made(ids: RandomIds) -> list[str]:
    return [ids.uuid7() for _ in range(MADE)]


def _chance_of(text: str) -> int:
    """The random bits of an id, all but its time."""
    return uuid.UUID(text).int & (1 << 76) - 1
