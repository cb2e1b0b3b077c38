"""Garbage that only cycles hold: found soon while it is young, and when the process has grown."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from gateway.app.garbage import GROWTH_BYTES, YOUNG, looked_for
from gateway.app.machine import ThisMachine

MEMORY = ThisMachine().memory_bytes
# So many new objects bring a look at those that have seen the one before.
OFTEN = 2 * YOUNG[0] * (YOUNG[1] + 1)


class Held:
    """What holds itself, and some memory."""

    def __init__(self, memory_bytes: int = 0) -> None:
        self.itself = self
        self.memory = b"x" * memory_bytes


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.freeze()  # as conftest does


def grow_old() -> list[list[int]]:
    """Let the young be looked at; gives what has come meanwhile."""
    return [[number] for number in range(OFTEN)]


async def the_next_step() -> None:
    """Wait until the loop has done what it was asked for until now."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_soon(done.set_result, None)
    await done


async def test_what_a_look_at_the_young_has_left_is_set_aside() -> None:
    with looked_for(MEMORY):
        before = gc.get_freeze_count()
        kept = grow_old()
        assert gc.get_freeze_count() - before > len(kept) // 2


async def test_young_garbage_is_found_at_once() -> None:
    with looked_for(MEMORY):
        gone = weakref.ref(Held())
        grow_old()
        assert gone() is None


@pytest.mark.parametrize("set_aside", [True, False])
async def test_whoever_asks_for_it_has_all_of_it_looked_at(set_aside: bool) -> None:
    """An agent that calls `gc.collect()` after its work finds what it always has."""
    with looked_for(MEMORY):
        held = Held()
        kept = grow_old() if set_aside else []
        gone = weakref.ref(held)
        del held
        grow_old()
        assert (gone() is not None) == set_aside
        gc.collect()
        assert gone() is None
        assert len(kept) in (0, OFTEN)


async def test_a_process_that_has_grown_is_looked_at_as_a_whole_in_a_step_of_the_loop() -> None:
    with looked_for(MEMORY):
        held = Held(2 * GROWTH_BYTES)
        kept = grow_old()
        gone = weakref.ref(held)
        del held
        kept += grow_old()
        assert gone() is not None
        await the_next_step()
        assert gone() is None
        # What is still there counts from now on, and another look has to wait for more of it.
        more = Held(GROWTH_BYTES // 4)
        kept += grow_old()
        gone = weakref.ref(more)
        del more
        await the_next_step()
        assert gone() is not None


async def test_where_memory_is_not_known_python_looks_in_its_own_way() -> None:
    before, callbacks = gc.get_threshold(), list(gc.callbacks)
    with looked_for(lambda: None):
        assert (gc.get_threshold(), gc.callbacks) == (before, callbacks)
        frozen = gc.get_freeze_count()
        kept = grow_old()
        assert gc.get_freeze_count() == frozen
        assert kept


async def test_afterwards_python_looks_as_before() -> None:
    before, callbacks = gc.get_threshold(), list(gc.callbacks)
    with looked_for(MEMORY):
        assert gc.get_threshold() == YOUNG
        assert len(gc.callbacks) == len(callbacks) + 1
    assert (gc.get_threshold(), gc.callbacks) == (before, callbacks)
