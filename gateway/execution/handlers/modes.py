"""The operations on the mode: ask for it, and set it."""

from __future__ import annotations

from typing import Any

from gateway.domain.access import Caller
from gateway.domain.timestamps import rfc3339
from gateway.execution.guards.modes import Modes
from gateway.execution.handlers.params import Handler, Params
from gateway.execution.record.reach import Reach
from gateway.execution.record.state import State

__all__ = ["ModeHandlers"]


class ModeHandlers:
    """The operations ``mode.*``."""

    def __init__(self, *, state: State, modes: Modes, reach: Reach) -> None:
        self._state = state
        self._modes = modes
        self._reach = reach
        self.by_name: dict[str, Handler] = {"mode.get": self._get, "mode.set": self._set}

    async def _get(self, params: Params, caller: Caller) -> Any:
        await self._reach.wait_for(params)
        return self._view(caller)

    async def _set(self, params: Params, caller: Caller) -> Any:
        await self._modes.set(params["mode"], note=params.get("note"))
        return self._view(caller)

    def _view(self, caller: Caller) -> dict[str, Any]:
        mode = self._state.mode
        shown = {
            "mode": mode.name,
            "reason": mode.reason,
            "since": rfc3339(mode.since) if mode.since else None,
            "degradation_id": mode.degradation_id,
        }
        if mode.note is not None and caller.operator:
            shown["note"] = mode.note
        return shown
