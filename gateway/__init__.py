"""
A gateway around AI agents: when one fails, everyone who depends on it knows within
milliseconds, in order, even if they were away.
"""

from gateway.app.gateway import Gateway
from gateway.execution.work import Task

__all__ = ["Gateway", "Task"]
