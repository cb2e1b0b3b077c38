"""
The audit of claims and locks, made again: its five scenarios, step by step, with its payloads.

As there, agents have nothing but MCP tools (the official client), and one of them crashes. Its
crash is a process that is killed. What the audit read from lists afterwards, subscribed browsers
see at once. Where our names differ, a payload is translated in one place, beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from gateway.app.clock import SystemClock
from gateway.domain.timestamps import seconds_of
from tests.scenarios.audited_agent import HANDLE, TYPE
from tests.scenarios.harness import (
    ROOT,
    Event,
    GatewayProcess,
    browser,
    gateway_process,
)
from tests.scenarios.tools import Refused, Tools, tools_at
from tests.soak import SOAK
from tests.transports.mcp_client import ERAS
from tests.transports.world import SECRET, token

# The tests share a gateway; the audit has given each its own resources.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()

# The audit's locks lasted 20 s, its agents beat every 5 s; `make soak` waits as long.
TTL_S = 20.0 if SOAK else 2.0
TIMES: Mapping[str, float] = {} if SOAK else {"heartbeat_timeout": 1, "offline_after": 2}
HEARTBEAT_TIMEOUT_S, OFFLINE_AFTER_S = (5, 15) if SOAK else (1, 2)
# How far the audit lets an end be from its time.
TOLERANCE_S = 1.0

TTL_KEYS = ("test-lock-ttl-1", "test-lock-ttl-2", "test-lock-ttl-3")
CONTENDED = "contention-test-lock"
CLAIM: Event = {
    "task_id": "798365ca-c85d-498f-ad6c-3417b29a8a44",
    "agent_id": "86a8c03d-26cb-4484-a87a-fb5061dfa74a",
    "resource_key": "task-798365ca-failure-recovery",
    "lease_ttl": 60,
}
REVIEWER, E2E = "28a5d3df-6104-4009-8f3a-897671ea28d7", "fe2e622e-a0f9-4ede-9236-20eaa2325171"
ALERTS: list[Event] = [
    {
        "type": "recovery.alert",
        "severity": severity,
        "recipient_id": recipient_id,
        "channel": "recovery-alerts",
        "payload": {"from": HANDLE, "to": to, "subject": subject},
    }
    for severity, recipient_id, to, subject in (
        ("warning", REVIEWER, "qwen-reviewer", "Lock Expiry Confirmed"),
        ("info", E2E, "mcp-e2e-agent", "Test Status Update"),
    )
]

# Who takes part: the users of two kinds of agents (an agent's name is its first user's), the user
# whose tasks they do, and who watches.
AGENT = "agent events:read events:write tasks:write"
TESTER, OTHER = token("tester", AGENT), token("other", AGENT)
OWNER = token("owner", "events:read tasks:write")
OPERATOR = token("operator", "admin")


def notification(alert: Event) -> Event:
    """
    Translate an alert: of notifications there is one type, whose severity the gateway gives.

    What the audit called them stays in the payload.
    """
    said = {name: alert[name] for name in ("type", "severity")}
    return {
        "type": "notification",
        "subject": alert["payload"]["subject"],
        "payload": {**said, **alert["payload"]},
        **{name: alert[name] for name in ("recipient_id", "channel")},
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    settings: dict[str, Any] = {
        **TIMES,
        "retry_base": 0.05,
        "drain_grace": 0.1,
        "token_secret": SECRET,
    }
    async with gateway_process(target=None, **settings) as running:
        yield running


async def registered(tools: Tools, handle: str = HANDLE) -> Event:
    """Register a worker; gives what it proves itself with."""
    me = await tools.done("agent.register", handle=handle, type=TYPE)
    return {name: me[name] for name in ("agent_id", "agent_secret")}


def after_s(event: Event, earlier: Event | str) -> float:
    """How long after an event, or a time, another one was recorded."""
    began = earlier if isinstance(earlier, str) else earlier["timestamp"]
    return seconds_of(event["timestamp"]) - seconds_of(began)


# --- scenarios 1 and 3: an agent that crashes ----------------------------------------------------


async def crashed(gateway: GatewayProcess, *wants: str, beats: int) -> tuple[Event, list[Event]]:
    """
    Run an agent until it has what it wants, and kill it.

    Args:
        wants: See ``audited_agent``.
        beats: How often it beats before.

    Returns:
        What it has proved itself with, and what it was given.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.scenarios.audited_agent", gateway.url, TESTER),
        *(str(TTL_S), str(beats), *wants),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            me, *given = [json.loads(await process.stdout.readline()) for _ in ("me", *wants)]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return {name: me[name] for name in ("agent_id", "agent_secret")}, given


@pytest.mark.requirement("MESH-01", "MESH-02", "MESH-W3")
async def test_scenario_1_locks_of_a_crashed_agent_end_at_their_time_and_can_be_taken_again(
    gateway: GatewayProcess,
) -> None:
    """
    The audit's four metrics: when a lock ends, that it is free, that it can be taken, and its id.

    It asked for a new id, and had a table that says the same one. Its wish P1-2, that the end be
    told, is kept as well: nobody has to poll. Who is told when to come back needs to ask once more.
    """
    async with (
        browser(gateway.url, token=OPERATOR) as operator,
        tools_at(gateway.url, TESTER) as late,
        tools_at(gateway.url, OTHER) as tools,
    ):
        next_one = await registered(tools, "qwen-reviewer")
        crashed_one, locks = await crashed(gateway, *TTL_KEYS, beats=1)
        asked = {"resource_key": TTL_KEYS[0], "holder": next_one["agent_id"], "ttl": TTL_S}
        refusals = 0
        while isinstance(answer := await tools.answer("lock.acquire", **asked), Refused):
            assert (answer.code, answer.field) == ("lock_held", "resource_key")
            assert answer.data["holder"] == crashed_one["agent_id"]
            assert answer.retry_after is not None
            assert answer.retry_after <= TTL_S
            refusals += 1
            await CLOCK.sleep(answer.retry_after)
        assert 1 <= refusals <= 2
        assert answer["lock_id"] not in {lock["lock_id"] for lock in locks}
        assert (answer["term"], answer["renewed"]) == (locks[0]["term"] + 1, False)
        assert answer["state"] == "held"
        for lock in locks:
            (taken,) = operator.all("lock_changed", lock_id=lock["lock_id"])
            ended = await operator.event("lock_expired", lock_id=lock["lock_id"])
            for name in ("resource_key", "holder", "term"):
                assert ended[name] == taken[name] == lock[name]
            assert ended["holder"] == crashed_one["agent_id"]
            # The audit measured whole milliseconds; so much is rounded.
            lasts_s = seconds_of(lock["expires_at"]) - seconds_of(taken["timestamp"])
            assert lasts_s == pytest.approx(TTL_S, abs=0.002)
            assert 0 <= after_s(ended, lock["expires_at"]) <= TOLERANCE_S
        # The one that was asked for has its next holder after its end, never before.
        new = await operator.event("lock_changed", lock_id=answer["lock_id"])
        (old,) = operator.all("lock_expired", lock_id=locks[0]["lock_id"])
        assert new["offset"] > old["offset"]
        # An end is final: the crashed one, were it back, could neither renew nor give back.
        for lock in locks[1:]:
            held = {name: lock[name] for name in ("lock_id", "holder", "term")}
            for name in ("lock.renew", "lock.release"):
                assert (await late.refused(name, **held)).code == "lock_expired"


@pytest.mark.requirement("MESH-09", "MESH-10", "MESH-W2", "MESH-W5", "MESH-W14")
async def test_scenario_3_a_crashed_agent_is_found_and_its_task_goes_on_elsewhere(
    gateway: GatewayProcess,
) -> None:
    """
    The audit saw ``inactive`` in a list, 25 s later; here the news comes by itself, in its time.

    So does its wish P2-1, to watch for missing beats, and P1-1: what the agent has left undone is
    given to another, the owner sees to whom, and what the first says later is refused.
    """
    async with (
        browser(gateway.url, token=OPERATOR) as operator,
        browser(gateway.url, token=OWNER, topics=["user:owner"]) as owner,
        tools_at(gateway.url, TESTER) as late,
        tools_at(gateway.url, TESTER) as tools,
    ):
        task_id = (await owner.call("task.create", agent=HANDLE))["result"]["task_id"]
        # Three beats are due in the time that it may be silent: it lives longer than that.
        crashed_one, (first,) = await crashed(gateway, "task", beats=4)
        agent_id = crashed_one["agent_id"]
        assert first["task_id"] == task_id
        started = await owner.event("task_started", task_id=task_id)
        (there,) = operator.all("agent_registered", agent_id=agent_id)
        assert after_s(started, there) > HEARTBEAT_TIMEOUT_S

        # Nobody asks about it, until it is known.
        about = {"agent_id": agent_id}
        await operator.event("agent_status_changed", **about, status="offline", within_s=30)
        changes = [
            event
            for event in operator.all("agent_status_changed", **about)
            if event["offset"] > started["offset"]
        ]
        *_, unhealthy, offline = changes
        assert changes[0]["previous_status"] == "healthy"
        assert (unhealthy["status"], offline["previous_status"]) == ("unhealthy", "unhealthy")
        for told, limit_s in ((unhealthy, HEARTBEAT_TIMEOUT_S), (offline, OFFLINE_AFTER_S)):
            assert told["error_type"] == "agent_lost"
            # It beat until it was killed, right after its claim; its last beat may be before that.
            since_s = after_s(told, started)
            assert limit_s - HEARTBEAT_TIMEOUT_S / 2 <= since_s <= limit_s + TOLERANCE_S

        other = await registered(tools)
        listed = {each["agent_id"]: each for each in (await tools.done("agent.list"))["items"]}
        stale, live = listed[agent_id], listed[other["agent_id"]]
        assert (stale["handle"], stale["type"], stale["status"]) == (HANDLE, TYPE, "offline")
        assert live["status"] == "healthy"
        found = await tools.done("agent.list", status="offline", handle=HANDLE)
        assert agent_id in {each["agent_id"] for each in found["items"]}
        assert (await tools.done("agent.get", agent_id=agent_id))["status"] == "offline"

        claim = await tools.done("task.claim", **other, wait=10 + TTL_S)
        assert (claim["task_id"], claim["attempt"]) == (task_id, 2)
        assert claim["term"] == first["term"] + 1
        old_lease = {**crashed_one, "task_id": task_id, "term": first["term"]}
        refused = await late.refused("task.complete", **old_lease, result="too late")
        assert (refused.code, refused.field) == ("stale_term", "agent_id")
        lease = {**other, "task_id": task_id, "term": claim["term"]}
        await tools.done("task.complete", **lease, result="recovered")

        end = await owner.finished(task_id)
        assert (end["outcome"], end["result"]) == ("succeeded", "recovered")
        (lost,) = owner.all("agent_error", task_id=task_id)
        assert (lost["error_type"], lost["will_retry"]) == ("agent_lost", True)
        (passed,) = owner.all("task_reassigned", task_id=task_id)
        assert passed["previous_agent_id"] == agent_id
        (well,) = owner.all("system_recovered", task_id=task_id)
        assert {passed["error_id"], well["error_id"]} == {lost["error_id"]}
        starts = owner.all("task_started", task_id=task_id)
        assert [each["agent_id"] for each in starts] == [agent_id, other["agent_id"]]
        order = [starts[0], lost, passed, starts[1], well, end]
        assert [each["offset"] for each in order] == sorted(each["offset"] for each in order)


# --- scenario 2: a claim -------------------------------------------------------------------------


@pytest.mark.requirement("MESH-06", "MESH-07", "MESH-08", "MESH-W1", "MESH-W4", "MESH-W11")
@pytest.mark.parametrize("era", ERAS)
async def test_scenario_2_the_claim_that_failed_is_given_and_every_refusal_can_be_read(
    gateway: GatewayProcess, era: str
) -> None:
    """
    The payload of the audit's failure, in both eras of the protocol.

    Its client could not read the answer: the error's code was no number, and the fields of an
    answer were not those of JSON-RPC (P0-1, P0-2). Here every message is judged as strictly, by
    ``Tools.check``; the code for wrong parameters is the one that the audit asks for, −32602.
    """
    resource_key = f"{CLAIM['resource_key']}.{era}"
    async with (
        browser(gateway.url, token=OPERATOR) as operator,
        browser(gateway.url, token=OWNER, topics=["user:owner"]) as owner,
        tools_at(gateway.url, TESTER, era=era) as tools,
        tools_at(gateway.url, TESTER, era=era) as others,
    ):
        # As it stands: the audit's own agent and task are not here, and it is told which.
        refused = await tools.refused("task.claim", **CLAIM)
        assert (refused.code, refused.field, refused.jsonrpc_code) == (
            "not_found",
            "agent_id",
            None,
        )
        assert CLAIM["agent_id"] in refused.message

        handle = f"{HANDLE}.{era}"
        one, two = await registered(tools, handle), await registered(others, handle)
        task_id = (await owner.call("task.create", agent=handle))["result"]["task_id"]
        asked = {**CLAIM, "task_id": task_id, "resource_key": resource_key}
        refused = await tools.refused("task.claim", **{**asked, **one, "task_id": CLAIM["task_id"]})
        assert (refused.code, refused.field) == ("not_found", "task_id")
        # An agent_id alone is no proof: the audit's server took anybody's.
        refused = await tools.refused("task.claim", **{**asked, "agent_id": one["agent_id"]})
        assert (refused.code, refused.field) == ("not_permitted", "agent_secret")
        asked |= one
        for wrong, field in (
            ({"lease_ttl": "60"}, "lease_ttl"),
            ({"lease_ttl": 0}, "lease_ttl"),
            ({"resource_key": "no name"}, "resource_key"),
            ({"task_id": None}, "task_id"),
            ({"priority": 1}, "priority"),
        ):
            refused = await tools.refused("task.claim", **{**asked, **wrong})
            assert (refused.jsonrpc_code, refused.code) == (-32602, "invalid_params")
            assert refused.field == field
        del asked["agent_id"]
        refused = await tools.refused("task.claim", **asked)
        assert (refused.jsonrpc_code, refused.field) == (-32602, "agent_id")
        # Whatever was refused has left nothing behind.
        assert operator.all("lock_changed", resource_key=resource_key) == []

        asked |= one
        claim = await tools.done("task.claim", **asked)
        assert (claim["task_id"], claim["agent_id"]) == (task_id, one["agent_id"])
        assert (claim["state"], claim["mode"], claim["attempt"]) == ("active", "primary", 1)
        assert claim["lock"]["resource_key"] == resource_key
        started = await owner.event("task_started", task_id=task_id)
        assert (started["agent_id"], started["agent_name"]) == (one["agent_id"], handle)
        lasts_s = seconds_of(claim["lease_expires_at"]) - seconds_of(started["timestamp"])
        assert abs(lasts_s - CLAIM["lease_ttl"]) <= TOLERANCE_S
        locked = await operator.event("lock_changed", resource_key=resource_key)
        assert (locked["lock_id"], locked["holder"]) == (
            claim["lock"]["lock_id"],
            one["agent_id"],
        )
        # Asked again, as after an answer that was lost: the same claim, for longer.
        again = await tools.done("task.claim", **asked)
        assert {**again, "lease_expires_at": 0} == {**claim, "lease_expires_at": 0}
        assert again["lease_expires_at"] >= claim["lease_expires_at"]

        refused = await others.refused("task.claim", **{**asked, **two})
        assert (refused.code, refused.jsonrpc_code) == ("task_claimed", None)
        second = (await owner.call("task.create", agent=handle))["result"]["task_id"]
        wanted = {**two, "task_id": second, "resource_key": resource_key}
        refused = await others.refused("task.claim", **wanted)
        assert (refused.code, refused.field) == ("lock_held", "resource_key")
        assert refused.data["holder"] == one["agent_id"]
        assert refused.retry_after is not None
        assert CLAIM["lease_ttl"] - 10 < refused.retry_after <= CLAIM["lease_ttl"]

        # P1-3 wished for retries with backoff: the other waits in line, and is given the task with
        # the lock when the first is done.
        del wanted["task_id"]
        waiting = asyncio.create_task(others.done("task.claim", **wanted, wait=10))
        # P2-2 wished that locks be renewed by themselves: the claim's lock lasts with its lease.
        mine = {**one, "task_id": task_id, "term": claim["term"]}
        beat = await tools.done("task.heartbeat", **mine, lease_ttl=120)
        longer_s = seconds_of(beat["lease_expires_at"]) - seconds_of(claim["lease_expires_at"])
        assert abs(longer_s - 60) <= 10
        refused = await others.refused("lock.acquire", resource_key=resource_key, holder="x")
        assert refused.retry_after is not None
        assert 110 < refused.retry_after <= 120
        await tools.done("task.complete", **mine, result={"valid": True})
        end = await owner.finished(task_id)
        assert (end["outcome"], end["result"]) == ("succeeded", {"valid": True})
        given = await waiting
        assert (given["task_id"], given["agent_id"]) == (second, two["agent_id"])
        assert given["lock"]["resource_key"] == resource_key
        assert given["lock"]["term"] == claim["lock"]["term"] + 1
        await others.done("task.complete", **two, task_id=second, term=given["term"], result=None)
        assert (await owner.finished(second))["outcome"] == "succeeded"
        states = [
            (event["state"], event["holder"], event["term"])
            for event in operator.all("lock_changed", resource_key=resource_key)
        ]
        assert states[:3] == [
            ("held", one["agent_id"], 1),
            ("released", one["agent_id"], 1),
            ("held", two["agent_id"], 2),
        ]


@pytest.mark.requirement("MESH-W7")
async def test_scenario_2_a_task_whose_claims_keep_failing_is_kept_for_the_operators(
    gateway: GatewayProcess,
) -> None:
    """P2-3 wished for a dead letter queue: one claim runs out here, and the next one fails."""
    async with (
        browser(gateway.url, token=OWNER, topics=["user:owner"]) as owner,
        tools_at(gateway.url, TESTER) as tools,
    ):
        me = await registered(tools, "unlucky-agent")
        asked = {"agent": "unlucky-agent", "input": {"title": "Failure recovery validation"}}
        task_id = (await owner.call("task.create", **asked, max_attempts=2))["result"]["task_id"]
        first = await tools.done("task.claim", **me, task_id=task_id, lease_ttl=0.1)
        await owner.event("agent_error", task_id=task_id, attempt=1)
        second = await tools.done("task.claim", **me, wait=10)
        assert (second["task_id"], second["term"]) == (task_id, first["term"] + 1)
        lease = {"task_id": task_id, "term": second["term"]}
        failed = {"message": "no answer", "error_type": "timeout"}
        await tools.done("task.fail", **me, **lease, **failed)
        end = await owner.finished(task_id)
        assert end["outcome"] == "dead_lettered"
        letter = await owner.event("task_dead_lettered", task_id=task_id)
        assert [error["error_type"] for error in letter["errors"]] == ["agent_lost", "timeout"]
        headers = {"authorization": f"Bearer {OPERATOR}"}
        kept = (await gateway.http.get("/api/dead-letters", headers=headers)).json()["items"]
        assert [(one["input"], one["attempts"]) for one in kept if one["task_id"] == task_id] == [
            (asked["input"], 2)
        ]
        assert (await tools.refused("task.claim", **me, task_id=task_id)).code == "conflict"


# --- scenario 4: two that want one lock ----------------------------------------------------------


@pytest.mark.requirement("MESH-02", "MESH-03")
async def test_scenario_4_a_lock_that_is_taken_twice_is_renewed_and_never_has_two_owners(
    gateway: GatewayProcess,
) -> None:
    """The audit tried it with one agent only; an id that stays says nothing of a second one."""
    async with (
        browser(gateway.url, token=OPERATOR) as operator,
        tools_at(gateway.url, TESTER) as tools,
        tools_at(gateway.url, OTHER) as others,
    ):
        one, two = await registered(tools), await registered(others, "qwen-reviewer")
        asked = {"resource_key": CONTENDED, "holder": one["agent_id"], "ttl": 20}
        first = await tools.done("lock.acquire", **asked)
        again = await tools.done("lock.acquire", **asked)
        assert (first["renewed"], again["renewed"]) == (False, True)
        for name in ("lock_id", "holder", "term", "state"):
            assert again[name] == first[name]
        assert again["expires_at"] > first["expires_at"]
        refused = await others.refused("lock.acquire", **{**asked, "holder": two["agent_id"]})
        assert (refused.code, refused.data["holder"]) == ("lock_held", one["agent_id"])
        assert refused.retry_after is not None
        assert 10 < refused.retry_after <= 20
        # Nor does it help to use the first one's name.
        refused = await others.refused("lock.acquire", **asked)
        assert (refused.code, refused.field) == ("not_permitted", "holder")
        held = {name: first[name] for name in ("lock_id", "holder", "term")}
        assert (await tools.done("lock.release", **held))["state"] == "released"
        after = await others.done("lock.acquire", **{**asked, "holder": two["agent_id"]})
        assert after["lock_id"] != first["lock_id"]
        await operator.event("lock_changed", lock_id=after["lock_id"])
        seen = operator.all("lock_changed", resource_key=CONTENDED)
        assert [(event["state"], event["lock_id"], event["term"]) for event in seen] == [
            ("held", first["lock_id"], 1),
            ("held", first["lock_id"], 1),
            ("released", first["lock_id"], 1),
            ("held", after["lock_id"], 2),
        ]


# --- scenario 5: notifications -------------------------------------------------------------------


@pytest.mark.requirement("MESH-12", "MESH-13", "MESH-W17")
async def test_scenario_5_alerts_reach_their_recipient_and_channel_and_can_be_read_later(
    gateway: GatewayProcess,
) -> None:
    """
    The audit found recipient and channel in a list; here they are also where the alert goes.

    Two recipients, one listener of the channel, and one that neither concerns, who is sent
    something at the end so that it is known to have had nothing before.
    """
    reads = "events:read events:write"
    async with (
        browser(gateway.url, token=token(REVIEWER, reads), topics=[f"recipient:{REVIEWER}"]) as one,
        browser(gateway.url, token=token(E2E, reads), topics=[f"recipient:{E2E}"]) as two,
        browser(gateway.url, token=OWNER, topics=["channel:recovery-alerts"]) as listener,
        browser(gateway.url, token=OTHER, topics=["recipient:other", "user:other"]) as bystander,
        tools_at(gateway.url, TESTER) as tools,
    ):
        sent = []
        for alert in ALERTS:
            refused = await tools.refused("event.publish", **alert)
            assert (refused.code, refused.field) == ("invalid_event", "type")
            assert alert["type"] in refused.message
            asked = notification(alert)
            refused = await tools.refused("event.publish", **asked, severity=alert["severity"])
            assert (refused.code, refused.field) == ("invalid_event", "severity")
            sent.append((await tools.done("event.publish", **asked))["event_id"])
        last = {**notification(ALERTS[0]), "recipient_id": "other", "channel": "elsewhere"}
        last_id = (await tools.done("event.publish", **last))["event_id"]
        for page, expected in ((one, sent[:1]), (two, sent[1:]), (listener, sent)):
            await page.event("notification", event_id=expected[-1])
            assert [event["event_id"] for event in page.events] == expected
        await bystander.event("notification", event_id=last_id)
        # A lock that this user holds in another test may end here: only notifications count.
        assert [event["event_id"] for event in bystander.all("notification")] == [last_id]
        for event, alert in zip(listener.events, ALERTS, strict=True):
            for name in ("recipient_id", "channel"):
                assert event[name] == alert[name]
            assert event["payload"].items() >= alert["payload"].items()
            assert event["payload"]["severity"] == alert["severity"]
            assert (event["subject"], event["sender"]) == (alert["payload"]["subject"], "tester")

        # What the audit looked up afterwards.
        async def listed(who: str, **query: Any) -> list[str]:
            async with tools_at(gateway.url, who) as reader:
                found = (await reader.done("event.list", type="notification", **query))["items"]
            return [event["event_id"] for event in found]

        assert await listed(OWNER, channel="recovery-alerts") == sent
        assert await listed(token(REVIEWER, reads), recipient_id=REVIEWER) == sent[:1]
        both = {"channel": "recovery-alerts", "recipient_id": E2E}
        assert await listed(token(E2E, reads), **both) == sent[1:]
        async with tools_at(gateway.url, token(E2E, reads)) as reader:
            refused = await reader.refused("event.list", recipient_id=REVIEWER)
            assert (refused.code, refused.field) == ("not_permitted", "recipient_id")


@pytest.mark.requirement("MESH-12")
async def test_scenario_5_a_direct_message_goes_to_the_agent_that_it_names(
    gateway: GatewayProcess,
) -> None:
    """The audit's other finds: chat between agents, each named by its id, in channels by phase."""
    phases = ("phase-a-alpha", "phase-a-beta")
    async with tools_at(gateway.url, TESTER) as tools, tools_at(gateway.url, OTHER) as others:
        assistant = await registered(others, "qwen-assistant")
        topics = [f"recipient:{assistant['agent_id']}"]
        async with browser(gateway.url, token=OTHER, topics=topics) as page:
            for channel in phases:
                await tools.done(
                    "event.publish",
                    type="notification",
                    recipient_id=assistant["agent_id"],
                    channel=channel,
                    subject="chat.message",
                    payload={"from": HANDLE},
                )
            await page.event("notification", channel=phases[-1])
            assert [event["channel"] for event in page.events] == list(phases)
            found = await others.done("event.list", recipient_id=assistant["agent_id"])
            assert found["items"] == page.events
        refused = await tools.refused("event.list", recipient_id=assistant["agent_id"])
        assert (refused.code, refused.field) == ("not_permitted", "recipient_id")
