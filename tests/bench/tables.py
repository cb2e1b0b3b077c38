"""
Tables of figures: what a benchmark says that it measures, and the page that is made of all of them.

A benchmark declares an ``Outline``: everything on the page but the figures. So the page can be
read back, and made again of what was read: whatever was written by hand would be missing then.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence

import psutil

__all__ = ["SPREAD", "Figures", "Outline", "machine", "page", "read", "spread"]

Figures = Mapping[str, Sequence[float]]
# The columns of most tables, in milliseconds.
SPREAD = ("p50 ms", "p99 ms", "max ms")


@dataclasses.dataclass(frozen=True)
class Outline:
    """
    A table without its figures.

    Attributes:
        about: What is measured, from when to when, under which load.
        rows: What each row is about.
    """

    title: str
    about: str
    rows: tuple[str, ...]
    columns: tuple[str, ...] = SPREAD

    def text(self, figures: Figures) -> str:
        """Make the table for a terminal."""
        head = f"{self.title:56}" + "".join(f"{column:>9}" for column in self.columns)
        lines = [
            f"{row:56}" + "".join(f"{value:9.2f}" for value in figures[row]) for row in self.rows
        ]
        return "\n".join([head, *lines])

    def markdown(self, figures: Figures) -> str:
        """Make its section of the page; the figures have exactly its rows, in their order."""
        assert tuple(figures) == self.rows, (self.title, tuple(figures))
        lines = [
            f"| {row} | " + " | ".join(f"{value:.2f}" for value in figures[row]) + " |"
            for row in self.rows
        ]
        head = f"| | {' | '.join(self.columns)} |"
        rule = "|---|" + "---:|" * len(self.columns)
        return "\n".join([f"## {self.title}", "", self.about, "", head, rule, *lines, ""])


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, the 99th percentile and the greatest."""
    ordered = sorted(values)
    return (
        ordered[len(ordered) // 2],
        ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        ordered[-1],
    )


def machine() -> str:
    """Say on what is going to be measured, and how busy it is with something else."""
    memory = round(psutil.virtual_memory().total / 1024**3)
    return (
        f"{psutil.cpu_count()} cores ({platform.machine()}), {memory} GiB, {platform.system()}, "
        f"{platform.python_implementation()} {platform.python_version()}; "
        f"load {psutil.getloadavg()[0]:.1f} before it began"
    )


def page(measured: Sequence[tuple[Outline, Figures]], machine: str) -> str:
    """Make the whole page."""
    head = (
        "# Figures\n\n"
        "`make figures` measures them and writes this page; nothing on it is written by hand. "
        "Gateway, workers and\nclients are processes on one machine, on loopback, and share it. "
        "Settings are the defaults, where nothing else is said.\n\n"
        f"Machine: {machine}.\n"
    )
    return "\n".join([head, *(outline.markdown(figures) for outline, figures in measured)])


def read(text: str, outlines: Sequence[Outline]) -> tuple[list[tuple[Outline, Figures]], str]:
    """Read a page: the figures of each table, and the machine."""
    (machine,) = [line for line in text.splitlines() if line.startswith("Machine: ")]
    sections = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    measured: list[tuple[Outline, Figures]] = []
    for outline in outlines:
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in sections[outline.title].splitlines()
            if line.startswith("|")
        ]
        figures = {name: [float(cell) for cell in cells] for name, *cells in rows[2:]}
        measured.append((outline, figures))
    return measured, machine.removeprefix("Machine: ").removesuffix(".")
