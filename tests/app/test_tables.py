"""Tables: columns that fit a terminal, what is cut and what never is; ages and times."""

from __future__ import annotations

import click
import pytest

from gateway.app.tables import ago, drawn, lasting, plain

ROWS = [("task-0001", "a-long-agents-name", "open"), ("t2", "b", "closed")]
HEADINGS = ("TASK", "AGENT", "STATE")


def bare(lines: list[str]) -> list[str]:
    return [click.unstyle(line) for line in lines]


def test_columns_are_aligned_and_as_wide_as_they_need() -> None:
    head, *rows = bare(drawn(HEADINGS, ROWS))
    assert [head.split(), *(row.split() for row in rows)] == [list(HEADINGS), *map(list, ROWS)]
    assert head.index("AGENT") == rows[0].index("a-long") == rows[1].index("b")
    assert all(line == line.rstrip() for line in (head, *rows))


@pytest.mark.parametrize(("width", "cut"), [(37, False), (36, True), (29, True)])
def test_a_column_that_may_be_cut_makes_the_table_fit(width: int, cut: bool) -> None:
    lines = bare(drawn(HEADINGS, ROWS, width=width, cut={"AGENT"}))
    assert max(map(len, lines)) <= width
    assert any("…" in line for line in lines) is cut


def test_an_id_is_never_cut_and_a_column_keeps_some_of_it() -> None:
    lines = bare(drawn(HEADINGS, ROWS, width=10, cut={"AGENT"}))
    assert "task-0001" in lines[1]
    assert "a-long-ag…" in lines[1]


def test_where_cutting_is_not_enough_spare_columns_go_in_their_order() -> None:
    about = {"cut": {"AGENT"}, "spare": ("STATE", "AGENT")}
    assert bare(drawn(HEADINGS, ROWS, width=29, **about))[0].split() == list(HEADINGS)  # type: ignore[arg-type]
    head, *_, last = bare(drawn(HEADINGS, ROWS, width=28, **about))  # type: ignore[arg-type]
    assert head.split() == ["TASK", "AGENT"]
    assert last == "… STATE: on a wider terminal, or with --json"
    head, *_, last = bare(drawn(HEADINGS, ROWS, width=1, **about))  # type: ignore[arg-type]
    assert (head.split(), "STATE, AGENT" in last) == (["TASK"], True)


def test_a_state_has_its_colour_and_a_name_has_none() -> None:
    _, first, second = drawn(HEADINGS, ROWS)
    assert click.style("open", fg="red") in first
    assert "\x1b" not in first.partition("open")[0].removesuffix("\x1b[31m")
    assert click.style("closed", fg="green") in second


def test_what_would_move_the_cursor_is_not_written() -> None:
    assert plain("a\x1b[31m\nb\u202ec é") == "a?[31m?b?c é"
    assert "\x1b[2J" not in "".join(drawn(("A",), [("\x1b[2J",)]))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        *((None, "-"), (-1.0, "0s"), (0.0, "0s"), (59.9, "59s"), (60.0, "1m"), (3599.0, "59m")),
        *((3600.0, "1h"), (86_399.0, "23h"), (86_400.0, "1d"), (900_000.0, "10d")),
    ],
)
def test_an_age_has_one_unit(seconds: float | None, told: str) -> None:
    assert ago(seconds) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        *((-1.0, "0s"), (0.4, "0s"), (59.0, "59s"), (60.0, "1m"), (130.0, "2m 10s")),
        *((3600.0, "1h"), (3660.0, "1h 1m"), (90_000.0, "1d 1h"), (86_400.0, "1d")),
    ],
)
def test_a_duration_has_two_units(seconds: float, told: str) -> None:
    assert lasting(seconds) == told
