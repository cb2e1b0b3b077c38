"""
Tables and times for people: columns that are aligned, and that fit the terminal they are shown on.

Ids are never cut, since they are copied; a column that may be cut ends in an ellipsis. What goes
into a pipe or a file is never cut, and has no colour.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence, Set

import click

__all__ = ["NONE", "ago", "drawn", "lasting", "plain", "say", "width_now"]

# What a row shows of something that is not there.
NONE = "-"
GAP = "  "
# A column that is cut keeps as many signs at the least.
CUT_CHARS_MIN = 10

STYLES = {
    **dict.fromkeys(("healthy", "closed", "normal", "succeeded", "ready"), "green"),
    **dict.fromkeys(("suspect", "half_open", "degraded", "waiting", "draining"), "yellow"),
    **dict.fromkeys(("unhealthy", "quarantined", "offline", "open", "read_only"), "red"),
    **dict.fromkeys(("failed", "dead_lettered", "not ready"), "red"),
    "running": "cyan",
}


def width_now() -> int | None:
    """Tell how wide the terminal is that is written to; None: it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def say(text: str) -> None:
    """Print a text; its colours only on a terminal, and not where NO_COLOR is set."""
    click.echo(text, color=False if os.environ.get("NO_COLOR") else None)


def drawn(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    width: int | None = None,
    cut: Set[str] = frozenset(),
    spare: Sequence[str] = (),
) -> list[str]:
    """
    Draw rows as a table, a line each, under their headings.

    Args:
        headings: One for each column.
        rows: Texts; a state that is known has its colour.
        width: How wide the table may be, in signs; None: as it has to be.
        cut: Headings of the columns that may be cut for that, the widest first.
        spare: Headings of the columns that are left out, in this order, where cutting is not
            enough; a last line says so.
    """
    columns = [(head, *map(plain, cells)) for head, *cells in zip(headings, *rows, strict=True)]
    left_out: list[str] = []
    for heading in spare:
        if width is None or _least(columns, cut) <= width:
            break
        columns = [column for column in columns if column[0] != heading]
        left_out.append(heading)
    widths = [max(map(len, column)) for column in columns]
    if width is not None:
        _fit(widths, [column[0] in cut for column in columns], width)
    head, *table = zip(*columns, strict=True)
    lines = [click.style(_line(head, widths, styled=False), bold=True)]
    lines += (_line(row, widths, styled=True) for row in table)
    if left_out:
        more = f"… {', '.join(left_out)}: on a wider terminal, or with --json"
        lines.append(click.style(more, dim=True))
    return lines


def _least(columns: Sequence[Sequence[str]], cut: Set[str]) -> int:
    """How wide a table is when all that may be cut is cut."""
    sizes = (
        (max(map(len, column)), CUT_CHARS_MIN if column[0] in cut else None) for column in columns
    )
    least = sum(size if bound is None else min(size, bound) for size, bound in sizes)
    return least + len(GAP) * (len(columns) - 1)


def _fit(widths: list[int], may_cut: Sequence[bool], width: int) -> None:
    over = sum(widths) + len(GAP) * (len(widths) - 1) - width
    while over > 0:
        candidates = [
            index for index, size in enumerate(widths) if may_cut[index] and size > CUT_CHARS_MIN
        ]
        if not candidates:
            return
        widths[max(candidates, key=widths.__getitem__)] -= 1
        over -= 1


def _line(row: Sequence[str], widths: Sequence[int], *, styled: bool) -> str:
    cells = []
    for index, (cell, size) in enumerate(zip(row, widths, strict=True)):
        shown = cell if len(cell) <= size else f"{cell[: size - 1]}…"
        padding = "" if index == len(widths) - 1 else " " * (size - len(shown))
        style = STYLES.get(cell) if styled else None
        cells.append((click.style(shown, fg=style) if style else shown) + padding)
    return GAP.join(cells).rstrip()


def plain(text: str) -> str:
    """Let a text be one line that moves no cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)


def ago(seconds: float | None) -> str:
    """Tell an age in its largest unit, ``4s``, ``3m``, ``2h``, ``5d``; None: there is none."""
    if seconds is None:
        return NONE
    whole = max(0, int(seconds))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def lasting(seconds: float) -> str:
    """Tell how long something lasts in its two largest units, ``2m 10s``."""
    whole = max(0, round(seconds))
    days, hours, minutes = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (whole % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{number}{unit}" for number, unit in parts[:2] if number or len(parts) == 1)
