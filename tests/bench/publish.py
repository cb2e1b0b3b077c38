"""
Measure, and write the page with the figures: ``python -m tests.bench.publish`` (``make figures``).

Nothing else should run on the machine meanwhile. The page has no date, since it is the figures of
the commit that it is in.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.bench import claims, error_to_frame, fan_out, kills
from tests.bench.tables import Figures, Outline, machine, page

__all__ = ["PAGE", "PUBLISHED"]

PAGE = Path(__file__).parents[2] / "docs" / "figures.md"
# What is measured, and how; each takes the share of its full size that it is run with.
PUBLISHED: tuple[tuple[Outline, Callable[[float], Awaitable[Figures]]], ...] = (
    (error_to_frame.OUTLINE, error_to_frame.measure),
    (fan_out.OUTLINE, fan_out.measure),
    (kills.OUTLINE, kills.measure),
    (claims.OUTLINE, claims.measure),
)


async def publish() -> None:
    """Measure all of it, one after the other, and write the page."""
    measured, where = [], machine()
    for outline, measure in PUBLISHED:
        figures = await measure(1.0)
        sys.stdout.write(outline.text(figures) + "\n\n")
        measured.append((outline, figures))
    PAGE.write_text(page(measured, where))


if __name__ == "__main__":
    asyncio.run(publish())
