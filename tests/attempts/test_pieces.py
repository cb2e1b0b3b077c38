"""Pieces that wait to be told: they grow together, take turns, and are bounded."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest

from gateway.attempts.pieces import TEXT_CHARS_MAX, Piece, Pieces, Rest
from gateway.domain.errors import AttemptOver


def pieces(*, chars_max: int = 10**6, wake: Callable[[], None] = lambda: None) -> Pieces:
    return Pieces(task_id="t", attempt=1, chars_max=chars_max, wake=wake)


def test_text_that_waits_is_told_as_one_piece() -> None:
    waiting = pieces()
    for word in ("one ", "two ", "three"):
        waiting.add_text(word)
    assert waiting.take() == Piece(text="one two three")
    assert waiting.take() is None


@pytest.mark.parametrize(
    ("chars", "told"),
    [
        (TEXT_CHARS_MAX - 1, [TEXT_CHARS_MAX - 1]),
        (TEXT_CHARS_MAX, [TEXT_CHARS_MAX]),
        (TEXT_CHARS_MAX + 1, [TEXT_CHARS_MAX, 1]),
    ],
)
def test_a_piece_of_text_has_its_bound(chars: int, told: list[int]) -> None:
    waiting = pieces()
    waiting.add_text("x" * chars)
    lengths = []
    while (piece := waiting.take()) is not None:
        lengths.append(len(piece.text or ""))
    assert lengths == told


@pytest.mark.parametrize(("chars", "kept"), [(9, "x" * 9), (10, "x" * 10), (11, "x" * 10)])
def test_text_over_the_bound_is_cut(chars: int, kept: str) -> None:
    waiting = pieces(chars_max=10)
    waiting.add_text("x" * chars)
    assert waiting.close().text == kept


def test_no_text_follows_a_cut_though_there_is_room_again() -> None:
    waiting = pieces(chars_max=10)
    waiting.add_text("x" * 11)
    assert waiting.take() == Piece(text="x" * 10)
    waiting.add_text("y")
    assert waiting.take() is None


def test_what_was_told_makes_room_for_more_text() -> None:
    waiting = pieces(chars_max=10)
    for _ in range(3):
        waiting.add_text("x" * 10)
        assert waiting.take() == Piece(text="x" * 10)


def test_of_two_steps_of_one_name_the_newer_is_told() -> None:
    waiting = pieces()
    waiting.add_step("a", 1)
    waiting.add_step("b", 2)
    waiting.add_step("a", 3)
    assert waiting.take() == Piece(step="a", data=3)
    assert waiting.take() == Piece(step="b", data=2)


def test_of_progress_the_newest_is_told_with_the_plan() -> None:
    waiting = pieces()
    waiting.set_plan(("a", "b"))
    waiting.set_progress(0.1, "a")
    waiting.set_progress(0.6, "b")
    assert waiting.take() == Piece(progress=0.6, at_step="b", plan=("a", "b"))
    assert waiting.take() is None


def test_a_step_without_a_number_leaves_progress_as_it_was() -> None:
    waiting = pieces()
    waiting.set_progress(0.5, None)
    waiting.set_progress(None, "writing")
    assert waiting.take() == Piece(progress=0.5, at_step="writing")


def test_progress_text_and_steps_take_turns() -> None:
    """Progress before each telling, a text that grows, many steps: each has every third turn."""
    pieces = Pieces(task_id="t", attempt=1, chars_max=10**6, wake=lambda: None)
    pieces.add_text("x" * 3 * TEXT_CHARS_MAX)
    for number in range(3):
        pieces.add_step(f"step {number}", "y" * 100_000)
    told = []
    for number in range(9):
        pieces.set_progress(number / 9, None)
        piece = pieces.take()
        assert piece is not None
        told.append("text" if piece.text else piece.step or "progress")
    assert told == [
        *("progress", "text", "step 0"),
        *("progress", "text", "step 1"),
        *("progress", "text", "step 2"),
    ]
    newest = pieces.take()
    assert newest is not None
    assert newest.progress == 8 / 9
    assert pieces.take() is None


def test_everything_that_is_added_wakes_the_teller() -> None:
    woken: list[bool] = []
    waiting = pieces(wake=lambda: woken.append(True))
    waiting.add_text("x")
    waiting.add_step("a", 1)
    waiting.set_progress(0.5, None)
    waiting.set_plan(("a",))
    assert len(woken) == 4


def test_pieces_that_are_let_go_are_gone_at_once() -> None:
    """Text may be megabytes; what holds itself stays until Python looks for it."""
    waiting = pieces()
    waiting.add_text("x")
    waiting.take()
    gone = weakref.ref(waiting)
    del waiting
    assert gone() is None


def test_closing_gives_what_waits_and_the_second_time_nothing() -> None:
    waiting = pieces()
    waiting.add_text("text")
    waiting.add_step("a", 1)
    waiting.set_progress(0.5, None)
    waiting.set_plan(("a", "b"))
    rest = waiting.close()
    assert rest == Rest({"a": 1}, "text", 0.5, ("a", "b"))
    assert waiting.close() == Rest()
    assert waiting.take() is None


@pytest.mark.parametrize(
    "say",
    [
        lambda waiting: waiting.add_text("x"),
        lambda waiting: waiting.add_step("a", 1),
        lambda waiting: waiting.set_progress(0.5, None),
        lambda waiting: waiting.set_plan(("a",)),
        lambda waiting: waiting.check(),
    ],
)
def test_after_its_end_an_attempt_adds_nothing(say: Callable[[Pieces], None]) -> None:
    waiting = pieces()
    say(waiting)
    waiting.close()
    with pytest.raises(AttemptOver):
        say(waiting)
    assert not waiting.close()


@pytest.mark.parametrize(
    ("piece", "produced"),
    [
        (Piece(text="x"), True),
        (Piece(step="a", data=None), True),
        (Piece(progress=0.5, at_step="a", plan=("a",)), False),
    ],
)
def test_a_piece_has_output_if_it_has_text_or_a_step(piece: Piece, produced: bool) -> None:
    assert piece.produced is produced


@pytest.mark.parametrize(
    ("rest", "output"),
    [
        (Rest(), False),
        (Rest(progress=0.5, plan=("a",)), False),
        (Rest(text="x"), True),
        (Rest(steps={"a": None}), True),
    ],
)
def test_a_rest_is_true_if_it_has_output(rest: Rest, output: bool) -> None:
    assert bool(rest) is output
