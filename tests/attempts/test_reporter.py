"""The reporter: in order, until it is taken, and once, whatever the listener answers."""

from __future__ import annotations

import asyncio

import pytest

from gateway.attempts.cleanup import Cleaned
from gateway.attempts.pieces import TEXT_CHARS_MAX, Piece, Pieces, Rest
from gateway.attempts.reporter import RETRY_S, Reporter
from gateway.domain import own_failures
from gateway.domain.errors import InvalidParams, StaleTerm, Unavailable
from tests.attempts.steps import Attempt, Script
from tests.execution.world import VirtualClock

FAILURE = own_failures.timed_out(30.0, llm_upstream=False)


def reporter(listener: Script) -> tuple[Reporter, Pieces]:
    attempt = Attempt(attempt=1)
    made = Reporter(attempt.assignment, attempt.pieces, listener, VirtualClock())
    return made, attempt.pieces


def away(retry_after: float | None = None) -> Unavailable:
    return Unavailable("the store is away", retry_after=retry_after)


@pytest.mark.parametrize(("retry_after", "waited_s"), [(None, RETRY_S), (7.0, 7.0)])
async def test_what_the_store_did_not_take_is_told_again_as_the_same_event(
    retry_after: float | None, waited_s: float
) -> None:
    listener = Script(away(retry_after), away(retry_after))
    telling, _ = reporter(listener)
    await telling.tell(Piece(text="a"))
    assert listener.told == [("tell", "a")] * 3
    assert listener.tries[0] is not None
    assert listener.tries == [listener.tries[0]] * 3
    assert asyncio.get_running_loop().time() == pytest.approx(2 * waited_s)


async def test_two_pieces_of_the_same_words_are_two_events() -> None:
    listener = Script()
    telling, _ = reporter(listener)
    for _ in range(2):
        await telling.tell(Piece(text="ha "))
    assert listener.tries[0] != listener.tries[1]


async def test_text_that_replaces_is_told_before_the_end_whichever_it_is() -> None:
    """The end of an attempt only adds to the text, so that it cannot say that there is none."""
    listener = Script()
    telling, pieces = reporter(listener)
    pieces.restart_text("")
    await telling.fail(FAILURE, cause="timeout", detail=None)
    assert listener.told == [
        ("tell", Piece(text="", replaces=True)),
        ("fail", ("task_timeout", "timeout", Rest())),
    ]


async def test_an_end_does_not_overtake_a_piece_that_waits_for_its_next_try() -> None:
    listener = Script(away())
    telling, _ = reporter(listener)
    async with asyncio.TaskGroup() as group:
        group.create_task(telling.tell(Piece(text="a")))
        group.create_task(telling.fail(FAILURE, cause="timeout", detail=None))
    assert [name for name, _ in listener.told] == ["tell", "tell", "fail"]


async def test_a_result_comes_after_the_text_that_waits_and_with_the_steps() -> None:
    listener = Script()
    telling, pieces = reporter(listener)
    pieces.add_text("text")
    pieces.add_step("a", 1)
    await telling.succeed("done")
    assert listener.told == [("tell", "text"), ("succeed", ("done", {"a": 1}))]


@pytest.mark.parametrize(
    ("chars", "told"),
    [
        (0, []),
        (TEXT_CHARS_MAX, [TEXT_CHARS_MAX]),
        (TEXT_CHARS_MAX + 1, [TEXT_CHARS_MAX, 1]),
    ],
)
async def test_text_that_waits_for_the_end_is_told_in_pieces_of_the_bound(
    chars: int, told: list[int]
) -> None:
    listener = Script()
    attempt = Attempt()
    pieces = Pieces(task_id="0190-task", attempt=2, chars_max=10**6, wake=lambda: None)
    pieces.add_text("x" * chars)
    await Reporter(attempt.assignment, pieces, listener, VirtualClock()).succeed(None)
    assert [len(about) for name, about in listener.told if name == "tell"] == told


async def test_a_failure_goes_with_all_that_waits() -> None:
    listener = Script()
    telling, pieces = reporter(listener)
    pieces.add_text("text")
    pieces.set_plan(("a", "b"))
    await telling.fail(FAILURE, cause="timeout", detail=None)
    rest = Rest(text="text", plan=("a", "b"))
    assert listener.told == [("fail", ("task_timeout", "timeout", rest))]


async def test_what_is_too_large_for_the_end_is_told_before_it() -> None:
    """A store may take a megabyte in one entry; steps of any number may wait."""
    large = dict.fromkeys(("a", "b"), "x" * 100000)
    ahead = [("tell", Piece(step=name, data=data)) for name, data in large.items()]
    listener = Script()
    telling, pieces = reporter(listener)
    for name, data in large.items():
        pieces.add_step(name, data)
    pieces.add_text("text")
    pieces.set_plan(("a", "b"))
    await telling.fail(FAILURE, cause="timeout", detail=None)
    rest = Rest(plan=("a", "b"))
    end = ("fail", ("task_timeout", "timeout", rest))
    assert listener.told == [*ahead, ("tell", "text"), end]
    listener = Script()
    telling, pieces = reporter(listener)
    for name, data in large.items():
        pieces.add_step(name, data)
    await telling.succeed("done")
    assert listener.told == [*ahead, ("succeed", ("done", {}))]


async def test_a_result_that_is_refused_makes_the_attempt_a_failure_that_keeps_its_steps() -> None:
    listener = Script(InvalidParams("result cannot be encoded as JSON", field="result"))
    telling, pieces = reporter(listener)
    pieces.add_step("a", 1)
    await telling.succeed(object())
    name, about = listener.told[-1]
    assert (name, about) == (
        "fail",
        ("unencodable_result", "exception", Rest(steps={"a": 1})),
    )


async def test_an_attempt_that_has_lost_its_task_says_nothing_more_about_it() -> None:
    listener = Script(StaleTerm("term 3 is over"))
    telling, _ = reporter(listener)
    with pytest.raises(StaleTerm):
        await telling.succeed("done")
    assert [name for name, _ in listener.told] == ["succeed"]


async def test_a_cleanup_is_told_until_it_is_taken_as_one_event() -> None:
    listener = Script(away())
    telling, _ = reporter(listener)
    await telling.cleaned(Cleaned(["process"], 5, ["close"]))
    assert listener.told == [("cleaned", (["process"], 5, ["close"]))] * 2
    assert listener.tries[0] is listener.tries[1]


async def test_cancelling_ends_the_tries() -> None:
    """The teller of an attempt that has ended does not go on about it."""
    listener = Script(*(away() for _ in range(100)))
    telling, _ = reporter(listener)
    running = asyncio.ensure_future(telling.tell(Piece(text="a")))
    await VirtualClock().sleep(2.5 * RETRY_S)
    running.cancel()
    await VirtualClock().sleep(10.0)
    assert len(listener.told) == 3
