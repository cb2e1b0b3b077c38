"""Garbage that only cycles hold: found soon while it is young, and when the process has grown."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.app.clock import SystemClock
from gateway.app.garbage import (
    CALM_WITHIN_S,
    EVERY_S,
    GROWTH_BYTES,
    NEVER,
    UNCALM,
    YOUNG,
    looked_for,
)
from gateway.attempts.processes import resident_bytes
from gateway.transports.turns import QUICK_S, ROUNDS_BETWEEN
from tests.transports.world import CLOCK


class Held:
    """What holds itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.freeze()  # as conftest does


@contextlib.contextmanager
def seen(generation: int, on_look: Callable[[], None]) -> Iterator[None]:
    """Call ``on_look`` after each look at a generation."""

    def heard(phase: str, about: dict[str, Any]) -> None:
        if phase == "stop" and about["generation"] == generation:
            on_look()

    gc.callbacks.append(heard)
    try:
        yield
    finally:
        gc.callbacks.remove(heard)


async def grow_old() -> list[list[int]]:
    """Let all that is there become old, and be looked at; gives what has come meanwhile."""
    kept: list[list[int]] = []
    looks: list[int] = []
    with seen(2, lambda: looks.append(1)):
        for _ in range(1000):
            kept += [[number] for number in range(YOUNG[0])]
            await CLOCK.sleep(0.005)
            if looks:
                return kept
    raise AssertionError("what has become old was not looked at")


async def test_what_two_looks_at_the_young_have_left_is_set_aside() -> None:
    with looked_for(resident_bytes, CLOCK):
        before = gc.get_freeze_count()
        kept = await grow_old()
        assert gc.get_freeze_count() - before > len(kept) // 2


async def test_young_garbage_is_found_at_once() -> None:
    with looked_for(resident_bytes, CLOCK):
        gone = weakref.ref(Held())
        await grow_old()
        assert gone() is None


async def test_whoever_asks_for_it_has_everything_looked_through() -> None:
    """An agent that calls `gc.collect()` after its work finds what it always has."""
    with looked_for(resident_bytes, CLOCK):
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
    with looked_for(lambda: memory, CLOCK):
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
    with looked_for(lambda: None, CLOCK):
        assert (gc.get_threshold(), gc.callbacks) == (before, callbacks)
        frozen = gc.get_freeze_count()
        kept = [[number] for number in range(YOUNG[0] * UNCALM)]
        await CLOCK.sleep(EVERY_S * 2)
        assert gc.get_freeze_count() <= frozen
        assert kept


async def test_afterwards_python_looks_as_before() -> None:
    before, callbacks = gc.get_threshold(), list(gc.callbacks)
    with looked_for(resident_bytes, CLOCK):
        assert gc.get_threshold() == (YOUNG[0] * UNCALM, YOUNG[1], NEVER)
        assert len(gc.callbacks) == len(callbacks) + 1
    assert (gc.get_threshold(), gc.callbacks) == (before, callbacks)


class Rounds(SystemClock):
    """
    A loop whose rounds take as long as it is told.

    Attributes:
        rounds: How many have gone by while a look waits.
    """

    def __init__(self, each_s: float) -> None:
        self.rounds = 0
        self._each_s = each_s
        self._now = 100.0

    def monotonic(self) -> float:
        self._now += self._each_s
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.rounds += not seconds
        await super().sleep(0)


@pytest.mark.parametrize(
    ("each_s", "rounds"),
    [(QUICK_S / 2, ROUNDS_BETWEEN), (QUICK_S * 2, int(CALM_WITHIN_S / QUICK_S / 2))],
    ids=["calm", "busy"],
)
async def test_a_look_comes_when_the_loop_has_little_else_to_do(each_s: float, rounds: int) -> None:
    """Looks came in the middle of tasks, since it is these that make objects."""
    clock = Rounds(each_s)
    seen_at: list[int] = []
    with looked_for(resident_bytes, clock), seen(0, lambda: seen_at.append(clock.rounds)):
        kept = [[number] for number in range(YOUNG[0] * 2)]
        while not seen_at:
            await CLOCK.sleep(0.001)
        assert kept
    assert abs(seen_at[0] - rounds) <= 2
