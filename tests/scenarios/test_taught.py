"""What a program teaches the gateway holds wherever its agents run; the unknown is counted."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.scenarios.harness import GatewayProcess, browser, gateway_process, worker_process
from tests.transports.metrics import Scrape


@contextlib.asynccontextmanager
async def serving(where: str) -> AsyncIterator[GatewayProcess]:
    """A gateway whose agents run in its own process, or in a worker."""
    if where == "serve":
        async with gateway_process(retry_base=0.01) as gateway:
            yield gateway
        return
    async with (
        gateway_process(target=None, retry_base=0.01) as gateway,
        worker_process(gateway.url),
    ):
        yield gateway


@pytest.mark.own_store  # which has no part in it
@pytest.mark.parametrize("where", ["serve", "work"])
async def test_a_taught_exception_has_its_name_and_an_unknown_one_is_counted(where: str) -> None:
    async with serving(where) as gateway, browser(gateway.url, "42") as page:
        taught = await gateway.task("shopper", "closed", user_id="42")
        finished = await page.finished(taught["task_id"])
        assert (finished["outcome"], finished["reason"]) == ("dead_lettered", "attempts_exhausted")
        errors = page.all("agent_error")
        assert [(e["error_code"], e["error_type"]) for e in errors] == [
            ("shop_closed", "service_unavailable")
        ] * 2
        assert errors[0]["will_retry"] is True
        for _ in range(2):
            unknown = await gateway.task("shopper", "empty", user_id="42")
            finished = await page.finished(unknown["task_id"])
            assert (finished["outcome"], finished["reason"]) == ("failed", "agent_exception")
        found = Scrape((await gateway.http.get("/metrics")).text)
        assert found("unknown_exceptions_total") == 2
        name = "tests.scenarios.agents.TillEmpty"
        assert found("unknown_exceptions_most", exception=name) == 2
