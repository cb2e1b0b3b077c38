"""Stamping: what an entry takes from its draft, and what the log adds."""

from __future__ import annotations

import orjson
import pytest

from gateway.ports import Draft
from gateway.stores.stamp import stamp

BODY = b'{"type":"task_started","n":1}'
STAMPS = {"epoch": "e", "offset": 7, "timestamp": "2027-01-15T08:00:00.000Z"}


def drafted(**options: bytes | None) -> Draft:
    return Draft("task/1", "task_started", ("user:a", "task:1"), True, BODY, **options)


def test_an_entry_is_the_draft_with_epoch_offset_and_timestamp_first() -> None:
    entry = stamp(drafted(state=b'{"s":1}'), epoch="e", offset=7, at=1_800_000_000.0)
    assert orjson.loads(entry.public) == {**STAMPS, **orjson.loads(BODY)}
    assert entry.public.startswith(b'{"epoch":"e","offset":7,"timestamp":"')
    assert (entry.offset, entry.at) == (7, 1_800_000_000.0)
    assert (entry.subject, entry.type) == ("task/1", "task_started")
    assert (entry.topics, entry.operators_only) == (("user:a", "task:1"), True)
    assert entry.state == b'{"s":1}'
    assert b'"s"' not in entry.public


def test_without_detail_both_views_are_one_object() -> None:
    """So that the bytes are held once."""
    entry = stamp(drafted(), epoch="e", offset=7, at=0.0)
    assert entry.operator is entry.public


@pytest.mark.parametrize("detail", [b"{}", b'{"d":[1,{"e":null}]}', b"null"])
def test_detail_is_in_the_operators_view_only(detail: bytes) -> None:
    entry = stamp(drafted(detail=detail), epoch="e", offset=7, at=0.0)
    public = orjson.loads(entry.public)
    assert "detail" not in public
    assert orjson.loads(entry.operator) == {**public, "detail": orjson.loads(detail)}
