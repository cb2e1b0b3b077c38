"""How the parts become one gateway; the one place that names concrete classes."""

from __future__ import annotations

import pathlib

from gateway.app.clock import RandomIds, SystemClock
from gateway.domain.settings import Settings
from gateway.execution.agents import Agents
from gateway.execution.engine import Engine
from gateway.stores.memory import MemoryLog

__all__ = ["build_engine", "frontend_dir"]


def build_engine(settings: Settings, agents: Agents) -> Engine:
    """Put an engine together on the store that the settings name."""
    clock, ids = SystemClock(), RandomIds()
    log = MemoryLog(
        epoch=ids.uuid7(),
        clock=clock,
        events_max=settings.log_events,
        bytes_max=settings.log_bytes,
        age_max_s=settings.log_age,
    )
    return Engine(log=log, clock=clock, ids=ids, settings=settings, agents=agents)


def frontend_dir() -> pathlib.Path:
    """Find the page: beside this file in an installed package, else in the checkout."""
    here = pathlib.Path(__file__).resolve().parent
    installed = here / "frontend"
    return installed if installed.is_dir() else here.parents[1] / "frontend_stub"
