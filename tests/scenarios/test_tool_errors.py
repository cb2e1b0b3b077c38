"""
Every way in which a tool refuses, as the official client reads it, for users with tokens.

What each refusal has to have (code, message, field, when to come back) is judged in ``Tools``, in
every call of these tests.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

import event_schemas
from gateway.app.clock import SystemClock
from gateway.protocol.operations import OPERATIONS
from tests.nats import nats_server
from tests.scenarios.harness import Event, GatewayProcess, browser, gateway_process
from tests.scenarios.tools import Refused, Tools, tools_at
from tests.transports.world import SECRET, token

# The tests share a gateway; each has agents and resources of its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()
TOOLS = sorted(name for name, operation in OPERATIONS.items() if operation.tool)
ALL = pytest.mark.parametrize("name", TOOLS)

WORKS = "agent events:read events:write tasks:write"
ANN, BOB, OPERATOR = token("ann", WORKS), token("bob", WORKS), token("operator", "admin")
# Under a lease, and with which arguments besides.
REPORTS: Mapping[str, Event] = {
    "task.heartbeat": {},
    "task.update": {"progress": 0.5},
    "task.complete": {"result": 1},
    "task.fail": {"message": "it broke"},
    "task.release": {},
}
INPUT_BYTES = 64 * 1024
NUMBERS = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    settings: dict[str, Any] = {"drain_grace": 0.1, "input_bytes": INPUT_BYTES}
    async with gateway_process(target=None, token_secret=SECRET, **settings) as running:
        yield running


def new(kind: str) -> str:
    """Make a name that no other test has."""
    return f"{kind}-{next(NUMBERS)}"


class Hand:
    """
    A worker of its own kind, with its things, as the arguments of tools.

    Attributes:
        proof: What it proves itself with.
        position: One that the gateway has given.
    """

    def __init__(self, tools: Tools, handle: str, proof: Event, position: str) -> None:
        self.tools = tools
        self.handle = handle
        self.proof = proof
        self.position = position

    @classmethod
    async def of(cls, tools: Tools, handle: str | None = None) -> Hand:
        """Register a worker."""
        handle = handle or new("agent")
        me = await tools.done("agent.register", handle=handle)
        proof = {name: me[name] for name in ("agent_id", "agent_secret")}
        note = {"subject": "s", "payload": 1, "channel": "news"}
        at = (await tools.done("event.publish", type="notification", **note))["position"]
        return cls(tools, handle, proof, f"{at['epoch']}:{at['offset']}")

    async def task(self, **more: Any) -> str:
        """Make a task for it; gives the id."""
        made = await self.tools.done("task.create", agent=self.handle, **more)
        task_id: str = made["task_id"]
        return task_id

    async def lease(self, **more: Any) -> Event:
        """Claim a new task."""
        task_id = await self.task()
        claim = await self.tools.done("task.claim", **self.proof, task_id=task_id, **more)
        return {**self.proof, "task_id": task_id, "term": claim["term"]}

    async def lock(self, **more: Any) -> Event:
        """Take a new lock."""
        asked = {"resource_key": new("key"), "holder": self.proof["agent_id"], **more}
        lock = await self.tools.done("lock.acquire", **asked)
        return {name: lock[name] for name in ("lock_id", "holder", "term")}

    async def sample(self, name: str) -> Event:
        """Give arguments that a tool takes, with as many of its parameters as may be together."""
        position = self.position
        page = {"limit": 2, "min_position": position}
        match name:
            case "task.create":
                ids = {"correlation_id": "c", "causation_id": "d", "idempotency_key": new("key")}
                ids |= {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "title": "t"}
                limits = {"priority": 5, "timeout": 60, "max_attempts": 2}
                return {"agent": self.handle, "input": 1, "user_id": "ann", **limits, **ids}
            case "task.list":
                only = {"status": "pending", "agent": self.handle, "user_id": "ann"}
                return {**only, **page, "cursor": "9"}
            case "task.get" | "task.partial":
                return {"task_id": await self.task(), "min_position": position}
            case "task.claim":
                asked = {"resource_key": new("key"), "lease_ttl": 9, "wait": 0}
                return {**self.proof, **asked, "task_id": await self.task()}
            case "task.heartbeat":
                # So much longer that it is an entry of the log.
                return {**await self.lease(), "lease_ttl": 600}
            case "task.update":
                told = {"progress": 0.5, "step": "one", "data": 1, "text": "t", "plan": ["one"]}
                return {**await self.lease(), **told, "piece": 1, "replaces": True}
            case "task.complete":
                return {**await self.lease(), "result": 1, "steps": {"one": 1}}
            case "task.fail":
                why = {"message": "m", "error_type": "timeout", "error_code": "llm_timeout"}
                kept = {"steps": {"one": 1}, "text": "t", "progress": 0.5, "plan": ["one"]}
                # Of an agent of its own, or the breaker would open soon.
                lease = await (await self.of(self.tools)).lease()
                return {**lease, **why, **kept, "retry_after": 1, "detail": {"x": 1}, "others": 1}
            case "task.release":
                return await self.lease()
            case "agent.register":
                agent = {"name": new("agent"), "timeout": 9, "max_attempts": 2, "fallback": True}
                agent |= {"features": ["chat"], "upstream": "model", "breaker": "model"}
                what = {"type": "t", "capabilities": ["c"], "domain": "d", "agents": [agent]}
                who = {"agent_id": new("worker"), "agent_secret": "s" * 16}
                return {"handle": self.handle, **who, **what}
            case "agent.heartbeat":
                return {**self.proof, "status": "idle", "loop_lag": 0, "health": 1}
            case "agent.list":
                return {"status": "healthy", "handle": self.handle, **page, "cursor": "0"}
            case "agent.get":
                return {"agent_id": self.proof["agent_id"], "min_position": position}
            case "agent.remove":
                return (await self.of(self.tools, self.handle)).proof
            case "lock.acquire":
                return {"resource_key": new("key"), "holder": self.proof["agent_id"], "ttl": 9}
            case "lock.renew":
                return {**await self.lock(), "ttl": 9}
            case "lock.release":
                return await self.lock()
            case "event.publish":
                return {"type": "notification", "channel": "news", "subject": "s", "payload": 1}
            case "event.list":
                only = {"topic": "user:ann", "type": "notification", "parent_event_id": "e"}
                more = {"recipient_id": "ann", "channel": "news"}
                return {**only, **more, **page, "since": position, "cursor": position}
        raise AssertionError(f"{name} has no sample here")


# --- what the schema of a tool says --------------------------------------------------------------

# Only what a list or an answer gave counts; no schema can tell what that was.
GIVEN = {"cursor", "since", "min_position"}
HUGE = "x" * 300_000
ANYTHING: tuple[Any, ...] = (None, True, 7, 1.5, "x1", "a b\n", [7], {})
# So many calls at once: some wait, as a worker that reports too fast does.
AT_ONCE = 8


def values_for(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Give values for a parameter: of each type, at its bounds, and one beyond."""
    yield from ANYTHING
    yield from schema.get("enum", ())
    for bound, beyond in (("minimum", -1), ("maximum", 1), ("exclusiveMinimum", 0.001)):
        if (limit := schema.get(bound, 2**63)) < 2**62:
            yield from (limit, limit + beyond)
    if (most := schema.get("maxLength")) is not None:
        yield from ("z" * most, "z" * (most + 1))
    item = schema.get("items", {})
    if (most := schema.get("maxItems")) is not None:
        one = {"name": "x1"} if item.get("type") == "object" else "x1"
        yield from ([one] * most, [one] * (most + 1))
    for name, inner in item.get("properties", {}).items():
        for value in values_for(inner):
            yield [{"name": "x1", name: value}]
    if "properties" in item:
        yield from ([{}], [{"name": "x1", "zzz": 1}])


def changes_of(schema: Mapping[str, Any]) -> Iterator[tuple[str, Event]]:
    """Give the parameter that is changed, and its value; no value: it is left out."""
    for name in ("zzz", HUGE):
        yield name, {name: 1}
    for name, inner in schema["properties"].items():
        yield name, {}
        for value in (*values_for(inner), HUGE):
            yield name, {name: value}


@pytest.mark.own_store  # which has no part in it
@pytest.mark.requirement("MESH-08", "MESH-W16")
@ALL
async def test_a_tool_takes_what_its_schema_takes_and_refuses_the_rest(
    gateway: GatewayProcess, name: str
) -> None:
    """
    A model knows of a tool only what ``tools/list`` says of it, so that has to be all of it.

    Each parameter is missing, of a wrong type, at and beyond its bounds, and huge, and one is
    added that there is not. A second opinion (``jsonschema``) reads the schema.
    """
    async with tools_at(gateway.url, ANN) as tools:
        schema, one_of = tools.schemas[name], OPERATIONS[name].one_of
        judge = Draft202012Validator(schema)
        hand = await Hand.of(tools)
        good = await hand.sample(name)
        # As many as there are, so that every one of them is tried beside the others; an event has
        # more fields than any has at once.
        untried = schema["properties"].keys() - good.keys()
        assert name == "event.publish" or untried <= {"capability"}
        refusals, room = 0, asyncio.Semaphore(AT_ONCE)

        async def judged(changed: str, value: Event) -> None:
            nonlocal refusals
            arguments = {k: v for k, v in good.items() if k != changed} | value
            valid = judge.is_valid(arguments)
            if valid:
                # It may be carried out, so it gets things of its own.
                fresh = await hand.sample(name)
                arguments = {k: v for k, v in fresh.items() if k != changed} | value
            answer = await tools.answer(name, **arguments)
            about = f"{changed[:40]} = {str(value)[:200]}: {answer}"
            assert disagreement(answer, changed, one_of, valid=valid) is None, about
            refusals += not valid

        async def in_turn(changed: str, value: Event) -> None:
            async with room:
                await judged(changed, value)

        await asyncio.gather(*(in_turn(*change) for change in changes_of(schema)))
        assert refusals >= 7
        await tools.done(name, **good)


def disagreement(
    answer: Refused | Event, changed: str, one_of: tuple[str, ...], *, valid: bool
) -> str | None:
    """Say in what an answer differs from what the schema says; None: in nothing."""
    refused = answer if isinstance(answer, Refused) and answer.code == "invalid_params" else None
    if valid:
        # A position of another log is well-formed.
        fine = refused is None or (changed in GIVEN and refused.field == changed)
        return None if fine else "refused"
    if refused is None or refused.field is None or refused.jsonrpc_code != -32602:
        return "not refused by a field"
    place = refused.field.partition(".")[0]
    fine = event_schemas.field_name(changed) == place or {changed, place} <= {*one_of}
    return None if fine else "another field is blamed"


def blame(answer: Refused | Event) -> tuple[str | None, str | None, int | None] | None:
    """Give code, field and number of a refusal; None: it is none."""
    if isinstance(answer, Refused):
        return answer.code, answer.field, answer.jsonrpc_code
    return None


@pytest.mark.own_store
@pytest.mark.requirement("MESH-08")
async def test_an_event_is_taken_if_it_complies_with_the_schema_of_its_type(
    gateway: GatewayProcess,
) -> None:
    """What ``event.publish`` leaves open the published schemas close: field by field, the same."""
    judge = Draft202012Validator(event_schemas.publication("notification"))
    async with tools_at(gateway.url, ANN) as tools:
        good: Event = {"type": "notification", "subject": "s", "payload": 1}
        good |= {"channel": "news", "recipient_id": "bob"}
        names = (*good, "correlation_id", "causation_id", "traceparent", "task_id", "domain", "zzz")
        for name in names[1:]:
            values: tuple[Any, ...] = (None, True, 7, "x1", "a b", "", [], {"x": 1})
            for value in values:
                event = {**good, name: value}
                answer = await tools.answer("event.publish", **event)
                by_its_field = ("invalid_event", name, -32602)
                expected = None if judge.is_valid(event) else by_its_field
                assert blame(answer) == expected, f"{name} = {value!r}: {answer}"
            answer = await tools.answer(
                "event.publish", **{k: v for k, v in good.items() if k != name}
            )
            assert blame(answer) == (by_its_field if name in ("subject", "payload") else None)
        nobody = {name: good[name] for name in ("type", "subject", "payload")}
        refused = await tools.refused("event.publish", **nobody)
        assert (refused.code, refused.field) == ("invalid_event", "recipient_id")


async def test_a_position_of_another_log_is_refused_with_its_field(gateway: GatewayProcess) -> None:
    """The one thing that a schema cannot say; without the parameter the call would be served."""
    async with tools_at(gateway.url, ANN) as tools:
        known = {"task_id": await (await Hand.of(tools)).task()}
        for name in TOOLS:
            for field in GIVEN & tools.schemas[name]["properties"].keys():
                needed = {k: known.get(k, "x") for k in tools.schemas[name]["required"]}
                refused = await tools.refused(name, **needed, **{field: "another-log:1"})
                assert (refused.code, refused.field) == ("invalid_params", field)


# --- what is not there, and what is another's ----------------------------------------------------


async def test_a_tool_says_which_thing_is_not_there(gateway: GatewayProcess) -> None:
    async with tools_at(gateway.url, ANN) as tools:
        hand = await Hand.of(tools)
        asked = set()
        # To register with an id that is not known makes a new worker.
        for name in (name for name in TOOLS if name != "agent.register"):
            good = await hand.sample(name)
            for field in {"task_id", "agent_id", "lock_id"} & good.keys():
                refused = await tools.refused(name, **{**good, field: "unknown"})
                assert (refused.code, refused.field) == ("not_found", field)
                assert refused.jsonrpc_code is None
                asked.add(name)
        lists = {"task.create", "task.list", "agent.list", "event.list"}
        assert {*TOOLS} - asked == {*lists, "agent.register", "lock.acquire", "event.publish"}
        note = await hand.sample("event.publish")
        ended = {"type": "system_recovered", "user_id": "ann", "agent_name": "a"}
        unknown = "019abb2f-6d13-7d41-9a07-3f5f0c1e2b13"
        work = {"type": "agent_error", "agent_id": "w", "task_id": "t", "term": 1}
        for event, field in (
            ({**note, "parent_event_id": unknown}, "parent_event_id"),
            ({**ended, "error_id": unknown}, "error_id"),
            (work, "agent_id"),
        ):
            refused = await tools.refused("event.publish", **event)
            assert (refused.code, refused.field) == ("not_found", field)


@pytest.mark.requirement("MESH-W15")
async def test_what_is_anothers_is_refused_and_stays_as_it_was(gateway: GatewayProcess) -> None:
    """
    Two users with tokens of their own; each tool is either refused or listed as open to both.

    What is read is not there for another user, so that ids tell nothing; a worker has a secret,
    without which nobody speaks for it; a lock is of the user that took it.
    """
    async with tools_at(gateway.url, ANN) as anns, tools_at(gateway.url, BOB) as bobs:
        ann, bob = await Hand.of(anns), await Hand.of(bobs)
        lease, key = await ann.lease(), new("key")
        lock = await ann.lock(resource_key=key, ttl=60)
        only_id = {name: lease[name] for name in ("agent_id", "task_id", "term")}
        note = {"type": "notification", "subject": "s", "payload": 1, "recipient_id": "cy"}
        secret_note = (await anns.done("event.publish", **note))["event_id"]
        failed = {"type": "agent_error", **only_id}
        task_id, worker_id = lease["task_id"], {"agent_id": lease["agent_id"]}
        foreign: dict[str, list[tuple[Event, str, str]]] = {
            "task.create": [({"agent": "a", "user_id": "ann"}, "not_permitted", "user_id")],
            "task.list": [({"user_id": "ann"}, "not_permitted", "user_id")],
            "task.get": [({"task_id": task_id}, "not_found", "task_id")],
            "task.partial": [({"task_id": task_id}, "not_found", "task_id")],
            "task.claim": [(worker_id, "not_permitted", "agent_secret")],
            "agent.heartbeat": [(worker_id, "not_permitted", "agent_secret")],
            "agent.remove": [(worker_id, "not_permitted", "agent_secret")],
            "agent.register": [
                ({"handle": "h", **worker_id}, "not_permitted", "agent_secret"),
                ({"handle": "h", **worker_id, **secret(bob)}, "not_permitted", "agent_secret"),
            ],
            "lock.acquire": [
                ({"resource_key": key, "holder": "bob"}, "lock_held", "resource_key"),
                (
                    {"resource_key": new("key"), "holder": lock["holder"]},
                    "not_permitted",
                    "holder",
                ),
            ],
            "lock.renew": [(lock, "not_permitted", "lock_id")],
            "lock.release": [(lock, "not_permitted", "lock_id")],
            "event.list": [
                ({"topic": "user:ann"}, "not_permitted", "topic"),
                ({"topic": f"task:{task_id}"}, "not_permitted", "topic"),
                ({"topic": "*"}, "not_permitted", "topic"),
                ({"recipient_id": "ann"}, "not_permitted", "recipient_id"),
                ({"channel": "news", "recipient_id": "ann"}, "not_permitted", "recipient_id"),
            ],
            "event.publish": [
                ({**note, "user_id": "ann"}, "not_permitted", "user_id"),
                ({**note, "user_id": "*"}, "not_permitted", "user_id"),
                ({**note, "parent_event_id": secret_note}, "not_found", "parent_event_id"),
                (failed, "not_permitted", "agent_secret"),
                ({**failed, **bob.proof}, "stale_term", "agent_id"),
                ({"type": "task_finished"}, "not_permitted", "type"),
            ],
            # For everybody that may read at all.
            "agent.get": [],
            "agent.list": [],
        }
        for name, more in REPORTS.items():
            foreign[name] = [
                ({**only_id, **more}, "not_permitted", "agent_secret"),
                ({**only_id, **more, **secret(bob)}, "not_permitted", "agent_secret"),
                # With a worker of one's own, which does not hold it.
                ({**only_id, **more, **bob.proof}, "stale_term", "agent_id"),
            ]
        assert sorted(foreign) == TOOLS
        for name, cases in foreign.items():
            for arguments, code, field in cases:
                refused = await bobs.refused(name, **arguments)
                assert (refused.code, refused.field) == (code, field), (name, arguments)
                assert refused.jsonrpc_code is None
        # Nothing has happened to any of it.
        task = await anns.done("task.get", task_id=task_id)
        assert (task["status"], task["lease"]["term"]) == ("running", lease["term"])
        await anns.done("task.complete", **lease, result=1)
        assert (await anns.done("lock.release", **lock))["state"] == "released"
        seen = await bobs.done("agent.get", **worker_id)
        assert (seen["status"], seen["tasks"]) == ("healthy", [])


def secret(hand: Hand) -> Event:
    return {"agent_secret": hand.proof["agent_secret"]}


async def test_a_token_without_the_right_is_told_which_right_it_needs(
    gateway: GatewayProcess,
) -> None:
    rights = {name: OPERATIONS[name].scope for name in TOOLS}
    async with tools_at(gateway.url, ANN) as anns:
        hand = await Hand.of(anns)
        for right in sorted({*rights.values()}):
            other = "events:read" if right == "events:write" else "events:write"
            async with tools_at(gateway.url, token("ann", other)) as tools:
                for name in (name for name in TOOLS if rights[name] == right):
                    good = await hand.sample(name)
                    refused = await tools.refused(name, **good)
                    assert (refused.code, refused.jsonrpc_code) == ("not_permitted", None)
                    assert right in refused.message
                    # It was as it should be but for that.
                    await anns.done(name, **good)


# --- too late, too many, too large ---------------------------------------------------------------


async def test_what_is_said_under_an_old_term_is_refused_by_every_tool_that_takes_one(
    gateway: GatewayProcess,
) -> None:
    async with tools_at(gateway.url, ANN) as tools:
        old = await Hand.of(tools)
        next_one = await Hand.of(tools, old.handle)
        lease = await old.lease(lease_ttl=60)
        await tools.done("task.release", **lease)
        task_id = {"task_id": lease["task_id"]}
        claim = await tools.done("task.claim", **next_one.proof, **task_id)
        assert claim["term"] == lease["term"] + 1
        now = {**next_one.proof, **task_id, "term": claim["term"]}
        reports = {**REPORTS, "event.publish": {"type": "agent_error"}}
        takes_one = {n for n in TOOLS if "term" in tools.schemas[n]["properties"]}
        assert takes_one == {*reports, "lock.renew", "lock.release"}
        for name, more in reports.items():
            refused = await tools.refused(name, **lease, **more)
            assert (refused.code, refused.field) == ("stale_term", "agent_id")
            for wrong in (claim["term"] - 1, claim["term"] + 1, 2**62):
                refused = await tools.refused(name, **{**now, "term": wrong}, **more)
                assert (refused.code, refused.field) == ("stale_term", "term"), (name, refused)
        task = await tools.done("task.get", **task_id)
        assert (task["status"], len(task["attempts"])) == ("running", 2)
        await tools.done("task.complete", **now, result=1)
        # Nor after the end.
        for name, more in reports.items():
            refused = await tools.refused(name, **now, **more)
            assert (refused.code, refused.field) == ("stale_term", "agent_id")

        key = new("key")
        first = await old.lock(resource_key=key)
        await tools.done("lock.release", **first)
        second = await old.lock(resource_key=key, ttl=30)
        for name in ("lock.renew", "lock.release"):
            assert (await tools.refused(name, **first)).field == "lock_id"  # it is forgotten
            for field, wrong in (("term", first["term"]), ("holder", "another")):
                refused = await tools.refused(name, **{**second, field: wrong})
                assert (refused.code, refused.field) == ("lock_held", field)
                assert refused.retry_after is not None
                assert 20 < refused.retry_after <= 30


@pytest.mark.requirement("MESH-03", "MESH-W4")
async def test_whoever_wants_a_held_lock_is_told_its_holder_and_when_to_come_back(
    gateway: GatewayProcess,
) -> None:
    """Whoever comes back then, gets it."""
    async with tools_at(gateway.url, ANN) as tools:
        one, two = await Hand.of(tools), await Hand.of(tools)
        key = new("key")
        await one.lock(resource_key=key, ttl=60)
        wants = {"resource_key": key, "holder": two.proof["agent_id"]}
        claims = {**two.proof, "resource_key": key}
        task_id = await two.task()
        for name, arguments in (
            ("lock.acquire", wants),
            ("task.claim", claims),
            ("task.claim", {**claims, "task_id": task_id}),
            ("task.claim", {**claims, "wait": 0.05}),
        ):
            refused = await tools.refused(name, **arguments)
            assert (refused.code, refused.field) == ("lock_held", "resource_key")
            assert refused.data["holder"] == one.proof["agent_id"]
            assert refused.retry_after is not None
            assert 30 < refused.retry_after <= 60
        await one.lock(resource_key=key, ttl=0.5)  # renewed, and for a shorter time
        refusals = 0
        while isinstance(answer := await tools.answer("task.claim", **claims), Refused):
            assert answer.retry_after is not None
            assert answer.retry_after <= 0.5
            await CLOCK.sleep(answer.retry_after)
            refusals += 1
        assert refusals <= 2  # the second one for the sake of rounding
        assert (answer["task_id"], answer["lock"]["resource_key"]) == (task_id, key)


async def test_a_value_over_its_bound_is_refused_with_its_field_and_both_numbers(
    gateway: GatewayProcess,
) -> None:
    """At the bound it is taken; what the connection does not take at all is told as well."""
    async with tools_at(gateway.url, ANN) as tools:
        hand = await Hand.of(tools)
        await tools.done("task.create", agent=hand.handle, input="x" * (INPUT_BYTES - 2))
        over = {"agent": hand.handle, "input": "x" * (INPUT_BYTES - 1)}
        cases = [("task.create", over, "input", INPUT_BYTES)]
        for name, field, more in (
            ("task.complete", "result", {}),
            ("task.update", "data", {"step": "one"}),
        ):
            lease = await hand.lease()
            cases.append((name, {**lease, **more, field: "x" * (2**18 - 1)}, field, 2**18))
        note = {"type": "notification", "subject": "s", "channel": "c", "payload": HUGE}
        cases.append(("event.publish", note, "payload", 2**18))
        for name, arguments, field, most in cases:
            refused = await tools.refused(name, **arguments)
            assert (refused.code, refused.field, refused.jsonrpc_code) == ("too_large", field, None)
            assert str(most) in refused.message
        # What is no value as it is taken here, or no message.
        for input, code, jsonrpc_code in (
            (2**64, "parse_error", -32700),
            (deep(70), "parse_error", -32700),
            ("x" * 2**20, "too_large", -32008),
        ):
            refused = await tools.refused("task.create", agent=hand.handle, input=input)
            assert (refused.code, refused.jsonrpc_code) == (code, jsonrpc_code)
        await tools.done("task.create", agent=hand.handle, input=deep(50))


def deep(levels: int) -> Any:
    """So many lists inside each other."""
    return [deep(levels - 1)] if levels else 1


async def test_a_claim_that_cannot_be_given_says_why(gateway: GatewayProcess) -> None:
    async with tools_at(gateway.url, ANN) as tools:
        hand, other = await Hand.of(tools), await Hand.of(tools)
        lease = await hand.lease()
        task_id = {"task_id": lease["task_id"]}
        rival = await Hand.of(tools, hand.handle)
        assert (await tools.refused("task.claim", **rival.proof, **task_id)).code == "task_claimed"
        refused = await tools.refused("task.claim", **other.proof, **task_id)
        assert (refused.code, refused.field) == ("conflict", "task_id")
        await tools.done("task.fail", **lease, message="m", error_type="timeout", retry_after=7)
        refused = await tools.refused("task.claim", **hand.proof, **task_id)
        assert refused.code == "conflict"
        assert refused.retry_after is not None
        assert 5 < refused.retry_after <= 8
        # Its agent is held for so long.
        refused = await tools.refused(
            "task.claim", **hand.proof, task_id=await hand.task(priority=4)
        )
        assert (refused.code, refused.field) == ("conflict", "task_id")
        assert refused.retry_after is not None
        assert 5 < refused.retry_after <= 7
        hand = await Hand.of(tools)
        spent = {**await hand.lease()}
        await tools.done("task.complete", **spent, result=1)
        refused = await tools.refused("task.claim", **hand.proof, task_id=spent["task_id"])
        assert (refused.code, refused.retry_after) == ("conflict", None)
        # Sixteen locks are the most that one task holds.
        lease = await hand.lease()
        again = {**hand.proof, "task_id": lease["task_id"]}
        for _ in range(16):
            await tools.done("task.claim", **again, resource_key=new("key"))
        refused = await tools.refused("task.claim", **again, resource_key=new("key"))
        assert (refused.code, refused.retry_after) == ("rate_limited", 1)


async def test_an_order_that_cannot_be_taken_says_why(gateway: GatewayProcess) -> None:
    async with tools_at(gateway.url, ANN) as tools:
        key = {"agent": new("agent"), "idempotency_key": new("order")}
        made = await tools.done("task.create", **key, input=1)
        assert (await tools.done("task.create", **key, input=1))["task_id"] == made["task_id"]
        refused = await tools.refused("task.create", **key, input=2)
        assert (refused.code, refused.field) == ("idempotency_key_reused", "idempotency_key")
        note = {"type": "notification", "subject": "s", "payload": 1, "recipient_id": "ann"}
        root = (await tools.done("event.publish", **note))["event_id"]
        answers = [tools.done("event.publish", **note, parent_event_id=root) for _ in range(199)]
        await asyncio.gather(*answers)
        refused = await tools.refused("event.publish", **note, parent_event_id=root)
        assert (refused.code, refused.field) == ("thread_full", "parent_event_id")


@pytest.mark.requirement("WS-10")
async def test_a_gateway_that_takes_no_more_says_when_to_come_back() -> None:
    """One user's share is used up, then the queue is full, then a breaker is open."""
    settings: dict[str, Any] = {"queue_limit": 4, "queue_share": 0.5, "breaker_threshold": 1}
    async with (
        gateway_process(target=None, drain_grace=0.1, token_secret=SECRET, **settings) as gateway,
        browser(gateway.url, token=ANN, topics=["user:ann"]) as page,
        tools_at(gateway.url, ANN) as tools,
        tools_at(gateway.url, BOB) as others,
    ):
        hand = await Hand.of(tools)
        await hand.task()
        held = await hand.lease()
        await hand.task()
        refused = await tools.refused("task.create", agent=hand.handle)
        assert (refused.code, refused.retry_after) == ("queue_share", 1)
        for _ in range(2):
            await others.done("task.create", agent="nobody")
        refused = await tools.refused("task.create", agent=hand.handle)
        assert refused.code == "priority_load_shedding"
        assert refused.retry_after is not None
        # By how fast tasks begin.
        assert 1 <= refused.retry_after <= 2
        claim = await tools.done("task.claim", **hand.proof)
        broken = {**held, "task_id": claim["task_id"], "term": claim["term"]}
        await tools.done("task.fail", **broken, message="m", error_type="processing_error")
        await page.event("circuit_breaker_triggered", agent_name=hand.handle)
        refused = await tools.refused("task.create", agent=hand.handle)
        assert refused.code == "circuit_breaker_open"
        assert refused.retry_after is not None
        assert 20 < refused.retry_after <= 30
        await page.event("request_rejected", reason="circuit_breaker_open")
        told = [event["reason"] for event in page.all("request_rejected")]
        assert told == ["rate_limited", "priority_load_shedding", "circuit_breaker_open"]


@pytest.mark.own_store
async def test_a_gateway_that_leaves_says_when_to_come_back_and_lets_what_runs_be_finished() -> (
    None
):
    """So on a log in memory; a durable one is left at once, since workers go on at another node."""
    settings: dict[str, Any] = {"store": "memory", "drain_grace": 5}
    async with (
        gateway_process(target=None, token_secret=SECRET, **settings) as gateway,
        browser(gateway.url, token=ANN, topics=["user:ann"]) as page,
        tools_at(gateway.url, ANN) as tools,
    ):
        held = await (await Hand.of(tools)).lease()
        gateway.process.send_signal(signal.SIGTERM)
        while not isinstance(answer := await tools.answer("task.create", agent="a"), Refused):
            await CLOCK.sleep(0.02)
        assert (answer.code, answer.retry_after) == ("draining", 5)
        await page.event("request_rejected", reason="draining")
        await tools.done("task.complete", **held, result=1)
        assert (await page.finished(held["task_id"]))["outcome"] == "succeeded"


@pytest.mark.own_store
async def test_a_gateway_whose_store_is_away_says_when_to_come_back() -> None:
    """What is known is told all the same; what would have to be written is refused."""
    async with nats_server() as server:
        store: dict[str, Any] = {"store": server.url, "store_timeout": 1}
        async with (
            gateway_process(target=None, token_secret=SECRET, **store) as gateway,
            tools_at(gateway.url, ANN) as tools,
        ):
            hand = await Hand.of(tools)
            good = {name: await hand.sample(name) for name in TOOLS}
            server.kill()
            # What the gateway knows it still tells, and that a worker lives it hears.
            served = {name for name in TOOLS if OPERATIONS[name].method == "GET"}
            served.add("agent.heartbeat")
            for name in served:
                await tools.done(name, **good[name])
            for name in {*TOOLS} - served:
                refused = await tools.refused(name, **good[name])
                assert (refused.code, refused.jsonrpc_code) == ("unavailable", None), name
                assert refused.retry_after == 1
