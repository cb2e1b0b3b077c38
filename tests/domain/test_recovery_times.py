"""How long recoveries took: the newest count, of the agents that were seen last."""

from __future__ import annotations

import pytest

from gateway.domain import recovery_times
from gateway.domain.recovery_times import KEPT, RecoveryTimes


def test_only_the_newest_are_kept() -> None:
    times = RecoveryTimes()
    times.add("search", "timeout", [100.0, *[5.0] * KEPT])
    assert list(times) == [("search", "timeout", [5.0] * KEPT)]


def test_a_median_needs_three_and_is_of_one_kind() -> None:
    times = RecoveryTimes()
    times.add("search", "timeout", [9.0, 2.0])
    assert times.median_s("search", "timeout") is None
    times.add("search", "timeout", [4.0])
    assert times.median_s("search", "timeout") == 4.0
    assert times.median_s("search", "rate_limit") is None


def test_of_too_many_agents_those_that_recovered_last_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovery_times, "KNOWN_MAX", 2)
    times = RecoveryTimes()
    for agent in ("a", "b", "a", "c"):
        times.add(agent, "timeout", [1.0])
    assert [agent for agent, _, _ in times] == ["a", "c"]


def test_what_is_known_is_shown_by_agent_and_type_the_newest_agents_first() -> None:
    times = RecoveryTimes()
    times.add("a", "timeout", [1.0, 2.0, 9.0])
    times.add("b", "rate_limit", [0.12345])
    times.add("a", "rate_limit", [4.0])
    assert times.newest(5) == ["a", "b"]
    assert times.newest(1) == ["a"]
    assert times.shown(["a", "b", "never"]) == {
        "a": {
            "timeout": {"median": 2.0, "count": 3},
            "rate_limit": {"median": 4.0, "count": 1},
        },
        "b": {"rate_limit": {"median": 0.123, "count": 1}},
    }
