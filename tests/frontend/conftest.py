"""A real Chromium, a real gateway in its own process, and a cable between them that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--headless=new",
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    assert found, f"none of {', '.join(CHROMIUMS)} is installed"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page in a context of its own; an exception in it that nobody caught fails the test."""
    context = await browser.new_context()
    page = await context.new_page()
    thrown: list[str] = []
    page.on("pageerror", lambda error: thrown.append(str(error)))
    yield page
    await context.close()
    assert thrown == []


class Process:
    """
    One ``gateway serve`` with the agents of ``page_agents``; ``environment`` is added to ours.

    Attributes:
        port: Where it listens; the same again after ``restart``.
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
            # Long enough for a person, and a browser's polling, to see that a task waits.
            "--retry-base",
            "4",
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


@pytest_asyncio.fixture(loop_scope="module")
async def gateway() -> AsyncIterator[Process]:
    process = Process()
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def locked() -> AsyncIterator[Process]:
    """A gateway that asks for tokens."""
    process = Process(GATEWAY_TOKEN_SECRET=SECRET)
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


class Cable:
    """
    A TCP proxy before the gateway. Cut, it resets what it carries and refuses what comes.

    Attributes:
        port: The near end.
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


@pytest_asyncio.fixture(loop_scope="module")
async def cable(gateway: Process) -> AsyncIterator[Cable]:
    async with Cable(gateway.port) as cable:
        yield cable
