"""A report speaks for what is its user's own, or nobody's."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.access import LOCAL_OPERATOR, OPEN_USER_SCOPES, Caller
from gateway.domain.errors import NameTaken, NotFound, NotPermitted, RequestError
from tests.execution.world import World

AGENT = frozenset({"agent"})
BOB = Caller("bob", AGENT)
MAL = Caller("mal", AGENT)
PLAYED = Caller("mal", OPEN_USER_SCOPES, played=True)
ABOUT: dict[str, Any] = {"type": "agent_error", "user_id": "ann", "agent_name": "search"}


async def test_nobody_reports_in_the_name_of_another_users_agent(here: World) -> None:
    """Not in its place either: what is not the sender's to say is no failure."""
    await here.call("agent.register", BOB, handle="search")
    head = here.engine.log.head
    for report in (ABOUT, {**ABOUT, "error_type": 5}, {**ABOUT, "type": "partial_result"}):
        with pytest.raises(NameTaken) as refused:
            await here.call("event.publish", MAL, **report)
        assert refused.value.field == "agent_name"
    assert here.engine.log.head == head
    for caller in (BOB, LOCAL_OPERATOR, PLAYED):
        await here.call("event.publish", caller, **ABOUT)
    await here.call("event.publish", MAL, **ABOUT | {"agent_name": "another"})


async def test_every_agent_reports_on_what_the_gateway_declares(here: World) -> None:
    here.gateway.agent("search")(lambda task: None)
    await here.call("event.publish", MAL, **ABOUT)


async def test_nobody_reports_as_another_users_worker(here: World) -> None:
    worker = await here.call("agent.register", BOB, handle="w")
    as_worker = {**ABOUT, "agent_id": worker["agent_id"]}
    with pytest.raises(NotPermitted) as refused:
        await here.call("event.publish", MAL, **as_worker)
    assert refused.value.field == "agent_id"
    await here.call("event.publish", BOB, **as_worker)
    await here.call("event.publish", MAL, **ABOUT | {"agent_id": "not-registered"})


@pytest.mark.parametrize("name", ["search", "another"])
async def test_nobody_ends_or_takes_over_a_failure_of_another_users_agent(
    here: World, name: str
) -> None:
    """Who reads all knows its id."""
    await here.call("agent.register", BOB, handle="search")
    failure = await here.call("event.publish", BOB, **ABOUT)
    about = {"user_id": "ann", "agent_name": name, "error_id": failure["error_id"]}
    for type in ("system_recovered", "agent_error"):
        with pytest.raises(RequestError) as refused:
            await here.call("event.publish", MAL, type=type, **about)
        assert isinstance(refused.value, NameTaken if name == "search" else NotFound)
    opened = here.state.failures.get(failure["error_id"])
    assert opened is not None
    assert opened.event["agent_name"] == "search"
    await here.call("event.publish", BOB, type="system_recovered", **about)
    assert failure["error_id"] not in here.state.failures
