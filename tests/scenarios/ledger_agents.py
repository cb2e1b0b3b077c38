"""
Agents that write down what they do, run by ``gateway work tests.scenarios.ledger_agents:gateway``.

Every line of the ledger (the file that the environment names) is one write at its end, so that
lines of several processes do not mix and a process that is killed leaves whole ones. A line is
``TASK ATTEMPT PID WHAT``; an attempt and its term grow together, so the attempt names both.
"""

from __future__ import annotations

import os

from gateway import Gateway, Task
from gateway.app.clock import SystemClock

# Between two lines of a text, in seconds: long enough that most attempts can be struck.
PAUSE_S = 0.04

gateway = Gateway()
clock = SystemClock()
ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _note(task: Task, what: object) -> None:
    os.write(ledger, f"{task.task_id} {task.attempt} {os.getpid()} {what}\n".encode())


@gateway.agent("scribe", timeout=60, max_attempts=100)
async def write(task: Task, question: str) -> str:
    """Write as many numbered lines as asked for, going on after those that were kept."""
    said = task.preserved.text
    _note(task, "begin")
    for number in range(said.count("\n") + 1, int(question) + 1):
        _note(task, number)
        task.append(f"{number}\n")
        said += f"{number}\n"
        await clock.sleep(PAUSE_S)
    _note(task, "end")
    return said


@gateway.agent("clerk", timeout=60, max_attempts=1)
async def file(task: Task, question: str) -> str:
    """Do one short item."""
    _note(task, "begin")
    _note(task, "end")
    return question
