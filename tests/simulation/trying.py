"""
Calls at random about what is on the stage, each with the code that its answer has to have.

``Choose`` draws one of several; the first ones are the simplest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from tests.simulation.rights import (
    CRITICAL,
    DECLARED,
    FREE,
    NEEDS,
    SUBSCRIBE,
    USERS,
    Choose,
    Params,
    Who,
)
from tests.simulation.stage import TASKS, Answer, Stage, heard, judge_events, may_follow

__all__ = ["TRIES", "Try", "attempt", "judge"]


class Try(NamedTuple):
    """
    A call, and what has to come of it.

    Attributes:
        code: Of its answer.
        spoils: What it changes if it is carried out: of whom, and what.
        check: Looks at what it gave; None: any result will do.
    """

    params: Params
    code: str
    spoils: tuple[tuple[str, str], ...] = ()
    check: Callable[[Any], None] | None = None


# --- calls, each with the code that it has to be answered with -----------------------------------


def attempt(operation: str, stage: Stage, who: Who, choose: Choose) -> Try:
    """Make a call of that operation at random."""
    made = TRIES[operation](stage, who, choose)
    if not any(who.may(right) for right in NEEDS[operation]):
        return made._replace(code="not_permitted")
    return made


def judge(made: Try, answer: Answer, who: Who, stage: Stage) -> None:
    """Compare an answer with what has to come."""
    assert answer.code == made.code, (answer, made, who)
    if answer.code == "ok":
        if made.check is not None:
            made.check(answer.told)
        return
    said = orjson.dumps(answer.told).decode()
    told = [mark for mark in stage.marks(who, made.params) if mark in said]
    assert told == [], (answer, made, who)


def _unless(refused: Mapping[str, bool]) -> str:
    """The first code whose reason holds, else "ok"."""
    return next((code for code, holds in refused.items() if holds), "ok")


def _task_create(stage: Stage, who: Who, choose: Choose) -> Try:
    user, priority = choose((None, *USERS)), choose((None, 0))
    params: Params = {"agent": f"{choose(USERS)}-bot", "input": 1, "timeout": 80000}
    if choose((False, True)):
        # The same key means a task of its own for each user.
        params, priority = {"agent": FREE, "idempotency_key": "k", "timeout": 80000}, None
    params |= {} if user is None else {"user_id": user}
    params |= {} if priority is None else {"priority": priority}
    ok = (user is None or who.owns(user)) and (priority is None or who.may(CRITICAL))

    def check(told: Any) -> None:
        (made,) = (
            event
            for event in stage.events
            if event["type"] == "task_submitted" and event["task_id"] == told["task_id"]
        )
        assert made["user_id"] == (user or who.user)
        stage.owners[told["task_id"]] = made["user_id"]

    return Try(params, "ok" if ok else "not_permitted", check=check)


def _task_list(stage: Stage, who: Who, choose: Choose) -> Try:
    user = choose((None, *USERS))

    def check(told: Any) -> None:
        users = {task["user_id"] for task in told["items"]}
        assert all(who.sees(one) and user in (None, one) for one in users), (who, users)

    ok = user is None or who.sees(user)
    params = {} if user is None else {"user_id": user}
    return Try(params, "ok" if ok else "not_permitted", check=check)


def _there(who: Who, user: str) -> bool:
    """Whether a user's task is there for a caller: it reads it, or may have made it."""
    return who.sees(user) or (user == who.user and who.may("ask"))


def _task_shown(stage: Stage, who: Who, choose: Choose) -> Try:
    user, kind = choose(USERS), choose(TASKS)
    code = "ok" if _there(who, user) else "not_found"
    return Try({"task_id": stage.things[user]["tasks"][kind]}, code)


def _task_cancel(stage: Stage, who: Who, choose: Choose) -> Try:
    user, kind = choose(USERS), choose(TASKS)
    refused = {
        "not_found": not _there(who, user),
        "not_permitted": not who.owns(user),
        "conflict": kind not in ("pending", "running"),
    }
    task = {"task_id": stage.things[user]["tasks"][kind]}
    return Try(task, _unless(refused), spoils=((user, kind),))


def _task_retry(stage: Stage, who: Who, choose: Choose) -> Try:
    user, kind = choose(USERS), choose(("critical", *TASKS))
    not_its = not who.owns(user) or (kind == "critical" and not who.may(CRITICAL))
    refused = {
        "not_found": not _there(who, user),
        "not_permitted": not_its,
        "conflict": kind not in ("dead", "critical"),
    }

    def check(told: Any) -> None:
        stage.owners[told["task_id"]] = user

    task = {"task_id": stage.things[user]["tasks"][kind]}
    return Try(task, _unless(refused), spoils=((user, kind),), check=check)


def _letter(stage: Stage, who: Who, choose: Choose) -> Try:
    user, kind = choose(USERS), choose(("dead", "pending"))

    def check(told: Any) -> None:
        stage.owners[told["task_id"]] = user

    task = {"task_id": stage.things[user]["tasks"][kind]}
    return Try(task, "ok" if kind == "dead" else "not_found", ((user, kind),), check)


def _proof(stage: Stage, who: Who, user: str, choose: Choose) -> tuple[Params, bool]:
    """Parameters of a call as a user's worker, and whether they prove that it is made by it."""
    worker = stage.things[user]["worker"]
    secret = choose(("right", "right", "wrong", "none"))
    if secret == "right":
        return dict(worker), True
    wrong = {"agent_secret": "w" * 32} if secret == "wrong" else {}
    return {"agent_id": worker["agent_id"], **wrong}, secret == "none" and who.operates


def _worker_call(operation: str) -> Callable[[Stage, Who, Choose], Try]:
    said: Mapping[str, Params] = {
        "task.update": {"text": "x"},
        "task.fail": {"message": "m"},
        "task.claim": {"lease_ttl": 3600},
    }

    def make(stage: Stage, who: Who, choose: Choose) -> Try:
        user = choose(USERS)
        worker_of, kind = choose((user, *USERS)), choose(("running", "pending"))
        proof, proved = _proof(stage, who, worker_of, choose)
        things = stage.things[user]
        task = {"task_id": things["tasks"][kind]}
        if operation == "task.claim":
            late = {"conflict": worker_of != user}
        else:
            older = choose((0, 0, 1))
            task["term"] = things["term"] + older
            late = {"stale_term": worker_of != user or kind == "pending" or older != 0}
        code = _unless({"not_permitted": not proved, **late})
        keeps = ("task.heartbeat", "task.update")
        spoils = () if operation in keeps else ((user, "running"), (user, "pending"))
        return Try({**task, **proof, **said.get(operation, {})}, code, spoils)

    return make


def _agent_register(stage: Stage, who: Who, choose: Choose) -> Try:
    user = choose(USERS)
    name, owner = choose(((f"{user}-bot", user), (DECLARED, None), (stage.name(), None)))
    refused = {
        "not_permitted": not who.is_for(name),
        "name_taken": owner is not None and not who.speaks_as(owner),
    }
    params: Params = {"handle": name}
    if choose((False, True)):
        params = {"handle": stage.name(), "agents": [{"name": name, "timeout": 0.001}]}
    if choose((False, False, True)):
        # The id of another worker, without its secret.
        params["agent_id"] = stage.things[choose(USERS)]["worker"]["agent_id"]
        params["agent_secret"] = "w" * 32
        if _unless(refused) == "ok":
            refused["not_permitted"] = True

    def check(told: Any) -> None:
        stage.owners[told["agent_id"]] = who.user
        assert told["tasks"] == []

    return Try(params, _unless(refused), check=check)


def _agent_heartbeat(stage: Stage, who: Who, choose: Choose) -> Try:
    params, proved = _proof(stage, who, choose(USERS), choose)
    return Try(params, "ok" if proved else "not_permitted")


def _agent_remove(stage: Stage, who: Who, choose: Choose) -> Try:
    user = choose(USERS)
    params, proved = _proof(stage, who, user, choose)
    return Try(params, "ok" if proved else "not_permitted", ((user, "worker"),))


def _workers_shown(who: Who, stage: Stage) -> Callable[[Any], None]:
    def check(told: Any) -> None:
        for worker in told.get("items", [told]):
            assert "agent_secret" not in worker
            for task_id in worker["tasks"]:
                assert who.sees(stage.owners[task_id]), (who, worker)

    return check


def _agent_list(stage: Stage, who: Who, choose: Choose) -> Try:
    return Try({}, "ok", check=_workers_shown(who, stage))


def _agent_get(stage: Stage, who: Who, choose: Choose) -> Try:
    worker = stage.things[choose(USERS)]["worker"]
    return Try({"agent_id": worker["agent_id"]}, "ok", check=_workers_shown(who, stage))


def _agent_shutdown(stage: Stage, who: Who, choose: Choose) -> Try:
    worker = stage.things[choose(USERS)]["worker"]
    return Try({"agent_id": worker["agent_id"]}, "ok")


def _lock_acquire(stage: Stage, who: Who, choose: Choose) -> Try:
    user, of = choose(USERS), choose((None, *USERS))
    desk = stage.things[user]["lock"]["holder"]
    holder = choose((desk, stage.things[user]["worker"]["agent_id"]))
    key = stage.name() if of is None else stage.things[of]["key"]
    held = of is not None and stage.things[of]["lock"]["holder"] != holder
    refused = {"not_permitted": not who.owns(user), "lock_held": held}
    # A short one under a name that is in use; its owner has the name for as long as before.
    return Try({"resource_key": key, "holder": holder, "ttl": 3600}, _unless(refused))


def _lock_kept(stage: Stage, who: Who, choose: Choose) -> Try:
    user = choose(USERS)
    older = choose((0, 0, 1))
    lock = stage.things[user]["lock"]
    refused = {"not_permitted": not who.owns(user), "lock_held": older != 0}
    params = {**lock, "term": lock["term"] + older}
    return Try(params, _unless(refused), ((user, "lock"),))


def _nothing(stage: Stage, who: Who, choose: Choose) -> Try:
    return Try({}, "ok")


def _breaker(stage: Stage, who: Who, choose: Choose) -> Try:
    return Try({"name": "fragile"}, "ok")


def _mode_set(stage: Stage, who: Who, choose: Choose) -> Try:
    return Try({"mode": "normal"}, "ok")


def _topic(stage: Stage, choose: Choose) -> str:
    user = choose(USERS)
    things = stage.things[user]
    topic: str = choose(
        (
            *(f"user:{user}", f"task:{things['tasks']['running']}", f"agent:{user}-bot"),
            *(f"channel:{user}-room", f"recipient:{user}", "system", "*"),
            f"recipient:{things['worker']['agent_id']}",
        )
    )
    return topic


def _event_list(stage: Stage, who: Who, choose: Choose) -> Try:
    things = stage.things[choose(USERS)]
    topic, parent = _topic(stage, choose), choose((None, things["note"], things["post"]))
    topic = choose((topic, topic, None))
    params = {"topic": topic, "parent_event_id": parent}
    own = "*" if who.operates else f"user:{who.user}"

    def check(told: Any) -> None:
        judge_events(who, told["items"], stage)
        if parent is None and told["next"] is None:
            offsets = [event["offset"] for event in told["items"]]
            assert offsets == heard(who, [topic or own], stage)

    ok = topic is None or may_follow(who, topic, stage)
    given = {name: value for name, value in params.items() if value is not None}
    return Try({**given, "limit": 500}, "ok" if ok else "not_permitted", check=check)


def _subscribe(stage: Stage, who: Who, choose: Choose) -> Try:
    topics = [_topic(stage, choose) for _ in range(choose((1, 2)))]
    ok = all(may_follow(who, topic, stage) for topic in topics)

    def check(snapshot: Any) -> None:
        judge_events(who, snapshot["failures"], stage)
        for task in snapshot["tasks"]:
            assert who.sees(stage.owners[task["task_id"]]), (who, task)

    return Try({"topics": topics}, "ok" if ok else "not_permitted", check=check)


def _impact(stage: Stage, who: Who, choose: Choose) -> Try:
    user = choose(USERS)
    return Try({"user_id": user}, "ok" if who.sees(user) else "not_permitted")


def _event_publish(stage: Stage, who: Who, choose: Choose) -> Try:
    kinds = (_notification, _report, _report_on_task, _what_only_the_gateway_says)
    made: Try = choose(kinds)(stage, who, choose)
    return made


def _notification(stage: Stage, who: Who, choose: Choose) -> Try:
    user, named, thread_of = choose(USERS), choose((None, *USERS)), choose(USERS)
    to = choose(
        (
            {"recipient_id": user},
            {"recipient_id": stage.things[user]["worker"]["agent_id"]},
            {"channel": f"{user}-room"},
        )
    )
    parent = choose((None, "note", "post"))
    wrong_channel = "channel" in to and not who.uses(to["channel"])
    unseen = {
        None: False,
        "note": not (who.user == thread_of or who.sees(thread_of)),
        "post": not (who.user == thread_of or may_follow(who, f"channel:{thread_of}-room", stage)),
    }
    refused = {
        "not_permitted": (named is not None and not who.owns(named)) or wrong_channel,
        "not_found": unseen[parent],
    }
    params: Params = {"type": "notification", "subject": "s", "payload": 1, **to}
    params |= {} if named is None else {"user_id": named}
    params |= {} if parent is None else {"parent_event_id": stage.things[thread_of][parent]}

    def check(told: Any) -> None:
        (event,) = (one for one in stage.events if one["event_id"] == told["event_id"])
        assert event["sender"] == who.user

    return Try(params, _unless(refused), check=check)


def _report(stage: Stage, who: Who, choose: Choose) -> Try:
    user, user_id, failed = choose(USERS), choose(USERS), choose(USERS)
    name, owner = choose(((f"{user}-bot", user), (DECLARED, None), (FREE, None)))
    as_worker_of = choose((None, None, *USERS))
    type = choose(("agent_error", "partial_result", "system_recovered"))
    taken = {"not_permitted": not who.may("work") or not who.is_for(name)}
    taken["name_taken"] = owner is not None and not who.speaks_as(owner)
    code = _unless(taken)
    if code == "ok" and as_worker_of is not None and not who.speaks_as(as_worker_of):
        code = "not_permitted"
    params: Params = {"type": type, "user_id": user_id, "agent_name": name}
    if as_worker_of is not None:
        params["agent_id"] = stage.things[as_worker_of]["worker"]["agent_id"]
    if type == "partial_result":
        return Try({**params, "text": "x"}, code)
    spoils: tuple[tuple[str, str], ...] = ()
    if type == "system_recovered" or choose((False, True)):
        params["error_id"] = stage.things[failed]["failure"]
        if code == "ok" and not (user_id == failed and who.speaks_as(failed)):
            code = "not_found"
        spoils = ((failed, "failure"),)
    if type == "agent_error":
        params["error_type"] = "timeout"
    return Try(params, code, spoils)


def _report_on_task(stage: Stage, who: Who, choose: Choose) -> Try:
    type, said = choose(
        (
            ("agent_error", {"message": "m"}),
            ("partial_result", {"text": "x"}),
            ("resource_cleanup", {"resources_cleaned": ["files"]}),
        )
    )
    made = _worker_call("report")(stage, who, choose)
    code = made.code if who.may("work") else "not_permitted"
    return Try({**made.params, "type": type, **said}, code, made.spoils)


def _what_only_the_gateway_says(stage: Stage, who: Who, choose: Choose) -> Try:
    user = choose(USERS)
    type = choose(("task_finished", "circuit_breaker_triggered", "lease_changed", "agent_error"))
    params: Params = {"type": type, "task_id": stage.things[user]["tasks"]["running"]}
    if type == "agent_error":
        params = {"type": type, "user_id": "*", "agent_name": FREE}
    return Try(params, "not_permitted")


TRIES: Mapping[str, Callable[[Stage, Who, Choose], Try]] = {
    "task.create": _task_create,
    "task.list": _task_list,
    "task.get": _task_shown,
    "task.partial": _task_shown,
    "task.cancel": _task_cancel,
    "task.retry": _task_retry,
    "dead_letter.list": _nothing,
    "dead_letter.retry": _letter,
    "dead_letter.discard": _letter,
    "agent.register": _agent_register,
    "agent.heartbeat": _agent_heartbeat,
    "agent.list": _agent_list,
    "agent.get": _agent_get,
    "agent.remove": _agent_remove,
    "agent.shutdown": _agent_shutdown,
    "lock.acquire": _lock_acquire,
    "lock.renew": _lock_kept,
    "lock.release": _lock_kept,
    "breaker.list": _nothing,
    "breaker.open": _breaker,
    "breaker.close": _breaker,
    "mode.get": _nothing,
    "mode.set": _mode_set,
    "event.publish": _event_publish,
    "event.list": _event_list,
    "stats.get": _nothing,
    "impact": _impact,
    SUBSCRIBE: _subscribe,
    **{
        operation: _worker_call(operation)
        for operation in (
            *("task.claim", "task.heartbeat", "task.update"),
            *("task.complete", "task.fail", "task.release"),
        )
    },
}
