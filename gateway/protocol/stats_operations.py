"""Operations that count: the gateway's statistics, and the impact of failures on one user."""

from __future__ import annotations

from gateway.protocol.shapes import (
    BREAKER_STATES,
    COUNT,
    NULLABLE_TEXT,
    POSITION,
    RECOVERY_TIMES,
    TASK_STATUSES,
    USER_ID,
    WORKER_STATUSES,
    Operation,
    Schema,
    params,
)

__all__ = ["STATS_OPERATIONS"]

LISTED = "at most 1,000 are listed, those whose tasks changed last"
TIMES: Schema = {"type": ["number", "null"], "minimum": 0}


def _by_name(item: Schema, about: str) -> Schema:
    return {"type": "object", "additionalProperties": item, "description": f"{about}; {LISTED}"}


def _counts(names: tuple[str, ...]) -> Schema:
    return {
        "type": "object",
        "properties": dict.fromkeys(names, COUNT),
        "required": list(names),
        "additionalProperties": False,
    }


TASKS_OF_DOMAIN = _counts(("agents", "open", "finished", "failed", "outcomes"))
DOMAIN: Schema = {
    **TASKS_OF_DOMAIN,
    "properties": {
        **TASKS_OF_DOMAIN["properties"],
        "failure_rate": {"type": "number", "minimum": 0, "maximum": 1},
        "state": {"enum": list(BREAKER_STATES)},
    },
    "required": [*TASKS_OF_DOMAIN["required"], "failure_rate", "state"],
}
DEGRADATION: Schema = {
    "type": "object",
    "properties": {
        "degradation_id": {"type": "string"},
        "scope": {"type": "string"},
        "mode": {"type": "string"},
        "since": NULLABLE_TEXT,
        "disabled_features": {"type": "array", "items": {"type": "string"}},
        "message": {"type": "string"},
    },
    "required": ["degradation_id", "scope", "mode", "since", "disabled_features", "message"],
    "additionalProperties": False,
}
UNKNOWN_EXCEPTIONS: Schema = {
    "type": ["object", "null"],
    "description": "attempts that failed since this node began with an exception that no table "
    "knows, in all, and by class the ten most frequent; null: you are no operator",
    "properties": {"total": COUNT, "most": {"type": "object", "additionalProperties": COUNT}},
    "required": ["total", "most"],
    "additionalProperties": False,
}
STATS: Schema = {
    "title": "stats",
    "type": "object",
    "properties": {
        "timestamp": {"type": "string"},
        "position": {"type": "object"},
        "mode": {"type": "string"},
        "tasks": {
            "description": "tasks that are known: all that are open, and those that have ended "
            "within a day",
            "type": "object",
            "properties": {
                "by_status": _counts(TASK_STATUSES),
                "by_agent": _by_name(COUNT, "tasks of each agent"),
                "without_worker": _by_name(
                    COUNT, "tasks of each agent, or capability, that wait for somebody to serve it"
                ),
            },
            "required": ["by_status", "by_agent", "without_worker"],
        },
        "by_domain": _by_name(
            DOMAIN,
            "by failure domain its workers that are not offline, the tasks that ran there last, "
            "how many attempts ended there in the last 30 s and which share of them failed, and "
            "its state: closed at full speed, open or half_open at one task a second",
        ),
        "by_user": _by_name(
            _counts(("open", "finished", "failed")),
            "tasks of each user: not ended, ended, and of these the failed and dead-lettered ones",
        ),
        "agents": {
            "type": "object",
            "properties": {"total": COUNT, "by_status": _counts(WORKER_STATUSES)},
            "required": ["total", "by_status"],
        },
        "queue": {
            "type": "object",
            "properties": {
                "depth": {**COUNT, "description": "tasks that wait"},
                "oldest_age": {**TIMES, "description": "seconds that the oldest of them is old"},
                "limit": {**COUNT, "description": "waiting tasks before more are refused"},
            },
            "required": ["depth", "oldest_age", "limit"],
        },
        "breakers": {
            "type": "object",
            "properties": {"by_state": _counts(("closed", "open", "half_open"))},
            "required": ["by_state"],
        },
        "upstreams": _by_name(
            _counts(("running", "limit")),
            "with `--adaptive-concurrency`: how many calls of an upstream run, and may",
        ),
        "held_upstreams": _by_name(
            {"type": "string"}, "until when an upstream has asked not to be called"
        ),
        "degradations": {
            "type": "array",
            "description": f"what is degraded now, the newest first; {LISTED}",
            "items": DEGRADATION,
        },
        "dead_letters": {
            "description": "tasks that were given up and are kept, and how many of the last hour "
            "were not tried again",
            **_counts(("total", "last_hour")),
        },
        "unknown_exceptions": UNKNOWN_EXCEPTIONS,
        "recovery_times": RECOVERY_TIMES,
        "users": {**COUNT, "description": "users with a task that is known"},
        "connections": {**COUNT, "description": "subscribers that are connected to this node"},
        "log": {"description": "what is kept of it", **_counts(("events", "bytes"))},
    },
    "required": [
        "timestamp",
        "position",
        "mode",
        "tasks",
        "by_domain",
        "by_user",
        "agents",
        "queue",
        "breakers",
        "upstreams",
        "held_upstreams",
        "degradations",
        "dead_letters",
        "unknown_exceptions",
        "recovery_times",
        "users",
        "connections",
        "log",
    ],
}
IMPACT: Schema = {
    "title": "impact",
    "type": "object",
    "properties": {
        "user_id": {"type": "string"},
        "failures": {**COUNT, "description": "failures that it met, each counted once"},
        "recovered": {**COUNT, "description": "those that ended with a recovery"},
        "minutes_degraded": {
            "type": "number",
            "minimum": 0,
            "description": "minutes with at least one open failure",
        },
        "results_kept": {
            **COUNT,
            "description": "tasks that failed and yet gave their result, or of whose work a part "
            "is kept",
        },
        "results_lost": {
            **COUNT,
            "description": "tasks that failed for good, and nothing of their work is kept",
        },
    },
    "required": [
        "user_id",
        "failures",
        "recovered",
        "minutes_degraded",
        "results_kept",
        "results_lost",
    ],
}

STATS_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "stats.get",
        "GET",
        "/api/stats",
        "events:read:all",
        "Count everything: tasks, workers, the queue, breakers, users, connections, the log.",
        params((), min_position=POSITION),
        STATS,
    ),
    Operation(
        "impact",
        "GET",
        "/api/users/{user_id}/impact",
        "events:read",
        "Tell what failures have done to a user; of others only with events:read:all.",
        params(("user_id",), user_id=USER_ID, min_position=POSITION),
        IMPACT,
    ),
)
