"""
The lifeline of one WebSocket: when it showed life, and what is due for it.

Times are seconds on a monotonic clock, given as ``now``, and seconds since the Unix epoch, given as
``wall``. Nothing here reads a clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gateway.domain.access import Caller
from gateway.domain.settings import Settings
from gateway.protocol.codes import CloseCode

__all__ = ["Lifeline"]


class Lifeline:
    """
    What a connection's limits of time say.

    Args:
        settings: ``connect_timeout``, ``client_timeout`` and ``heartbeat_interval``.
        look_s: How often it is looked at, in seconds.
        now: When it began.

    Attributes:
        alive_at: When the peer last showed life.
    """

    __slots__ = ("_began_at", "_degradation", "_heartbeat_at", "_look_s", "_settings", "alive_at")

    def __init__(self, settings: Settings, *, look_s: float, now: float) -> None:
        self.alive_at = now
        self._settings = settings
        self._look_s = look_s
        self._began_at = self._heartbeat_at = now
        self._degradation: Mapping[str, Any] | None = None

    def over(
        self, now: float, wall: float, caller: Caller | None, *, busy: bool
    ) -> CloseCode | None:
        """
        Tell whether the connection has to be closed.

        Args:
            now: The time.
            wall: The time.
            caller: Who has connected; None: nobody yet.
            busy: It is we who do not read from it.
        """
        if caller is None:
            late = now >= self._began_at + self._settings.connect_timeout
            return CloseCode.no_connect_in_time if late else None
        if caller.expires_at is not None and wall >= caller.expires_at:
            return CloseCode.token_expired
        if now >= self._lost_at and not busy:
            return CloseCode.no_sign_of_life
        return None

    def beats(self, now: float, degradation: Mapping[str, Any] | None) -> bool:
        """Tell whether a heartbeat goes out now: it is time, or what it says has changed."""
        if now < self._heartbeat_at + self._interval_s and degradation is self._degradation:
            return False
        self._heartbeat_at, self._degradation = now, degradation
        return True

    def due(self, now: float, wall: float, caller: Caller | None) -> float:
        """Tell when to look again."""
        if caller is None:
            return self._began_at + self._settings.connect_timeout
        expires_in = math.inf if caller.expires_at is None else caller.expires_at - wall
        return min(
            self._heartbeat_at + self._interval_s,
            max(self._lost_at, now + self._look_s),
            now + expires_in,
        )

    @property
    def _lost_at(self) -> float:
        return self.alive_at + self._settings.client_timeout

    @property
    def _interval_s(self) -> float:
        # Two looks early: the hub calls at its own pace, and a heartbeat is never late.
        return self._settings.heartbeat_interval - 2 * self._look_s
