"""What the ports compute themselves: the size of an entry."""

from __future__ import annotations

from gateway.ports import Entry

PUBLIC = b'{"a":1}'
ENTRY = Entry(1, 0.0, "task/1", "task_started", (), False, PUBLIC, PUBLIC, None)


def test_an_entry_whose_two_views_are_one_object_counts_it_once() -> None:
    assert ENTRY.size == len(PUBLIC)


def test_an_entry_with_detail_counts_both_views() -> None:
    operator = b'{"a":1,"detail":{}}'
    assert ENTRY._replace(operator=operator).size == len(PUBLIC) + len(operator)


def test_the_state_of_an_entry_counts_too() -> None:
    assert ENTRY._replace(state=b"{}").size == len(PUBLIC) + 2
    assert ENTRY._replace(state=b"").size == len(PUBLIC)
