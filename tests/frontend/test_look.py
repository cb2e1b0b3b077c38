"""The page as it looks and loads: nothing overlaps, nothing is missing, everyone can read it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Literal

import pytest
import uvicorn
from playwright.async_api import Page, Route, expect
from starlette.applications import Starlette
from starlette.routing import Mount

from gateway import Gateway, Task
from gateway.transports.server import bind
from tests.frontend.accessibility import violations
from tests.frontend.conftest import Process
from tests.frontend.test_page import ask, card, card_of, live, open_page, publish, submit
from tests.transports.world import until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# Colours do not depend on the width, so each width is looked at by one light.
LOOKS: tuple[tuple[int, Literal["light", "dark"]], ...]
LOOKS = ((320, "light"), (768, "dark"), (1280, "light"))

# What is out of sight has no place of its own until it is drawn.
ALL_IS_DRAWN = "document.styleSheets[0].insertRule('* { content-visibility: visible !important }')"

# What must not lie upon each other: controls, headings and signs that are seen.
OVERLAPS = """
() => {
  const seen = [...document.querySelectorAll(
    "button, select, textarea, input:not([type=radio]), a, summary, h1, h2, h3, .chip, .pill, .meta"
  )].filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.matches(".skip"));
  const boxes = seen.map((one) => [one, one.getBoundingClientRect()]);
  const scrolled = (one) => one.closest(".event-list, .bar");
  const found = [];
  for (const [at, [one, a]] of boxes.entries())
    for (const [other, b] of boxes.slice(at + 1)) {
      if (one.contains(other) || other.contains(one)) continue;
      if (scrolled(one) !== scrolled(other)) continue;
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 1 && high > 1) found.push([one.outerHTML, other.outerHTML]);
    }
  return found;
}
"""


async def test_everything_has_its_place_and_can_be_read_at_each_width(
    page: Page, gateway: Process, user: str
) -> None:
    """Tasks in many states, a report and a notice, on phone and desk, by day and by night."""
    await open_page(page, gateway.url, user)
    await ask(page, "picky", "a-word-" * 40)
    await ask(page, "limited", "in no hurry")
    # One that has room enough, and ones that scroll: the keyboard has to reach those.
    for words in ("short", "long " * 120, "line\n" * 40):
        await submit(page, gateway, user, "writer", words)
        await submit(page, gateway, user, "endless", words)
    done = await submit(page, gateway, user, "broken", "anything")
    await publish(
        page, gateway, type="agent_error", user_id=user, agent_name=f"job-{user}", message="no"
    )
    told = {"recipient_id": user, "subject": "Ready", "payload": {"pages": [4, 5]}}
    await publish(page, gateway, type="notification", **told)
    await expect(card_of(page, done)).to_have_attribute("data-status", "succeeded")
    await expect(card(page, "a-word-")).to_have_attribute("data-status", "failed")
    await expect(card(page, "in no hurry")).to_have_attribute("data-status", "waiting")
    await expect(page.locator("article.report, .notice")).to_have_count(2)
    await page.evaluate(ALL_IS_DRAWN)
    for width, theme in LOOKS:
        await page.set_viewport_size({"width": width, "height": 900})
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        assert await page.evaluate(OVERLAPS) == []
        await page.emulate_media(color_scheme=theme)
        assert await violations(page) == [], (width, theme)


async def test_what_operators_see_has_its_place_at_each_width(
    page: Page, gateway: Process, user: str
) -> None:
    """With a letter that is open, each kind of question asked, and nothing that is too wide."""
    await open_page(page, gateway.url, None)
    for words in ("short", "a-word-" * 60, "line\n" * 60):
        await submit(page, gateway, user, "unlucky", words)
    await submit(page, gateway, user, "a-name-" * 18, "for nobody")
    letters = page.locator("[data-letter]")
    await expect(letters).to_have_count(3)
    await expect(page.locator("#overview [data-line^=unserved]")).to_have_count(1)
    for one in (letters.first, letters.last):
        await one.get_by_text("Payload, errors").click()
    await letters.first.get_by_role("button", name="Discard").click()
    await page.locator(".letters-bar").get_by_role("button").click()
    await page.locator("#mode-now").get_by_role("button", name="Change").click()
    await page.locator("#breakers .row-actions button:visible").first.click()
    await page.evaluate(ALL_IS_DRAWN)
    for width, theme in LOOKS:
        await page.set_viewport_size({"width": width, "height": 900})
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        assert await page.evaluate(OVERLAPS) == []
        await page.emulate_media(color_scheme=theme)
        assert await violations(page) == [], (width, theme)


async def test_no_request_fails_while_the_page_loads(page: Page, gateway: Process) -> None:
    """None of its own, and none that a browser makes by itself, such as for an icon."""
    failed: list[str] = []
    page.on("response", lambda one: failed.append(one.url) if one.status >= 400 else None)
    page.on("requestfailed", lambda one: failed.append(one.url))
    page.on("console", lambda one: failed.append(one.text) if one.type == "error" else None)
    await open_page(page, gateway.url, None)
    await page.wait_for_load_state("networkidle")
    assert failed == []


async def test_a_page_whose_scripts_are_refused_says_what_to_set(
    page: Page, gateway: Process
) -> None:
    """A proxy may set a policy of its own. Else the text goes before anybody sees it."""

    async def refuse(route: Route) -> None:
        answer = await route.fetch()
        policy = {"content-security-policy": "script-src 'none'"}
        await route.fulfill(response=answer, headers={**answer.headers, **policy})

    await page.route(f"{gateway.url}/", refuse)
    await page.goto(gateway.url)
    help_text = page.locator("#unscripted")
    await expect(help_text).to_be_visible()
    await expect(help_text).to_contain_text("script-src 'self'")
    await expect(help_text.get_by_role("link")).to_have_attribute("href", "static/page/app.js")
    await page.unroute(f"{gateway.url}/", refuse)
    await open_page(page, gateway.url, None)
    await expect(help_text).to_have_count(0)


@contextlib.asynccontextmanager
async def mounted(path: str) -> AsyncIterator[str]:
    """Serve a gateway below ``path`` of another application; gives its address."""
    inner = Gateway()

    @inner.agent("echo")
    async def echo(task: Task, question: str) -> str:
        return question

    outer = Starlette(routes=[Mount(path, inner.app)], lifespan=inner.lifespan)
    server = uvicorn.Server(uvicorn.Config(outer, log_config=None, ws="websockets-sansio"))
    socket = bind("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve([socket]))
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{socket.getsockname()[1]}{path}/"
    finally:
        server.should_exit = True
        await serving


async def test_the_page_works_below_a_path_of_another_application(page: Page) -> None:
    failed: list[str] = []
    page.on("response", lambda one: failed.append(one.url) if one.status >= 400 else None)
    async with mounted("/team/gateway") as url:
        await page.goto(url)
        await live(page)
        await ask(page, "echo", "from below")
        await expect(card(page, "from below")).to_have_attribute("data-status", "succeeded")
        assert failed == []
        await page.goto("about:blank")
