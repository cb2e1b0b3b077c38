"""``gateway mode``: shown and set."""

from __future__ import annotations

import orjson
import pytest

from gateway.app.mode import show
from gateway.domain.errors import GatewayError
from tests.transports.world import SECRET, token, world


async def test_the_mode_is_a_sentence_or_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    async with world() as here:
        await show(here.http, None, wanted=None, as_json=False)
        await show(here.http, None, wanted="read_only", as_json=False)
        await show(here.http, None, wanted=None, as_json=True)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "normal (start)"
    assert second.startswith("read_only (operator, since 20")
    assert orjson.loads(third)["mode"] == "read_only"


async def test_only_operators_set_it() -> None:
    async with world(secret=SECRET) as here:
        with pytest.raises(GatewayError, match="needs the scope admin"):
            await show(here.http, token("ann", "events:read"), wanted="normal", as_json=False)
