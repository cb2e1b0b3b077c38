"""The watch beside a loop: it names the line that blocks it, once, and says when it is over."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading

import pytest

from gateway.app.clock import SystemClock
from gateway.attempts import loop_watch
from gateway.attempts.loop_watch import LoopWatch, place_of
from tests.transports.world import until

BLOCKED_S = 0.3


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_watch, "BLOCKED_S", BLOCKED_S)
    monkeypatch.setattr(loop_watch, "EVERY_S", 0.02)


async def test_a_blocked_loop_is_told_of_once_with_the_line_that_blocks_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    places: list[str] = []
    watch = LoopWatch(SystemClock(), blocked=places.append)
    watch.start()
    threading.Event().wait(3 * BLOCKED_S)
    await until(lambda: [text for text in caplog.messages if "runs again" in text])
    watch.stop()
    (place,) = places
    assert f"{__file__}:" in place
    assert place.endswith(" in test_a_blocked_loop_is_told_of_once_with_the_line_that_blocks_it")
    first, last = (record for record in caplog.records if record.name == loop_watch.logger.name)
    assert (first.levelno, last.levelno) == (logging.WARNING, logging.WARNING)
    assert place in first.getMessage()


async def test_a_loop_that_runs_says_so_and_is_not_told_of() -> None:
    alive, places = asyncio.Queue[None](), list[str]()
    watch = LoopWatch(SystemClock(), alive=lambda: alive.put_nowait(None), blocked=places.append)
    watch.start()
    async with asyncio.timeout(10):
        for _ in range(20):
            await alive.get()
    watch.stop()
    watch.stop()
    assert places == []


def test_where_all_lines_are_pythons_the_innermost_is_named() -> None:
    ready, over = threading.Event(), threading.Event()

    def wait() -> None:
        ready.set()
        over.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    ready.wait()
    theirs = place_of(sys._current_frames()[thread.ident or 0])
    over.set()
    thread.join()
    assert theirs.endswith("wait")
    assert __file__ in theirs
    assert place_of(None) == "an unknown place"
