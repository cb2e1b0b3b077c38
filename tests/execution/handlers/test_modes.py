"""The operations on the mode."""

from __future__ import annotations

import pytest

from gateway.domain.access import Caller
from gateway.domain.errors import InvalidParams, NotPermitted
from tests.execution.world import World

READER = Caller("ann", frozenset({"events:read"}))


async def test_everyone_who_may_read_may_ask_for_the_mode(here: World) -> None:
    assert await here.call("mode.get", READER) == {
        "mode": "normal",
        "reason": "start",
        "since": None,
        "degradation_id": None,
    }
    await here.call("mode.set", mode="read_only")
    mode = await here.call("mode.get", READER)
    (degraded,) = here.said("graceful_degradation")
    assert (mode["mode"], mode["reason"]) == ("read_only", "operator")
    assert mode["degradation_id"] == degraded["degradation_id"]
    assert mode["since"] is not None


async def test_operators_alone_set_it_to_one_that_there_is(here: World) -> None:
    with pytest.raises(NotPermitted):
        await here.call("mode.set", READER, mode="normal")
    with pytest.raises(InvalidParams) as refused:
        await here.call("mode.set", mode="off")
    assert refused.value.field == "mode"
    assert here.said("mode_changed") == []


async def test_an_operators_note_is_kept_for_operators(here: World) -> None:
    """It may name what no user is to know. A mode that stays keeps the note that it has."""
    said = await here.call("mode.set", mode="read_only", note="the model's keys are changed")
    assert said["note"] == "the model's keys are changed"
    assert "note" not in await here.call("mode.get", READER)
    assert (await here.call("mode.set", mode="read_only", note="again"))["note"] == said["note"]
    (changed,) = here.said("mode_changed")
    assert changed["detail"] == {"note": said["note"]}
    assert "note" not in await here.call("mode.set", mode="normal")
    for wrong in ("", "x" * 201):
        with pytest.raises(InvalidParams) as refused:
            await here.call("mode.set", mode="normal", note=wrong)
        assert refused.value.field == "note"


async def test_the_change_is_audited(here: World) -> None:
    await here.call("mode.set", mode="draining")
    (record,) = here.said("audit_recorded")
    assert (record["action"], record["detail"]["by"]) == ("mode.set", "local")
