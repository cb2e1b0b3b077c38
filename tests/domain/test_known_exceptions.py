"""The table of classes: each row once, with a source, and to a code that exists."""

from __future__ import annotations

from collections import Counter

from gateway.domain.error_codes import CODES
from gateway.domain.known_exceptions import KNOWN, ROWS
from gateway.domain.signatures import BY_UPSTREAM, CANCELLED, CONTROL_FLOW, INPUT_REQUIRED


def test_every_row_leads_to_a_code_and_names_its_source() -> None:
    for row in ROWS:
        assert row.code in set(CODES) | set(BY_UPSTREAM), row
        assert any(character.isdigit() for character in row.source), row


def test_no_class_stands_in_two_rows() -> None:
    counts = Counter((row.package, row.name) for row in ROWS)
    assert [key for key, count in counts.items() if count > 1] == []
    assert len(KNOWN) == len(ROWS)


def test_no_class_is_known_that_is_decided_before() -> None:
    """Who waits for a human is known by the name alone; of Google, Cancelled is a status."""
    names = {row.name for row in ROWS}
    assert not names & (CONTROL_FLOW | INPUT_REQUIRED)
    assert names & CANCELLED == {"Cancelled"}
