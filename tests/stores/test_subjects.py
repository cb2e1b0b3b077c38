"""The last offset of each subject: what a decision is compared with, and what is forgotten."""

from __future__ import annotations

import pytest

from gateway.domain.errors import ExpectationFailed
from gateway.stores.subjects import Subjects


def agrees(subjects: Subjects, subject: str, offset: int) -> bool:
    try:
        subjects.check({subject: offset})
    except ExpectationFailed:
        return False
    return True


def test_a_subject_that_was_never_written_to_is_expected_at_zero() -> None:
    subjects = Subjects(events_max=2)
    assert subjects.last("a/1") == 0
    assert [offset for offset in range(3) if agrees(subjects, "a/1", offset)] == [0]


def test_a_decision_agrees_with_the_last_offset_alone() -> None:
    subjects = Subjects(events_max=2)
    subjects.wrote("a/1", 3)
    subjects.wrote("a/1", 5)
    assert subjects.last("a/1") == 5
    assert [offset for offset in range(8) if agrees(subjects, "a/1", offset)] == [5]


def test_a_refusal_says_what_was_expected_and_what_is_so() -> None:
    subjects = Subjects(events_max=2)
    subjects.wrote("a/1", 3)
    with pytest.raises(ExpectationFailed) as refused:
        subjects.check({"b/1": 0, "a/1": 2})
    error = refused.value
    assert (error.subject, error.expected, error.actual) == ("a/1", 2, 3)


def test_twice_as_many_subjects_are_remembered_as_entries_are_kept() -> None:
    subjects = Subjects(events_max=2)
    for number in range(1, 5):
        subjects.wrote(f"a/{number}", number)
    assert ([subjects.last(f"a/{number}") for number in range(1, 5)]) == [1, 2, 3, 4]
    assert subjects.forgotten == 0
    subjects.wrote("a/5", 5)
    assert (subjects.last("a/1"), subjects.last("a/2"), subjects.forgotten) == (0, 2, 1)


def test_the_least_recently_written_subject_is_forgotten_first() -> None:
    subjects = Subjects(events_max=1)
    for subject, offset in (("a/1", 1), ("b/1", 2), ("a/1", 3), ("c/1", 4)):
        subjects.wrote(subject, offset)
    assert (subjects.last("a/1"), subjects.last("b/1"), subjects.forgotten) == (3, 0, 2)


def test_a_forgotten_subject_may_have_been_written_to_up_to_a_known_offset() -> None:
    """A breaker that stayed closed for months can still be opened."""
    subjects = Subjects(events_max=2, forgotten=7)
    assert [offset for offset in range(10) if agrees(subjects, "a/1", offset)] == [*range(8)]
