"""The page in a real browser, with a real gateway whose agents really fail."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from playwright.async_api import Locator, Page, expect

from gateway.client.connection import Connection
from tests.frontend.accessibility import violations
from tests.frontend.conftest import SECRET, Cable, Process
from tests.frontend.page_agents import FIRST_HALF, SECOND_HALF
from tests.soak import SOAK

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

AS_OF = re.compile(r"as of \d\d:\d\d:\d\d")
EVENTS_KEPT = 1000
CUTS = 5 if SOAK else 2


async def open_page(page: Page, url: str, user: str | None) -> None:
    """Open the page for a user; None: for everybody."""
    await page.goto(url if user is None else f"{url}/?user={user}")
    await live(page)


async def live(page: Page) -> None:
    await expect(page.locator(".pill")).to_have_attribute("data-state", "live")


async def ask(page: Page, agent: str, question: str) -> None:
    """Ask by the form; an agent that the page does not know yet is typed."""
    names = page.get_by_label("Agent", exact=True)
    if agent in await names.locator("option").all_text_contents():
        await names.select_option(agent)
    else:
        await names.select_option("\0other")
        await page.get_by_label("Name of the agent").fill(agent)
    await page.get_by_label("Question").fill(question)
    await page.get_by_role("button", name="Ask", exact=True).click()


def card(page: Page, question: str) -> Locator:
    return page.locator("article.task").filter(has_text=question)


async def submit(page: Page, gateway: Process, user: str, agent: str, question: str) -> str:
    """Ask by HTTP, without the page."""
    answer = await page.request.post(
        f"{gateway.url}/api/tasks",
        data={"agent": agent, "user_id": user, "input": {"question": question}},
    )
    assert answer.status == 201, await answer.text()
    task_id: str = (await answer.json())["task_id"]
    return task_id


def card_of(page: Page, task_id: str) -> Locator:
    return page.locator(f'article[data-task="{task_id}"]')


async def logged(page: Page, gateway: Process, user: str) -> list[Mapping[str, Any]]:
    """Give the events that the gateway's log has for a user."""
    answer = await page.request.get(
        f"{gateway.url}/api/events", params={"topic": f"user:{user}", "since": "0", "limit": "500"}
    )
    items: list[Mapping[str, Any]] = (await answer.json())["items"]
    return items


async def shows_each_event_once(page: Page, gateway: Process, user: str) -> None:
    """Compare the page's list with the gateway's log, event by event and in order."""
    await page.get_by_label("Which events").select_option("all")
    expected = [str(event["offset"]) for event in reversed(await logged(page, gateway, user))]
    lines = page.locator(".event-list li")
    await expect(lines).to_have_count(len(expected))
    assert [await line.get_attribute("data-offset") for line in await lines.all()] == expected


# --- failures, in the user's words ---------------------------------------------------------------


async def test_a_failure_is_told_in_words_for_people(
    page: Page, gateway: Process, user: str
) -> None:
    """The page shows the catalogue's sentence and no word of the exception."""
    await open_page(page, gateway.url, user)
    await ask(page, "picky", "the first question")
    failed = card(page, "the first question")
    await expect(failed).to_have_attribute("data-status", "failed")
    error = next(e for e in await logged(page, gateway, user) if e["type"] == "agent_error")
    await expect(failed.locator(".trouble .said")).to_have_text(error["user_message"])
    await expect(page.locator("#announcer")).to_contain_text(error["user_message"])
    assert "secret" not in await page.content()


async def test_an_attempt_continues_after_the_text_of_the_failed_one(
    page: Page, gateway: Process, user: str
) -> None:
    await open_page(page, gateway.url, user)
    await ask(page, "stumbler", "how a breaker works")
    stumbled = card(page, "how a breaker works")
    await expect(stumbled).to_have_attribute("data-status", "waiting")
    await expect(stumbled.locator(".stream")).to_contain_text(FIRST_HALF.strip())
    await expect(stumbled.locator(".kept")).to_contain_text("Saved: outline")
    await expect(stumbled.locator(".kept")).to_contain_text("Lost: review")
    await expect(stumbled.locator(".trouble .when")).to_contain_text("Attempt 2 of 3 starts")
    await expect(stumbled).to_have_attribute("data-status", "succeeded")
    await expect(stumbled.locator(".result")).to_have_text(FIRST_HALF + SECOND_HALF)
    await expect(stumbled.locator(".attempts li")).to_have_count(2)


async def test_a_user_can_cut_a_wait_short(page: Page, gateway: Process, user: str) -> None:
    """The upstream has asked for a minute and a half; the user retries now."""
    await open_page(page, gateway.url, user)
    await ask(page, "limited", "in a hurry")
    waiting = card(page, "in a hurry")
    await expect(waiting.locator(".trouble .when")).to_contain_text("min")
    await waiting.get_by_role("button", name="Retry now").click()
    await expect(waiting.locator(".result")).to_have_text("Answered after all.")


async def test_a_task_that_does_not_move_says_why_and_until_when(
    page: Page, gateway: Process, user: str
) -> None:
    """And how long that lasts; a reload shows the same."""
    await open_page(page, gateway.url, user)
    first = card_of(page, await submit(page, gateway, user, "busy", "finds out"))
    await expect(first).to_have_attribute("data-status", "waiting")
    held = card_of(page, await submit(page, gateway, user, "busy", "is behind it"))
    unserved = card_of(page, await submit(page, gateway, user, "busi", "for nobody"))
    await expect(unserved.locator(".trouble .next")).to_contain_text("Did you mean busy?")
    for _ in range(2):
        await expect(held.locator("header .chip:not(.badge)")).to_have_text("Held back")
        await expect(held.locator(".trouble .said")).to_have_text(
            "The service behind it has asked us to wait."
        )
        await expect(held.locator(".trouble .when")).to_contain_text("Called again in")
        await expect(unserved.locator(".trouble .said")).to_contain_text("Nobody is there to do it")
        await expect(unserved.locator(".trouble .when")).to_contain_text("Given up in 4 min")
        await page.reload()
    for one in (held, unserved, first):
        await one.get_by_role("button", name="Cancel").click()
        await expect(one).to_have_attribute("data-status", "cancelled")


async def test_a_user_can_cancel_a_running_task_by_keyboard(
    page: Page, gateway: Process, user: str
) -> None:
    """The button goes away, and the card takes the keyboard's focus."""
    await open_page(page, gateway.url, user)
    await ask(page, "endless", "for ever")
    running = card(page, "for ever").first
    await expect(running.locator(".percent")).to_have_text("25 %")
    await running.get_by_role("button", name="Cancel").focus()
    await page.keyboard.press("Enter")
    await expect(running).to_have_attribute("data-status", "cancelled")
    await expect(running).to_be_focused()


async def test_enter_sends_a_question_and_shift_and_enter_begin_a_line(
    page: Page, gateway: Process, user: str
) -> None:
    await open_page(page, gateway.url, user)
    await ask(page, "writer", "to know the name of the agent")
    question = page.get_by_label("Question")
    await expect(question).to_have_value("")
    await question.press_sequentially("one")
    await page.keyboard.press("Shift+Enter")
    await question.press_sequentially("two")
    await page.keyboard.press("Enter")
    await expect(card(page, "About one\ntwo.")).to_have_attribute("data-status", "succeeded")
    await expect(question).to_have_value("")


async def test_a_question_typed_while_another_is_on_its_way_is_not_lost(
    page: Page, gateway: Process, user: str
) -> None:
    """Both are sent in one go, and a third Enter on an empty box sends nothing."""
    await open_page(page, gateway.url, user)
    await page.get_by_label("Agent", exact=True).select_option("writer")
    await page.evaluate(
        """() => {
          const box = document.querySelector("#ask-prompt");
          for (const words of ["the one before", "the one behind", null]) {
            if (words) box.value = words;
            box.form.requestSubmit();
          }
        }"""
    )
    await expect(card(page, "the one before")).to_have_attribute("data-status", "succeeded")
    await expect(card(page, "the one behind")).to_have_attribute("data-status", "succeeded")
    await expect(page.locator("article.task")).to_have_count(2)
    await expect(page.get_by_label("Question")).to_have_value("")


async def test_a_refused_question_comes_back_before_what_was_typed_since(
    page: Page, gateway: Process, user: str
) -> None:
    await open_page(page, gateway.url, user)
    await page.get_by_label("Agent", exact=True).select_option("\0other")
    await page.get_by_label("Name of the agent").fill("no such name!")
    await page.evaluate(
        """() => {
          const box = document.querySelector("#ask-prompt");
          box.value = "refused";
          box.form.requestSubmit();
          box.value = "typed since";
        }"""
    )
    await expect(page.get_by_label("Question")).to_have_value("refused\ntyped since")
    await expect(page.locator(".ask-form .note")).to_be_visible()


async def test_an_answer_by_the_stand_in_is_marked(page: Page, gateway: Process, user: str) -> None:
    await open_page(page, gateway.url, user)
    await ask(page, "broken", "anything at all")
    answered = card(page, "anything at all")
    await expect(answered.locator(".result")).to_have_text("A short answer from the notes.")
    await expect(answered.locator(".badge")).to_contain_text("Stand-in answer")


async def test_a_question_is_shown_as_text_and_never_as_markup(
    page: Page, gateway: Process, user: str
) -> None:
    await open_page(page, gateway.url, user)
    wicked = "<img src=x onerror=\"document.title='taken'\">"
    await ask(page, "writer", wicked)
    await expect(card(page, wicked).locator(".result")).to_have_text(f"About {wicked}.")
    await expect(page).to_have_title("Gateway")
    await expect(page.locator("article img")).to_have_count(0)


# --- workers -------------------------------------------------------------------------------------


async def test_a_worker_and_its_loss_are_shown_to_a_user(
    page: Page, mortal: Process, user: str
) -> None:
    """A user gets no event about workers. Another worker takes the task over."""
    await open_page(page, mortal.url, user)
    panel = page.locator("#workers")
    # The gateway's own agents have a worker, too.
    await expect(panel.locator("[data-worker]")).to_have_count(1)
    await ask(page, "poet", "a sonnet")
    url = f"{mortal.url.replace('http', 'ws')}/ws"
    async with Connection(url) as first, Connection(url) as second:
        lost = await register(first, "quill")
        term = (await first.call("task.claim", lost | {"wait": 10}))["term"]
        row = panel.locator(f'[data-worker="{lost["agent_id"]}"]')
        await expect(row).to_have_attribute("data-status", "healthy")
        await expect(row).to_contain_text("Works on poet")
        await expect(row).to_contain_text("Health 100 of 100")
        zone = page.locator("#domains [data-domain=zone-a]")
        await expect(zone).to_contain_text("At full speed")
        await expect(zone).to_contain_text("1 worker · 1 open")
        poet = page.locator("#upstreams [data-upstream=poet]")
        await expect(poet).to_contain_text("1 of 4 calls at once")
        task = card(page, "a sonnet")
        await expect(task.locator(".meta")).to_contain_text("on worker quill")
        task_id = await task.get_attribute("data-task")
        told = lost | {"task_id": task_id, "term": term}
        await first.call("task.update", told | {"text": "Shall I compare "})
        gone = {"error_type": "agent_lost", "error_code": "process_lost", "message": "killed"}
        await first.call("task.fail", told | gone)
        await first.close()
        await expect(row).to_have_attribute("data-status", "suspect")
        await expect(row).to_contain_text("Silent for a moment")
        await expect(row.locator(".why")).to_have_text("Its connection was lost.")
        taker = await register(second, "pencil")
        claim = await second.call("task.claim", taker | {"wait": 10})
        assert claim["preserved"]["text"] == "Shall I compare "
        await expect(task.locator(".passed-on")).to_have_text(
            "The worker was lost. Another one continues from what was saved."
        )
        await expect(task.locator(".meta")).to_contain_text("on worker pencil")
        ended = taker | {
            "task_id": task_id,
            "term": claim["term"],
            "result": "Shall I compare thee",
        }
        await second.call("task.complete", ended)
        await expect(task).to_have_attribute("data-status", "succeeded")


async def register(connection: Connection, handle: str) -> dict[str, str]:
    """Register a worker for poems; returns its id and its secret."""
    known = await connection.call(
        "agent.register", {"handle": handle, "agents": [{"name": "poet"}], "domain": "zone-a"}
    )
    return {name: known[name] for name in ("agent_id", "agent_secret")}


# --- the history of a task -----------------------------------------------------------------------


async def test_a_task_has_an_address_that_shows_its_history(
    page: Page, witness: Page, gateway: Process, user: str
) -> None:
    """From the question to the end, as it happens; its card leads there, and back."""
    task_id = await submit(page, gateway, user, "stumbler", "why it rains")
    await page.goto(f"{gateway.url}/?user={user}#task={task_id}")
    await witness.goto(f"{gateway.url}/#task={task_id}")
    for one in (page, witness):
        lines = one.locator(".trail-lines li")
        await expect(lines.last).to_have_attribute("data-type", "task_finished")
        titles = await one.locator(".trail-title").all_text_contents()
        assert titles == [
            f"Asked for by {user}",
            "Attempt 1 began",
            "Step done: outline",
            f"Kept: outline, the text so far ({len(FIRST_HALF)} characters)",
            "Attempt 1 failed",
            "To be tried again: attempt 2",
            "Attempt 2 began",
            "Recovered",
            "Done",
        ]
        await one.get_by_text("What was asked").click()
        await expect(one.locator(".asked")).to_contain_text("why it rains")
        await expect(one.locator("#tasks")).to_be_hidden()
    assert await violations(page) == []
    await page.get_by_role("link", name="All tasks").click()
    await expect(page.locator("#trail")).to_be_hidden()
    await expect(page.locator("#tasks")).to_be_focused()
    link = card_of(page, task_id).get_by_role("link", name="History")
    await link.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#trail-title")).to_be_focused()
    await expect(page.locator(".trail-lines li")).to_have_count(len(titles))


async def test_the_history_says_why_a_task_does_not_move(
    page: Page, gateway: Process, user: str
) -> None:
    """It may be given up an hour later: who looks then has not seen what was said."""
    task_id = await submit(page, gateway, user, "writr", "misspelt")
    await page.goto(f"{gateway.url}/?user={user}#task={task_id}")
    held = page.locator(".trail-lines [data-type=task_waiting]")
    await expect(held).to_contain_text("Held back")
    await expect(held).to_contain_text("Did you mean writer?")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".trail-lines li").last).to_contain_text("Cancelled")


async def test_the_stack_of_a_failed_attempt_is_for_operators(
    page: Page, witness: Page, gateway: Process, user: str
) -> None:
    task_id = await submit(page, gateway, user, "broken", "anything")
    await page.goto(f"{gateway.url}/?user={user}#task={task_id}")
    await witness.goto(f"{gateway.url}/#task={task_id}")
    for one in (page, witness):
        last = one.locator(".trail-lines li").last
        await expect(last).to_contain_text("A stand-in answered: stand_in")
    await witness.locator(".trail-lines .detail summary").click()
    detail = witness.locator(".trail-lines .detail")
    await expect(detail).to_contain_text("RuntimeError: nothing works today")
    await expect(detail).to_contain_text("page_agents.py")
    await expect(page.locator(".trail-lines .detail")).to_have_count(0)
    assert "nothing works today" not in await page.content()
    # As another visitor one sees what that one may see.
    await witness.get_by_label("User", exact=True).select_option(label=user)
    await live(witness)
    await expect(witness.locator(".trail-lines li").last).to_contain_text("A stand-in answered")
    await expect(witness.locator(".trail-lines .detail")).to_have_count(0)


async def test_a_task_that_is_not_there_is_said_to_be_none(
    page: Page, gateway: Process, user: str
) -> None:
    """Also when it is another user's: nobody learns that it exists."""
    theirs = await submit(page, gateway, f"other-{user}", "writer", "a secret")
    for task_id in ("nothing", theirs):
        await page.goto(f"{gateway.url}/?user={user}#task={task_id}")
        await expect(page.locator("#trail")).to_contain_text("The gateway knows no such task")
        await expect(page.locator(".trail-lines li")).to_have_count(0)


# --- without a task ------------------------------------------------------------------------------


async def publish(page: Page, gateway: Process, **event: Any) -> dict[str, Any]:
    """Publish an event by HTTP, as a backend does."""
    answer = await page.request.post(f"{gateway.url}/api/events", data=event)
    assert answer.ok, await answer.text()
    said: dict[str, Any] = await answer.json()
    return said


async def test_a_report_without_a_task_is_a_card_of_its_own_until_it_is_over(
    page: Page, witness: Page, gateway: Process, user: str
) -> None:
    """Its owner is told in words for people; what was reported for operators is theirs."""
    await open_page(page, gateway.url, user)
    await open_page(witness, gateway.url, None)
    about = {"user_id": user, "agent_name": f"night-job-{user}"}
    failure = {"error_type": "network_error", "message": "exit code 7 of the import"}
    said = await publish(page, gateway, type="agent_error", **about, **failure)
    shown, seen = (
        one.locator("article.report").filter(has_text=f"night-job-{user}")
        for one in (page, witness)
    )
    await expect(shown).to_have_attribute("data-status", "failed")
    (error,) = [e for e in await logged(page, gateway, user) if e["type"] == "agent_error"]
    await expect(shown.locator(".said")).to_have_text(error["user_message"])
    await expect(seen.locator(".meta")).to_contain_text(f"for {user}")
    # It is nothing that its user could try again.
    await expect(shown.locator(".next")).to_be_hidden()
    for _ in range(2):
        await seen.get_by_text("For operators").click()
        await expect(seen.locator(".detail")).to_contain_text("exit code 7 of the import")
        assert "exit code 7" not in await page.content()
        # Whoever comes in the morning sees the same.
        for one in (page, witness):
            await one.reload()
            await live(one)
    await expect(shown).to_have_attribute("data-status", "failed")
    over = {"error_id": said["error_id"], "scope": "agent"}
    await publish(page, gateway, type="system_recovered", **about, **over)
    await expect(shown).to_have_attribute("data-status", "recovered")
    await expect(shown.locator(".chip").last).to_have_text("Over")


async def test_a_notification_is_shown_to_its_recipient(
    page: Page, gateway: Process, user: str
) -> None:
    """Also when its sender has named no user. The keyboard stays on the page as it is dismissed."""
    await open_page(page, gateway.url, user)
    told = {"recipient_id": user, "subject": "Report ready", "payload": "It has 4 pages."}
    await publish(page, gateway, type="notification", **told)
    notice = page.locator(".notice[data-type=notification]")
    await expect(notice).to_contain_text("Report ready: It has 4 pages.")
    await notice.get_by_role("button", name="Dismiss").click()
    await expect(notice).to_have_count(0)
    await expect(page.locator("#tasks")).to_be_focused()


# --- away and back -------------------------------------------------------------------------------


async def test_an_event_that_was_missed_over_a_cut_is_shown_once(
    page: Page, witness: Page, gateway: Process, cable: Cable, user: str
) -> None:
    await open_page(page, cable.url, user)
    await ask(page, "writer", "before the cut")
    await expect(card(page, "before the cut")).to_have_attribute("data-status", "succeeded")
    await open_page(witness, gateway.url, user)
    for _ in range(CUTS):
        seen = len(await logged(page, gateway, user))
        cable.cut()
        await expect(page.locator(".pill")).to_have_attribute("data-state", "waiting")
        await expect(page.locator("html[data-stale]")).to_have_count(1)
        await expect(page.locator(".connection-story")).to_contain_text(AS_OF)
        task_id = await submit(page, gateway, user, "writer", "while it was away")
        await expect(card_of(witness, task_id)).to_have_attribute("data-status", "succeeded")
        cable.mend()
        await live(page)
        await expect(page.locator("html[data-stale]")).to_have_count(0)
        await expect(card_of(page, task_id)).to_have_attribute("data-status", "succeeded")
        missed = len(await logged(page, gateway, user)) - seen
        story = page.locator(".connection-story")
        await expect(story).to_have_text(f"caught up {missed} missed events")
    await shows_each_event_once(page, gateway, user)


async def test_a_paused_gateway_loses_nothing_and_repeats_nothing(
    page: Page, gateway: Process, user: str
) -> None:
    """The connection stands while the process does not run, as on an overloaded host."""
    await open_page(page, gateway.url, user)
    gateway.pause()
    try:
        await ask(page, "writer", "in the pause")
    finally:
        gateway.go_on()
    await expect(card(page, "in the pause")).to_have_attribute("data-status", "succeeded")
    await expect(page.locator(".pill")).to_have_attribute("data-state", "live")
    await shows_each_event_once(page, gateway, user)


async def test_the_open_tasks_of_a_killed_gateway_are_shown_as_lost(
    page: Page, mortal: Process, user: str
) -> None:
    """The log was in its memory. The new log has a new epoch and does not know the task."""
    await open_page(page, mortal.url, user)
    await ask(page, "endless", "who remembers")
    lost = card(page, "who remembers").first
    await expect(lost).to_have_attribute("data-status", "running")
    await mortal.kill()
    await expect(page.locator(".pill")).to_have_attribute("data-state", "waiting")
    await mortal.start()
    await live(page)
    await expect(lost).to_have_attribute("data-status", "lost")
    await expect(page.locator(".connection-story")).to_contain_text("started anew")
    await lost.get_by_role("button", name="Ask again").click()
    again = card(page, "who remembers").first
    await expect(again).to_have_attribute("data-status", "running")


async def test_a_reload_brings_back_tasks_and_events(
    page: Page, gateway: Process, user: str
) -> None:
    await open_page(page, gateway.url, user)
    await ask(page, "writer", "once")
    await expect(card(page, "once")).to_have_attribute("data-status", "succeeded")
    await open_page(page, gateway.url, user)
    await expect(card(page, "About once.")).to_have_attribute("data-status", "succeeded")
    await shows_each_event_once(page, gateway, user)


async def test_of_very_many_events_the_page_keeps_and_draws_only_some(
    page: Page, gateway: Process, user: str
) -> None:
    """A day's events would fill a browser's memory, and stall it with each one that comes."""
    await open_page(page, gateway.url, user)
    told = {"type": "notification", "user_id": user, "channel": "news", "payload": "is"}
    async with Connection(f"{gateway.url.replace('http', 'ws')}/ws") as sender:
        for first in range(0, EVENTS_KEPT + 200, 100):
            calls = (
                sender.call("event.publish", told | {"subject": f"what {first + more}"})
                for more in range(100)
            )
            await asyncio.gather(*calls)
    newest = page.locator(".event-list li").first.locator(".event-what")
    await expect(newest).to_have_text(f"what {EVENTS_KEPT + 199}")
    summary = page.locator("#events-summary")
    await expect(summary).to_contain_text(f"the newest {EVENTS_KEPT} are kept")
    await expect(page.locator(".event-list li")).to_have_count(100)
    assert await page.locator(".notice").count() <= 4


# --- users and operators -------------------------------------------------------------------------


async def play(page: Page, who: str) -> None:
    """Play a user that the list does not have yet."""
    await page.get_by_label("User", exact=True).select_option(label="Another…")
    await page.get_by_label("The user's id").fill(who)
    await page.keyboard.press("Enter")
    await live(page)


async def test_another_user_sees_nothing_and_an_operator_everything(
    page: Page, gateway: Process, user: str
) -> None:
    await open_page(page, gateway.url, user)
    await ask(page, "writer", "of mine alone")
    await expect(card(page, "of mine alone")).to_have_attribute("data-status", "succeeded")
    mine = await card(page, "of mine alone").get_attribute("data-task") or ""
    theirs = await submit(page, gateway, f"other-{user}", "writer", "of theirs alone")
    await play(page, f"not-{user}")
    await expect(page).to_have_url(f"{gateway.url}/?user=not-{user}")
    await expect(page.locator("article.task")).to_have_count(0)
    await page.get_by_label("User", exact=True).select_option(label="Everybody")
    await expect(page).to_have_url(f"{gateway.url}/")
    await expect(card_of(page, mine)).to_have_count(1)
    await expect(card_of(page, theirs)).to_have_count(1)


async def test_everybodys_tasks_are_shown_first_and_a_user_is_picked_from_a_list(
    page: Page, gateway: Process, user: str
) -> None:
    """A task that is sent by HTTP, as by curl, appears by itself, and so does its owner."""
    await open_page(page, gateway.url, None)
    task_id = await submit(page, gateway, user, "writer", "by curl")
    sent = card_of(page, task_id)
    await expect(sent).to_have_attribute("data-status", "succeeded")
    await expect(sent.locator(".meta")).to_contain_text(f"for {user} ")
    other = await submit(page, gateway, f"other-{user}", "writer", "by somebody else")
    await expect(card_of(page, other)).to_have_attribute("data-status", "succeeded")
    await page.get_by_label("User", exact=True).select_option(label=user)
    await live(page)
    await expect(card_of(page, task_id)).to_have_count(1)
    await expect(card_of(page, other)).to_have_count(0)


async def test_an_operator_with_a_token_looks_at_a_user(page: Page, locked: Process) -> None:
    """By the users that the gateway has counted; a user with a token has no such list."""
    claims = {"exp": 4_000_000_000, "scope": "admin"}
    token = jwt.encode(claims | {"sub": "root"}, SECRET, algorithm="HS256")
    for user in ("ann", "ben"):
        answer = await page.request.post(
            f"{locked.url}/api/tasks",
            headers={"authorization": f"Bearer {token}"},
            data={"agent": "writer", "user_id": user, "input": {"question": f"of {user}"}},
        )
        assert answer.status == 201, await answer.text()
    await page.goto(locked.url)
    await page.get_by_label("Token", exact=True).fill(token)
    await page.keyboard.press("Enter")
    await live(page)
    tasks = page.locator("article.task")
    await expect(tasks).to_have_count(2)
    await page.get_by_label("User", exact=True).select_option(label="ann")
    await expect(tasks).to_have_count(1)
    await expect(tasks).to_contain_text("About of ann.")
    await ask(page, "writer", "of the operator")
    await page.get_by_label("User", exact=True).select_option(label="Everybody")
    await expect(tasks).to_have_count(3)


@pytest.mark.parametrize("who", ["auth0|5f7c", "ann+test@example.org", "Änne B. Müller, 50%&x=#"])
async def test_a_user_is_called_as_the_sign_in_calls_it(
    page: Page, gateway: Process, who: str
) -> None:
    """The address keeps it: a reload comes back to the same user."""
    await open_page(page, gateway.url, "somebody")
    await play(page, who)
    await ask(page, "writer", f"of {who}")
    await expect(card(page, f"of {who}")).to_have_attribute("data-status", "succeeded")
    await page.reload()
    await live(page)
    await expect(page.get_by_label("User", exact=True)).to_have_value(who)
    await expect(card(page, f"of {who}")).to_have_attribute("data-status", "succeeded")
    assert {event["user_id"] for event in await logged(page, gateway, who)} >= {who}


async def test_a_gateway_with_a_secret_asks_for_a_token(page: Page, locked: Process) -> None:
    """
    The page takes a good token after a bad one, and puts none into an address.

    This one reads everybody's events, which is not to follow everything.
    """
    addresses: list[str] = []
    page.on("websocket", lambda socket: addresses.append(socket.url))
    await page.goto(locked.url)
    token = page.get_by_label("Token", exact=True)
    await expect(token).to_be_focused()
    # Nothing is said of a gateway that has told nothing.
    await expect(page.locator("#breakers")).to_contain_text("Not known yet")
    await expect(page.locator(".mode")).to_be_hidden()
    await expect(page.get_by_text("No tasks yet")).to_be_hidden()
    await token.fill("not.a.token")
    await page.keyboard.press("Enter")
    await expect(page.locator("#sign-in")).to_contain_text("not accepted")
    claims = {"sub": "ada", "exp": 4_000_000_000, "scope": "events:read:all tasks:write"}
    await token.fill(jwt.encode(claims, SECRET, algorithm="HS256"))
    await page.keyboard.press("Enter")
    await live(page)
    await expect(page.locator("#sign-in")).to_be_hidden()
    await expect(page.locator(".role")).to_have_text("ada")
    await ask(page, "writer", "with a token")
    await expect(card(page, "with a token")).to_have_attribute("data-status", "succeeded")
    assert set(addresses) == {f"{locked.url.replace('http', 'ws')}/ws"}
