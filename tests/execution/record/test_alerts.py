"""The node that makes an entry sounds the alarm, once, when the log shows the entry."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.execution.record import alerts as alerts_module
from gateway.execution.record.alerts import Alerts
from gateway.ports import Draft, Entry

EVENT = {"type": "graceful_degradation", "event_id": "e1"}


class Bell:
    """An alarm that notes what it is sounded with."""

    def __init__(self) -> None:
        self.sounded: list[bytes] = []

    def start(self) -> None: ...

    def sound(self, event: bytes) -> None:
        self.sounded.append(event)

    async def stop(self) -> None: ...


def draft(**changes: Any) -> Draft:
    event = {**EVENT, **changes}
    return Draft("s", event["type"], (), operators_only=False, body=orjson.dumps(event))


def show(node: Alerts, made: Draft, offset: int = 7) -> None:
    """Let a node see the entry that a draft has become."""
    event = {**orjson.loads(made.body), "offset": offset}
    public = orjson.dumps(event)
    entry = Entry(offset, 1.0, made.subject, made.type, (), False, public, public, None)
    node.seen(entry, event)


def test_of_two_nodes_the_one_that_made_an_entry_tells_of_it_and_once() -> None:
    bells = [Bell(), Bell()]
    nodes = [Alerts(bell) for bell in bells]
    nodes[0].making([draft(), draft(type="task_started", event_id="e2")])
    for node in nodes:
        for made in (draft(), draft(type="task_started", event_id="e2"), draft()):
            show(node, made)
    assert [orjson.loads(event) for event in bells[0].sounded] == [{**EVENT, "offset": 7}]
    assert bells[1].sounded == []


def test_what_was_refused_is_not_told_and_what_got_no_answer_is_when_it_turns_up() -> None:
    bell = Bell()
    node = Alerts(bell)
    node.making([draft(), draft(event_id="e2")])
    node.refused([draft()])
    show(node, draft())
    assert bell.sounded == []
    show(node, draft(event_id="e2"), offset=9)
    assert len(bell.sounded) == 1


def test_what_never_turns_up_is_forgotten_at_the_bound(monkeypatch: Any) -> None:
    monkeypatch.setattr(alerts_module, "MAKING_MAX", 2)
    bell = Bell()
    node = Alerts(bell)
    for number in range(3):
        node.making([draft(event_id=f"e{number}")])
    for number in range(3):
        show(node, draft(event_id=f"e{number}"), offset=number + 1)
    assert [orjson.loads(event)["event_id"] for event in bell.sounded] == ["e1", "e2"]


def test_without_an_alarm_nothing_is_remembered() -> None:
    node = Alerts(None)
    node.making([draft()])
    show(node, draft())
    node.refused([draft()])


def test_a_key_that_is_not_taken_any_more_is_told_once_and_not_for_each_task() -> None:
    bell = Bell()
    node = Alerts(bell)
    refused = {
        "type": "agent_error",
        "severity": "error",
        "agent_name": "writer",
        "error_type": "auth_error",
        "error_code": "llm_auth_failed",
    }
    made = [draft(event_id=f"e{number}", **refused) for number in range(3)]
    node.making(made)
    for one in made:
        show(node, one)
    assert [orjson.loads(event)["event_id"] for event in bell.sounded] == ["e0"]


def test_what_the_log_cannot_take_yet_is_told_at_once_and_not_again() -> None:
    bell = Bell()
    node = Alerts(bell)
    node.not_in_the_log(draft(message="is away"), 1_800_000_000.0)
    node.making([draft(message="was away"), draft(type="task_dead_lettered", event_id="e2")])
    show(node, draft(message="was away"))
    show(node, draft(type="task_dead_lettered", event_id="e2"))
    told = [orjson.loads(event) for event in bell.sounded]
    assert told[0] == {**EVENT, "message": "is away", "timestamp": "2027-01-15T08:00:00.000Z"}
    assert [event["event_id"] for event in told] == ["e1", "e2"]
    Alerts(None).not_in_the_log(draft(), 1.0)
