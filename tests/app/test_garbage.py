"""Garbage that only cycles hold: found soon while it is young, and when the process has grown."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from gateway.app.garbage import GROWTH_BYTES, OLD_AFTER, YOUNG, looked_for
from gateway.attempts.processes import resident_bytes

# So many new objects bring a look at all that has become old.
OFTEN = 2 * OLD_AFTER * (YOUNG[0] + 1) * (YOUNG[1] + 1)


class Held:
    """What holds itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.freeze()  # as conftest does


async def grow_old() -> list[list[int]]:
    """Let all that is there become old, and be looked at; gives what has come meanwhile."""
    kept = [[number] for number in range(OFTEN)]
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_soon(done.set_result, None)
    await done
    return kept


async def test_what_two_looks_at_the_young_have_left_is_set_aside() -> None:
    with looked_for(resident_bytes):
        before = gc.get_freeze_count()
        kept = await grow_old()
        assert gc.get_freeze_count() - before > len(kept) // 2


async def test_young_garbage_is_found_at_once() -> None:
    with looked_for(resident_bytes):
        gone = weakref.ref(Held())
        await grow_old()
        assert gone() is None


async def test_whoever_asks_for_it_has_everything_looked_through() -> None:
    """An agent that calls `gc.collect()` after its work finds what it always has."""
    with looked_for(resident_bytes):
        held = Held()
        kept = await grow_old()
        gone = weakref.ref(held)
        del held
        kept += await grow_old()
        assert gone() is not None
        gc.collect()
        assert gone() is None


async def test_a_process_that_has_grown_is_looked_through_as_a_whole() -> None:
    least = 2 * GROWTH_BYTES
    memory = least
    with looked_for(lambda: memory):
        for grown, whole in ((GROWTH_BYTES - 1, False), (GROWTH_BYTES, True), (0, False)):
            held = Held()
            kept = await grow_old()
            gone = weakref.ref(held)
            del held
            memory += grown
            kept += await grow_old()
            assert (gone() is None) == whole
            if not whole:
                memory -= grown


async def test_where_memory_is_not_known_python_looks_in_its_own_way() -> None:
    before, callbacks = gc.get_threshold(), list(gc.callbacks)
    with looked_for(lambda: None):
        assert (gc.get_threshold(), gc.callbacks) == (before, callbacks)
        frozen = gc.get_freeze_count()
        kept = await grow_old()
        assert gc.get_freeze_count() <= frozen
        assert kept


async def test_afterwards_python_looks_as_before() -> None:
    before, callbacks = gc.get_threshold(), list(gc.callbacks)
    with looked_for(resident_bytes):
        assert gc.get_threshold() == YOUNG
        assert len(gc.callbacks) == len(callbacks) + 1
    assert (gc.get_threshold(), gc.callbacks) == (before, callbacks)
