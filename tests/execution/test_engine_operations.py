"""Every operation of the wire has a handler, a scope and its parameters."""

from __future__ import annotations

import pytest

from gateway.domain.access import Caller
from gateway.domain.errors import InvalidParams, NotPermitted
from gateway.protocol.operations import OPERATIONS
from tests.execution.world import World


async def test_every_operation_has_a_handler_and_no_handler_is_without_one(here: World) -> None:
    assert set(here.engine.handlers) == set(OPERATIONS)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
async def test_an_operation_needs_its_scope_and_knows_its_parameters(
    here: World, name: str
) -> None:
    nobody = Caller("ann", frozenset())
    examples = {"term": 1, "type": "notification", "mode": "normal"}
    given = {field: examples.get(field, "x") for field in OPERATIONS[name].params["required"]}
    with pytest.raises(NotPermitted):
        await here.call(name, nobody, **given)
    # Rights are looked at before parameters.
    with pytest.raises(NotPermitted):
        await here.call(name, nobody, foreign=1)
    if name != "event.publish":
        with pytest.raises(InvalidParams) as refused:
            await here.call(name, foreign=1, **given)
        assert refused.value.field == "foreign"
