"""The addresses of the frontend's files: the old ones answer, with the names that they had."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page

from tests.frontend.conftest import Process

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

REDUCER = {
    *("ENDED", "LIMITS", "addHistory", "emptyState", "fromSnapshot", "reduce", "reduceAll"),
    *("withAgents", "withDegradation", "withTasks", "withoutTask"),
}
CLIENT = {"CallError", "DEFAULTS", "GatewayClient", "NoAnswer", "SUBPROTOCOL", "backoff"}

EXPORTS = {
    "gateway-client.js": CLIENT | {"topics_of"},
    "reducer.js": REDUCER,
    "limits.js": {"ENDED", "LIMITS"},
    "client/gateway-client.js": CLIENT | REDUCER | {"topicsOf"},
}


@pytest.mark.parametrize("path", ["", "static/index.html", "static/icon.svg"])
async def test_the_page_and_its_icon_answer_at_their_addresses(
    page: Page, gateway: Process, path: str
) -> None:
    answer = await page.request.get(f"{gateway.url}/{path}")
    assert answer.status == 200


@pytest.mark.parametrize("path", EXPORTS)
async def test_a_module_for_other_frontends_exports_its_names(
    page: Page, gateway: Process, path: str
) -> None:
    """Frontends that copied nothing import these modules from the gateway."""
    await page.goto(f"{gateway.url}/health")
    names = await page.evaluate(
        "async (url) => Object.keys(await import(url))", f"{gateway.url}/static/{path}"
    )
    assert set(names) == EXPORTS[path]


async def test_the_client_at_its_old_address_has_its_old_methods(blank_page: Page) -> None:
    result = await blank_page.evaluate(
        """async () => {
          const old = await import("/gateway-client.js");
          const { GatewayClient } = await import("/client/gateway-client.js");
          const client = new old.GatewayClient("ws://page.test/ws");
          const away = Math.abs(client.server_now() - Date.now());
          client.start();
          client.close();
          client.reconnect_now();
          const state = client.state.name;
          client.close();
          return [client instanceof GatewayClient, away < 1000, state, old.topics_of({})];
        }"""
    )
    assert result == [True, True, "connecting", ["*"]]


async def test_every_module_of_the_page_is_loaded_in_one_round_trip(
    page: Page, gateway: Process
) -> None:
    """A module that is not named in the document waits for the modules that import it."""
    document = await (await page.request.get(f"{gateway.url}/")).text()
    named = set(re.findall(r'(?:src|href)="(static/[^"]+)"', document))
    loaded: set[str] = set()
    page.on("request", lambda request: loaded.add(request.url.removeprefix(f"{gateway.url}/")))
    await page.goto(gateway.url)
    await page.locator(".pill[data-state=live]").wait_for()
    assert {path for path in loaded if path.startswith("static/")} == named
