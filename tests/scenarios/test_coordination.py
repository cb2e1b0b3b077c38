"""Workers and callers that meet at one gateway, by HTTP, WebSocket and MCP, many at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from mcp import Client

from gateway.app.clock import SystemClock
from tests.scenarios.doors import tools_of
from tests.scenarios.harness import (
    Browser,
    Event,
    GatewayProcess,
    browser,
    gateway_process,
)
from tests.soak import times

# The tests share a gateway; each has agents and users of its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()

# An answer, whichever door it came through: the status of HTTP or 200, the text code, the content.
Answer = tuple[int, str | None, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    async with gateway_process(target=None, rate_http=0, rate_ws=0, queue_limit=10_000) as running:
        yield running


async def by_http(gateway: GatewayProcess, path: str, body: Event, **headers: str) -> Answer:
    answer = await gateway.http.post(path, json=body, headers=headers)
    content: Any = answer.json() if answer.content else None
    return answer.status_code, content["code"] if answer.is_error else None, content


async def by_socket(page: Browser, operation: str, **params: Any) -> Answer:
    reply = await page.call(operation, **params)
    if "error" in reply:
        return 0, reply["error"]["data"]["code"], reply["error"]["data"]
    return 200, None, reply["result"]


async def by_tool(tools: Client, operation: str, **params: Any) -> Answer:
    result = await tools.call_tool(operation, params)
    content: Any = result.structured_content
    return (0, content["code"], content) if result.is_error else (200, None, content)


async def registered(gateway: GatewayProcess, handle: str) -> Event:
    """Register a worker; gives what it proves itself with."""
    answer = (await gateway.http.post("/api/agents", json={"handle": handle})).json()
    return {name: answer[name] for name in ("agent_id", "agent_secret")}


# --- claims --------------------------------------------------------------------------------------


@pytest.mark.requirement("MESH-06", "MESH-07", "MESH-W12")
async def test_of_fifty_that_claim_a_task_with_a_lock_one_has_both_and_the_others_left_nothing(
    gateway: GatewayProcess,
) -> None:
    """A third of them ask over HTTP, over a socket, by MCP each; the answers are the same."""
    workers = [await registered(gateway, "fifty") for _ in range(50)]
    async with browser(gateway.url) as operator, tools_of(gateway) as tools:
        task_id = (await gateway.task("fifty", user_id="fifty"))["task_id"]

        async def claim(number: int, proof: Event) -> Answer:
            about = {**proof, "resource_key": "fifty:file", "lease_ttl": 60}
            if number % 3 == 0:
                return await by_http(gateway, f"/api/tasks/{task_id}/claim", about)
            if number % 3 == 1:
                return await by_tool(tools, "task.claim", task_id=task_id, **about)
            return await by_socket(operator, "task.claim", task_id=task_id, **about)

        answers = await asyncio.gather(
            *(claim(number, proof) for number, proof in enumerate(workers))
        )
        won = [number for number, (_, code, _) in enumerate(answers) if code is None]
        assert len(won) == 1
        claimed = answers[won[0]][2]
        holder = workers[won[0]]
        assert claimed["task_id"] == task_id
        assert (claimed["agent_id"], claimed["state"]) == (holder["agent_id"], "active")
        assert claimed["lock"]["resource_key"] == "fifty:file"
        assert {code for _, code, _ in answers if code} <= {"task_claimed", "lock_held"}
        assert {status for status, code, _ in answers if code} <= {0, 409}
        # One lock was ever taken, and one attempt begun.
        await operator.event("task_started", task_id=task_id)
        assert len(operator.all("lock_changed", resource_key="fifty:file")) == 1
        assert len(operator.all("task_started", task_id=task_id)) == 1
        asked = {"resource_key": "fifty:file", "holder": "another"}
        status, code, held = await by_http(gateway, "/api/locks", asked)
        assert (status, code, held["holder"]) == (409, "lock_held", holder["agent_id"])
        assert 50 < held["retry_after"] <= 60
        # To claim it again is the same claim, through each door.
        about = {**holder, "task_id": task_id, "resource_key": "fifty:file"}
        again = await by_socket(operator, "task.claim", **about)
        tool = await by_tool(tools, "task.claim", **about)
        del about["task_id"]
        same = await by_http(gateway, f"/api/tasks/{task_id}/claim", about)
        for _, _, answer in (again, tool, same):
            assert {**answer, "lease_expires_at": None} == {**claimed, "lease_expires_at": None}
        # The end of the task is the end of its lock.
        lease = {**holder, "term": claimed["term"], "result": "done"}
        done = await by_http(gateway, f"/api/tasks/{task_id}/complete", lease)
        assert done[2]["status"] == "succeeded"
        status, _, free = await by_http(gateway, "/api/locks", asked)
        assert (status, free["term"]) == (200, claimed["lock"]["term"] + 1)


@pytest.mark.requirement("MESH-07", "MESH-W4")
async def test_a_claim_of_a_held_lock_is_refused_with_holder_and_retry_after_by_each_door(
    gateway: GatewayProcess,
) -> None:
    first, second = [await registered(gateway, "refused") for _ in range(2)]
    ids = [(await gateway.task("refused", user_id="refused"))["task_id"] for _ in range(2)]
    about = {"resource_key": "refused:file", "lease_ttl": 30}
    _, _, claim = await by_http(gateway, "/api/tasks/claim", {**first, **about})
    assert claim["task_id"] == ids[0]
    for path in ("/api/tasks/claim", f"/api/tasks/{ids[1]}/claim"):
        answer = await gateway.http.post(path, json={**second, **about})
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (409, "lock_held")
        assert (problem["holder"], problem["field"]) == (first["agent_id"], "resource_key")
        assert 0 < int(answer.headers["retry-after"]) <= 30
    async with browser(gateway.url) as page:
        reply = await page.call("task.claim", **second, **about)
        assert reply["error"]["code"] == -32006
        assert reply["error"]["data"]["holder"] == first["agent_id"]
        async with tools_of(gateway) as tools:
            _, code, told = await by_tool(tools, "task.claim", **second, **about)
            assert (code, told["holder"]) == ("lock_held", first["agent_id"])
            assert 0 < told["retry_after"] <= 30
        # The task that was not given is still to be had, without the lock.
        assert (await gateway.get(f"/api/tasks/{ids[1]}"))["status"] == "pending"
        other = await page.call("task.claim", **second)
        assert (other["result"]["task_id"], other["result"]["lock"]) == (ids[1], None)


@pytest.mark.requirement("MESH-W4")
async def test_one_task_wakes_the_first_of_fifty_that_wait_and_the_others_go_on_waiting(
    gateway: GatewayProcess,
) -> None:
    workers = [await registered(gateway, "waits") for _ in range(50)]
    waiting = []
    for proof in workers:
        asked = {**proof, "wait": 2.5}
        waiting.append(asyncio.create_task(by_http(gateway, "/api/tasks/claim", asked)))
        await CLOCK.sleep(0.01)
    for number in range(3):
        task_id = (await gateway.task("waits", user_id="waits"))["task_id"]
        status, _, claim = await waiting[number]
        assert (status, claim["task_id"]) == (200, task_id)
        assert claim["agent_id"] == workers[number]["agent_id"]
    assert [answer[0] for answer in await asyncio.gather(*waiting[3:])] == [204] * 47


@pytest.mark.requirement("FLUX-W16")
async def test_tries_that_fail_leave_the_term_and_its_holder_alone(
    gateway: GatewayProcess,
) -> None:
    """Each of twenty others tries again and again, for the task and for the lock."""
    holder, *others = [await registered(gateway, "terms") for _ in range(21)]
    task_id = (await gateway.task("terms", user_id="terms"))["task_id"]
    path = f"/api/tasks/{task_id}"
    _, _, claim = await by_http(gateway, f"{path}/claim", holder)
    lock = {"resource_key": "terms:file", "holder": "first", "ttl": 60}
    _, _, held = await by_http(gateway, "/api/locks", lock)

    async def fail(number: int, proof: Event) -> set[tuple[int, str | None]]:
        claims = [await by_http(gateway, f"{path}/claim", proof) for _ in range(3)]
        other = {**lock, "holder": f"other-{number}"}
        locks = [await by_http(gateway, "/api/locks", other) for _ in range(3)]
        return {answer[:2] for answer in claims + locks}

    failed = await asyncio.gather(*(fail(number, proof) for number, proof in enumerate(others)))
    assert set().union(*failed) == {(409, "task_claimed"), (409, "lock_held")}
    lease = {**holder, "term": claim["term"]}
    assert (await by_http(gateway, f"{path}/update", {**lease, "progress": 0.5}))[0] == 200
    _, _, renewed = await by_http(gateway, "/api/locks", lock)
    assert (renewed["lock_id"], renewed["term"]) == (held["lock_id"], held["term"])
    # The next holder's term is the next one.
    assert (await by_http(gateway, f"{path}/release", lease))[0] == 200
    _, _, second = await by_http(gateway, f"{path}/claim", others[0])
    assert second["term"] == claim["term"] + 1
    given_back = {"holder": "first", "term": held["term"]}
    answer = await gateway.http.delete(f"/api/locks/{held['lock_id']}", params=given_back)
    assert answer.is_success
    _, _, next_held = await by_http(gateway, "/api/locks", {**lock, "holder": "second"})
    assert next_held["term"] == held["term"] + 1


# --- registrations -------------------------------------------------------------------------------


@pytest.mark.requirement("WEFT-13", "MESH-17")
async def test_fifty_registrations_at_once_have_identities_of_their_own(
    gateway: GatewayProcess,
) -> None:
    async with browser(gateway.url) as page:

        async def register(number: int) -> Event:
            handle = f"many-{number % 5}"
            if number % 2:
                _, code, answer = await by_http(gateway, "/api/agents", {"handle": handle})
            else:
                _, code, answer = await by_socket(page, "agent.register", handle=handle)
            assert code is None
            found: Event = answer
            return found

        answers = await asyncio.gather(*(register(number) for number in range(50)))
        for name in ("agent_id", "agent_secret"):
            assert len({answer[name] for answer in answers}) == 50
        listed = [
            await gateway.get(f"/api/agents?handle=many-{number}&limit=500") for number in range(5)
        ]
        assert [len(one["items"]) for one in listed] == [10] * 5
        # A name is shared, an identity is not: with another's secret nothing is to be had.
        false = {**answers[0], "agent_secret": answers[1]["agent_secret"]}
        about = {name: false[name] for name in ("agent_id", "agent_secret")}
        status, code, _ = await by_http(gateway, "/api/agents", {"handle": "many-0", **about})
        assert (status, code) == (403, "not_permitted")


# --- orders under a key --------------------------------------------------------------------------


@pytest.mark.requirement("FLUX-13", "WEFT-15")
async def test_twenty_orders_under_one_key_at_once_are_one_task_by_both_doors(
    gateway: GatewayProcess,
) -> None:
    async with browser(gateway.url, "keys") as page, browser(gateway.url) as operator:
        asked: Event = {"agent": "keys", "input": {"q": 1}, "user_id": "keys"}

        async def create(number: int) -> Answer:
            if number % 2:
                key = {"Idempotency-Key": "one"}
                return await by_http(gateway, "/api/tasks", asked, **key)
            door = operator if number % 4 else page
            return await by_socket(door, "task.create", **asked, idempotency_key="one")

        answers = await asyncio.gather(*(create(number) for number in range(20)))
        assert {code for _, code, _ in answers} == {None}
        (task_id,) = {answer["task_id"] for _, _, answer in answers}
        assert len(page.all("task_submitted")) == 1
        # Another order under the same key is refused, by either door, whoever spells it.
        other = {**asked, "input": {"q": 2}}
        status, code, problem = await by_http(
            gateway, "/api/tasks", other, **{"Idempotency-Key": "one"}
        )
        assert (status, code) == (409, "idempotency_key_reused")
        assert problem["field"] == "idempotency_key"
        _, code, _ = await by_socket(page, "task.create", **other, idempotency_key="one")
        assert code == "idempotency_key_reused"
        # A key is one user's: under the same one another user makes a task of its own.
        _, _, theirs = await by_http(
            gateway, "/api/tasks", {**asked, "user_id": "others"}, **{"Idempotency-Key": "one"}
        )
        assert theirs["task_id"] != task_id
        # It stands after the task's end, too.
        await gateway.http.post(f"/api/tasks/{task_id}/cancel")
        _, _, again = await by_socket(page, "task.create", **asked, idempotency_key="one")
        assert (again["task_id"], again["status"]) == (task_id, "cancelled")


@pytest.mark.requirement("WEFT-15")
async def test_five_hundred_orders_at_once_are_five_hundred_tasks_also_when_repeated(
    gateway: GatewayProcess,
) -> None:
    count = 500

    async def create(number: int) -> str:
        asked = {"agent": "crowd", "input": number, "user_id": "crowd"}
        key = {"Idempotency-Key": f"order-{number}"}
        status, _, answer = await by_http(gateway, "/api/tasks", asked, **key)
        assert status == 201, answer
        task_id: str = answer["task_id"]
        return task_id

    ids = await asyncio.gather(*(create(number) for number in range(count)))
    assert len(set(ids)) == count
    assert await asyncio.gather(*(create(number) for number in range(count))) == ids
    listed: list[str] = []
    query = "/api/tasks?user_id=crowd&status=pending&agent=crowd&limit=200"
    page = await gateway.get(query)
    while True:
        listed += [task["task_id"] for task in page["items"]]
        if page["next"] is None:
            break
        page = await gateway.get(f"{query}&cursor={page['next']}")
    assert sorted(listed) == sorted(ids)
    assert len(listed) == count


@pytest.mark.requirement("FLUX-W14", "FLUX-13")
async def test_a_refusal_is_not_remembered_under_its_key() -> None:
    async with gateway_process(target=None, queue_limit=1) as gateway:
        first = await gateway.task("full", user_id="ann")
        asked = {"agent": "full", "input": 1, "user_id": "ann"}
        key = {"Idempotency-Key": "k"}
        for _ in range(2):
            answer = await gateway.http.post("/api/tasks", json=asked, headers=key)
            assert (answer.status_code, answer.json()["code"]) == (503, "priority_load_shedding")
            assert int(answer.headers["retry-after"]) >= 1
        await gateway.http.post(f"/api/tasks/{first['task_id']}/cancel")
        status, _, taken = await by_http(gateway, "/api/tasks", asked, **key)
        assert status == 201
        assert (await by_http(gateway, "/api/tasks", asked, **key))[2]["task_id"] == (
            taken["task_id"]
        )


# --- turns ---------------------------------------------------------------------------------------


async def test_one_users_many_tasks_delay_anothers_next_by_at_most_one_a_worker(
    gateway: GatewayProcess,
) -> None:
    count, working = times(300, 1000), 3
    async with browser(gateway.url) as operator, contextlib.AsyncExitStack() as stack:
        await asyncio.gather(*(gateway.task("turns", user_id="many") for _ in range(count)))

        async def work(page: Browser, proof: Event) -> None:
            while (
                claim := (await page.call("task.claim", **proof, wait=0.5))["result"]
            ) is not None:
                lease = {"task_id": claim["task_id"], "term": claim["term"]}
                await page.call("task.complete", **proof, **lease, result=None)

        pages = [await stack.enter_async_context(browser(gateway.url, f"w{n}")) for n in range(3)]
        proofs = [(await page.call("agent.register", handle="turns"))["result"] for page in pages]
        jobs = [
            asyncio.create_task(
                work(page, {name: proof[name] for name in ("agent_id", "agent_secret")})
            )
            for page, proof in zip(pages, proofs, strict=True)
        ]
        asked = []
        for _ in range(5):
            task_id = (await gateway.task("turns", user_id="few"))["task_id"]
            asked.append(task_id)
            await operator.finished(task_id)
        await asyncio.gather(*jobs)
        started = operator.all("task_started", agent_name="turns")
        assert len(started) == count + len(asked)
        for task_id in asked:
            (submitted,) = operator.all("task_submitted", task_id=task_id)
            before = [
                event
                for event in started
                if submitted["offset"] < event["offset"]
                and event["offset"] < operator.all("task_started", task_id=task_id)[0]["offset"]
            ]
            assert len(before) <= working, len(before)
