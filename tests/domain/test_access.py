"""What each scope lets a caller do and see."""

from __future__ import annotations

import pytest

from gateway.domain.access import LOCAL_OPERATOR, OPEN_USER_SCOPES, SCOPES, Caller
from gateway.domain.errors import NotPermitted

TOPICS = (
    "*",
    "system",
    "user:ann",
    "user:bob",
    "task:anns",
    "task:bobs",
    "task:gone",
    "recipient:ann",
    "recipient:bob",
    "agent:search",
    "channel:news",
)
OWNERS = {"task:anns": "ann", "task:bobs": "bob"}
OWN = {"system", "user:ann", "task:anns", "recipient:ann", "channel:news"}


def ann(*scopes: str) -> Caller:
    return Caller("ann", frozenset(scopes))


@pytest.mark.parametrize(
    ("caller", "topics"),
    [
        (ann(), set()),
        (ann("tasks:write"), set()),
        (ann("agent"), set()),
        (ann("events:read"), OWN),
        (ann("events:read:all"), set(TOPICS) - {"*"}),
        (ann("admin"), set(TOPICS)),
        (LOCAL_OPERATOR, set(TOPICS)),
        (Caller("ann", OPEN_USER_SCOPES), OWN),
    ],
)
def test_each_scope_opens_its_topics(caller: Caller, topics: set[str]) -> None:
    seen = {t for t in TOPICS if caller.may_follow(t, owner=OWNERS.get(t))}
    assert seen == topics


@pytest.mark.parametrize("scope", ["events:read", "events:read:all"])
def test_a_token_that_names_its_channels_opens_no_other(scope: str) -> None:
    caller = Caller("ann", frozenset({scope}), channels=frozenset({"news"}))
    assert caller.may_follow("channel:news")
    assert not caller.may_follow("channel:other")
    assert caller.may_follow("user:ann"), "all else is as it was"
    assert not Caller("ann", frozenset({scope}), channels=frozenset()).may_follow("channel:news")
    assert not Caller("ann", frozenset({"agent"}), channels=frozenset({"news"})).may_follow(
        "channel:news"
    ), "it gives no right to read"


def test_names_narrow_what_one_serves_and_uses_but_no_operator() -> None:
    for scopes, narrowed in (({"agent"}, True), ({"admin"}, False)):
        caller = Caller(
            "ann", frozenset(scopes), agents=frozenset({"a"}), channels=frozenset({"a"})
        )
        for may in (caller.may_serve, caller.may_use):
            assert may("a")
            assert may("b") is not narrowed
    free = ann("agent")
    assert free.may_serve("b")
    assert free.may_use("b")


def test_everything_is_for_operators_only() -> None:
    assert not ann("events:read:all").may_follow("*")
    assert ann("admin").may_follow("*")


@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_an_operator_has_every_scope_and_others_have_theirs(scope: str) -> None:
    ann("admin").require(scope)
    ann(scope).require(scope)
    with pytest.raises(NotPermitted):
        ann().require(scope)


def test_a_caller_that_reads_all_events_reads_and_no_more() -> None:
    caller = ann("events:read:all")
    caller.require("events:read")
    assert not caller.operator
    assert not caller.has("tasks:write")


@pytest.mark.parametrize(
    ("scopes", "own", "others", "of_no_user"),
    [
        ((), False, False, False),
        (("agent",), False, False, False),
        (("events:read",), True, False, False),
        (("events:read:all",), True, True, True),
        (("admin",), True, True, True),
    ],
)
def test_what_concerns_a_user_is_shown_to_that_user(
    scopes: tuple[str, ...], own: bool, others: bool, of_no_user: bool
) -> None:
    caller = ann(*scopes)
    assert caller.may_see_user("ann") is own
    assert caller.may_see_user("bob") is others
    assert caller.may_see_user(None) is of_no_user


def test_a_worker_may_also_notify_and_a_notifier_does_no_work() -> None:
    ann("agent").require("events:write")
    assert not ann("events:write").has("agent")


def test_a_refusal_names_the_scope_that_is_missing() -> None:
    with pytest.raises(NotPermitted, match="tasks:write"):
        ann("events:read").require("tasks:write")
