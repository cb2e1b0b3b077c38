"""Which handler answers which operation."""

from __future__ import annotations

from gateway.execution.operations import handlers_of
from gateway.protocol.operations import OPERATIONS
from tests.execution.kept import Cluster


async def test_every_operation_has_a_handler_and_every_handler_an_operation() -> None:
    assert set(handlers_of(Cluster().node().engine.parts)) == set(OPERATIONS)
