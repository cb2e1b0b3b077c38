"""An attempt as it stands on the wire."""

from __future__ import annotations

from gateway.domain.attempt import Attempt

AT = 1_800_000_000.0


def test_an_attempt_shows_its_error_and_its_end_when_it_has_them() -> None:
    attempt = Attempt(2, "w1", "primary", AT, term=3)
    shown = attempt.as_dict()
    assert (shown["attempt"], shown["agent_id"], shown["ended_at"]) == (2, "w1", None)
    assert "error" not in shown
    attempt.ended_at, attempt.error = AT + 1, {"error_code": "stalled"}
    shown = attempt.as_dict()
    assert shown["ended_at"] == "2027-01-15T08:00:01.000Z"
    assert shown["error"] == {"error_code": "stalled"}


def test_an_attempt_of_an_earlier_version_has_not_moved() -> None:
    assert not Attempt(1, "w1", "primary", AT).moved
