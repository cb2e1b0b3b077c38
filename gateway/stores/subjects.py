"""
The last offset of each subject: what decisions are checked against.

A subject may live on in silence for longer than its entries are kept (a breaker that stays
closed for months), and decisions about it have to go on. So more subjects are remembered than
entries. Of a forgotten subject one thing is still known: it has no entry after ``forgotten``.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.domain.errors import ExpectationFailed

__all__ = ["Subjects"]

# How many subjects are remembered, as a multiple of the entries kept.
_SUBJECTS_PER_EVENT = 2


class Subjects:
    """
    The last offset of each subject; the least recently written subject is forgotten first.

    Args:
        events_max: How many entries the log keeps at the most.
        forgotten: The offset up to which nothing is known of any subject; 0: everything is known.

    Attributes:
        forgotten: No forgotten subject has an entry after this offset.
    """

    def __init__(self, *, events_max: int, forgotten: int = 0) -> None:
        self._last: dict[str, int] = {}
        self._subjects_max = events_max * _SUBJECTS_PER_EVENT
        self.forgotten = forgotten

    def last(self, subject: str) -> int:
        """Give the offset of the subject's last entry; 0 when none is remembered."""
        return self._last.get(subject, 0)

    def check(self, expected: Mapping[str, int]) -> None:
        """
        Compare with the offsets that a decision was based on, by subject.

        Raises:
            ExpectationFailed: Something was written to a subject since.
        """
        for subject, offset in expected.items():
            if not self._agrees(subject, offset):
                raise ExpectationFailed(subject, expected=offset, actual=self.last(subject))

    def wrote(self, subject: str, offset: int) -> None:
        """Take note of the log's next entry."""
        # Deleted and set again: a dict keeps the order of insertion, so that the least recently
        # written subject comes first.
        self._last.pop(subject, None)
        self._last[subject] = offset
        while len(self._last) > self._subjects_max:
            self.forgotten = self._last.pop(next(iter(self._last)))

    def _agrees(self, subject: str, offset: int) -> bool:
        actual = self._last.get(subject)
        return offset <= self.forgotten if actual is None else offset == actual
