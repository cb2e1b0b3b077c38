"""The lifeline: when a connection is over, when it gets a heartbeat, when to look again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.domain.access import Caller
from gateway.domain.settings import Settings
from gateway.protocol.codes import CloseCode
from gateway.transports.lifeline import Lifeline

SETTINGS = Settings(connect_timeout=10, client_timeout=60, heartbeat_interval=25)
ANN = Caller("ann", frozenset({"events:read"}))


def life() -> Lifeline:
    return Lifeline(SETTINGS, look_s=1, now=100)


@pytest.mark.parametrize(("now", "code"), [(109.9, None), (110, CloseCode.no_connect_in_time)])
def test_a_client_has_to_connect_in_time(now: float, code: CloseCode | None) -> None:
    assert life().over(now, 0, None, busy=False) == code
    assert life().due(now, 0, None) == 110


@pytest.mark.parametrize(
    ("now", "busy", "code"),
    [(159.9, False, None), (160, False, CloseCode.no_sign_of_life), (160, True, None)],
)
def test_silence_ends_it_unless_it_is_we_who_do_not_read(
    now: float, busy: bool, code: CloseCode | None
) -> None:
    assert life().over(now, 0, ANN, busy=busy) == code


def test_a_sign_of_life_counts_from_when_it_came() -> None:
    it = life()
    it.alive_at = 130
    assert it.over(189, 0, ANN, busy=False) is None
    assert it.over(190, 0, ANN, busy=False) is CloseCode.no_sign_of_life


def test_it_ends_with_its_token() -> None:
    brief = Caller("ann", frozenset({"events:read"}), expires_at=1000.0)
    assert life().over(100, 999.9, brief, busy=False) is None
    assert life().over(100, 1000.0, brief, busy=True) is CloseCode.token_expired
    assert life().due(100, 995.0, brief) == 105


def test_heartbeats_come_early_and_at_once_when_the_store_goes_away_or_comes_back() -> None:
    it, away = life(), {"scope": "store"}
    told: list[tuple[float, Mapping[str, Any] | None]] = [
        (122.9, None),
        (123, None),
        (123.1, None),
        (124, away),
        (125, away),
        (126, None),
        (148.9, None),
        (149, None),
    ]
    assert [now for now, degradation in told if it.beats(now, degradation)] == [123, 124, 126, 149]


def test_it_is_looked_at_when_something_is_due() -> None:
    it = life()
    assert it.due(100, 0, ANN) == 123
    # A client that is lost, but not closed since we are busy, is looked at as often as any.
    assert it.beats(158, None)
    assert it.due(160, 0, ANN) == 161
    assert it.due(160, 0, ANN) < math.inf
