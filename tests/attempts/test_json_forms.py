"""The JSON form of whatever agents return, yield or preserve."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import ipaddress
import math
import pathlib
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs
import orjson
import pydantic
import pytest

from gateway import Gateway, Task
from gateway.attempts.json_forms import as_json, whole_text
from gateway.domain.errors import TooLarge
from gateway.values import measured
from tests.execution.world import World
from tests.worker.test_desk import at_desk


class Colour(enum.Enum):
    RED = "red"


class Answer(pydantic.BaseModel):
    text: str
    at: datetime.datetime
    score: float = math.nan


class Loose(pydantic.BaseModel, arbitrary_types_allowed=True):
    """Pydantic itself cannot write it as JSON."""

    thing: Any


@dataclasses.dataclass
class Point:
    x: decimal.Decimal
    tags: frozenset[str]


@attrs.define
class Place:
    name: str


class Number:
    """As numpy's: known by what it can do."""

    dtype = "int64"
    nbytes = 8

    def tolist(self) -> int:
        return 7


class Opaque:
    def __repr__(self) -> str:
        return "<the whole truth>"


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    def __hash__(self) -> int:
        return 0


AT = datetime.datetime(2026, 11, 22, 5, 4, 54, 123000, tzinfo=datetime.UTC)
KIND = f"{__name__}.Opaque"


def form(value: Any) -> Any:
    """Give the form, which has to be one that the gateway takes."""
    told = as_json(value, field="result", bytes_max=4096, about="task t")
    measured(told, field="result", bytes_max=1 << 20)
    return told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": [1, None, True, "x"]}, {"a": [1, None, True, "x"]}),
        ((1, 2), [1, 2]),
        ({"b", "a"}, ["a", "b"]),
        (frozenset({2, 1}), [1, 2]),
        (collections.deque([1]), [1]),
        ({"a": 1}.values(), [1]),
        (math.nan, None),
        ([math.inf, -math.inf], [None, None]),
        (2**63 - 1, 2**63 - 1),
        (2**64, "18446744073709551616"),
        (AT, "2026-11-22T05:04:54.123000Z"),
        (AT.date(), "2026-11-22"),
        (datetime.timedelta(minutes=1), 60.0),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.10"), "1.10"),
        (Colour.RED, "red"),
        (ipaddress.ip_address("::1"), "::1"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (b"\xff\x00", "/wA="),
        (bytearray(b"x"), "eA=="),
        ({1: "a", None: "b", Colour.RED: "c"}, {"1": "a", "null": "b", "red": "c"}),
        ({"1": "a", 1: "b"}, {"1": "a", "1 (int)": "b"}),
        (
            Answer(text="yes", at=AT),
            {"text": "yes", "at": "2026-11-22T05:04:54.123000Z", "score": None},
        ),
        (
            Loose(thing=Opaque()),
            {"thing": {"unencodable": KIND, "repr": "<the whole truth>"}},
        ),
        (Point(decimal.Decimal(1), frozenset({"t"})), {"x": "1", "tags": ["t"]}),
        (Place("here"), {"name": "here"}),
        (Number(), 7),
        (Opaque(), {"unencodable": KIND, "repr": "<the whole truth>"}),
        ([Opaque], [{"unencodable": "builtins.type", "repr": repr(Opaque)}]),
        ("\ud83d\ude00 \ud83d", "😀 \ufffd"),
        ({"\ud800": 1}, {"\ufffd": 1}),
    ],
)
def test_everything_has_a_form(value: Any, told: Any) -> None:
    assert form(value) == told


def test_what_cannot_even_be_looked_at_is_named() -> None:
    kind = f"{__name__}.Hostile"
    assert form(Hostile()) == {"unencodable": kind, "repr": f"<{kind}>"}


def test_a_cycle_and_a_depth_end_where_they_begin_to_be_too_much() -> None:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    assert form(cycle) == [1, {"unencodable": "builtins.list", "repr": "[1, [...]]"}]
    deep: Any = "bottom"
    for _ in range(5000):
        deep = [deep]
    assert b"builtins.list" in orjson.dumps(form(deep))


def test_the_same_thing_twice_is_no_cycle() -> None:
    point = Point(decimal.Decimal(1), frozenset())
    assert form([point, point]) == [{"x": "1", "tags": []}] * 2


def test_a_form_is_a_copy() -> None:
    value = {"a": [1]}
    told = form(value)
    value["a"].append(2)
    assert told == {"a": [1]}


@pytest.mark.parametrize(
    "value", [range(10**12), bytes(5000), [[b"x" * 9] * 60] * 60], ids=["range", "bytes", "many"]
)
def test_what_is_far_too_large_is_refused_before_it_is_walked_through(value: Any) -> None:
    with pytest.raises(TooLarge, match="result has more than the 4096 bytes"):
        form(value)


@pytest.mark.parametrize(
    ("text", "whole"),
    [("plain", "plain"), ("\ud83d\ude00", "😀"), ("\ude00\ud83d", "\ufffd\ufffd"), ("", "")],
)
def test_a_text_is_made_whole(text: str, whole: str) -> None:
    assert whole_text(text) == whole


class Stream:
    """As a client's: it can be iterated asynchronously, and has to be closed."""

    def __init__(self, items: list[Any]) -> None:
        self._items: Iterator[Any] = iter(items)
        self.closed = False

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._items)
        except StopIteration:
            raise StopAsyncIteration from None

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("kind", ["async", "plain", "generator"])
async def test_what_can_be_iterated_asynchronously_is_drained(here: World, kind: str) -> None:
    stream = Stream(["a", "b"])

    async def in_coroutine(task: Task) -> Any:
        return stream

    def plain(task: Task) -> Any:
        return stream

    async def of_a_generator(task: Task) -> Any:
        return (letter for letter in "ab")

    functions = {"async": in_coroutine, "plain": plain, "generator": of_a_generator}
    here.gateway.agent("stream")(functions[kind])
    task = await here.run("stream")
    assert (task.result, task.preserved.text) == ("ab", "ab")
    assert stream.closed == (kind != "generator")


async def test_items_of_every_kind_are_kept_as_they_come(here: World) -> None:
    @here.gateway.agent("stream")
    async def stream(task: Task) -> AsyncIterator[Any]:
        yield Answer(text="a", at=AT, score=1.0)
        yield {Colour.RED}

    task = await here.run("stream")
    first = {"text": "a", "at": "2026-11-22T05:04:54.123000Z", "score": 1.0}
    assert task.result == [first, ["red"]]
    assert task.preserved.steps == {"item-1": first, "item-2": ["red"]}


async def test_the_result_of_a_block_has_a_form_too(here: World) -> None:
    async with here.gateway.attempt("endpoint") as task:
        task.result = Place("here")
    assert here.state.tasks[task.task_id].result == {"name": "here"}


async def test_half_a_pair_waits_for_its_other_half(here: World) -> None:
    @here.gateway.agent("stream")
    async def stream(task: Task) -> AsyncIterator[str]:
        yield "smile \ud83d"
        await here.passing(1)
        yield "\ude00 and half \ud83d"

    task = await here.run("stream")
    assert [event["text"] for event in here.said("partial_result")] == [
        "smile ",
        "😀 and half ",
        "\ufffd",
    ]
    assert task.result == task.preserved.text == "smile 😀 and half \ufffd"


async def test_a_worker_gives_the_same_forms() -> None:
    worker = Gateway()

    @worker.agent("forms")
    async def forms(task: Task) -> Any:
        task.preserve("step", {b"x"})
        task.append("\ud83d")
        task.append("\ude00")
        return Point(decimal.Decimal("1.5"), frozenset())

    async with at_desk(worker) as scene:
        task = await scene.run("forms")
        assert task.result == {"x": "1.5", "tags": []}
        assert (task.preserved.steps, task.preserved.text) == ({"step": ["eA=="]}, "😀")
