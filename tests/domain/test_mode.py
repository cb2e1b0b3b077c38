"""The mode: folded from its entries, and what it refuses."""

from __future__ import annotations

import pytest

from gateway.domain.facts import ModeChanged
from gateway.domain.mode import Mode, refusal


def test_a_change_is_folded_with_its_degradation() -> None:
    mode = Mode()
    assert (mode.name, mode.reason) == ("normal", "start")
    changed = {"type": "mode_changed", "mode": "degraded", "reason": "overload"}
    mode.apply(changed, ModeChanged("node"), at=5.0, offset=7)
    assert (mode.name, mode.by, mode.since, mode.last_offset) == ("degraded", "node", 5.0, 7)
    told = {"type": "graceful_degradation", "degradation_id": "d", "error_id": "e"}
    mode.apply(told, None, at=5.0, offset=8)
    assert (mode.degradation_id, mode.error_id, mode.last_offset) == ("d", "e", 8)
    mode.apply({"type": "system_recovered"}, None, at=9.0, offset=9)
    normal = {"type": "mode_changed", "mode": "normal", "reason": "operator"}
    mode.apply(normal, None, at=9.0, offset=10)
    assert mode == Mode("normal", "operator", None, 9.0, None, None, 10)


@pytest.mark.parametrize(
    ("mode", "priority", "reason"),
    [
        ("normal", 10, None),
        ("degraded", 5, None),
        ("degraded", 6, "degraded_mode"),
        ("read_only", 0, "read_only"),
        ("draining", 0, "draining"),
    ],
)
def test_what_a_mode_refuses(mode: str, priority: int, reason: str | None) -> None:
    assert refusal(mode, priority) == reason
