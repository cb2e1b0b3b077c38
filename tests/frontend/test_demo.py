"""The page of the demonstration, in a real browser: what its buttons do is measured, not acted."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, expect

from tests.frontend.conftest import READY_WITHIN_S, opened

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# How many times as fast as for a person.
PACE = 10


@contextlib.asynccontextmanager
async def demo() -> AsyncIterator[str]:
    """Start a demonstration of the test's own; gives its address."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("gateway")),
        *("demo", "--port", "0", "--pace", str(PACE)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_WITHIN_S):
            said = (await process.stdout.readline()).decode().split()
        assert said[:1] == ["ready"], said
        yield said[1]
    finally:
        process.terminate()
        await process.communicate()


@pytest.mark.timeout(120)
async def test_a_button_overloads_the_gateway_and_the_page_shows_it_and_its_end(
    context: BrowserContext,
) -> None:
    """The mode follows from the queue that the crowd fills, and from its being worked off."""
    async with demo() as url, opened(context) as tab:
        page = tab.page
        await page.goto(url)
        mode = page.locator("#mode .chip")
        await expect(mode).to_have_attribute("data-mode", "normal")
        await page.get_by_role("button", name="Overload").click()
        await expect(mode).to_have_text("Degraded")
        banner = page.locator(".banner[data-mode=degraded]")
        await expect(banner).to_contain_text("Works: tasks of priority 0 to 5")
        await expect(banner).to_contain_text("Paused: tasks of priority 6 to 10")
        answer = page.locator("#demo .note")
        await expect(answer).to_have_text(re.compile(r"Of 1500 tasks \d+ were taken"))
        await expect(mode).to_have_text("Normal")
        await expect(banner).to_have_count(0)
        over = page.locator(".notice[data-type=system_recovered]")
        await expect(over).to_contain_text("All features are available again.")
        await expect(over).to_contain_text("It lasted")
        assert tab.thrown == []
