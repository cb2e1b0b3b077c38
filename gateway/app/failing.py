"""
Agents whose tasks end badly just now, found in the newest tasks of a gateway.

A breaker and a dead letter tell of failures that are tried again. What is not, such as a key that
an upstream does not take any more, ends each task at its first attempt and opens no breaker: here
it is seen all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.app.reaching import Reached
from gateway.domain.timestamps import seconds_of

__all__ = ["FAILED_MIN", "JUDGED", "failing", "judged"]

# What has ended so lately counts, in seconds.
RECENT_S = 600.0
# Tasks that are looked at, the newest: of all that failed, and of each agent of both ends.
LOOKED_AT = 100
# Of these, the newest of an agent that have ended, so that a failure that begins is seen soon.
JUDGED = 50
# An agent is told from so many failures on, and from such a share of what has ended.
FAILED_MIN = 5
SHARE_MIN = 0.2
# Agents that are looked at, those with the most failures first.
AGENTS_MAX = 5

# What a caller has asked is the caller's to mend, unless the failure itself sends for an operator;
# an open breaker is told of by itself.
NOT_COUNTED = frozenset({"invalid_input", "content_refused", "circuit_open"})
Task = Mapping[str, Any]


async def failing(gateway: Reached, now: float) -> list[dict[str, Any]]:
    """
    Give the agents of which many of the newest tasks have failed.

    Args:
        now: The gateway's time, in seconds since 1970.

    Returns:
        For each ``agent``, ``failed`` of ``ended``, the most frequent ``error_code`` and a
        ``task_id`` that ended so, the most failures first.

    Raises:
        CallFailed, NotReached: As ``Reached.call`` does.
    """
    failed = await _newest(gateway, status="failed")
    counts = Counter(one["agent_name"] for one in failed if _counts(one, now))
    found = []
    for name, count in counts.most_common(AGENTS_MAX):
        if name is not None and count >= FAILED_MIN:
            own = await _newest(gateway, status="failed", agent=name)
            found += judged(name, own, await _newest(gateway, status="succeeded", agent=name), now)
    return found


async def _newest(gateway: Reached, **filters: str) -> list[Task]:
    return [one async for one in gateway.listed("task.list", filters, LOOKED_AT)]


def judged(
    name: str, failed: Sequence[Task], succeeded: Sequence[Task], now: float
) -> list[dict[str, Any]]:
    """
    Tell whether an agent fails.

    Args:
        name: The agent.
        failed: Its newest tasks that failed, as ``task.list`` has them.
        succeeded: Its newest that succeeded.
        now: The gateway's time, in seconds since 1970.

    Returns:
        One item if it does, as ``failing`` gives it, else none.
    """
    known = [one for one in failed if _counts(one, now)]
    known += [one for one in succeeded if _ended_at(one) >= now - RECENT_S]
    ended = sorted(known, key=_ended_at, reverse=True)[:JUDGED]
    bad = [one for one in ended if one["status"] == "failed"]
    if len(bad) < max(FAILED_MIN, SHARE_MIN * len(ended)):
        return []
    ((code, _),) = Counter(one["error"]["error_code"] for one in bad).most_common(1)
    example = next(one["task_id"] for one in bad if one["error"]["error_code"] == code)
    return [
        {
            "agent": name,
            "failed": len(bad),
            "ended": len(ended),
            "error_code": code,
            "task_id": example,
        }
    ]


def _ended_at(task: Task) -> float:
    return seconds_of(task["finished_at"])


def _counts(task: Task, now: float) -> bool:
    """Whether a failed task is the agent's, and not long ago."""
    error = task.get("error")
    if error is None or _ended_at(task) < now - RECENT_S:
        return False
    return error["error_type"] not in NOT_COUNTED or error["suggested_action"] == "contact_support"
