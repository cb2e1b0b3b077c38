"""What a cell tells: all of it, in time, also when the agent's code never lets go of its loop."""

from __future__ import annotations

import asyncio

from tests.attempts.isolated import Isolated, Runs
from tests.soak import times


def test_ten_thousand_pieces_a_second_come_through(isolated: Runs) -> None:
    """Text grows together on its way; not a piece is missing, and none is in another place."""
    many = times(10_000, 38_000)  # a result may have no more, as JSON

    async def work(here: Isolated) -> None:
        await here.make("streams", pieces=many)
        whole = "".join(f"{number}\n" for number in range(many))
        assert here.result == whole
        assert here.text == whole

    isolated(work)


def test_what_waits_for_a_reader_is_bounded_as_in_the_process_itself(isolated: Runs) -> None:
    """Beyond what a task preserves text is let go, one character later, so that it shows."""

    async def work(here: Isolated) -> None:
        attempt = here.begin("floods")
        await here.said.wait()
        await attempt
        assert here.result == "done"
        assert set(here.text) == {"x"}
        assert len(here.text) >= 262_145

    isolated(work)


def test_a_flush_is_answered_when_the_listener_has_it_all(isolated: Runs) -> None:
    async def work(here: Isolated) -> None:
        await here.make("flushes")
        # It ended at once after that, by os._exit: what was flushed is there all the same.
        assert here.text == "kept"
        assert here.code == "process_lost"

    isolated(work)


def test_a_blocked_loop_does_not_keep_what_was_said_before(isolated: Runs) -> None:
    async def work(here: Isolated) -> None:
        attempt = here.begin("blocks")
        await here.said.wait()
        assert here.text == "before it blocks"
        here.attempts.ended("0190-task")
        async with asyncio.timeout(10):
            await attempt

    isolated(work)


def test_a_background_task_that_fails_is_told_beside_the_attempt(isolated: Runs) -> None:
    async def work(here: Isolated) -> None:
        await here.make("careless")
        assert here.result == "done"
        failures = [piece.failure for piece in here.pieces if piece.failure is not None]
        assert [failure.error_code for failure in failures] == ["background_failure"]

    isolated(work)
