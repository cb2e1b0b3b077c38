"""What is done to several things: each is done, what became of it is told, and so are refusals."""

from __future__ import annotations

import orjson
import pytest

from gateway.app.acts import DONE, act
from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.errors import GatewayError
from gateway.protocol.operations import OPERATIONS
from tests.app.test_dead_letters import LETTER, keeper
from tests.transports.world import SECRET, token, world


@pytest.mark.parametrize("operation", DONE)
def test_each_is_an_operation_that_is_named_one_thing(operation: str) -> None:
    assert DONE[operation][1] in OPERATIONS[operation].params["required"]


async def test_each_letter_is_acted_on_and_what_became_of_it_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with keeper() as kept:
        await act(kept.url, None, "dead_letter.retry", ["t1", "t2"], as_json=False)
        await act(kept.url, None, "dead_letter.discard", ["t3"], as_json=False)
    assert kept.asked == [
        ("dead_letter.retry", {"task_id": "t1"}),
        ("dead_letter.retry", {"task_id": "t2"}),
        ("dead_letter.discard", {"task_id": "t3"}),
    ]
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "t1 retried as new-t1",
        "t2 retried as new-t2",
        "t3 discarded",
    ]
    assert [line.partition(":")[0] for line in said.err.splitlines()] == ["new-t1", "new-t2"]


async def test_one_that_is_refused_does_not_keep_the_others_and_is_a_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with keeper() as kept:
        with pytest.raises(GatewayError, match="1 of 3 not discarded"):
            await act(kept.url, None, "dead_letter.discard", ["t1", "none", "t2"], as_json=True)
    said = capsys.readouterr()
    assert [orjson.loads(line) for line in said.out.splitlines()] == [LETTER, LETTER]
    assert said.err == "none: there is no dead letter none\n"


async def test_who_is_no_operator_is_told_how_to_be_one_at_the_first_of_them() -> None:
    async with world(secret=SECRET) as here:
        for given in (None, token("ann", "events:read tasks:write")):
            with pytest.raises(GatewayError, match="GATEWAY_TOKEN"):
                await act(here.ws, given, "dead_letter.retry", ["t1", "t2"], as_json=False)


async def test_breakers_are_opened_and_closed_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    async with world() as here:
        await here.engine.call("agent.register", {"handle": "writer"}, LOCAL_OPERATOR)
        states: list[str] = []
        for operation in ("breaker.open", "breaker.close"):
            await act(here.http, None, operation, ["writer"], as_json=False)
            states.append(here.engine.parts.state.breakers["writer"].state)
    assert states == ["open", "closed"]
    assert capsys.readouterr().out.splitlines() == ["writer opened", "writer closed"]
