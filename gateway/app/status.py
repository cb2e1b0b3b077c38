"""
``gateway status``: on one screen, whether all is well, and what needs a person.

What it shows is one JSON object with stable names; the screen is drawn from that object, and so is
the exit code: what it names under ``attention`` is what is not well.
"""

from __future__ import annotations

import asyncio
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click
import orjson

from gateway.app import breakers
from gateway.app.failing import failing
from gateway.app.reaching import Reached
from gateway.app.tables import NONE, ago, drawn, lasting, plain, say, width_now
from gateway.domain.alerts import HOLD_MIN_S
from gateway.domain.holds import upstream_in
from gateway.domain.names import similar_to
from gateway.domain.timestamps import seconds_of

__all__ = ["ATTENTION", "asked", "assessed", "lines_of", "show"]

# The exit code when something needs a person.
ATTENTION = 1

# Workers that have gone are told for so long, in seconds; after that they are history.
GONE_SHOWN_S = 3600.0
# From such a share of the queue on it is said who waits most.
FULL = 0.8
# Rows of one table; the rest is counted.
ROWS_MAX = 20

BY_HAND = "an operator set it; `gateway mode set normal` ends it"
Status = dict[str, Any]


async def show(url: str, token: str | None, *, as_json: bool) -> int:
    """
    Print how a gateway is.

    Args:
        url: Its address.
        token: The bearer token of an operator; None: an open gateway.
        as_json: One JSON object; otherwise a screen for people.

    Returns:
        The exit code: 0 all is well, 1 something needs a person.

    Raises:
        ConfigurationError: If ``url`` cannot be read.
        NotReached: If there is no gateway, or it does not let this caller in.
    """
    status = await asked(Reached(url, token))
    if as_json:
        click.echo(orjson.dumps(status))
    else:
        say("\n".join(lines_of(status, width=width_now())))
    return 0 if status["well"] else ATTENTION


async def asked(gateway: Reached) -> Status:
    """
    Ask a gateway how it is.

    Raises:
        NotReached: If there is no gateway, or it does not let this caller in.
    """
    reason = await gateway.ready()
    stats, mode, counted, workers = await asyncio.gather(
        gateway.call("stats.get"),
        gateway.call("mode.get"),
        _all(gateway, "breaker.list"),
        _all(gateway, "agent.list"),
    )
    return assessed(
        gateway.url,
        reason,
        stats=stats,
        mode=mode,
        counted=counted,
        workers=workers,
        fail=await failing(gateway, seconds_of(stats["timestamp"])),
    )


async def _all(gateway: Reached, name: str) -> list[dict[str, Any]]:
    return [item async for item in gateway.listed(name, {})]


def assessed(
    url: str,
    reason: str | None,
    *,
    stats: Mapping[str, Any],
    mode: Mapping[str, Any],
    counted: Sequence[Mapping[str, Any]],
    workers: Sequence[Mapping[str, Any]],
    fail: Sequence[Mapping[str, Any]] = (),
) -> Status:
    """
    Make the one object of what the gateway's operations have answered.

    Args:
        reason: Why it is not ready; None: it is.
        stats: As ``stats.get`` has it; mode and workers as their operations have them.
        counted: As ``breaker.list`` has them, failure domains among them.
        fail: Agents that fail, as ``failing`` gives them.
    """
    now = seconds_of(stats["timestamp"])
    unknown = stats["unknown_exceptions"] or {"total": 0, "most": {}}
    status: Status = {
        "url": url,
        "timestamp": stats["timestamp"],
        "ready": reason is None,
        "reason": reason,
        "mode": dict(mode),
        "degradations": stats["degradations"],
        "queue": {**stats["queue"], "most_of": _most_of(stats["by_user"])},
        "tasks": {
            "by_status": stats["tasks"]["by_status"],
            "without_worker": stats["tasks"]["without_worker"],
        },
        "breakers": {
            "by_state": stats["breakers"]["by_state"],
            "not_closed": [
                dict(each)
                for each in counted
                if each["state"] != "closed" and each["scope"] != "domain"
            ],
        },
        "domains_slowed": [
            dict(each)
            for each in counted
            if each["state"] != "closed" and each["scope"] == "domain"
        ],
        "agents_failing": [dict(each) for each in fail],
        "upstreams_held": stats["held_upstreams"],
        "workers": {
            # Counted here: the gateway's own agents are in the list alone.
            "by_status": dict(Counter(each["status"] for each in workers)),
            "items": [dict(each) for each in workers if not _is_history(each, now)],
        },
        "dead_letters": stats["dead_letters"],
        "unknown_exceptions": {
            "total": unknown["total"],
            "most": [
                {"exception": name, "count": count} for name, count in unknown["most"].items()
            ],
        },
        "connections": stats["connections"],
        "log": {**stats["log"], "position": stats["position"]},
    }
    status["attention"] = list(_attention(status, now))
    status["well"] = not status["attention"]
    return status


def _is_history(worker: Mapping[str, Any], now: float) -> bool:
    """Whether a worker has left as it was told to, or was lost long ago."""
    if worker["status"] == "offline" and worker["reason"] == "goodbye":
        return True
    last = worker["last_heartbeat"] or worker["registered_at"]
    return worker["status"] == "offline" and seconds_of(last) < now - GONE_SHOWN_S


def _attention(status: Status, now: float) -> Iterator[dict[str, str]]:
    """Say what is not well, and what to do about it."""

    def about(what: str, name: str, text: str, remedy: str) -> dict[str, str]:
        return {"what": what, "name": name, "text": text, "remedy": remedy}

    if not status["ready"]:
        remedy = "look at the gateway's log, and at its store"
        yield about("not_ready", "gateway", f"not ready: {status['reason']}", remedy)
    mode = status["mode"]
    if mode["mode"] != "normal":
        for_people = f"the mode is {mode['mode']}, since {_since(mode['since'], now)}"
        remedy = BY_HAND if mode["reason"] == "operator" else "it ends by itself with the load"
        yield about("mode", mode["mode"], f"{for_people} ({mode['reason']})", remedy)
    for each in status["degradations"]:
        # The mode has been told, and a breaker's and a domain's are told below.
        if each["scope"] not in ("gateway", "agent", "upstream", "domain"):
            remedy = "see what happened: gateway tail system --since start --detail"
            yield about("degradation", each["mode"], each["message"], remedy)
    for each in status["breakers"]["not_closed"]:
        text = f"the breaker {each['name']} is {each['state']}{_until(each['probe_at'], now)}"
        remedy = f"see what fails: gateway tail agent:{each['name']} --since start --detail"
        yield about("breaker", each["name"], text, remedy)
    for each in status["domains_slowed"]:
        rate = f"{each['failure_rate']:.0%} of its attempts fail"
        text = f"the failure domain {each['name']} gets one task a second: {rate}"
        yield about("domain", each["name"], text, "look at what its workers share")
    for each in status["agents_failing"]:
        name, share = each["agent"], f"{each['failed']} of its newest {each['ended']} tasks"
        text = f"{name} fails: {share} in 10m, mostly {each['error_code']}"
        remedy = f"see why: gateway tail task:{each['task_id']} --since start --detail"
        yield about("agent_failing", name, text, remedy)
    for name, until in status["upstreams_held"].items():
        if seconds_of(until) - now >= HOLD_MIN_S:
            text = f"the upstream {name} asks not to be called{_until(until, now)}"
            remedy = "ask its provider for more; to call it all the same: gateway breakers close "
            remedy += shlex.quote(upstream_in(name))
            yield about("upstream_held", name, text, remedy)
    queue = status["queue"]
    if queue["depth"] >= FULL * queue["limit"] and (most := queue["most_of"]) is not None:
        text = f"the queue is {queue['depth'] / queue['limit']:.0%} full"
        text += f"; {most['user_id']} has most of the open tasks: {most['open']}"
        remedy = f"see them: gateway tasks list --user {shlex.quote(most['user_id'])}"
        yield about("queue", most["user_id"], text, remedy)
    yield from _about_workers(status, about)
    served = sorted({name for each in status["workers"]["items"] for name in each["agents"]})
    for name, count in status["tasks"]["without_worker"].items():
        text = f"{_tasks(count)} of {name} {'waits' if count == 1 else 'wait'}: nobody serves it"
        remedy = "start a worker: gateway work MODULE:GATEWAY"
        if alike := similar_to(name, (one for one in served if one != name)):
            remedy += f"; or is {' or '.join(alike)} meant?"
        yield about("no_worker", name, text, remedy)
    if lately := status["dead_letters"]["last_hour"]:
        text = f"{_tasks(lately)} given up in the last hour"
        yield about("dead_letters", "dead_letters", text, "gateway dead-letters list")


def _about_workers(
    status: Status, about: Callable[[str, str, str, str], dict[str, str]]
) -> Iterator[dict[str, str]]:
    """Tell of workers that alerts tell of; not of a lost one in whose place another came."""
    workers = status["workers"]["items"]
    came: dict[str, float] = {}
    for each in workers:
        if each["status"] in ("healthy", "suspect"):
            at = seconds_of(each["registered_at"])
            came[each["handle"]] = max(at, came.get(each["handle"], at))
    lost: Counter[tuple[str, str, str]] = Counter()
    for each in workers:
        heard = seconds_of(each["last_heartbeat"] or each["registered_at"])
        gone = each["status"] in ("unhealthy", "offline") and came.get(each["handle"], 0.0) <= heard
        if gone or each["status"] == "quarantined":
            lost[each["handle"], each["status"], each["reason"]] += 1
    for (handle, known_as, reason), count in lost.items():
        who = f"the worker {handle} is" if count == 1 else f"{count} workers {handle} are"
        remedy = "look at its machine; start it there again"
        if known_as == "quarantined":
            remedy = "look at its log; it comes back when it does better"
        yield about("worker", handle, f"{who} {known_as} ({reason})", remedy)


def _most_of(by_user: Mapping[str, Mapping[str, int]]) -> dict[str, Any] | None:
    """Give the user with the most open tasks; None: nobody has any."""
    name = max(by_user, key=lambda one: by_user[one]["open"], default=None)
    if name is None or by_user[name]["open"] == 0:
        return None
    return {"user_id": name, "open": by_user[name]["open"]}


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def _since(at: str | None, now: float) -> str:
    return "the beginning" if at is None else f"{lasting(now - seconds_of(at))}"


def _until(at: str | None, now: float) -> str:
    if at is None or (left := seconds_of(at) - now) <= 0:
        return ""
    return f" until {at[11:19]} (in {lasting(left)})"


# --- the screen ---------------------------------------------------------------------------------


def lines_of(status: Status, *, width: int | None = None) -> list[str]:
    """
    Draw the screen.

    Args:
        status: As ``assessed`` gives it.
        width: How wide the terminal is, in signs; None: it is none, and nothing is cut.
    """
    now = seconds_of(status["timestamp"])
    lines = [_head(status), ""]
    for each in status["attention"]:
        lines.append(click.style("! ", fg="red", bold=True) + plain(each["text"]))
        lines.append(click.style(f"  {plain(each['remedy'])}", dim=True))
    if status["attention"]:
        lines.append("")
    lines += [f"{name:<14}{text}" for name, text in _summary(status, now)]
    for title, headings, rows, cut in _tables(status, now):
        if rows:
            lines += ["", click.style(title, bold=True)]
            table = drawn(
                headings, rows[:ROWS_MAX], width=None if width is None else width - 2, cut=cut
            )
            lines += [f"  {line}" for line in table]
            if len(rows) > ROWS_MAX:
                lines.append(f"  … and {len(rows) - ROWS_MAX} more")
    if unknown := status["unknown_exceptions"]["most"]:
        known_as = plain(unknown[0]["exception"]).rpartition(".")[2]
        remedy = f"  name it with @gateway.classify({known_as}, …): docs/failures.md"
        lines.append(click.style(remedy[:width], dim=True))
    return lines


def _head(status: Status) -> str:
    word, colour = ("ready", "green") if status["ready"] else ("not ready", "red")
    at = status["timestamp"][:19].replace("T", " ")
    return f"{status['url']}  {click.style(word, fg=colour, bold=True)}  {at} UTC"


def _summary(status: Status, now: float) -> Iterator[tuple[str, str]]:
    mode, queue, tasks = status["mode"], status["queue"], status["tasks"]["by_status"]
    since = "" if mode["since"] is None else f", for {_since(mode['since'], now)}"
    note = f": {plain(mode['note'])}" if "note" in mode else ""
    over = mode["mode"] == "normal" and mode["reason"] == "overload"
    yield "mode", f"{mode['mode']} ({'after ' * over}{mode['reason']}{since}){note}"
    oldest = "" if queue["oldest_age"] is None else f", the oldest for {ago(queue['oldest_age'])}"
    yield "queue", f"{queue['depth']} of {queue['limit']} wait{oldest}"
    yield "tasks open", _counted(tasks, ("running", "waiting", "pending"))
    yield "ended (day)", _counted(tasks, ("succeeded", "failed", "cancelled", "dead_lettered"))
    yield "workers", _counted(status["workers"]["by_status"])
    yield "breakers", _counted(status["breakers"]["by_state"])
    letters = status["dead_letters"]
    yield "dead letters", f"{letters['total']}, {letters['last_hour']} new"
    log = status["log"]
    yield "log", f"{log['events']} events, {_size(log['bytes'])}"
    yield "connections", f"{status['connections']}"


def _size(count: int) -> str:
    return f"{count / 1024:.0f} KiB" if count < 1024**2 else f"{count / 1024**2:.1f} MiB"


def _counted(counts: Mapping[str, int], names: Sequence[str] = ()) -> str:
    """Tell the counts that there are, as ``3 running, 1 waiting``."""
    told = ((name, counts.get(name, 0)) for name in names or counts)
    return ", ".join(f"{count} {name.replace('_', '-')}" for name, count in told if count) or NONE


Table = tuple[str, tuple[str, ...], list[tuple[str, ...]], frozenset[str]]


def _tables(status: Status, now: float) -> Iterator[Table]:
    yield (
        "Degraded",
        ("MODE", "SCOPE", "FOR", "WITHOUT"),
        [
            (
                each["mode"],
                each["scope"],
                NONE if each["since"] is None else ago(now - seconds_of(each["since"])),
                ", ".join(each["disabled_features"]) or NONE,
            )
            for each in status["degradations"]
        ],
        frozenset({"WITHOUT"}),
    )
    for title, names in (
        ("Breakers that are not closed", status["breakers"]["not_closed"]),
        ("Failure domains that are slowed", status["domains_slowed"]),
    ):
        yield title, breakers.HEADINGS, [breakers.row_of(each, now) for each in names], breakers.CUT
    yield (
        "Upstreams that asked not to be called",
        ("NAME", "FOR ANOTHER"),
        [
            (name, lasting(seconds_of(until) - now))
            for name, until in status["upstreams_held"].items()
        ],
        frozenset({"NAME"}),
    )
    yield (
        "Workers",
        ("HANDLE", "AGENTS", "STATUS", "HEALTH", "TASKS", "HEARD", "WHY"),
        [_worker(each, now) for each in status["workers"]["items"]],
        frozenset({"HANDLE", "AGENTS", "WHY"}),
    )
    yield (
        "Exceptions that no table knows, since this node began",
        ("EXCEPTION", "COUNT"),
        [(each["exception"], str(each["count"])) for each in status["unknown_exceptions"]["most"]],
        frozenset({"EXCEPTION"}),
    )


def _worker(worker: Mapping[str, Any], now: float) -> tuple[str, ...]:
    heard = worker["last_heartbeat"]
    return (
        worker["handle"],
        ", ".join(worker["agents"]) or NONE,
        worker["status"],
        f"{worker['health_score']:.2f}",
        str(len(worker["tasks"])),
        NONE if heard is None else ago(now - seconds_of(heard)),
        worker["reason"],
    )
