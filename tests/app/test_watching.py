"""``gateway status --watch``: a screen that is drawn again, on a real terminal."""

from __future__ import annotations

import contextlib

import pytest

from gateway.app.watching import HOME, LINE_END, SCREEN_END, framed
from gateway.domain.access import LOCAL_OPERATOR
from tests.app.terminal import COLUMNS, CTRL_C, piped, seated
from tests.transports.world import world


def drawn(lines: list[str], *, height: int) -> list[str]:
    text = framed(lines, width=COLUMNS, height=height)
    assert text.startswith(HOME)
    assert text.endswith(SCREEN_END)
    return text.removeprefix(HOME).removesuffix(SCREEN_END).replace(LINE_END, "").split("\n")


def test_a_screen_that_fits_is_drawn_whole() -> None:
    assert drawn(["one", "two", "three"], height=5) == ["one", "two", "three"]


def test_a_line_more_than_fits_is_told_and_left_out() -> None:
    """The terminal would scroll, and the next screen would be drawn in another place."""
    *shown, last = drawn(["one", "two", "three", "four", "five"], height=5)
    assert shown == ["one", "two", "three"]
    assert "2 lines more" in last


def test_a_line_that_is_wider_than_the_terminal_takes_two_of_its_lines() -> None:
    wide = "x" * (COLUMNS + 1)
    assert drawn([wide, "two"], height=5) == [wide, "two"]
    assert "2 lines more" in drawn([wide, "two", "three"], height=4)[-1]
    assert drawn(["x" * COLUMNS, "two", "three"], height=5)[-1] == "three"


async def test_a_screen_is_drawn_until_ctrl_c_and_shows_what_has_changed() -> None:
    async with world() as here:
        await here.engine.call("agent.register", {"handle": "writer"}, LOCAL_OPERATOR)
        async with seated(["status", "--watch", "0.5", "--url", here.http]) as seat:
            await seat.sees("mode          normal")
            await here.engine.call("breaker.open", {"name": "writer"}, LOCAL_OPERATOR)
            await seat.sees("the breaker writer is open")
            await seat.sees(SCREEN_END)
            assert await seat.press(CTRL_C) == 0


async def test_a_gateway_that_goes_away_is_said_to_be_and_what_was_known_stays() -> None:
    gateway = contextlib.AsyncExitStack()
    here = await gateway.enter_async_context(world())
    async with gateway, seated(["status", "--watch", "0.5", "--url", here.http]) as seat:
        await seat.sees("mode          normal")
        await gateway.aclose()
        await seat.sees("start one with `gateway serve`")
        await seat.sees("mode          normal")
        assert await seat.press(CTRL_C) == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [(["--watch", "--json"], "--json alone"), (["--watch"], "terminal"), (["--watch", "0"], "0.5")],
)
async def test_watching_is_for_people_at_a_terminal(flags: list[str], said: str) -> None:
    code, out, err = await piped(["status", *flags])
    assert (code, out) == (2, "")
    assert said in err
