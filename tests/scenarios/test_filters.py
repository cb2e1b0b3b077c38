"""Filters: each acts, on the field of its name, and a conflict is told as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.protocol.operations import OPERATIONS
from tests.scenarios.doors import HttpDoor
from tests.scenarios.durable import until
from tests.scenarios.harness import Event, GatewayProcess, gateway_process
from tests.transports.world import SECRET, token

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Parameters of a list that choose no items by a field: how much of it, and from where.
PLACES = {"cursor", "limit", "min_position", "since"}
# What an order calls ``agent`` everything else calls ``agent_name``; there is no other exception.
FIELDS = {"agent": "agent_name"}
# Filters by more than one field: what an event is of, and whole threads (row MESH-W20).
SEARCHES = {("event.list", "topic"), ("event.list", "parent_event_id")}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    async with gateway_process(
        target=None,
        token_secret=SECRET,
        queue_timeout=1,
        drain_grace=0.1,
        # What is listed does not change by itself: no worker is missed meanwhile.
        heartbeat_timeout=60,
        offline_after=120,
    ) as running:
        yield running


def door(gateway: GatewayProcess, user_id: str, scope: str) -> HttpDoor:
    return HttpDoor(gateway.http, token(user_id, scope))


async def done(caller: HttpDoor, operation: str, /, **params: Any) -> Any:
    code, content = await caller.call(operation, **params)
    assert code is None, content
    return content


async def items(operator: HttpDoor, operation: str, **query: Any) -> list[Event]:
    """Every item of a list, page by page."""
    found: list[Event] = []
    page = await done(operator, operation, limit=7, **query)
    while page["next"] is not None:
        found += page["items"]
        page = await done(operator, operation, limit=7, cursor=page["next"], **query)
    found += page["items"]
    return found


async def fill(gateway: GatewayProcess, operator: HttpDoor) -> None:
    """Let each list have items that differ in every field by which they are chosen."""
    workers = door(gateway, "work", "agent")
    for handle in ("reader", "writer"):
        made = await done(workers, "agent.register", handle=handle)
    proof = {name: made[name] for name in ("agent_id", "agent_secret")}
    for user, agent in (("ann|1", "writer"), ("bob", "writer"), ("ann|1", "nobody")):
        asked = {"agent": agent, "user_id": user, "max_attempts": 1}
        await done(operator, "task.create", **asked)
        await done(operator, "event.publish", **note(recipient_id=user, channel=f"c-{agent}"))
    claim = await done(workers, "task.claim", **proof)
    about = {"task_id": claim["task_id"], "term": claim["term"], "message": "no"}
    await done(workers, "task.fail", **proof, **about, error_type="network_error")
    cancelled = await done(operator, "task.create", agent="nobody")
    await done(operator, "task.cancel", task_id=cancelled["task_id"])
    await done(workers, "agent.remove", **proof)

    async def given_up() -> bool:
        return len(await items(operator, "dead_letter.list")) == 3

    await until(given_up)


def id_of(item: Event) -> str:
    """What an event, a worker, a task or a letter is known by; a worker's score moves."""
    id: str = next(item[name] for name in ("event_id", "agent_id", "task_id") if name in item)
    return id


def note(**addressees: str) -> Event:
    return {"type": "notification", "subject": "s", "payload": 1, **addressees}


@pytest.mark.requirement("WEFT-W19")
async def test_every_filter_of_every_list_chooses_by_the_field_of_its_name(
    gateway: GatewayProcess,
) -> None:
    operator = door(gateway, "olga", "admin")
    await fill(gateway, operator)
    tried = set()
    for name, operation in OPERATIONS.items():
        if not name.endswith(".list"):
            continue
        filters = set(operation.params["properties"]) - PLACES
        for filter in sorted(filters):
            if (name, filter) in SEARCHES:
                continue
            tried.add((name, filter))
            field = FIELDS.get(filter, filter)
            whole = await items(operator, name)
            values = {item[field] for item in whole if item.get(field) is not None}
            assert len(values) >= 2, (name, filter)
            for value in values:
                chosen = await items(operator, name, **{filter: value})
                expected = [item for item in whole if item.get(field) == value]
                assert list(map(id_of, chosen)) == list(map(id_of, expected)), (filter, value)
        code, refusal = await operator.call(name, classification="secret")
        assert (code, refusal["field"]) == ("invalid_params", "classification")
    assert len(tried) >= 10, tried


@pytest.mark.requirement("WEFT-W19")
async def test_whatever_is_taken_already_is_a_conflict_and_no_error_of_the_server(
    gateway: GatewayProcess,
) -> None:
    async def post(user_id: str, path: str, **body: Any) -> tuple[int, Any]:
        bearer = token(user_id, "agent tasks:write events:read")
        headers = {"authorization": f"Bearer {bearer}"}
        answer = await gateway.http.post(path, json=body, headers=headers)
        return answer.status_code, answer.json()

    def proof(worker: Event) -> Event:
        return {name: worker[name] for name in ("agent_id", "agent_secret")}

    # Of two users that want one name at once, one has it.
    answers = await asyncio.gather(
        *(post(user, "/api/agents", handle="wanted") for user in ("ann", "bob"))
    )
    assert sorted(status for status, _ in answers) == [201, 409]
    first, second = ("ann", "bob") if answers[0][0] == 201 else ("bob", "ann")
    (mine,) = (worker for status, worker in answers if status == 201)
    _, other = await post(first, "/api/agents", handle="wanted")
    key = {"idempotency_key": "k"}
    _, task = await post(first, "/api/tasks", agent="wanted", **key)
    path = f"/api/tasks/{task['task_id']}"
    assert (await post(first, f"{path}/claim", **proof(mine)))[0] == 200
    lock = {"resource_key": "file", "ttl": 60}
    assert (await post(first, "/api/locks", **lock, holder="one"))[0] == 200
    for user, place, body, code in (
        (second, "/api/agents", {"handle": "wanted"}, "name_taken"),
        (second, "/api/locks", {**lock, "holder": "two"}, "lock_held"),
        (first, "/api/tasks", {"agent": "other", **key}, "idempotency_key_reused"),
        (first, f"{path}/claim", proof(other), "task_claimed"),
        (first, f"{path}/complete", {**proof(mine), "term": 9, "result": 1}, "stale_term"),
        (first, f"{path}/retry", {}, "conflict"),
    ):
        status, problem = await post(user, place, **body)
        assert (status, problem["code"]) == (409, code)
