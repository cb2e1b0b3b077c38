"""
A real Chromium, a real gateway in its own process, and a cable between them that can be cut.

A browser, a context and a gateway take longer to start than most tests run, so tests share them.
Each test has a page or a reload of the blank page, and a user of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, async_playwright, expect

from tests.frontend.scripted_gateway import serve_modules

# The first is Chromium without what only a window needs: the same pages for half the time.
CHROMIUMS = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ROOT = Path(__file__).parent.parent.parent
SHOWN_WITHIN_MS = 20_000
READY_WITHIN_S = 20.0
SECRET = "for tests alone, and long enough to be taken"

expect.set_options(timeout=SHOWN_WITHIN_MS)


_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def context() -> AsyncIterator[BrowserContext]:
    """One context for all tests: the frontend uses no storage but the session storage of a page."""
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    assert found, f"none of {', '.join(CHROMIUMS)} is installed"
    async with async_playwright() as playwright:
        windows = () if found.endswith("shell") else ("--headless=new",)
        browser = await playwright.chromium.launch(
            executable_path=found, args=[*windows, *ARGUMENTS]
        )
        try:
            # Drawing what moves takes more of a processor than all else that a page does.
            yield await browser.new_context(reduced_motion="reduce")
        finally:
            await browser.close()


@dataclasses.dataclass(frozen=True)
class Tab:
    """A page, and the uncaught exceptions in it."""

    page: Page
    thrown: list[str]


@contextlib.asynccontextmanager
async def opened(context: BrowserContext) -> AsyncIterator[Tab]:
    """Open a page, and close it at the end."""
    tab = Tab(await context.new_page(), [])
    tab.page.on("pageerror", lambda error: tab.thrown.append(str(error)))
    try:
        yield tab
    finally:
        await tab.page.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """A page of the test's own; an uncaught exception in it fails the test."""
    async with opened(context) as tab:
        yield tab.page
    assert tab.thrown == []


@pytest_asyncio.fixture(loop_scope="session")
async def witness(context: BrowserContext) -> AsyncIterator[Page]:
    """A second page."""
    async with opened(context) as tab:
        yield tab.page
    assert tab.thrown == []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def blank_tab(context: BrowserContext) -> AsyncIterator[Tab]:
    async with opened(context) as tab:
        await serve_modules(tab.page)
        yield tab


@pytest_asyncio.fixture(loop_scope="session")
async def blank_page(blank_tab: Tab) -> AsyncIterator[Page]:
    """The module's empty page, in which the frontend's modules can be imported."""
    blank_tab.thrown.clear()
    yield blank_tab.page
    assert blank_tab.thrown == []


@pytest.fixture
def user() -> str:
    """A user of the test's own."""
    return f"user-{next(_numbers)}"


class Process:
    """
    One ``gateway serve`` with the agents of ``page_agents``.

    ``environment`` is added to the variables of this process.

    Attributes:
        port: Where it listens; the same after a second ``start``.
    """

    def __init__(self, **environment: str) -> None:
        self.port = 0
        self._environment = os.environ | {"GATEWAY_DRAIN_GRACE": "0.5"} | environment
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("gateway")),
            "serve",
            "tests.frontend.page_agents:gateway",
            "--port",
            str(self.port),
            # A task waits for long enough that a polling browser sees it.
            "--retry-base",
            "2.5",
            cwd=ROOT,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_WITHIN_S):
            said = (await self._process.stdout.readline()).decode().split()
        assert said[:1] == ["ready"], said
        self.port = int(said[1].rpartition(":")[2])

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        self._signal(signal.SIGKILL)
        assert self._process is not None
        await self._process.communicate()

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self.go_on()
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await self._process.communicate()
        except TimeoutError:
            await self.kill()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@contextlib.asynccontextmanager
async def running(**environment: str) -> AsyncIterator[Process]:
    process = Process(**environment)
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway() -> AsyncIterator[Process]:
    """A gateway without a secret, shared by tests that leave only their own user's tasks."""
    async with running() as process:
        yield process


@pytest_asyncio.fixture(loop_scope="session")
async def mortal() -> AsyncIterator[Process]:
    """A gateway of the test's own, which it may kill; it limits the calls of upstreams."""
    async with running(GATEWAY_ADAPTIVE_CONCURRENCY="4") as process:
        yield process


@pytest_asyncio.fixture(loop_scope="session")
async def locked() -> AsyncIterator[Process]:
    """A gateway that asks for tokens."""
    async with running(GATEWAY_TOKEN_SECRET=SECRET) as process:
        yield process


class Cable:
    """
    A TCP proxy before the gateway. While it is cut, it resets every connection.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, far_port: int) -> None:
        self.port = 0
        self._far_port = far_port
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        self._is_cut = False

    async def __aenter__(self) -> Cable:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self.cut()
        self._server.close()
        await self._server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far_port)
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest_asyncio.fixture(loop_scope="session")
async def cable(gateway: Process) -> AsyncIterator[Cable]:
    async with Cable(gateway.port) as cable:
        yield cable
