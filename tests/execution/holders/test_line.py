"""The line of claims: the longest waiting first, and no more are called than can find something."""

from __future__ import annotations

import asyncio

import pytest

from gateway.execution.holders.line import Line


class Crowd:
    """Claims that wait in a line, and a heap of things to take, by kind."""

    def __init__(self) -> None:
        self.line = Line()
        self.heap: list[str] = []
        self.took: list[str] = []
        self.claims: list[asyncio.Task[None]] = []

    async def come(self, *names: str) -> None:
        """Let claims come, one after another; a name begins with its kind."""
        for name in names:
            self.claims.append(asyncio.create_task(self._claim(name)))
            await self.settled()

    async def bring(self, *kinds: str) -> None:
        """Bring things, with news of each at the same moment."""
        for kind in kinds:
            self.heap.append(kind)
            self.line.news()
        await self.settled()

    async def settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)  # noqa: TID251 - lets what is ready run

    async def _claim(self, name: str) -> None:
        kind = name[0]
        with self.line.place(kind) as place:
            while True:
                await place.called.wait()
                news = self.line.look(place)
                await asyncio.sleep(0)  # noqa: TID251 - as a look takes its time
                if kind in self.heap:
                    self.heap.remove(kind)
                    self.took.append(name)
                    return
                self.line.found_nothing(place, news, for_all=True)


@pytest.fixture
async def crowd() -> Crowd:
    return Crowd()


async def test_one_thing_is_looked_at_by_two_of_fifty_and_taken_by_the_first(
    crowd: Crowd,
) -> None:
    await crowd.come(*(f"a{number}" for number in range(50)))
    assert (crowd.line.looks, len(crowd.line)) == (50, 50)
    await crowd.bring("a")
    assert crowd.took == ["a0"]
    assert crowd.line.looks == 52
    await crowd.bring("a", "a", "a")
    assert crowd.took == ["a0", "a1", "a2", "a3"]
    assert crowd.line.looks <= 52 + 4
    assert len(crowd.line) == 46


async def test_claims_of_another_kind_are_called_past_those_that_find_nothing(
    crowd: Crowd,
) -> None:
    await crowd.come("a1", "a2", "b1", "a3", "c1", "b2")
    looks = crowd.line.looks
    await crowd.bring("b")
    assert crowd.took == ["b1"]
    # One of each kind, and the one after that which has taken it.
    assert crowd.line.looks - looks == 4
    await crowd.bring("c", "b", "a")
    assert sorted(crowd.took) == ["a1", "b1", "b2", "c1"]


async def test_a_claim_that_comes_later_looks_after_those_that_wait(crowd: Crowd) -> None:
    await crowd.come("a1", "a2")
    crowd.heap.append("a")
    crowd.line.news()
    await crowd.come("a3")
    assert crowd.took == ["a1"]
    await crowd.bring("a", "a")
    assert crowd.took == ["a1", "a2", "a3"]
    assert len(crowd.line) == 0


async def test_a_claim_that_goes_while_it_is_called_calls_the_next(crowd: Crowd) -> None:
    await crowd.come("a1", "a2", "a3")
    crowd.heap.append("a")
    crowd.line.news()
    crowd.claims[0].cancel()
    await crowd.settled()
    assert crowd.took == ["a2"]
    assert len(crowd.line) == 1


async def test_news_that_comes_during_a_look_is_looked_at(crowd: Crowd) -> None:
    await crowd.come("a1", "a2")
    crowd.line.news()
    await asyncio.sleep(0)  # noqa: TID251 - the first looks now
    await crowd.bring("a", "a")
    assert crowd.took == ["a1", "a2"]


async def test_nothing_for_one_alone_does_not_stop_the_others() -> None:
    line = Line()
    with line.place("a") as first, line.place("a") as second:
        line.found_nothing(first, line.look(first), for_all=True)
        line.found_nothing(second, line.look(second), for_all=True)
        line.news()
        assert (first.called.is_set(), second.called.is_set()) == (True, False)
        line.found_nothing(first, line.look(first), for_all=False)
        assert second.called.is_set()
    assert len(line) == 0
