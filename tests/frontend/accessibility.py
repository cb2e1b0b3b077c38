"""What axe-core, the engine of most accessibility checks, has against a page."""

from __future__ import annotations

from importlib import resources
from typing import Any

from playwright.async_api import Page

__all__ = ["violations"]

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
VIOLATIONS = """
async () => (await axe.run()).violations.map(({ id, nodes }) =>
  [id, ...nodes.map(({ target }) => target.join(" "))])
"""


async def violations(page: Page) -> Any:
    """Give the rules that are broken, each with where; axe comes in past the page's own policy."""
    await page.evaluate(AXE)
    return await page.evaluate(VIOLATIONS)
