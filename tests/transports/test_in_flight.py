"""Requests of one connection: how many run, and what becomes of them when it ends."""

from __future__ import annotations

import asyncio

import pytest

from gateway.transports import in_flight
from gateway.transports.in_flight import IN_FLIGHT_MAX, InFlight
from tests.transports.sinks import settle


class Requests:
    """Requests that run until the gate opens, or until they are cancelled."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.running = 0
        self.done = 0
        self.cancelled = 0

    async def work(self) -> None:
        self.running += 1
        try:
            await self.gate.wait()
            self.done += 1
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


async def test_one_request_more_waits_until_one_has_ended() -> None:
    requests, it = Requests(), InFlight()
    for _ in range(IN_FLIGHT_MAX - 1):
        it.start(requests.work())
    await it.wait_turn()
    once = asyncio.Event()

    async def brief() -> None:
        await once.wait()

    it.start(brief())
    waiting = asyncio.create_task(it.wait_turn())
    await settle()
    assert requests.running == IN_FLIGHT_MAX - 1
    assert not waiting.done()
    once.set()
    await waiting
    requests.gate.set()
    await it.settle()
    assert requests.done == IN_FLIGHT_MAX - 1


async def test_only_requests_that_wait_are_stopped_at_once() -> None:
    requests, it = Requests(), InFlight()
    it.start(requests.work())
    it.start(requests.work(), waits=True)
    await settle()
    it.stop_waiting()
    await settle()
    assert (requests.running, requests.cancelled) == (1, 1)
    requests.gate.set()
    await it.settle()
    assert (requests.done, requests.cancelled) == (1, 1)


async def test_a_request_that_does_not_finish_in_time_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(in_flight, "LEFT_WAIT_S", 0.01)
    requests, it = Requests(), InFlight()
    it.start(requests.work())
    await settle()
    await it.settle()
    assert (requests.running, requests.done, requests.cancelled) == (0, 0, 1)


async def test_without_requests_there_is_nothing_to_wait_for() -> None:
    it = InFlight()
    await it.wait_turn()
    await it.settle()
    it.stop_waiting()


async def test_a_request_that_fails_makes_room_and_does_not_fail_the_end() -> None:
    it = InFlight()

    async def fail() -> None:
        raise ZeroDivisionError

    for _ in range(IN_FLIGHT_MAX):
        it.start(fail())
    await it.settle()
    await it.wait_turn()
