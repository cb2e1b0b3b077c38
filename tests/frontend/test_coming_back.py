"""
Browsers that come back without a reload: a native EventSource and the client, side by side.

Whatever happens between, each event arrives once and in order, or the page is told to begin anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import jwt
import psutil
import pytest
import pytest_asyncio
from playwright.async_api import Page

from gateway.app.clock import SystemClock
from tests.frontend.conftest import ROOT, SECRET, Cable, Process, running
from tests.nats import NatsServer, free_ports, nats_server
from tests.soak import SOAK

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CLOCK = SystemClock()
FROZEN_S = 90 if SOAK else 6
WITHIN_MS = 40_000
ROOM = 40
PROXIES = ROOT / "docs" / "proxies.md"
PATH = "/api/events/stream?topic=system"

# Nothing here reloads: what was got is in variables of the page.
BEGIN = """
async ([user, token]) => {
  const { GatewayClient } = await import("/static/client/gateway-client.js");
  globalThis.got = { native: [], client: [] };
  globalThis.resets = { native: 0, client: 0 };
  globalThis.told = [];
  const topic = `recipient:${user}`;
  globalThis.source = new EventSource(`/api/events/stream?topic=${topic}&snapshot=true`);
  const numbered = ({ data }) => got.native.push(JSON.parse(data).payload.n);
  source.addEventListener("notification", numbered);
  source.addEventListener("unavailable", ({ data }) => told.push(JSON.parse(data).code));
  source.addEventListener("subscribed", ({ data }) => {
    const { was_recovering: was, recovered } = JSON.parse(data);
    if (was && !recovered) resets.native += 1;
    globalThis.opened = true;
  });
  const client = new GatewayClient(`ws://${location.host}/ws`, { topics: [topic], token });
  globalThis.client = client;
  client.on("event", (event) => event.type === "notification" && got.client.push(event.payload.n));
  client.on("missed", ({ complete }) => { if (!complete) resets.client += 1; });
  client.start();
}
"""
OPEN = "globalThis.opened && client.state.name === 'live' && source.readyState === 1"


class Tab:
    """A page that listens in both ways."""

    def __init__(self, page: Page, user: str) -> None:
        self.page, self.user = page, user
        self.said: list[int] = []

    async def begin(self, url: str, token: str | None = None) -> None:
        await self.page.goto(f"{url}/health")
        await self.page.evaluate(BEGIN, [self.user, token])
        await self.until(OPEN)

    async def until(self, condition: str) -> None:
        await self.page.wait_for_function(condition, timeout=WITHIN_MS)

    async def say(self, url: str, count: int = 1) -> None:
        """Let events happen, through any gateway on the log."""
        async with httpx2.AsyncClient(base_url=url) as http:
            for _ in range(count):
                n = len(self.said)
                event = {"type": "notification", "subject": "s", "payload": {"n": n}}
                answer = await http.post("/api/events", json={**event, "recipient_id": self.user})
                assert answer.status_code == 201, answer.text
                self.said.append(n)

    async def check(self, *, since: int = 0, resets: int = 0) -> None:
        """Both have got everything, once and in order; from ``since`` on if they began anew."""
        wanted = self.said[since:]
        for way in ("native", "client"):
            await self.until(f"got.{way}.at(-1) === {wanted[-1]}")
            got = await self.page.evaluate(f"got.{way}")
            assert got == (self.said if not resets else self.said[:since] + wanted), way
        told = await self.page.evaluate("resets")
        assert told == {"native": resets, "client": resets}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def nats() -> AsyncIterator[NatsServer]:
    async with nats_server() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(nats: NatsServer) -> AsyncIterator[Process]:
    """A node that may be taken away; few connections fit in."""
    async with on_log(nats, GATEWAY_MAX_CONNECTIONS=str(ROOM)) as process:
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def other(nats: NatsServer) -> AsyncIterator[Process]:
    """Another node on the same log, on which things happen."""
    async with on_log(nats) as process:
        yield process


def on_log(nats: NatsServer, **more: str) -> contextlib.AbstractAsyncContextManager[Process]:
    return running(GATEWAY_STORE=nats.url, GATEWAY_STORE_STREAM="BACK", **more)


@pytest.fixture
def tab(page: Page, user: str) -> Tab:
    return Tab(page, user)


async def test_a_node_that_drains_and_is_replaced(tab: Tab, node: Process, other: Process) -> None:
    await tab.begin(node.url)
    await tab.say(node.url, 2)
    await node.stop()
    await tab.say(other.url, 3)
    await node.start()
    await tab.check()
    await tab.say(other.url)
    await tab.check()


async def test_a_store_that_goes_away_and_comes_back(
    tab: Tab, node: Process, other: Process, nats: NatsServer
) -> None:
    await tab.begin(node.url)
    await tab.say(node.url, 2)
    nats.kill()
    await ready(node, 503)
    await nats.start()
    await ready(other, 200)
    await tab.say(other.url, 3)
    await tab.check()


async def ready(node: Process, status: int) -> None:
    """Wait until a node says so."""
    async with asyncio.timeout(20), httpx2.AsyncClient(base_url=node.url) as http:
        while (await http.get("/ready")).status_code != status:
            await CLOCK.sleep(0.1)


async def test_a_node_that_is_full_and_has_room_again(
    tab: Tab, node: Process, other: Process
) -> None:
    async with Cable(node.port) as cable:
        await tab.begin(cable.url)
        await tab.say(other.url)
        cable.cut()
        crowd = await crowd_of(node)
        cable.mend()
        await tab.until("told.includes('too_many_connections')")
        await tab.until("client.state.name === 'waiting'")
        await tab.say(other.url, 3)
        for writer in crowd:
            writer.close()
        await tab.check()


async def crowd_of(node: Process) -> list[asyncio.StreamWriter]:
    """Take all the connections that a node has."""
    writers = []
    for _ in range(ROOM + 2):
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        head = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{node.port}\r\n\r\n"
        writer.write(head.encode())
        await reader.readline()
        writers.append(writer)
    return writers


async def test_a_page_that_is_frozen(tab: Tab, node: Process, other: Process) -> None:
    """A browser freezes the pages of hidden tabs; here the system stops its process."""
    await tab.begin(node.url)
    await tab.say(node.url)
    with frozen():
        await tab.say(other.url, 30)
        await CLOCK.sleep(FROZEN_S)
    await tab.check()


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    """Stop the pages of this process's browser."""
    pages = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # one that has just ended
            if "--type=renderer" in child.cmdline():
                pages.append(child)
    assert pages
    try:
        for page in pages:
            page.send_signal(signal.SIGSTOP)
        yield
    finally:
        for page in pages:
            page.send_signal(signal.SIGCONT)


if SOAK:  # which installs nginx

    async def test_a_node_that_is_replaced_behind_nginx(
        tab: Tab, nats: NatsServer, other: Process, tmp_path: Path
    ) -> None:
        """With the configuration of docs/proxies.md, word for word but for ports and a token."""
        claims = {"sub": tab.user, "scope": "events:read", "exp": CLOCK.wall() + 600}
        token = jwt.encode(claims, SECRET, algorithm="HS256")
        async with (
            on_log(nats, GATEWAY_TOKEN_SECRET=SECRET) as node,
            nginx(node, token, tmp_path) as url,
        ):
            await tab.begin(url, token)
            await tab.say(other.url, 2)
            await node.stop()
            await tab.until("told.includes('unavailable') && client.state.name !== 'live'")
            await tab.say(other.url, 3)
            await node.start()
            await tab.check()

    async def test_the_page_works_below_a_path_of_nginx(
        page: Page, nats: NatsServer, user: str, tmp_path: Path
    ) -> None:
        """Its scripts, its WebSocket, its questions; and a stream of events beside it."""
        claims = {"sub": user, "scope": "events:read tasks:write", "exp": CLOCK.wall() + 600}
        token = jwt.encode(claims, SECRET, algorithm="HS256")
        failed: list[str] = []
        page.on("requestfailed", lambda request: failed.append(request.url))
        async with (
            running(GATEWAY_TOKEN_SECRET=SECRET) as node,
            nginx(node, token, tmp_path) as url,
        ):
            await page.goto(f"{url}/gw/")
            await page.get_by_label("Token", exact=True).fill(token)
            await page.keyboard.press("Enter")
            await page.locator(".pill[data-state=live]").wait_for()
            async with asyncio.timeout(20), httpx2.AsyncClient(base_url=f"{url}/gw") as http:
                about = {"authorization": f"Bearer {token}"}
                stream = http.stream("GET", "/api/events/stream?topic=*", headers=about)
                async with stream as answer:
                    order = {"agent": "writer", "input": {"question": "below a path"}}
                    made = await http.post("/api/tasks", json=order, headers=about)
                    task_id = made.json()["task_id"]
                    card = page.locator(f'article[data-task="{task_id}"]')
                    await card.wait_for()
                    async for line in answer.aiter_lines():
                        if task_id in line:
                            break
            assert failed == []


def below_a_path(site: str) -> str:
    """Give the blocks of docs/proxies.md for ``/gw/``, with the rest that they leave out."""
    found = re.search(r"```\n(location /gw/.*?)```", PROXIES.read_text(), re.DOTALL)
    assert found is not None
    blocks: list[str] = re.split(r" *….*\n", found[1])
    whole = blocks[0]
    for path, after in zip(("/", "/api/events/stream"), blocks[1:], strict=True):
        rest = re.search(rf"    location {path} {{\n.*?;\n(.*?)    }}", site, re.DOTALL)
        assert rest is not None
        whole += rest[1] + after
    return whole


async def answers(http: httpx2.AsyncClient) -> bool:
    """Whether a proxy listens yet, and its node is there."""
    with contextlib.suppress(httpx2.ConnectError):
        return (await http.get("/health")).status_code == 200
    return False


@contextlib.asynccontextmanager
async def nginx(node: Process, token: str, folder: Path) -> AsyncIterator[str]:
    """Run nginx before a node; gives its address. It signs in for EventSource, which cannot."""
    (site,) = re.findall(r"```nginx\n(.*?)```", PROXIES.read_text(), re.DOTALL)
    (port,) = free_ports(1)
    end = site.rindex("}")
    site = site[:end] + below_a_path(site) + site[end:]
    bearer = f"proxy_set_header Connection ''; proxy_set_header Authorization 'Bearer {token}';"
    for written, here in (
        ("127.0.0.1:8000", f"127.0.0.1:{node.port}"),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("proxy_set_header Connection '';", bearer),
    ):
        assert written in site
        site = site.replace(written, here)
    places = "".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; worker_processes 1; events {{}}\n"
        f"http {{ access_log off; {places}\n{site} }}\n"
    )
    process = await asyncio.create_subprocess_exec(
        *("nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"))
    )
    try:
        url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(20), httpx2.AsyncClient(base_url=url) as http:
            while not await answers(http):
                await CLOCK.sleep(0.1)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def test_a_log_that_begins_anew_is_told_of(tab: Tab) -> None:
    """A gateway on the memory store, killed and started again at the same address."""
    async with running() as mortal:
        await tab.begin(mortal.url)
        await tab.say(mortal.url, 3)
        await tab.check()
        await mortal.kill()
        await mortal.start()
        await tab.until(f"resets.native && resets.client && {OPEN}")
        await tab.say(mortal.url, 2)
        await tab.check(since=3, resets=1)
