"""A login in an address may hold any sign, reaches the server as it was meant, and is not shown."""

from __future__ import annotations

import pytest

from gateway.stores.jetstream.address import (
    Login,
    host_of,
    login_of,
    shared_name,
    with_login_of,
    without_secrets,
)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://host:4222", "nats://host:4222"),
        ("nats://ann:secret@host:4222", "nats://host:4222"),
        ("nats://token@host", "nats://host"),
        ("nats://ann:p@ss@host", "nats://host"),
        ("nats://ann:p/s@s/x@host:4222", "nats://host:4222"),
        ("nats://ann:p?s#s%w@host:4222", "nats://host:4222"),
        ("ann:secret@host:4222", "host:4222"),
        ("host", "host"),
    ],
)
def test_an_address_is_shown_without_its_login(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
    assert host_of(url) == shown.removeprefix("nats://")


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("nats://host", Login()),
        ("nats://token@host", Login(token="token")),
        ("nats://ann:p@host", Login("ann", "p")),
        ("nats://ann:p/s@s@host", Login("ann", "p/s@s")),
        ("nats://ann:p%2Fs%40s@host", Login("ann", "p/s@s")),
        ("nats://ann:100%@host", Login("ann", "100%")),
        ("nats://a%3Ab:p:q@host", Login("a:b", "p:q")),
        ("nats://:p@host", Login("", "p")),
    ],
)
def test_a_login_may_be_escaped_or_not(url: str, login: Login) -> None:
    assert login_of(url) == login


def test_the_servers_of_a_cluster_have_one_login() -> None:
    assert with_login_of("nats://a:p/s@one:1", "nats://two:2") == "nats://a:p/s@two:2"
    assert with_login_of("nats://one:1", "nats://two:2") == "nats://two:2"


@pytest.mark.parametrize(
    ("url", "known", "server", "name"),
    [
        ("tls://db.example:4222", None, "tls://10.0.0.2:4222", "db.example"),
        ("tls://ann:p@db.example", None, "tls://[::1]:4222", "db.example"),
        ("tls://10.0.0.2:4222", "db.example", "tls://10.0.0.3:4222", "db.example"),
        ("tls://10.0.0.1:4222", None, "tls://10.0.0.2:4222", None),
        ("tls://db.example:4222", None, "tls://other.example:4222", None),
    ],
)
def test_a_server_that_is_known_by_its_address_has_the_name_of_the_one_that_named_it(
    url: str, known: str | None, server: str, name: str | None
) -> None:
    assert shared_name(url, server, known=known) == name
