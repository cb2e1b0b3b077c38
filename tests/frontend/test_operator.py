"""What an operator sees and does on the page: dead letters, breakers, the mode, failures."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, WebSocket, expect

from tests.frontend.conftest import SECRET, Process, running
from tests.frontend.test_page import live, open_page, submit

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CODE = "connection_failed"
SHOWN_AT_FIRST = 5
HOUR_MS = 3_600_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway() -> AsyncIterator[Process]:
    """A gateway whose breakers open by hand alone: here all fails, and on purpose."""
    async with running(GATEWAY_BREAKER_THRESHOLD="1000", GATEWAY_BREAKER_RATE="1") as process:
        yield process


def letter(page: Page, task_id: str) -> Locator:
    return page.locator(f'[data-letter="{task_id}"]')


async def given_up(page: Page, gateway: Process, user: str, question: str = "why") -> str:
    """Ask for what fails for good, and wait for its letter on the page; gives the task."""
    task_id = await submit(page, gateway, user, "unlucky", question)
    await expect(letter(page, task_id)).to_be_visible()
    return task_id


async def asked(page: Page, button: Locator, yes: str) -> None:
    """Press a button that asks before it acts, and say yes."""
    await button.click()
    await page.locator(".asked-pair:visible").get_by_role("button", name=yes).click()


def breaker(page: Page, name: str) -> Locator:
    return page.locator(f'#breakers [data-breaker="{name}"]')


# --- dead letters --------------------------------------------------------------------------------


async def test_a_dead_letter_is_opened_retried_and_discarded(
    page: Page, gateway: Process, user: str
) -> None:
    """
    It comes without a reload, as does the one that its retry makes; a reload shows the same. An
    Enter that is held down, or pressed twice, lets go of nothing.
    """
    await open_page(page, gateway.url, None)
    task_id = await given_up(page, gateway, user, "<b>why</b>")
    one = letter(page, task_id)
    await expect(one.locator(".letter-why")).to_contain_text("Connection failed")
    await expect(one).to_contain_text(f"for {user} · 1 attempt")
    await one.get_by_text("Payload, errors").click()
    payload = await one.locator("pre").text_content()
    assert json.loads(payload or "") == {"question": "<b>why</b>"}
    await expect(one.locator(".letter-errors li")).to_contain_text("Attempt 1: connection failed")
    await one.get_by_role("button", name="Retry").click()
    await expect(one).to_have_attribute("data-retried", "true")
    again = (await one.get_by_role("link", name="Tried again").get_attribute("href") or "")[6:]
    await expect(letter(page, again)).to_be_visible()
    await page.reload()
    await live(page)
    await expect(one).to_have_attribute("data-retried", "true")
    discard = one.get_by_role("button", name="Discard").first
    for way_out in ("Enter", "Escape"):
        await discard.focus()
        await page.keyboard.press("Enter")
        await expect(one.get_by_role("button", name="No", exact=True)).to_be_focused()
        await page.keyboard.press(way_out)
        await expect(discard).to_be_focused()
    await asked(page, discard, "Discard")
    await expect(one).to_have_count(0)
    await expect(page.locator("#letters")).to_be_focused()
    await expect(letter(page, again)).to_be_visible()


async def test_retries_that_are_refused_are_told_in_words_and_all_are_retried_after_it(
    page: Page, gateway: Process, user: str
) -> None:
    """The breaker is opened and closed on the page; the others are none the worse for a refusal."""
    await open_page(page, gateway.url, None)
    one = letter(page, await given_up(page, gateway, user))
    await given_up(page, gateway, user)
    await asked(page, breaker(page, "unlucky").get_by_role("button", name="Open"), "Open")
    await expect(breaker(page, "unlucky")).to_have_attribute("data-state", "open")
    await expect(breaker(page, "unlucky")).to_contain_text("Opened")
    await one.get_by_role("button", name="Retry").click()
    await expect(one.locator(".note")).to_contain_text("Its circuit breaker is open.")
    retry_all = page.locator(".letters-bar").get_by_role("button")
    await asked(page, retry_all.first, "Retry")
    result = page.locator("#letters > .note")
    refused = re.compile(r"\d of \d tried again\. \d not: unlucky: Its circuit breaker is open\.")
    await expect(result).to_have_text(refused)
    await breaker(page, "unlucky").get_by_role("button", name="Close").click()
    await expect(breaker(page, "unlucky")).to_have_attribute("data-state", "closed")
    await asked(page, retry_all.first, "Retry")
    await expect(result).to_have_text(re.compile(r"^(\d) of \1 tried again\.$"))


async def test_an_upstream_that_asks_to_wait_is_called_all_the_same(
    page: Page, gateway: Process, user: str
) -> None:
    """By the keyboard: whose place stays with the other lines when this one goes."""
    await open_page(page, gateway.url, None)
    waits = await submit(page, gateway, user, "busy", "finds out")
    held = page.locator('[data-line^="held "]')
    await expect(held).to_contain_text("has asked not to be called")
    await held.get_by_role("button", name=re.compile("^Call .+ now$")).press("Enter")
    await expect(held).to_have_count(0)
    await expect(page.locator(".overview")).to_be_focused()
    card = page.locator(f'[data-task="{waits}"]')
    await card.get_by_role("button", name="Cancel").click()
    await expect(card).to_have_attribute("data-status", "cancelled")


async def test_letters_are_shown_some_at_a_time_and_those_of_one_agent_alone(
    page: Page, gateway: Process, user: str
) -> None:
    await open_page(page, gateway.url, None)
    await given_up(page, gateway, user)
    for _ in range(SHOWN_AT_FIRST + 2):
        newest = await submit(page, gateway, user, "luckless", "why")
    await expect(letter(page, newest)).to_be_visible()
    letters = page.locator("[data-letter]")
    await page.get_by_label("Letters of which agent").select_option("luckless")
    summary = page.locator("#letters .section-head")
    await expect(summary).to_contain_text(f"the newest 5 of {SHOWN_AT_FIRST + 2}")
    await expect(letters).to_have_count(SHOWN_AT_FIRST)
    await page.get_by_role("button", name="Show 2 more").press("Enter")
    await expect(letters).to_have_count(SHOWN_AT_FIRST + 2)
    await expect(letters.nth(SHOWN_AT_FIRST)).to_be_focused()
    await expect(letters.filter(has_text="unlucky")).to_have_count(0)
    await page.get_by_label("Letters of which agent").select_option("All agents")
    await expect(letters.filter(has_text="luckless").first).to_be_visible()


# --- failures, the queue, the mode ---------------------------------------------------------------


async def test_failures_are_drawn_and_the_queue_is_told(
    page: Page, gateway: Process, user: str
) -> None:
    """As they happen, and after a reload from what the log keeps."""
    await open_page(page, gateway.url, None)
    await given_up(page, gateway, user)
    row = page.locator(f'[data-failure="unlucky {CODE}"]')
    await expect(row).to_contain_text("in the last hour, newest under 1 min ago")
    assert await row.locator("path").get_attribute("d")
    before = int(await row.get_attribute("data-total") or 0)
    await given_up(page, gateway, user)
    await expect(row).to_have_attribute("data-total", str(before + 1))
    await submit(page, gateway, user, "ghost", "anybody there?")
    await page.reload()
    await expect(row).to_have_attribute("data-total", str(before + 1))
    ghost = page.locator('#overview [data-line="unserved ghost"]')
    await expect(ghost).to_contain_text("1 task waits: nobody serves it")
    letters = page.locator('#overview [data-line="letters"]')
    await expect(letters).to_contain_text("in the last hour")


async def test_failures_are_counted_by_the_minute_for_an_hour(blank_page: Page) -> None:
    """The newest minute is the last bar. Kinds that others name are bounded."""
    found: list[Any] = await blank_page.evaluate(
        """async (hourMs) => {
          const { failureTimes } = await import("/page/failure-times.js");
          const times = failureTimes();
          const nowMs = 2 * hourMs;
          const add = (agent, ageMs) => times.add({
            agent_name: agent, error_code: "c", timestamp: new Date(nowMs - ageMs).toISOString(),
          });
          for (const minutes of [0, 0, 59, 60]) add("a", minutes * 60_000);
          const [{ total, bars }] = times.rows(nowMs);
          for (let many = 0; many < 300; many += 1) add(`b${many}`, 60_000);
          const kinds = times.rows(nowMs).length;
          const later = times.rows(nowMs + hourMs).length;
          return [total, bars[0], bars.at(-1), bars.length, kinds, later];
        }""",
        HOUR_MS,
    )
    assert found == [3, 1, 2, 60, 200, 0]


async def test_the_mode_is_set_with_what_it_does_and_set_back(page: Page, gateway: Process) -> None:
    await open_page(page, gateway.url, None)
    here = page.locator("#mode-now")
    sign = page.locator("#mode .chip")
    try:
        await here.get_by_role("button", name="Change").click()
        await expect(here.get_by_role("radio", name="Normal")).to_be_focused()
        await here.get_by_role("radio", name="Read only").check()
        await expect(here).to_contain_text("New tasks are refused; what was accepted goes on.")
        await here.get_by_label("Why").fill("the keys are changed")
        await here.get_by_role("button", name="Set").click()
        await expect(sign).to_have_attribute("data-mode", "read_only")
        await expect(here).to_contain_text("Set by an operator")
        await expect(here).to_contain_text("the keys are changed")
        await expect(here.get_by_role("button", name="Change")).to_be_focused()
        await here.get_by_role("button", name="Change").click()
        await here.get_by_role("radio", name="Normal").check()
        await page.keyboard.press("Enter")
        await expect(sign).to_have_attribute("data-mode", "normal")
    finally:
        await page.request.put(f"{gateway.url}/api/mode", data={"mode": "normal"})


async def test_a_mode_that_is_normal_again_is_not_said_to_be_for_its_load(blank_page: Page) -> None:
    said: list[str] = await blank_page.evaluate(
        """async () => {
          const { modeForm } = await import("/page/mode-form.js");
          const said = [];
          for (const mode of ["degraded", "normal"]) {
            const place = document.createElement("div");
            modeForm(place, { get: async () => ({ mode, reason: "overload" }) }).draw({ mode });
            await new Promise((done) => setTimeout(done));
            said.push(place.querySelector(".row-what").textContent);
          }
          return said;
        }"""
    )
    assert said == ["For its load; it ends by itself.", "Its load is over."]


# --- for operators alone -------------------------------------------------------------------------

OPERATORS_OWN = ("#now", "#letters", "#failures", ".row-actions")


def token(user: str, scope: str) -> str:
    claims = {"sub": user, "exp": 4_000_000_000, "scope": scope}
    return jwt.encode(claims, SECRET, algorithm="HS256")


async def test_a_user_sees_nothing_of_it_and_asks_for_nothing(page: Page, locked: Process) -> None:
    """Of an operator with a token it is all there, but not beside the tasks of a single user."""
    said: list[str] = []
    failed: list[str] = []
    page.on("response", lambda one: failed.append(one.url) if one.status >= 400 else None)

    def listen(socket: WebSocket) -> None:
        socket.on("framesent", lambda frame: said.append(json.loads(frame)["method"]))

    page.on("websocket", listen)
    ask = {"agent": "unlucky", "user_id": "ann", "input": {"question": "why"}}
    for who, scope in (("ann", "events:read tasks:write"), ("ops", "admin")):
        bearer = token(who, scope)
        headers = {"authorization": f"Bearer {bearer}"}
        answer = await page.request.post(f"{locked.url}/api/tasks", data=ask, headers=headers)
        assert answer.status == 201
        await page.goto(locked.url)
        await page.get_by_label("Token", exact=True).fill(bearer)
        await page.keyboard.press("Enter")
        await live(page)
        await expect(page.locator("article.task")).not_to_have_count(0)
        # Asked for with what operators ask for besides, and answered later.
        await expect(page.locator("#workers [data-worker]")).to_have_count(1)
        if who == "ann":
            for part in OPERATORS_OWN:
                await expect(page.locator(f"{part}:visible")).to_have_count(0)
            await page.evaluate("sessionStorage.clear()")
            assert {name.partition(".")[0] for name in said} <= {
                *("connect", "subscribe", "ping", "task", "event", "agent"),
            }
        assert failed == []
    for part in OPERATORS_OWN:
        await expect(page.locator(part).first).to_be_visible()
    await page.get_by_label("User", exact=True).select_option(label="ann")
    await live(page)
    for part in OPERATORS_OWN:
        await expect(page.locator(f"{part}:visible")).to_have_count(0)
