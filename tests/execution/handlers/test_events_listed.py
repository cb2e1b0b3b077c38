"""Events are listed in pages, to users that may see them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.access import Caller
from gateway.domain.errors import NotPermitted
from tests.execution.world import World

ANN = Caller("ann", frozenset({"events:read", "tasks:write"}))


async def test_events_are_listed_in_pages_in_order(here: World) -> None:
    for _ in range(7):
        await here.submit("nobody", user_id="ann")
    await here.submit("nobody", user_id="bob")
    found: list[int] = []
    cursor: dict[str, Any] = {}
    while True:
        page = await here.call("event.list", ANN, limit=3, type="task_submitted", **cursor)
        found += [event["offset"] for event in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found == list(range(1, 8))
    for topic in ("user:bob", "*", "recipient:bob"):
        with pytest.raises(NotPermitted):
            await here.call("event.list", ANN, topic=topic)
