"""
The address of a server, ``nats://[user:password@]host:port``, and how it is shown.

A password may hold any sign: what stands before the last at sign is the login, as it is or escaped
(RFC 3986, 2.1). nats-py reads a login up to the first slash, and takes an escape for the sign.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["Login", "host_of", "login_of", "shared_name", "with_login_of", "without_secrets"]


class Login(NamedTuple):
    """
    What one says to a server who one is; nothing where all are None.

    Attributes:
        token: Stands alone, in the place of a user.
    """

    user: str | None = None
    password: str | None = None
    token: str | None = None


def login_of(url: str) -> Login:
    """Read the login of an address."""
    _, login, _ = _parts(url)
    if not login:
        return Login()
    user, colon, password = login.partition(":")
    if not colon:
        return Login(token=unquote(user))
    return Login(unquote(user), unquote(password))


def without_secrets(url: str) -> str:
    """Give the address without its login, to be shown."""
    scheme, _, host = _parts(url)
    return scheme + host


def host_of(url: str) -> str:
    """Give host and port, by which servers are told apart."""
    return _parts(url)[2]


def with_login_of(url: str, server: str) -> str:
    """Give the address of another server of the same cluster, with the login for this one."""
    _, login, _ = _parts(url)
    scheme, _, host = _parts(server)
    return f"{scheme}{login}@{host}" if login else scheme + host


def shared_name(url: str, server: str, *, known: str | None) -> str | None:
    """
    Give the name in the certificate of another server of the same cluster; None: its address's.

    Servers name each other by address, mostly, while their certificate has the name that one of
    them was found by.

    Args:
        known: The name in the certificate of the server at ``url``; None: that of its address.
    """
    name = known or urlsplit(f"//{host_of(url)}").hostname or ""
    own = urlsplit(f"//{host_of(server)}").hostname or ""
    return name if _is_address(own) and not _is_address(name) else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _parts(url: str) -> tuple[str, str, str]:
    """Part an address into scheme with its sign, login and host."""
    scheme, sign, rest = url.partition("://")
    if not sign:
        scheme, rest = "", url
    login, _, host = rest.rpartition("@")
    return scheme + sign, login, host
