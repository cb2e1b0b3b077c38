"""Bad input: each operation refuses it the same way by every door, with the field, and lives on."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from event_schemas import Validator, publication
from gateway.protocol.operations import OPERATIONS, SESSION_PARAMS, Operation
from gateway.transports.requests import BODY_BYTES_MAX
from tests.event_schemas.given import published
from tests.soak import times
from tests.transports.doors import Door, Http, Refused, Socket, Tool, doors, url_of
from tests.transports.world import SECRET, connected, dumps, token, world

ALL = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))
PUBLISH = OPERATIONS["event.publish"]
# What stands for a value of the right form.
GOOD = {"string": "x1", "integer": 1, "number": 1.0, "array": [], "object": {}, "boolean": True}
# Of these each parameter is given those that its schema refuses.
VALUES: tuple[Any, ...] = (
    *(None, True, 7, -1, 1.5, 2**63 - 1),
    *("", "x", "x y\n", "x" * 4_000, "x" * 40_000),
    *([], ["x"], [None], {}, {"x": 1}),
)


@dataclasses.dataclass(frozen=True)
class Form:
    """
    One form of an operation's parameters; an event has several.

    Attributes:
        good: Parameters that comply.
        fixed: The parameters that choose this form.
    """

    operation: Operation
    schema: Mapping[str, Any]
    good: Mapping[str, Any]
    fixed: frozenset[str] = frozenset()

    def bad(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Parameters that are refused, and the field that the refusal has to name."""
        yield {**self.good, "zzz": 1}, "zzz"
        for name in self.schema["required"]:
            if name not in self.fixed:
                yield {key: self.good[key] for key in self.good if key != name}, name
        for number, (name, schema) in enumerate(self.schema["properties"].items()):
            if name in self.fixed:
                continue
            one = Validator({"type": "object", "properties": {name: schema}})
            wrong = [value for value in VALUES if not one.is_valid({name: value})]
            # Events have hundreds of fields, most of them alike: each gets some of the values.
            step = 4 if self.fixed else times(2, 1)
            for value in wrong[number % step :: step]:
                yield {**self.good, name: value}, name


def kind_of(schema: Mapping[str, Any]) -> str | None:
    """The one type of a property; None: it may be several, or anything."""
    kind = schema.get("type")
    return kind if isinstance(kind, str) else None


def filled(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The required parameters, each of the right form."""
    properties = schema["properties"]
    return {
        name: properties[name].get("enum", [GOOD[kind_of(properties[name]) or "string"]])[0]
        for name in schema["required"]
    }


def forms() -> Iterator[Any]:
    """Every operation, and every type of event, on a task of the publisher's own or not."""
    for name, operation in OPERATIONS.items():
        if operation is not PUBLISH:
            form = Form(operation, operation.params, filled(operation.params))
            yield pytest.param(form, id=name)
    chosen = frozenset({"type", "task_id"})
    for type, lease in PUBLISH.events.items():
        form = Form(PUBLISH, publication(type), published(type), chosen)
        yield pytest.param(form, id=type)
        if lease is not None:
            schema = publication(type, lease=lease)
            good = {**filled(schema), "type": type, "text": "a"}
            if "text" not in schema["properties"]:
                del good["text"]
            yield pytest.param(Form(PUBLISH, schema, good, chosen), id=f"{type} of a task")


@pytest.mark.requirement("MESH-W16")
@pytest.mark.parametrize("form", list(forms()))
async def test_every_operation_refuses_what_it_does_not_take_by_each_door(form: Form) -> None:
    """What is missing, unknown, of another type or huge; with the field and what it takes."""
    asked = Counter[tuple[str, str]]()
    async with world() as here, doors(here) as by:
        for params, field in form.bad():
            for name, door in by.items():
                # The check is one for all doors; what differs is how each says it.
                often = name != "socket" and asked[name, field] >= 2
                if often or not door.takes(form.operation, params):
                    continue
                refused = await door.ask(form.operation, params)
                assert isinstance(refused, Refused), (name, params, refused)
                assert refused.code in ("invalid_params", "invalid_event"), (name, params, refused)
                assert (refused.field or "").partition(".")[0] == field, (name, params, refused)
                assert field in refused.message
                # Which rule it breaks is no remedy unless it says what is allowed.
                assert "comply with" not in refused.message, refused.message
                asked[name, field] += 1
        used = {name for name, _ in asked}
        assert used >= {"socket", *(("tool",) if form.operation.tool else ())}
        await all_live(by)


async def all_live(by: Mapping[str, Door]) -> None:
    """Every door answers, the connections that were there before among them."""
    for door in by.values():
        assert (await door.ask(OPERATIONS["task.list"], {}))["next"] is None


# Who calls is looked at before what about.
IDS = ("agent_id", "task_id", "lock_id")
WITH_IDS = [
    pytest.param(operation, id=name)
    for name, operation in OPERATIONS.items()
    if set(IDS) & set(operation.params["required"])
]


@pytest.mark.parametrize("operation", WITH_IDS)
async def test_what_is_not_there_is_not_found_by_any_door(operation: Operation) -> None:
    """The same code and field, and nothing comes of it."""
    params = filled(operation.params)
    async with world() as here, doors(here) as by:
        told = {
            await door.ask(operation, params)
            for door in by.values()
            if door.takes(operation, params)
        }
        assert {(refused.code, refused.field) for refused in told} == {
            ("not_found", next(name for name in IDS if name in params))
        }
        assert here.engine.log.head == 0
        await all_live(by)


@ALL
@pytest.mark.requirement("WEFT-W21")
async def test_without_the_right_nothing_is_done_by_any_door(operation: Operation) -> None:
    """A token without the scope: told so, whatever is right or wrong about the request."""
    none = token("ann", "events:write" if operation.scope == "events:read" else "events:read")
    whole = filled(operation.params)
    async with world(secret=SECRET) as here, doors(here, none) as by:
        for params in (whole, {**whole, "zzz": "1"}):
            for door in by.values():
                if door.takes(operation, params):
                    refused = await door.ask(operation, params)
                    assert (refused.code, refused.field) == ("not_permitted", None)
                    assert operation.scope in refused.message
        assert here.engine.log.head == 0


# --- what belongs to others ----------------------------------------------------------------------

RIGHTS = "events:read events:write tasks:write agent"
# What may be read by everybody who reads at all, without what is the owner's alone.
SEEN = frozenset({"agent.get", "agent.list", "event.list", "mode.get"})
# How a refusal is told apart from that there is nothing of that id, or no right to it.
OTHERWISE = {"lock.acquire": {"lock_held"}, "task.claim": {"conflict"}}
OFTEN = {"not_found", "not_permitted"}


def on_others(
    operation: Operation, anns: Mapping[str, Any], bobs: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Any], set[str]]]:
    """Ask for what is Ann's, as oneself and as a worker of one's own; and the codes for it."""
    taken = operation.params["properties"].keys()
    codes = OTHERWISE.get(operation.name, OFTEN)
    if operation is PUBLISH:
        note = {"type": "notification", "subject": "s", "payload": 1, "channel": "c"}
        yield {**note, "user_id": "ann"}, OFTEN
        yield {**note, "task_id": anns["task_id"]}, {"invalid_event"}  # whoever's it is
        for type, lease in PUBLISH.events.items():
            report = {"type": type, "resources_cleaned": ["files"], "text": "x"}
            known = publication(type, lease=lease)["properties"]
            about = {name: {**report, **anns}[name] for name in known if name in {**report, **anns}}
            if lease is not None:
                yield {**about, "agent_secret": anns["agent_secret"]}, OFTEN
                yield {**about, **bobs}, {"stale_term"}
        return
    about = {name: anns[name] for name in taken if name in anns}
    yield about, OFTEN if operation.name == "task.claim" else codes
    if {"task_id", "agent_id"} <= taken:
        yield {**about, **bobs}, codes - OFTEN or {"stale_term"}


@ALL
async def test_what_is_anothers_is_refused_and_stays_as_it_is(operation: Operation) -> None:
    """With every right but an operator's, and with the right ids of everything of Ann's."""
    async with (
        world(secret=SECRET) as here,
        doors(here, token("ann", RIGHTS)) as own,
        doors(here, token("bob", RIGHTS)) as by,
    ):
        anns = await of_ann(own["socket"])
        bobs = await worker_of(by["socket"], "b")
        before = here.engine.log.head
        for params, codes in on_others(operation, anns, bobs):
            for door in by.values():
                if not door.takes(operation, params):
                    continue
                told = await door.ask(operation, params)
                assert "of ann alone" not in str(told)
                if operation.name in SEEN:
                    assert not isinstance(told, Refused), told
                    assert anns["task_id"] not in str(told), told
                else:
                    assert isinstance(told, Refused), told
                    assert told.code in codes, told
        for door in by.values():
            assert (await door.ask(OPERATIONS["task.list"], {}))["items"] == []
        assert here.engine.log.head == before


async def worker_of(door: Door, handle: str) -> dict[str, Any]:
    """Register a worker; gives what it proves itself with."""
    worker = await door.ask(OPERATIONS["agent.register"], {"handle": handle})
    return {name: worker[name] for name in ("agent_id", "agent_secret")}


async def lease_of(door: Door) -> dict[str, Any]:
    """Register a worker that has claimed a task; gives its lease."""
    proof = await worker_of(door, "w")
    asked = {"agent": "w", "input": "of ann alone"}
    task = await door.ask(OPERATIONS["task.create"], asked)
    about = {**proof, "task_id": task["task_id"]}
    claim = await door.ask(OPERATIONS["task.claim"], about)
    return {**about, "term": claim["term"]}


async def of_ann(door: Door) -> dict[str, Any]:
    """A lease, a lock, and Ann's id; Bob knows all of this but the secret."""
    lock = await door.ask(OPERATIONS["lock.acquire"], {"resource_key": "r", "holder": "h"})
    return {
        **await lease_of(door),
        **{"lock_id": lock["lock_id"], "resource_key": "r", "holder": "other"},
        **{"agent": "w", "handle": "b", "user_id": "ann", "message": "m"},
        "agent_secret": "s" * 32,
    }


# --- what is no request --------------------------------------------------------------------------

WITH_BODY = [
    pytest.param(operation, id=name)
    for name, operation in OPERATIONS.items()
    if operation.method != "GET"
]
DEEP = b"[" * 100 + b"]" * 100
# What is no JSON object as it is taken here, and whether the refusal says that it is no JSON.
BODIES = [
    *((body, "parse_error") for body in (b"{", b'{"a":1}{', b"{'a':1}", b"\xff\xfe", b"nul")),
    *((body, "parse_error") for body in (b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\\ud800"}')),
    (b'{"a":%d}' % 2**63, "parse_error"),
    (b'{"a":%s}' % DEEP, "parse_error"),
    (b'{"zzz":1,"zzz":1}', "parse_error"),
    *((body, "invalid_params") for body in (b"[]", b"[{}]", b'"a"', b"7", b"null", b"true")),
]
HEADS = [
    {"content_type": "text/plain"},
    {"content_type": "application/x-www-form-urlencoded"},
    {"content_type": "application/json; charset=utf-16"},
    {"content_encoding": "gzip"},
]


@pytest.mark.parametrize("operation", WITH_BODY)
async def test_what_is_no_body_is_a_problem_whatever_the_operation(operation: Operation) -> None:
    params = filled(operation.params)
    async with world() as here, doors(here) as by:
        http = by["http"]
        assert isinstance(http, Http)
        url = url_of(operation, params)
        for body, code in BODIES:
            refused = await http.send(operation.method, url, body)
            assert isinstance(refused, Refused), (body, refused)
            assert refused.code == code, (body, refused)
            assert len(refused.message) > 20
        for head in HEADS:
            refused = await http.send(operation.method, url, b'{"a":1}', **head)
            assert refused.code == "unsupported_media_type", (head, refused)
            assert len(refused.message) > 20
        refused = await http.send(operation.method, url, b'{"a":"%s"}' % (b"x" * BODY_BYTES_MAX))
        assert refused.code == "too_large"
        if operation.method != "DELETE":
            refused = await http.send(operation.method, f"{url}?zzz=1", b"{}")
            assert (refused.code, refused.field) == ("invalid_params", "zzz")
        assert here.engine.log.head == 0
        await all_live(by)


READING = [
    pytest.param(operation, id=name)
    for name, operation in OPERATIONS.items()
    if operation.method == "GET"
]


@pytest.mark.parametrize("operation", READING)
async def test_a_query_that_cannot_be_read_is_refused_with_its_field(operation: Operation) -> None:
    """Unknown, twice, or of another type; and what is read has no body."""
    params = filled(operation.params)
    async with world() as here, doors(here) as by:
        http = by["http"]
        assert isinstance(http, Http)
        url = url_of(operation, params)
        for query, field in (
            ("zzz=1", "zzz"),
            ("min_position=0&min_position=0", "min_position"),
            ("min_position=x:y", "min_position"),
            ("min_position=", "min_position"),
            ("limit=1%00", "limit"),
            ("limit=%FF", "limit"),
            ("limit=1&limit=1", "limit"),
        ):
            refused = await http.send("GET", f"{url}?{query}")
            assert (refused.code, refused.field) == ("invalid_params", field), (query, refused)
            assert field in refused.message
        refused = await http.send("GET", url, b"{}")
        assert refused.code == "invalid_params"
        await all_live(by)


ENVELOPE = '"jsonrpc":"2.0","id":7'


@ALL
async def test_a_frame_that_is_no_request_costs_its_answer_alone(operation: Operation) -> None:
    """Parameters that are no object, batches and names that come twice, over the socket and MCP."""
    name, tool = operation.name, operation.tool
    whole = dumps(filled(operation.params))
    twice = whole.replace("{", '{"zzz":1,"zzz":1,', 1).replace(",}", "}")
    async with world() as here, doors(here) as by:
        socket, door = by["socket"], by["tool"]
        assert isinstance(socket, Socket)
        assert isinstance(door, Tool)
        wire = socket.wire
        for params, code, field in (
            ("[1]", "invalid_params", "params"),
            ('"x"', "invalid_params", "params"),
            ("7", "invalid_params", "params"),
            (twice, "parse_error", None),
        ):
            await wire.send(f'{{{ENVELOPE},"method":"{name}","params":{params}}}')
            error = (await wire.next())["error"]
            assert (error["data"]["code"], error["data"].get("field")) == (code, field), params
            assert len(error["message"]) > 10
            if not tool:
                continue
            called = f'{{"name":"{name}","arguments":{params}}}'
            message = f'{{{ENVELOPE},"method":"tools/call","params":{called}}}'
            refused = await door.send(message.encode())
            field = field and "arguments"
            assert (refused.code, refused.field) == (code, field), (params, refused)
        request = f'{{{ENVELOPE},"method":"{name}","params":{whole}}}'
        await wire.send(f"[{request},{request}]")
        assert (await wire.next())["error"]["data"]["code"] == "invalid_request"
        assert (await door.send(f"[{request}]".encode())).code == "invalid_request"
        await wire.send(request.replace('"id":7,', ""))
        assert (await wire.next())["error"]["data"] == {"code": "invalid_request", "field": "id"}
        assert here.engine.log.head == 0
        await all_live(by)


# --- what is too much ----------------------------------------------------------------------------

HUGE = "x" * (600 * 1024)
# What is any JSON or free text, and whether it is refused; else a bound cuts what is kept of it.
FREE = {
    ("task.create", "input"): True,
    ("task.update", "data"): True,
    ("task.update", "text"): True,
    ("task.complete", "result"): True,
    ("task.complete", "steps"): True,
    ("task.fail", "message"): True,
    ("task.fail", "text"): True,
    ("task.fail", "steps"): True,
    ("task.fail", "detail"): False,
    ("event.publish", "payload"): True,
    ("event.publish", "subject"): True,
}
# What an entry has at the most: an event of 256 KiB in its envelope, its detail, its fact.
ENTRY_BYTES_MAX = 2 * 320 * 1024


@pytest.mark.parametrize(("name", "field"), FREE)
async def test_a_value_that_is_too_large_is_refused_or_cut(name: str, field: str) -> None:
    """By the one who holds the task. Nothing that is sent makes an entry no store would take."""
    operation = OPERATIONS[name]
    note = {"type": "notification", "subject": "s", "payload": 1, "channel": "c"}
    value = {f"k{n}": "x" * 2400 for n in range(250)} if field in ("steps", "detail") else HUGE
    async with world() as here, doors(here) as by:
        for door in (by["http"], by["tool"]):
            held = {"agent": "w", "message": "m", "step": "one", **await lease_of(by["socket"])}
            known = operation.params["properties"]
            about = {key: held[key] for key in known if key in held}
            if operation is PUBLISH:
                about = note
            told = await door.ask(operation, {**about, field: value})
            assert isinstance(told, Refused) is FREE[name, field], told
            if isinstance(told, Refused):
                assert told.code in ("too_large", "invalid_params"), told
                assert told.field in (field, "event"), told
                assert re.search("[0-9]{3}", told.message), told  # its bound
        for entry in await here.engine.log.read(after=0, topics=None, limit=500):
            assert len(entry.operator) + len(entry.state or b"") < ENTRY_BYTES_MAX
        await all_live(by)


@pytest.mark.parametrize("name", sorted(SESSION_PARAMS))
async def test_the_connections_own_methods_name_the_field_too(name: str) -> None:
    async with world() as here, connected(here) as client:
        error = (await client.ask(name, zzz=1))["error"]
        assert (error["code"], error["data"]["code"]) == (-32602, "invalid_params")
        missing = sorted(SESSION_PARAMS[name].get("required", ()))
        assert error["data"]["field"] in ["zzz", *missing]


@pytest.mark.parametrize(
    ("frame", "code", "text", "field"),
    [
        ('{"jsonrpc":"2.0","id":1,"method":"ping"', -32700, "parse_error", None),
        ('{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', -32700, "parse_error", None),
        (
            '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}',
            -32700,
            "parse_error",
            None,
        ),
        ('[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600, "invalid_request", None),
        ("[]", -32600, "invalid_request", None),
        ('"ping"', -32600, "invalid_request", None),
        ('{"jsonrpc":"2.0","method":"ping"}', -32600, "invalid_request", "id"),
        ('{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600, "invalid_request", "jsonrpc"),
        ('{"jsonrpc":"2.0","id":1,"method":7}', -32600, "invalid_request", "method"),
        ('{"jsonrpc":"2.0","id":1,"method":"nothing"}', -32601, "method_not_found", "method"),
        (
            '{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}',
            -32602,
            "invalid_params",
            "params",
        ),
    ],
)
async def test_every_error_of_json_rpc_has_an_integer_a_message_and_data(
    frame: str, code: int, text: str, field: str | None
) -> None:
    async with world() as here, connected(here) as client:
        await client.send(frame)
        reply = await client.next()
        assert reply.keys() == {"jsonrpc", "id", "error"}
        error = reply["error"]
        assert (error["code"], error["data"]["code"]) == (code, text)
        assert error["data"].get("field") == field
        assert len(error["message"]) > 10
        assert (await client.result("ping")) is not None
