"""Who a server lets in, and which server is believed: with real servers of each kind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nats.errors
import nkeys
import pytest

from gateway.domain.errors import ConfigurationError
from gateway.domain.redaction import redact_text
from gateway.ports import Snapshot
from gateway.stores.jetstream import view
from gateway.stores.jetstream.access import NO_ACCESS, Access, nats_options, refusal
from gateway.stores.jetstream.session import Session
from tests.identity import Authority
from tests.nats import NatsServer, nats_folder
from tests.nats_access import Keys, pair
from tests.stores.drafts import draft
from tests.stores.jetstream.world import CLOCK, jetstream_log, until

TWICE = 2


class World(NamedTuple):
    """
    Attributes:
        servers: By what they ask of a client: nkey, creds, tls (nothing, yet they are to be
            believed), mutual (a certificate of ``own``), open (nothing).
        own, other: Authorities; the servers' certificates are of the first.
        keys, strangers: Of users that the servers know, and of some that they do not.
        folder: For a test's own files.
    """

    servers: dict[str, NatsServer]
    own: Authority
    other: Authority
    keys: Keys
    strangers: Keys
    folder: Path

    def url(self, kind: str) -> str:
        url = self.servers[kind].url
        return url.replace("nats:", "tls:") if kind in ("tls", "mutual") else url

    def access(self, kind: str) -> Access:
        """What the server of that kind wants to see."""
        ca, cert, key = map(str, (self.own.ca, self.own.cert, self.own.key))
        return {
            "nkey": Access(str(self.keys.seed)),
            "creds": Access(str(self.keys.creds)),
            "tls": Access(ca=ca),
            "mutual": Access(ca=ca, cert=cert, key=key),
        }[kind]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with nats_folder() as folder, asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        folders = [folder / name for name in ("own", "other", "keys", "strangers", "files")]
        for each in folders:
            each.mkdir()
        own, other = map(Authority, folders[:2])
        keys, strangers = map(Keys, folders[2:4])
        tls = ["--tlscert", str(own.cert), "--tlskey", str(own.key)]
        servers = {}
        for kind, options in {
            "nkey": ["-c", str(keys.users)],
            "creds": ["-c", str(keys.accounts)],
            "tls": ["--tls", *tls],
            "mutual": ["--tlsverify", *tls, "--tlscacert", str(own.ca)],
            "open": [],
        }.items():
            (folder / kind).mkdir()
            servers[kind] = NatsServer(folder / kind, options=options)
            stack.callback(servers[kind].kill)
            runner.run(servers[kind].start())
        yield World(servers, own, other, keys, strangers, folders[-1])


# --- being let in -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nkey", "creds", "tls", "mutual"])
async def test_who_shows_what_the_server_wants_is_let_in_and_comes_back(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does all that a gateway does: the user of an NKey may do no more than that."""
    monkeypatch.setattr(view, "TAIL_EVENTS_MAX", 1)  # the rest is read from the stream
    server = world.servers[kind]
    options: dict[str, Any] = {"stream": "GATEWAY", "access": world.access(kind)}
    async with jetstream_log(world.url(kind), **options) as log:
        heard: list[bytes] = []
        log.pulse.follow(lambda _, body: heard.append(body))
        first = await log.append([draft()])
        await log.save_snapshot(Snapshot(first, 1, b"folds"))
        assert await log.load_snapshot() == Snapshot(first, 1, b"folds")
        for _ in range(TWICE):
            server.kill()
            await until(lambda: not log.available)
            await server.start()
            await until(lambda: log.available)
        await log.pulse.publish("x", b"beat")
        await until(lambda: heard == [b"beat"])
        await log.append([draft()], expected={"task/1": first})
        assert len(await log.read(after=0, topics=None, limit=9)) == TWICE


@pytest.mark.parametrize("kind", ["tls", "mutual"])
async def test_an_authority_of_ones_own_is_enough_to_speak_tls(world: World, kind: str) -> None:
    """Also at an address of nats://, and with certificate and key in one file."""
    both = world.folder / "both.pem"
    both.write_bytes(world.own.cert.read_bytes() + world.own.key.read_bytes())
    access = Access(ca=str(world.own.ca), cert=str(both) if kind == "mutual" else "")
    async with jetstream_log(world.servers[kind].url, access=access) as log:
        await log.append([draft()])


async def test_files_are_read_anew_for_each_connection(world: World) -> None:
    """So an expired JWT may be replaced while the gateway runs."""
    path = world.folder / "changing.creds"
    path.write_bytes(world.keys.creds.read_bytes())
    server = world.servers["creds"]
    async with jetstream_log(server.url, access=Access(str(path))) as log:
        path.write_bytes(world.strangers.creds.read_bytes())
        server.kill()
        await server.start()
        await until(lambda: "does not accept the credentials" in (log.reason or ""))
        path.write_bytes(world.keys.creds.read_bytes())
        await until(lambda: log.available)


async def test_a_login_that_ends_is_told_as_the_reason(world: World) -> None:
    path = world.folder / "short.creds"
    user = pair(nkeys.PREFIX_BYTE_USER)
    path.write_text(world.keys.creds_of(user, exp=int(CLOCK.wall()) + 2))
    async with jetstream_log(world.url("creds"), access=Access(str(path))) as log:
        await until(lambda: "does not accept the credentials" in (log.reason or ""))


# --- being refused ------------------------------------------------------------------------------


async def said(url: str, access: Access) -> str:
    """The sentence with which a log does not open; it has one line, and none of our secrets."""
    with pytest.raises(ConfigurationError) as refused:
        async with asyncio.timeout(10), jetstream_log(url, access=access, timeout_s=3.0):
            pass
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert not re.search(r"SU[A-Z2-7]{20}|eyJ|PRIVATE|hunter2", sentence)
    assert redact_text(sentence) == sentence, "a name would be taken for a secret"
    return sentence


async def test_a_login_that_is_missing_or_unknown_is_said_with_the_setting(world: World) -> None:
    for kind in ("nkey", "creds"):
        sentence = await said(world.url(kind), NO_ACCESS)
        assert "asks for credentials, and none are set; set store_credentials" in sentence
        for path in (world.strangers.seed, world.strangers.creds):
            sentence = await said(world.url(kind), Access(str(path)))
            assert f"does not accept the credentials in {path}; set store_cred" in sentence
        url = world.url(kind).replace("://", "://ann:hunter2@")
        assert "put the right user and password into its address" in await said(url, NO_ACCESS)
        assert "are both given" in await said(url, world.access(kind))


async def test_a_server_that_is_not_to_be_believed_is_said_with_the_setting(world: World) -> None:
    for kind in ("tls", "mutual"):
        # Also where TLS is only the server's wish.
        for url in (world.url(kind), world.servers[kind].url):
            assert "; set store_ca to its auth" in await said(url, NO_ACCESS)
        ca = str(world.other.ca)
        sentence = await said(world.url(kind), Access(ca=ca))
        assert f"set store_ca to its authority's certificate, {ca} is not that" in sentence


async def test_a_certificate_that_is_missing_or_unknown_is_said_with_the_setting(
    world: World,
) -> None:
    ca = str(world.own.ca)
    sentence = await said(world.url("mutual"), Access(ca=ca))
    assert "asks for a certificate, and none is set; set store_cert and store_key" in sentence
    stranger = Access(ca=ca, cert=str(world.other.cert), key=str(world.other.key))
    sentence = await said(world.url("mutual"), stranger)
    assert f"does not accept the certificate {world.other.cert}; set store_cert to" in sentence


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        ConnectionResetError(),
        TimeoutError(),
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
        nats.errors.Error("nats: 'Authentication Timeout'"),
        asyncio.CancelledError(),
    ],
)
def test_a_server_that_went_away_has_refused_nobody(error: BaseException) -> None:
    """It is tried again; the settings may be right."""
    for access in (NO_ACCESS, Access(ca="ca.pem")):
        assert refusal(error, "tls://h", access, {"tls_required": True}) is None


@pytest.mark.parametrize("how", ["address", "ca", "cert"])
async def test_without_tls_nothing_is_said_to_a_server_if_tls_is_asked_for(
    world: World, how: str
) -> None:
    """Whoever stands between might leave it out of the server's INFO, and get the login."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.0","nonce":"n","max_payload":9}\r\n')
        heard.append(await reader.read())
        writer.close()

    own = world.own
    access = {
        "address": Access(str(world.keys.seed)),
        "ca": Access(str(world.keys.seed), ca=str(own.ca)),
        "cert": Access(cert=str(own.cert), key=str(own.key)),
    }[how]
    scheme = "tls" if how == "address" else "nats"
    listening = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        sentence = await said(f"{scheme}://127.0.0.1:{port}", access)
        assert "does not ask for TLS, which tls://, store_ca and store_cert need" in sentence
        await until(lambda: heard)
    assert heard == [b""]


async def test_a_real_server_without_tls_is_refused_as_well(world: World) -> None:
    url = world.url("open").replace("nats:", "tls:")
    assert "does not ask for TLS" in await said(url, NO_ACCESS)


async def test_a_server_that_speaks_another_tls_is_said_so(world: World) -> None:
    async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.0","tls_required":true}\r\n')
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(garble, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        sentence = await said(f"tls://127.0.0.1:{port}", world.access("tls"))
    assert "find no way to speak TLS" in sentence


async def test_the_name_in_a_servers_certificate_may_be_another_than_its_address(
    world: World,
) -> None:
    url, access = world.url("tls"), world.access("tls")
    options: dict[str, Any] = {"name": "t", "timeout_s": 1.0, "access": access}
    session = await Session.connect(url, tls_name="localhost", **options)
    await session.close()
    with pytest.raises(ConfigurationError, match=r"mismatch.*name the server in its address"):
        await Session.connect(url, tls_name="elsewhere.example", **options)


# --- files --------------------------------------------------------------------------------------


def wrong(setting: str, path: str, url: str = "nats://127.0.0.1") -> str:
    """The sentence about a file that is no good."""
    given: dict[str, Any] = {setting.removeprefix("store_"): path}
    with pytest.raises(ConfigurationError) as refused:
        nats_options(url, Access(**given))
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert not re.search(r"SU[A-Z2-7]{20}|eyJ|PRIVATE", sentence)
    assert redact_text(sentence) == sentence, "a name would be taken for a secret"
    return sentence


@pytest.mark.parametrize("setting", ["store_credentials", "store_ca", "store_cert"])
def test_a_file_that_cannot_be_read_is_said_with_its_setting(setting: str, tmp_path: Path) -> None:
    """Not one of them makes the gateway wait, a pipe neither."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for no_file in (tmp_path, pipe):
        sentence = wrong(setting, str(no_file))
        assert sentence == f"what {setting} names is no file, {no_file}; name one"
    for path, why in (
        (str(tmp_path / "none" / "x"), "No such file or directory"),
        ("x" * 300, "File name too long"),
    ):
        assert wrong(setting, path) == (
            f"the file {path} of {setting} cannot be read ({why}); name one that the gateway may "
            "read"
        )


def test_a_file_that_is_neither_creds_nor_seed_is_said(world: World, tmp_path: Path) -> None:
    creds, seed = world.keys.creds.read_text(), world.keys.seed.read_text().strip()
    jwt = creds.splitlines()[1]
    account = pair(nkeys.PREFIX_BYTE_ACCOUNT).seed.decode()
    for number, text in enumerate(
        (
            "",
            "hello",
            "\xff".encode("latin-1"),
            account,
            seed[:-1],
            seed + "A",
            jwt,
            creds.replace(jwt, ""),
            creds.replace(jwt, "no JWT"),
            creds.replace(jwt, "hello"),
            creds.replace(seed, account),
            creds.partition("-----BEGIN USER")[0],
            creds.partition("------END USER")[0],
            creds.partition("------END NATS")[0],
            "-" * 60_000,
        )
    ):
        path = tmp_path / f"{number}.creds"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        assert "is neither a .creds file nor the NKey seed" in wrong("store_credentials", str(path))


def test_what_is_in_the_file_tells_which_it_is(world: World, tmp_path: Path) -> None:
    path = tmp_path / "anything"
    for text in (world.keys.seed.read_bytes(), world.keys.seed.read_bytes().strip()):
        path.write_bytes(text)
        assert "nkeys_seed_str" in nats_options("nats://h", Access(str(path)))
    # Other line breaks, and what editors leave at the ends.
    path.write_bytes(b"\r\n" + world.keys.creds.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert "user_credentials" in nats_options("nats://h", Access(str(path)))
    # A token may go with it, to a server that asks someone else.
    options = nats_options("nats://token@h", Access(str(path)))
    assert (options["token"], "tls" in options) == ("token", False)


def test_certificates_and_keys_that_do_not_fit_are_said(world: World, tmp_path: Path) -> None:
    own, other = world.own, world.other
    assert "holds no certificates; name" in wrong("store_ca", str(own.key))
    empty = tmp_path / "empty"
    empty.touch()
    assert "holds no certificates" in wrong("store_ca", str(empty))
    locked = tmp_path / "locked.pem"
    locked.write_bytes(own.encrypted_key(b"hunter2"))
    for cert, key, words in (
        (own.cert, own.ca, "store_cert and store_key have to be a certificate and its key"),
        (own.cert, other.key, "store_cert and store_key have to be a certificate and its key"),
        (own.key, own.key, "store_cert and store_key have to be a certificate and its key"),
        (own.cert, tmp_path / "none", "none of store_key cannot be read"),
        (own.cert, locked, "store_key is encrypted; give a key without a passphrase"),
    ):
        with pytest.raises(ConfigurationError, match=re.escape(words)):
            nats_options("nats://h", Access(cert=str(cert), key=str(key)))


async def test_a_connection_that_is_refused_leaves_nothing_behind(world: World) -> None:
    before = asyncio.all_tasks()
    for access in (Access(str(world.strangers.seed)), Access(str(world.folder))):
        with pytest.raises(ConfigurationError):
            await Session.connect(world.url("nkey"), name="t", timeout_s=1.0, access=access)
    assert asyncio.all_tasks() == before
