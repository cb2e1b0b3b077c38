"""The hidden half of an entry: what is written is what is read, by this version and by others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.agent import AgentPolicy
from gateway.domain.breaker import Outcome
from gateway.domain.facts import (
    UNREAD_NAMES_MAX,
    VERSION,
    Fact,
    Failed,
    Finished,
    Leased,
    Locked,
    ModeChanged,
    Produced,
    Progressed,
    Registered,
    Salvaged,
    Started,
    StatusChanged,
    Submitted,
    Unread,
    from_json,
    to_json,
)

OUTCOME = Outcome("search", 2, "p1", "failure")
OUTCOME_JSON = {"breaker": "search", "generation": 2, "probe": "p1", "kind": "failure"}
POLICY = AgentPolicy("search", timeout_s=9.0, max_attempts=2, upstream="model", features=("f",))
POLICY_JSON = {
    "name": "search",
    "timeout_s": 9.0,
    "max_attempts": 2,
    "fallback": None,
    "upstream": "model",
    "breaker": "search",
    "capabilities": [],
    "features": ["f"],
}

FIRST = {"term": 1, "holder": "w"}

# One of each kind, and how it stands in the log. These lines may be added to, not changed.
WRITTEN: list[tuple[str, Fact, dict[str, Any]]] = [
    ("task_submitted", Submitted(input={"q": [1]}), {"input": {"q": [1]}}),
    (
        "task_submitted",
        Submitted(idempotency_key="k", fingerprint="f", reserved_for="n1"),
        {"idempotency_key": "k", "fingerprint": "f", "reserved_for": "n1"},
    ),
    (
        "task_submitted",
        Submitted(input=0, breaker="search", generation=2, probe="p1"),
        {"input": 0, "breaker": "search", "generation": 2, "probe": "p1"},
    ),
    ("task_started", Started(term=3, holder="w1"), {"term": 3, "holder": "w1"}),
    (
        "task_started",
        Started(term=1, holder="w1", breaker="b", generation=1, probe="p", lease_ttl=60.0),
        {"term": 1, "holder": "w1", "breaker": "b", "generation": 1, "probe": "p", "lease_ttl": 60},
    ),
    ("task_started", Started(term=1, holder="w", budget="m"), {**FIRST, "budget": "m"}),
    ("task_progress", Progressed(), {}),
    ("task_progress", Progressed(plan=("a", "b")), {"plan": ["a", "b"]}),
    ("task_progress", Progressed(retry_now=True), {"retry_now": True}),
    ("task_progress", Progressed(piece=3), {"piece": 3}),
    ("partial_result", Produced(), {}),
    ("partial_result", Produced(piece=3, part=2), {"piece": 3, "part": 2}),
    (
        "partial_result_preserved",
        Salvaged(steps={"a": 1}, text="t", progress=0.5, plan=("a",)),
        {"steps": {"a": 1}, "text": "t", "progress": 0.5, "plan": ["a"]},
    ),
    (
        "partial_result_preserved",
        Salvaged(steps={}, text="", progress=None, plan=None),
        {"steps": {}, "text": "", "progress": None, "plan": None},
    ),
    ("agent_error", Failed(), {}),
    ("agent_error", Failed(outcome=OUTCOME), {"outcome": OUTCOME_JSON}),
    ("lease_changed", Leased(lease_ttl=9.0), {"lease_ttl": 9.0}),
    ("lease_changed", Leased(outcome=OUTCOME), {"outcome": OUTCOME_JSON}),
    ("lease_changed", Leased(taken="quarantined"), {"taken": "quarantined"}),
    (
        "task_finished",
        Finished(outcome=OUTCOME, steps={"z": 2}),
        {"outcome": OUTCOME_JSON, "steps": {"z": 2}},
    ),
    (
        "agent_registered",
        Registered(
            agents=(POLICY,), secret_digest="d", owner="ann", by_socket=False, type="python"
        ),
        {
            "agents": [POLICY_JSON],
            "secret_digest": "d",
            "owner": "ann",
            "by_socket": False,
            "type": "python",
        },
    ),
    ("lock_changed", Locked(owner="ann", ttl=9.0), {"owner": "ann", "ttl": 9.0}),
    ("lock_changed", Locked(owner="ann", task_id="t"), {"owner": "ann", "task_id": "t"}),
    ("mode_changed", ModeChanged(), {}),
    ("mode_changed", ModeChanged(by="w"), {"by": "w"}),
    ("agent_status_changed", StatusChanged(), {}),
    ("agent_status_changed", StatusChanged(removed=True), {"removed": True}),
]


@pytest.mark.parametrize(("type", "fact", "written"), WRITTEN)
def test_a_fact_is_written_with_the_version_and_read_again(
    type: str, fact: Fact, written: dict[str, Any]
) -> None:
    unread = Unread()
    encoded = json.loads(json.dumps(to_json(fact)))
    assert encoded == {"v": VERSION, **written}
    decoded = from_json(type, encoded, unread.note)
    assert (decoded.__class__, decoded) == (fact.__class__, fact)
    assert not unread.counts


@pytest.mark.parametrize(("type", "fact", "written"), WRITTEN)
def test_what_version_0_wrote_is_read(type: str, fact: Fact, written: dict[str, Any]) -> None:
    """It had no mark, and wrote some defaults that are left out now."""
    unread = Unread()
    assert from_json(type, written, unread.note) == fact
    spelled_out = {**fact._asdict(), **written}
    assert from_json(type, json.loads(json.dumps(spelled_out)), unread.note) == fact
    assert not unread.counts


@pytest.mark.parametrize(("type", "fact", "written"), WRITTEN)
def test_a_field_of_a_later_version_is_counted_and_passed_over(
    type: str, fact: Fact, written: dict[str, Any]
) -> None:
    unread = Unread()
    assert from_json(type, {"v": VERSION + 1, "colour": "red", **written}, unread.note) == fact
    assert unread.counts == {f"{type}.colour": 1}


def test_every_kind_of_fact_is_written_here() -> None:
    """A kind without a line above could change unseen."""
    assert {type(fact) for _, fact, _ in WRITTEN} == set(Fact.__args__)


def test_an_unknown_kind_is_counted_and_passed_over() -> None:
    unread = Unread()
    assert from_json("task_teleported", {"v": 9, "to": "mars"}, unread.note) is None
    assert unread.counts == {"task_teleported": 1}


def test_a_fact_without_what_it_cannot_do_without_is_counted_and_passed_over() -> None:
    unread = Unread()
    assert from_json("task_started", {"holder": "w1"}, unread.note) is None
    assert unread.counts == {"task_started": 1}


@pytest.mark.parametrize("value", [{"breaker": "b"}, [], 7, "x", {"breaker": "b", "kind": "k"}])
def test_a_value_that_cannot_be_read_is_counted_and_the_rest_is_read(value: Any) -> None:
    unread = Unread()
    fact = from_json("task_finished", {"outcome": value, "steps": {"a": 1}}, unread.note)
    assert fact == Finished(steps={"a": 1})
    assert unread.counts == {"task_finished.outcome": 1}


def test_a_later_policy_of_an_agent_is_read_as_far_as_it_is_known() -> None:
    encoded = {"agents": [{**POLICY_JSON, "isolation": "process"}], "secret_digest": "d"}
    unread = Unread()
    fact = from_json("agent_registered", {**encoded, "owner": "a", "by_socket": True}, unread.note)
    assert isinstance(fact, Registered)
    assert fact.agents == (POLICY,)


@pytest.mark.parametrize(
    ("type", "fact"),
    [
        ("task_submitted", Submitted()),
        ("task_finished", Finished()),
        ("lease_changed", Leased()),
        ("task_started", None),
        ("partial_result_preserved", None),
        ("partial_result", Produced()),
        ("notification", None),
    ],
)
def test_an_entry_without_a_hidden_half_says_nothing_more(type: str, fact: Fact | None) -> None:
    unread = Unread()
    assert from_json(type, None, unread.note) == fact
    assert not unread.counts


def test_names_of_what_is_unread_are_bounded() -> None:
    unread = Unread()
    assert [unread.note(str(n)) for n in range(UNREAD_NAMES_MAX)] == [True] * UNREAD_NAMES_MAX
    assert not unread.note("0")
    assert unread.note("one more")
    assert not unread.note("and one more")
    assert len(unread.counts) == UNREAD_NAMES_MAX + 1
    assert (unread.counts["0"], unread.counts["other"]) == (2, 2)
