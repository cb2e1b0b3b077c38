"""
A sign-in service for tests: it publishes its keys over HTTP, signs tokens, and changes its keys.

    async with Provider() as provider:
        ... Settings(jwks=provider.url) ...
        provider.token("auth0|5f7c", "events:read")
        provider.rotate()

And certificates for this machine, from an authority that nobody else knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import itertools
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import jwt
import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm

from gateway.app.clock import SystemClock

__all__ = ["Authority", "Provider"]

CLOCK = SystemClock()
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Provider:
    """
    One sign-in service.

    Args:
        tls: What it is served with; None: plain HTTP.

    Attributes:
        asked: How often its keys were asked for.
        misbehave: Answers instead of it; None: it answers with its keys.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked = 0
        self.misbehave: Answer | None = None
        self._tls = tls
        self._names = (f"k{number}" for number in itertools.count(1))
        self._server: asyncio.Server | None = None
        self._port = 0
        self._answering: set[asyncio.Task[Any]] = set()
        self.rotate()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Serve; after ``stop`` on the same port."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._port, ssl=self._tls
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections, and end those that there are, as a service that goes down."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for answering in self._answering:
            answering.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where its keys are."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}/keys.json"

    def rotate(self) -> None:
        """Sign with a new key from now on, and publish no other one."""
        self._name = next(self._names)
        self._key = ec.generate_private_key(ec.SECP256R1())

    def key_set(self) -> bytes:
        """The keys, as it publishes them."""
        key = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return orjson.dumps({"keys": [{**key, "kid": self._name, "use": "sig"}]})

    def token(self, user_id: str, scope: Any = "events:read", **claims: Any) -> str:
        """Sign a token that lasts an hour; a claim of None is left out."""
        now = CLOCK.wall()
        whole = {"sub": user_id, "scope": scope, "iat": now, "exp": now + 3600, **claims}
        kept = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(kept, self._key, "ES256", headers={"kid": self._name})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            if self.misbehave is not None:
                await self.misbehave(writer)
            else:
                writer.write(JSON + b"\r\n" + self.key_set())
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()  # the client has gone, or this goes down
        else:
            writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Authority:
    """
    A certificate authority of the test's own.

    Args:
        folder: Where its files are written.

    Attributes:
        ca: The file with its own certificate.
        cert: The file with a certificate for 127.0.0.1 and localhost.
        key: The file with the key of that.
    """

    def __init__(self, folder: Path) -> None:
        self.ca, self.cert, self.key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        own_key, own_name = ec.generate_private_key(ec.SECP256R1()), _name("an authority for tests")
        authority = (
            _builder(own_name, own_name, own_key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(own_key, hashes.SHA256())
        )
        key = ec.generate_private_key(ec.SECP256R1())
        here = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        cert = (
            _builder(_name("this machine"), own_name, key)
            .add_extension(x509.SubjectAlternativeName(here), critical=False)
            .sign(own_key, hashes.SHA256())
        )
        self.ca.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        self.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(_pem(key, serialization.NoEncryption()))
        self._key = key

    def encrypted_key(self, passphrase: bytes) -> bytes:
        """The key, to be read with a passphrase only."""
        return _pem(self._key, serialization.BestAvailableEncryption(passphrase))

    def client_context(self) -> ssl.SSLContext:
        """What a client needs that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.ca))

    def server_context(self) -> ssl.SSLContext:
        """What a server on this machine needs."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert, self.key)
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.fromtimestamp(CLOCK.wall(), datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
    )


def _pem(
    key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption
) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
