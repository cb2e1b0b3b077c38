"""What ``gateway demo`` decides before it serves: its address, its port and its pace."""

from __future__ import annotations

import pytest

from gateway.app.demo import serving
from gateway.domain.errors import ConfigurationError
from gateway.transports.server import bind


async def test_the_demo_refuses_addresses_of_other_machines() -> None:
    said: list[str] = []
    for host in ("0.0.0.0", "192.0.2.7", "::", "example.com"):
        with pytest.raises(ConfigurationError, match=r"use --host 127\.0\.0\.1"):
            await serving.serve_demo(host=host, port=0, say=said.append)
    assert said == []


def test_a_taken_default_port_is_replaced_and_a_chosen_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listener = bind("127.0.0.1", 0)
    listener.listen()
    taken = listener.getsockname()[1]
    try:
        assert serving._free_port("127.0.0.1", taken) == taken
        monkeypatch.setattr(serving, "DEFAULT_PORT", taken)
        assert serving._free_port("127.0.0.1", taken) == 0
    finally:
        listener.close()
    assert serving._free_port("127.0.0.1", taken) == taken


def test_a_pace_shortens_pauses_and_not_limits() -> None:
    assert serving._settings(1.0) == serving.SETTINGS
    fast = serving._settings(10.0)
    assert fast.breaker_cooldown == serving.SETTINGS.breaker_cooldown / 10
    assert fast.retry_base == serving.SETTINGS.retry_base / 10
    assert fast.retry_max == serving.SETTINGS.retry_max / 10
    assert fast.mode_period == serving.SETTINGS.mode_period / 10
    assert fast.heartbeat_timeout == serving.SETTINGS.heartbeat_timeout
    assert fast.offline_after == serving.SETTINGS.offline_after
    assert fast.drain_grace == serving.SETTINGS.drain_grace
