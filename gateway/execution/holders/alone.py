"""
A process that is alone on its log, and yet is asked which agents there are.

A node of a log with several registers like any worker, since the others have to know it. A process
alone has nobody to tell, so nothing of it is in the log; it is listed all the same.
"""

from __future__ import annotations

from gateway.attempts.agents import Agents
from gateway.domain.access import GATEWAY
from gateway.domain.worker import Worker
from gateway.ports import Clock

__all__ = ["HANDLE", "Alone"]

# The handle under which the processes of gateways are listed among the workers.
HANDLE = "gateway"


class Alone:
    """
    The one process of its log.

    Args:
        holder: agent_id under which it holds its tasks.
        agents: Its own.
        clock: Tells since when it is there.
    """

    def __init__(self, *, holder: str, agents: Agents, clock: Clock) -> None:
        self.holder = holder
        self._agents = agents
        self._since = clock.wall()

    @property
    def worker(self) -> Worker | None:
        """This process as a worker among others; None: it has no agents."""
        policies = {declared.policy.name: declared.policy for declared in self._agents}
        if not policies:
            return None
        return Worker(
            agent_id=self.holder,
            handle=HANDLE,
            agents=policies,
            capabilities=(),
            domain=None,
            type="node",
            secret_digest="",
            owner=GATEWAY.user_id,
            by_socket=True,
            registered_at=self._since,
        )
