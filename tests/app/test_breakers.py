"""``gateway breakers list``: what each has counted, and until when it is open."""

from __future__ import annotations

import orjson
import pytest

from gateway.app.breakers import row_of, show
from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.timestamps import seconds_of
from tests.app.test_status import AT, BREAKER
from tests.transports.world import world


def test_a_row_says_for_how_long_it_is_open_and_when_it_probes() -> None:
    now = seconds_of(AT)
    assert row_of(BREAKER, now) == ("writer", "agent", "open", "30s", "10s", "4 of 5")
    closed = {**BREAKER, "state": "closed", "opened_at": None, "probe_at": None}
    assert row_of(closed, now) == ("writer", "agent", "closed", "-", "-", "4 of 5")


async def test_breakers_are_a_table_or_json_lines(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    async with world() as here:
        await show(here.http, None, as_json=False)
        nothing = capsysbinary.readouterr()
        await here.engine.call("agent.register", {"handle": "writer"}, LOCAL_OPERATOR)
        await here.engine.call("breaker.open", {"name": "writer"}, LOCAL_OPERATOR)
        await show(here.http, None, as_json=False)
        table = capsysbinary.readouterr().out.decode().splitlines()
        await show(here.http, None, as_json=True)
    assert (nothing.out, b"no breakers" in nothing.err) == (b"", True)
    assert table[1].split()[:3] == ["writer", "agent", "open"]
    assert orjson.loads(capsysbinary.readouterr().out)["state"] == "open"
