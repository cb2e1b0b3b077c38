"""A gateway behind TLS: browsers, tools and our own clients, with a certificate of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import orjson
import pytest
import pytest_asyncio

from gateway.app.clock import SystemClock
from gateway.app.tokens import signed
from gateway.domain.settings import Settings
from tests.identity import Authority
from tests.scenarios.harness import WAIT_S, GatewayProcess, browser, gateway_process, worker_process

# The store has no part in it, so once is enough.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.own_store]

SECRET = "s" * 32
AGENTS = "tests.scenarios.worker_agents:gateway"


def token(scope: str) -> str:
    return signed(
        Settings(token_secret=SECRET),
        user="ann",
        scopes=[scope],
        expires="1h",
        agents=(),
        channels=(),
        clock=SystemClock(),
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(authority: Authority) -> AsyncIterator[GatewayProcess]:
    """A gateway of https; this process and those that it starts trust its authority."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority.ca))
        async with gateway_process(
            target=None, token_secret=SECRET, tls_cert=authority.cert, tls_key=authority.key
        ) as running:
            yield running


async def test_every_client_does_its_work_over_tls(gateway: GatewayProcess, tmp_path: Path) -> None:
    assert gateway.url.startswith("https://127.0.0.1:")
    admin = token("admin")
    held = tmp_path / "token"
    held.write_text(token("agent"))
    headers = {"authorization": f"Bearer {admin}"}
    async with (
        browser(gateway.url, token=admin, topics=["*"]) as page,
        worker_process(gateway.url, "--token-file", str(held), target=AGENTS, notes=True),
    ):
        body = {"agent": "counter", "input": {"question": "3"}}
        made = await gateway.http.post("/api/tasks", json=body, headers=headers)
        assert made.status_code == 201, made.text
        finished = await page.finished(made.json()["task_id"])
        assert (finished["outcome"], finished["result"]) == ("succeeded", "1\n2\n3\n")
        query = {"since": "start", "topic": "user:ann"}
        async with gateway.http.stream(
            "GET", "/api/events/stream", params=query, headers=headers
        ) as stream:
            assert stream.status_code == 200
            async with asyncio.timeout(WAIT_S):
                lines = [line async for line in until_finished(stream)]
        assert len(lines) > 3
    out, err, code = await run("tail", "user:ann", "--since", "start", "--json", url=gateway.url)
    assert orjson.loads(out)["type"] == "task_submitted"
    assert err.startswith("caught up"), "nothing travels unencrypted, so nothing is warned of"
    out, err, code = await run("dead-letters", "list", url=gateway.url)
    assert (out, err, code) == ("", "there are no dead letters\n", 0)


async def test_a_certificate_of_an_unknown_authority_is_told_and_no_token_is_sent(
    gateway: GatewayProcess,
) -> None:
    stranger = {"SSL_CERT_FILE": os.devnull}
    _, err, _ = await run("tail", url=gateway.url, **stranger)
    assert "CERTIFICATE_VERIFY_FAILED" in err
    _, err, code = await run("dead-letters", "list", url=gateway.url, **stranger)
    assert "CERTIFICATE_VERIFY_FAILED" in err
    assert code == 1


async def test_nothing_is_served_unencrypted_beside_it(gateway: GatewayProcess) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url.replace("https", "http", 1)) as plain:
        with pytest.raises(httpx2.TransportError):
            await plain.get("/health")
    assert (await gateway.http.get("/health")).status_code == 200


async def test_who_serves_tokens_to_other_machines_unencrypted_is_warned() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve", "--host", "0.0.0.0", "--port", "0"),
        env={**os.environ, "GATEWAY_TOKEN_SECRET": SECRET},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert (await process.stdout.readline()).startswith(b"ready http://0.0.0.0:")
        process.terminate()
        _, err = await process.communicate()
    assert b"unencrypted" in err
    assert process.returncode == 0


async def until_finished(stream: httpx2.Response) -> AsyncIterator[str]:
    """The lines of a stream up to a task's end."""
    async for line in stream.aiter_lines():
        yield line
        if line == "event: task_finished":
            return


async def run(*arguments: str, url: str, **environment: str) -> tuple[str, str, int]:
    """Run a command up to its first line; gives what it said, and its exit code."""
    ws = url.replace("http", "ws", 1) + "/ws"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        env={**os.environ, "GATEWAY_URL": ws, "GATEWAY_TOKEN": token("admin"), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(20):
        said = await process.stderr.readline()
        out = b"" if b"not connected" in said else await process.stdout.readline()
        if process.returncode is None and arguments[0] == "tail":
            process.terminate()
        _, rest_err = await process.communicate()
    assert process.returncode is not None
    return out.decode(), (said + rest_err).decode(), process.returncode
