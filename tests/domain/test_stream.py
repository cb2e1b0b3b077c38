"""Positions: what is one, and when a reader may go on from it."""

from __future__ import annotations

import pytest

from gateway.domain.errors import InvalidParams
from gateway.domain.stream import OFFSET_MAX, Position, parse_position, resume_after


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("e1:7", Position("e1", 7)),
        ("7", Position("here", 7)),
        ("0", Position("here", 0)),
        ("a:b:7", Position("a:b", 7)),
        (":7", Position("", 7)),
        (f"e1:{OFFSET_MAX}", Position("e1", OFFSET_MAX)),
    ],
)
def test_a_position_is_an_epoch_and_an_offset_or_an_offset_here(
    text: str, position: Position
) -> None:
    assert parse_position(text, epoch="here", field="since") == position


@pytest.mark.parametrize(
    "text",
    ["", "e1:", "e1:-1", "e1:+1", "e1:1.0", "e1: 1", "e1:٣", "e1:1_0", f"e1:{2**63}", "1" * 20],
)
def test_anything_else_is_refused_with_the_field(text: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        parse_position(text, epoch="here", field="since")
    assert refused.value.field == "since"


def test_a_position_is_written_as_it_is_read() -> None:
    position = Position("e1", 7)
    assert parse_position(str(position), epoch="x", field="since") == position
    assert position.as_dict() == {"epoch": "e1", "offset": 7}


@pytest.mark.parametrize(
    ("epoch", "offset", "oldest", "head", "resumes"),
    [
        ("e1", 10, 5, 10, True),  # has seen everything
        ("e1", 11, 5, 10, False),  # has seen what this log has not
        ("e1", 4, 5, 10, True),  # the next one is the oldest kept
        ("e1", 3, 5, 10, False),  # one is missing
        ("e2", 10, 5, 10, False),  # another log
        ("e1", 0, 1, 0, True),  # nothing has happened
        ("e1", 10, 11, 10, True),  # nothing is kept, and nothing was missed
        ("e1", 9, 11, 10, False),
        ("e1", 0, 1, 10, True),
    ],
)
def test_a_reader_goes_on_only_if_nothing_is_missing(
    epoch: str, offset: int, oldest: int, head: int, resumes: bool
) -> None:
    """Half a replay is worse than none."""
    assert resume_after(Position(epoch, offset), epoch="e1", oldest=oldest, head=head) is resumes
