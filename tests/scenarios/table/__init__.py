"""
The table of scenarios: what callers and workers do with a gateway, said once and for no door.

Each scenario has names of its own, so that they may be played in any order at one gateway.
"""

from __future__ import annotations

from tests.scenarios.steps import Scenario
from tests.scenarios.table.events import EVENTS
from tests.scenarios.table.refusals import CALLERS_WITHOUT, REFUSALS
from tests.scenarios.table.tasks import TASKS
from tests.scenarios.table.workers import WORKERS

__all__ = ["CALLERS", "TABLE"]

USER = "events:read events:write tasks:write agent"
# The scopes of each caller of the table.
CALLERS: dict[str, str] = {
    "ann": USER,
    "bob": USER,
    "cy": USER,
    "auditor": "events:read:all",
    "maker": "tasks:write",
    "meddler": "events:read:all tasks:write",
    "operator": "admin",
    **CALLERS_WITHOUT,
}

TABLE: tuple[Scenario, ...] = (*TASKS, *WORKERS, *EVENTS, *REFUSALS)
