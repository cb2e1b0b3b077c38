"""The page with figures is what the benchmarks have written, and they still write it so."""

from __future__ import annotations

import asyncio
import math
import re

import pytest

from tests.bench.publish import PAGE, PUBLISHED
from tests.bench.tables import page, read

OUTLINES = [outline for outline, _ in PUBLISHED]


def made_again(text: str) -> str:
    """Make a page once more, of the figures and the machine that are read from it."""
    return page(*read(text, OUTLINES))


@pytest.mark.requirement("WS-W11", "WS-W12", "MESH-W21")
def test_the_page_is_what_the_benchmarks_write() -> None:
    """Whatever else stood on it, a sentence or a row, would be missing when it is made again."""
    text = PAGE.read_text()
    assert made_again(text) == text
    for about in ("under load", "many browsers", "killed worker", "A claim"):
        assert re.search(rf"^## .*{about}", text, re.MULTILINE), about
    measured, machine = read(text, OUTLINES)
    where = r"\d+ cores \(\S+\), \d+ GiB, \S+, \S+ 3\.\d+\.\d+; load \d+\.\d before it began"
    assert re.fullmatch(where, machine)
    values = [value for _, figures in measured for row in figures.values() for value in row]
    assert all(math.isfinite(value) and value > 0 for value in values)


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ("# Figures\n", "# Figures\n\nAs fast as can be.\n"),
        ("\n## ", "\n| one more | 1.00 |\n\n## "),
        (" is killed", " is stopped"),
        (".\n\n## ", ".\n\nMeasured at night.\n\n## "),
        ("| p50 ms |", "| mean ms |"),
    ],
)
def test_what_is_written_by_hand_is_found(written: str, instead: str) -> None:
    text = PAGE.read_text()
    assert written in text
    by_hand = text.replace(written, instead, 1)
    with pytest.raises((AssertionError, ValueError)):
        assert made_again(by_hand) == by_hand


@pytest.mark.requirement("WS-W11", "WS-W12", "MESH-W21")
async def test_each_benchmark_gives_the_rows_of_its_table() -> None:
    """At a small part of their size, all at once: it is not the figures that are looked at."""
    async with asyncio.timeout(120):
        found = await asyncio.gather(*(measure(0.01) for _, measure in PUBLISHED))
    written = page(list(zip(OUTLINES, found, strict=True)), "2 cores")
    assert made_again(written) == written
