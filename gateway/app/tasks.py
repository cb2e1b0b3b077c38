"""``gateway tasks``: what was asked of agents, as a table, and one task with its attempts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click
import orjson

from gateway.app.reaching import Reached
from gateway.app.tables import NONE, ago, drawn, plain, say, width_now
from gateway.domain.timestamps import seconds_of

__all__ = ["lines_of", "show", "show_one"]

HEADINGS = ("TASK", "AGE", "STATUS", "AGENT", "USER", "TRIES", "WHY")
CUT = frozenset({"AGENT", "USER", "WHY"})
SPARE = ("TRIES", "USER", "WHY")
ATTEMPTS = ("ATTEMPT", "BEGAN", "LASTED", "ERROR", "WORKER")

# How much of a value is shown, in characters; --json shows all of it.
VALUE_CHARS_MAX = 400


async def show(
    url: str,
    token: str | None,
    *,
    filters: Mapping[str, str | None],
    limit: int | None,
    as_json: bool,
) -> None:
    """
    Print tasks, newest first.

    Args:
        url: The gateway.
        token: The bearer token; None: an open gateway.
        filters: Parameters of ``task.list``; those that are None do not count.
        limit: How many at the most; None: all.
        as_json: One task a line, as JSON; otherwise a table for people.

    Raises:
        ConfigurationError: If ``url`` cannot be read.
        GatewayError: If the gateway does not answer, or refuses.
    """
    gateway = Reached(url, token)
    now = None if as_json else await gateway.now()
    rows = []
    async for task in gateway.listed("task.list", filters, limit):
        if now is None:
            click.echo(orjson.dumps(task))
        else:
            rows.append(_row(task, now))
    if rows:
        say("\n".join(drawn(HEADINGS, rows, width=width_now(), cut=CUT, spare=SPARE)))
    elif not as_json:
        narrowed = any(value is not None for value in filters.values())
        click.echo("there are no tasks" + (" of these" if narrowed else ""), err=True)


async def show_one(url: str, token: str | None, task_id: str, *, as_json: bool) -> None:
    """Print one task with its attempts; the arguments are those of ``show``."""
    gateway = Reached(url, token)
    task = await gateway.call("task.get", {"task_id": task_id})
    if as_json:
        click.echo(orjson.dumps(task))
    else:
        say("\n".join(lines_of(task, await gateway.now(), width=width_now())))


def lines_of(task: Mapping[str, Any], now: float, *, width: int | None = None) -> list[str]:
    """Draw one task: its fields, a line each, and a table of its attempts."""
    lines = [f"{name:<13}{plain(text)}" for name, text in _fields(task, now)]
    if task["attempts"]:
        rows = [_attempt(each, now) for each in task["attempts"]]
        lines += ["", *drawn(ATTEMPTS, rows, width=width, cut=frozenset({"ERROR", "WORKER"}))]
    return lines


def _fields(task: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
    yield "task", task["task_id"]
    if task.get("title"):
        yield "title", task["title"]
    why = _why(task)
    yield "status", task["status"] + ("" if why == NONE else f" ({why})")
    yield "agent", task["agent_name"] or f"any that can do {task['capability']}"
    yield "user", task["user_id"]
    yield "priority", str(task["priority"])
    yield "asked", f"{ago(now - seconds_of(task['created_at']))} ago"
    if task.get("finished_at"):
        yield "ended", f"{ago(now - seconds_of(task['finished_at']))} ago"
    yield "attempts", f"{task['attempt']} of {task['max_attempts']}"
    for name in ("retry_of", "causation_id", "served_by"):
        if task.get(name):
            yield name, task[name]
    for name in ("input", "preserved", "result"):
        if task.get(name) not in (None, {"text": "", "steps": {}}):
            yield name, _shown(task[name])


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}… (--json has all)"


def _why(task: Mapping[str, Any]) -> str:
    """Why a task waits, or why it did not succeed."""
    if (waits := task.get("waiting_for")) is not None:
        return f"waits for {waits['waits_for']} {waits['name']}"
    error = task.get("error")
    return error["error_code"] if error and task["status"] != "succeeded" else NONE


def _row(task: Mapping[str, Any], now: float) -> tuple[str, ...]:
    return (
        task["task_id"],
        ago(now - seconds_of(task["created_at"])),
        task["status"],
        task["agent_name"] or task["capability"] or NONE,
        task["user_id"],
        f"{task['attempt']}/{task['max_attempts']}",
        _why(task),
    )


def _attempt(attempt: Mapping[str, Any], now: float) -> tuple[str, ...]:
    began, ended = seconds_of(attempt["started_at"]), attempt.get("ended_at")
    error = attempt.get("error") or {}
    return (
        str(attempt["attempt"]),
        f"{ago(now - began)} ago",
        ago(now - began) + " so far" if ended is None else f"{seconds_of(ended) - began:.1f}s",
        error.get("error_code", NONE),
        attempt.get("agent_id") or NONE,
    )
