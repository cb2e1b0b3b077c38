"""
Agents that fail at night: one has a bug, one's upstream is away.

Run by ``gateway serve`` and ``gateway work`` with ``tests.scenarios.night_agents:gateway``.
"""

from __future__ import annotations

import socket

from gateway import Gateway, Task

gateway = Gateway()


@gateway.agent("buggy")
async def look_up(task: Task, question: str) -> str:
    """Look for what is not there."""
    prices: dict[str, str] = {}
    return prices["sk-" + "a1B2" * 12]


@gateway.agent("cut-off", max_attempts=2, timeout=2)
def ask(task: Task, question: str) -> str:
    """Ask a port that nobody listens at."""
    socket.create_connection(("127.0.0.1", 9), timeout=1)
    return "an answer"
