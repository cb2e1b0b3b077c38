"""A gateway whose store lets in whom it knows: by credentials, by certificate, over TLS."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.app.cli import main
from tests.identity import Authority
from tests.nats import NatsServer, nats_folder
from tests.nats_access import Keys
from tests.scenarios.durable import is_away, is_ready, until
from tests.scenarios.harness import gateway_process

# Each is about a server of its own kind.
pytestmark = pytest.mark.own_store


@pytest.fixture(scope="module")
def nkey_server() -> Iterator[tuple[NatsServer, Keys]]:
    """A server that knows one user, by an NKey."""
    with nats_folder() as folder, asyncio.Runner() as runner:
        keys = Keys(folder)
        server = NatsServer(folder, options=["-c", str(keys.users)])
        try:
            runner.run(server.start())
            yield server, keys
        finally:
            server.kill()


async def test_a_gateway_works_on_a_store_that_asks_for_everything_and_comes_back(
    tmp_path: Path,
) -> None:
    """With JWT and seed, over TLS both ways; on the loop that is used in earnest."""
    authority, keys = Authority(tmp_path), Keys(tmp_path)
    with keys.accounts.open("a") as config:
        config.write(
            f'tls {{ cert_file: "{authority.cert}", key_file: "{authority.key}",'
            f' ca_file: "{authority.ca}", verify: true }}\n'
        )
    with nats_folder() as folder:
        server = NatsServer(folder, options=["-c", str(keys.accounts)])
        await server.start()
        files: dict[str, Any] = {
            "store_credentials": keys.creds,
            "store_ca": authority.ca,
            "store_cert": authority.cert,
            "store_key": authority.key,
        }
        try:
            async with gateway_process(
                store=server.url.replace("nats:", "tls:"), store_stream="S", **files
            ) as gateway:
                await gateway.task("nobody")
                server.kill()
                await until(lambda: is_away(gateway))
                await server.start()
                await until(lambda: is_ready(gateway))
                await gateway.task("nobody")
                assert len((await gateway.get("/api/tasks"))["items"]) == 2
        finally:
            server.kill()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "asks for credentials, and none are set; set store_credentials"),
        ({"STORE_CREDENTIALS": "none.creds"}, "the file none.creds of store_credentials cannot be"),
        ({"STORE_CREDENTIALS": "{seed}"}, "store_credentials has to name a file"),
        ({"STORE_CREDENTIALS": "{strange}"}, "does not accept the credentials in {strange}; set"),
        ({"STORE_KEY": "key.pem"}, "store_key needs store_cert"),
        ({"STORE": "memory", "STORE_CA": "ca.pem"}, "store_ca is set, and the store is memory"),
    ],
)
def test_a_login_that_is_wrong_ends_the_command_with_a_sentence(
    nkey_server: tuple[NatsServer, Keys], tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    server, keys = nkey_server
    seed = keys.seed.read_text().strip()
    values = {"seed": seed, "strange": Keys(tmp_path).seed}
    given = {
        f"GATEWAY_{name}": text.format(**values)
        for name, text in {"STORE": server.url, **settings}.items()
    }
    clean = {name: None for name in os.environ if name.startswith("GATEWAY_")}
    ended = CliRunner().invoke(main, ["serve", "--port", "0"], env={**clean, **given})
    assert ended.exit_code == 2
    said = " ".join(ended.output.split())
    assert says.format(**values) in said
    assert "Traceback" not in said
    assert seed not in said
