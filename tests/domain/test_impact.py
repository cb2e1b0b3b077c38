"""The impact on a user: failures once each, minutes that do not add up, users in bounds."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain import impact as impact_module
from gateway.domain.impact import Impact, Impacts


def shown(impacts: Impacts, user_id: str = "ann", *, now: float = 0.0) -> tuple[Any, ...]:
    view = impacts.view(user_id, now=now)
    assert view.pop("user_id") == user_id
    return tuple(view.values())


def test_a_user_without_a_failure_has_no_impact() -> None:
    assert shown(Impacts()) == (0, 0, 0, 0, 0)


def test_minutes_count_once_however_many_failures_are_open() -> None:
    impacts = Impacts()
    impacts.opened("ann", at=0)
    impacts.opened("ann", at=30)
    assert shown(impacts, now=60) == (2, 0, 1.0, 0, 0)
    impacts.closed("ann", at=90, recovered=True)
    assert shown(impacts, now=120) == (2, 1, 2.0, 0, 0)
    impacts.closed("ann", at=150, recovered=False)
    assert shown(impacts, now=900) == (2, 1, 2.5, 0, 0)
    impacts.opened("ann", at=900)
    impacts.closed("ann", at=890, recovered=True)  # the log's time may stand still
    assert shown(impacts, now=900) == (3, 2, 2.5, 0, 0)


def test_results_are_kept_or_lost() -> None:
    impacts = Impacts()
    impacts.kept("ann")
    impacts.lost("ann")
    impacts.lost("bob")
    assert shown(impacts) == (0, 0, 0, 1, 1)
    assert shown(impacts, "bob") == (0, 0, 0, 0, 1)


def test_the_user_that_was_touched_longest_ago_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(impact_module, "USERS_MAX", 2)
    impacts = Impacts()
    for user in ("ann", "bob", "ann", "cy"):
        impacts.opened(user, at=0)
    assert [impact.user_id for impact in impacts] == ["ann", "cy"]
    # What ends now was opened before it was forgotten, and changes nothing.
    impacts.closed("bob", at=60, recovered=True)
    assert shown(impacts, "bob", now=60) == (0, 0, 0, 0, 0)


def test_what_a_snapshot_has_goes_on() -> None:
    before, after = Impacts(), Impacts()
    before.opened("ann", at=0)
    for impact in before:
        after.adopt(impact)
    after.closed("ann", at=60, recovered=True)
    assert shown(after) == (1, 1, 1.0, 0, 0)
    after.adopt(Impact("bob", failures=7))
    assert shown(after, "bob")[0] == 7
