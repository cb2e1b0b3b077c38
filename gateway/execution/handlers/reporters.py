"""
Reporters: in whose name one may report on work that is no task of the gateway's.

The rule: a report speaks for an agent, a worker and a failure, and each may be another user's.
Names that nobody serves are free, as a backend that only reports needs them; what the gateway
declares itself may be served, and so be reported on, by every ``agent``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.access import GATEWAY, Caller
from gateway.domain.errors import NameTaken, NotFound, NotPermitted
from gateway.execution.record.policies import Policies
from gateway.execution.record.state import State

__all__ = ["Reporters"]


class Reporters:
    """Refuses reports in the name of what is another user's."""

    def __init__(self, *, state: State, policies: Policies) -> None:
        self._state = state
        self._policies = policies

    def require_names(self, report: Mapping[str, Any], caller: Caller) -> None:
        """
        Let a report name its agent and its worker.

        Raises:
            NameTaken: If the agent is another user's.
            NotPermitted: If the worker is another user's, or the token is not for the agent.
        """
        name, agent_id = report.get("agent_name"), report.get("agent_id")
        if isinstance(name, str):
            if not caller.may_serve(name):
                raise NotPermitted("this token is not for that agent", field="agent_name")
            if not self._is_open(name, caller):
                raise NameTaken(
                    f"the agent {name} is another user's; report under another name",
                    field="agent_name",
                )
        worker = self._state.workers.get(agent_id) if isinstance(agent_id, str) else None
        if worker is not None and not _speaks_for(caller, worker.owner):
            raise NotPermitted("this worker is another user's; leave it out", field="agent_id")

    def require_failure(self, error_id: str, user_id: str, caller: Caller) -> None:
        """
        Let a report be about a failure.

        Raises:
            NotFound: If it is a task's, a breaker's, one for another user, or one of another
                user's agent.
        """
        opened = self._state.failures.get(error_id)
        if opened is None:
            return
        event = opened.event
        if (
            event["user_id"] != user_id
            or event["task_id"] is not None
            or not self._is_open(event["agent_name"], caller)
        ):
            raise NotFound(
                "no failure with this error_id was reported for this user", field="error_id"
            )

    def _is_open(self, agent_name: str, caller: Caller) -> bool:
        owner = self._policies.owner(agent_name)
        return owner in (None, GATEWAY.user_id) or _speaks_for(caller, owner)


def _speaks_for(caller: Caller, owner: str | None) -> bool:
    """Whether a caller may use what is a user's; on an open gateway everybody may play anybody."""
    return owner == caller.user_id or caller.operator or caller.played
