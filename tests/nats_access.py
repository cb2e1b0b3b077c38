"""
Who may use a NATS server, made for a test: keys, JWTs, and the server's configuration for them.

    keys = Keys(folder)
    NatsServer(folder, options=["-c", str(keys.accounts)])   # it wants keys.creds
    NatsServer(folder, options=["-c", str(keys.users)])      # it wants keys.seed

What `nsc` would write, by the library that signs, so that no test needs that program.
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path
from typing import Any

import nkeys
import orjson

from gateway.app.clock import SystemClock

__all__ = ["Keys"]

CLOCK = SystemClock()

# What a gateway's user needs; see docs/nats.md.
GRANTED = (
    *("GATEWAY.>", "GATEWAY_SNAPSHOTS.>", "GATEWAY_PULSE.>"),
    *("$JS.API.>", "$JS.FC.>", "_INBOX.>"),
)


class Keys:
    """
    An operator, its account, and a user of it, who is also known by its NKey alone.

    Args:
        folder: Where the files are written.

    Attributes:
        accounts: A server's configuration that trusts the operator.
        users: A server's configuration that knows the user's NKey, and lets it do what a gateway
            has to, with the stream that it uses by default.
        creds: The user's .creds file.
        seed: The file with the user's seed.
    """

    def __init__(self, folder: Path) -> None:
        names = ("accounts.conf", "users.conf", "user.creds", "user.nk")
        self.accounts, self.users, self.creds, self.seed = (folder / name for name in names)
        self._operator, system, account = (
            pair(prefix)
            for prefix in (
                nkeys.PREFIX_BYTE_OPERATOR,
                nkeys.PREFIX_BYTE_ACCOUNT,
                nkeys.PREFIX_BYTE_ACCOUNT,
            )
        )
        limits = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1}
        limits |= {"leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        of_account = {"type": "account", "version": 2, "limits": limits}
        operator = self._jwt(self._operator, self._operator, {"type": "operator", "version": 2})
        preload = "".join(
            f"  {name(each)}: {self._jwt(each, self._operator, about)}\n"
            for each, about in ((system, {"type": "account", "version": 2}), (account, of_account))
        )
        self.accounts.write_text(
            f"operator: {operator}\nsystem_account: {name(system)}\nresolver: MEMORY\n"
            f"resolver_preload: {{\n{preload}}}\n"
        )
        self._account = account
        user = pair(nkeys.PREFIX_BYTE_USER)
        self.creds.write_text(self.creds_of(user))
        self.seed.write_text(f"{user.seed.decode()}\n")
        allowed = ", ".join(map('"{}"'.format, GRANTED))
        self.users.write_text(
            f"authorization: {{ users: [ {{ nkey: {name(user)}, permissions: "
            f"{{ publish: [{allowed}], subscribe: [{allowed}] }} }} ] }}\n"
        )

    def creds_of(self, user: Any, **claims: Any) -> str:
        """A .creds file of another user of the account, as `nsc` writes it."""
        about = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}
        return (
            f"-----BEGIN NATS USER JWT-----\n{self._jwt(user, self._account, about, **claims)}\n"
            "------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n"
            "NKEY Seed printed below can be used to sign and prove identity.\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n"
            "------END USER NKEY SEED------\n"
        )

    def _jwt(self, subject: Any, issuer: Any, about: dict[str, Any], **claims: Any) -> str:
        body = {
            "jti": secrets.token_hex(8),
            "iat": int(CLOCK.wall()),
            "iss": name(issuer),
            "name": "test",
            "sub": name(subject),
            "nats": about,
            **claims,
        }
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        text = ".".join(encoded(orjson.dumps(part)) for part in (head, body))
        return f"{text}.{encoded(issuer.sign(text.encode()))}"


def pair(prefix: int) -> Any:
    """A new pair of keys."""
    return nkeys.from_seed(nkeys.encode_seed(secrets.token_bytes(32), prefix))


def name(keys: Any) -> str:
    """The public key, by which they are known."""
    return bytes(keys.public_key).decode()


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
