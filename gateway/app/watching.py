"""
``gateway status --watch``: the same screen, drawn again and again over the whole terminal.

A screen is drawn over the one before, line by line, so that nothing flickers; it never scrolls.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import click

from gateway.app.reaching import Reached
from gateway.app.status import asked, lines_of
from gateway.app.tables import plain, say
from gateway.domain.errors import GatewayError
from gateway.ports import Clock

__all__ = ["framed", "watch"]

# Control sequences of ECMA-48: to the upper left corner; clear the rest of a line, of the screen.
HOME, LINE_END, SCREEN_END = "\x1b[H", "\x1b[K", "\x1b[J"


async def watch(url: str, token: str | None, *, every_s: float, clock: Clock) -> None:
    """
    Draw how a gateway is until cancelled.

    A gateway that goes away later is no end: the screen says so above what was last known.

    Args:
        url: Its address.
        token: The bearer token of an operator; None: an open gateway.
        every_s: Seconds between an answer and the next question.

    Raises:
        ConfigurationError: If ``url`` cannot be read.
        NotReached: If there is no gateway at first, or it does not let this caller in.
    """
    gateway = Reached(url, token)
    status = await asked(gateway)
    away: list[str] = []
    click.clear()
    while True:
        width, height = shutil.get_terminal_size()
        lines = [*away, *lines_of(status, width=width)]
        say(framed(lines, width=width, height=height))
        await clock.sleep(every_s)
        try:
            status, away = await asked(gateway), []
        except GatewayError as error:
            mark = click.style("! ", fg="red", bold=True)
            away = [f"{mark}{plain(str(error))}", "  asked again; what follows is as it was", ""]


def framed(lines: Sequence[str], *, width: int, height: int) -> str:
    """
    Make of lines the text that draws them over those before.

    Args:
        width: How wide the terminal is, in signs; a longer line takes several of its lines.
        height: How many lines it has. What does not fit is left out, and the last line says so.
    """
    room = height - 2  # the text is printed with a line's end, and what is left out takes a line
    shown: list[str] = []
    for line in lines:
        room -= max(1, -(-len(click.unstyle(line)) // width))
        if room < 0 and len(shown) < len(lines) - 1:
            left = len(lines) - len(shown)
            shown.append(click.style(f"… {left} lines more: `gateway status`", dim=True))
            break
        shown.append(line)
    return HOME + "\n".join(f"{line}{LINE_END}" for line in shown) + SCREEN_END
