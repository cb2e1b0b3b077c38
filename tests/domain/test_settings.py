"""Settings are right or refused, one by one and in relation."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from gateway.domain.errors import ConfigurationError
from gateway.domain.settings import PARTIAL_BYTES_TASK_MAX, SETTINGS, Settings, is_loopback

NUMBERS = [name for name, field in SETTINGS.items() if isinstance(field.default, int | float)]


def test_the_defaults_are_those_of_the_contract() -> None:
    it = Settings()
    assert (it.max_attempts, it.retry_base, it.retry_max) == (3, 1, 30)
    assert (it.breaker_threshold, it.breaker_rate, it.domain_rate) == (5, 0.5, 0.3)
    assert (it.breaker_cooldown, it.breaker_permits) == (30, 3)
    assert (it.lease_ttl, it.queue_limit, it.queue_timeout, it.task_timeout) == (60, 1000, 300, 300)
    assert it.partial_ttl == 3600
    assert (it.partial_bytes_task, it.partial_bytes_user, it.partial_bytes_all) == (
        262_144,
        4 * 1024**2,
        64 * 1024**2,
    )
    assert (it.log_events, it.log_bytes, it.log_age) == (100_000, 256 * 1024**2, 86_400)
    assert (it.drain_grace, it.send_bytes, it.stall_timeout) == (10, 262_144, 5)
    assert (it.max_connections, it.store) == (20_000, "memory")
    assert (it.max_connections_user, it.max_connections_address) == (200, 2_000)
    assert (it.rate_http, it.rate_ws, it.frame_bytes) == (1_000, 1_000, 1024**2)
    assert (it.head_timeout, it.connect_timeout) == (10, 10)


# Limits of clients: 0 switches them off.
SWITCHED = ["max_connections", "max_connections_address", "max_connections_user"]
SWITCHED += [
    "rate_http",
    "rate_ws",
    "publish_bytes",
    "task_bytes",
    "rate_agent",
    "quarantine_below",
]
SWITCHED += ["adaptive_concurrency"]
SWITCHED += ["degraded_queue", "degraded_lag", "degraded_cpu", "degraded_memory"]


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf, 2**60])
def test_a_number_is_not_below_nothing_and_finite(value: float) -> None:
    for name in NUMBERS:
        with pytest.raises(ConfigurationError, match=name):
            Settings(**{name: value})  # type: ignore[arg-type]


def test_nothing_is_no_number_but_of_what_can_be_switched_off() -> None:
    for name in set(NUMBERS) - set(SWITCHED):
        with pytest.raises(ConfigurationError, match=name):
            Settings(**{name: 0})  # type: ignore[arg-type]
    for name in SWITCHED:
        assert "0: no limit" in SETTINGS[name].metadata["help"]
        Settings(**{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"token_secret": "x" * 31},
        {"token_secret": "é" * 15},
        {"token_user_claim": ""},
        {"alert_secret": "x" * 31},
        {"alert_url": "hooks.example/x"},
        {"alert_url": "ftp://hooks.example/x"},
        {"alert_url": "https://"},
        {"alert_url": "https://host:port/x"},
        {"alert_url": "https://user:hunter2@hooks.example/x"},
        {"alert_url": "https://hooks.example/x y"},
        {"alert_url": "https://hooks.example/x\r\nHost: y"},
        {"jwks": "http://sign-in.example/keys"},
        {"jwks": "http://127.0.0.1.example/keys"},
        {"jwks": "https://"},
        {"jwks": "https:///keys"},
        {"jwks": "https://host:port/keys"},
        {"jwks": "https://user:hunter2@sign-in.example/keys"},
        {"jwks": "file:///etc/keys"},
        {"jwks": "ftp://sign-in.example/keys"},
        {"trusted_proxies": ("*",)},
        {"trusted_proxies": ("proxy.example",)},
        {"trusted_proxies": ("10.0.0.5", "10.0.0.5/8")},
        {"tls_key": "key.pem"},
        {"store_key": "key.pem"},
        {"store": "redis://localhost"},
        {"store": ""},
        {"store": "nats://here:4222,"},
        {"store": "nats://here:4222, nats://there:4222"},
        {"store_stream": ""},
        {"store_stream": "a.b"},
        {"store_stream": "x" * 65},
        {"store_replicas": 2},
        {"heartbeat_timeout": 15.1},
        {"breaker_rate": 1.01},
        {"domain_rate": 1.01},
        {"retry_base": 31.0},
        {"partial_bytes_user": 262_143},
        {"partial_bytes_all": 4 * 1024**2 - 1},
        {"partial_bytes_task": PARTIAL_BYTES_TASK_MAX + 1},
        {"heartbeat_interval": 61.0},
        {"frame_bytes": 65_535},
        {"quarantine_below": 0.51},
        {"quarantine_release": 0.29},
        {"quarantine_release": 1.0},
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(ConfigurationError, match=name):
        Settings(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"token_secret": "x" * 32},
        {"token_secret": "é" * 16},
        {"alert_url": "http://alerts:9093/x", "alert_secret": "x" * 32},
        {"alert_url": "https://hooks.example/services/x?key=7"},
        {"jwks": "https://sign-in.example/keys.json?v=2"},
        {"jwks": "http://127.0.0.1:8080/keys"},
        {"jwks": "http://localhost/keys"},
        {"jwks": "http://[::1]:8080/keys"},
        {"jwks": "/etc/keys.json"},
        {"trusted_proxies": ("10.0.0.5", "10.0.0.0/8", "::1", "2001:db8::/32")},
        {"tls_cert": "cert.pem"},
        {"store": "nats://here:4222,tls://there"},
        {"store_stream": "x" * 64},
        {"store_replicas": 5},
        {"heartbeat_timeout": 15.0},
        {"partial_bytes_all": 4 * 1024**2},
        {"breaker_rate": 1.0},
        {"domain_rate": 1.0},
        {"retry_base": 30.0},
        {"partial_bytes_user": 262_144},
        {"heartbeat_interval": 60.0},
        {"frame_bytes": 65_536},
        {"quarantine_below": 0.5},
        {"quarantine_release": 0.3},
        {"quarantine_release": 0.999},
    ],
)
def test_settings_that_just_fit_are_taken(changes: dict[str, Any]) -> None:
    Settings(**changes)


def test_a_release_below_the_quarantine_is_refused_with_both_names() -> None:
    with pytest.raises(ConfigurationError, match=r"quarantine_below \(0.4\).*quarantine_release"):
        Settings(quarantine_below=0.4, quarantine_release=0.35)


def test_a_secret_is_not_quoted_when_it_is_too_short() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings(token_secret="hunter2")
    assert "hunter2" not in str(refused.value)


def test_a_password_in_an_address_is_not_quoted_when_the_address_is_wrong() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings(store="nats://user:hunter2@here:4222, nats://there")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["store_credentials", "store_ca", "store_cert", "store_key"])
@pytest.mark.parametrize(
    "content",
    [
        "SUAMY4RFEX5Z3KUGZN4266PW3GCRNDYA3BORI546TDR2YVXHYSIFJSPEGM",
        "-----BEGIN CERTIFICATE-----",
        "eyJ0eXAiOiJKV1QifQ.eyJqdGkiOiIxIn0.c2ln",
        "two\nlines",
        "no\0name",
    ],
)
def test_what_is_in_a_file_is_not_quoted_when_it_stands_for_its_name(
    name: str, content: str
) -> None:
    given: dict[str, Any] = {"store_cert": "cert.pem", name: content}
    with pytest.raises(ConfigurationError, match=f"{name} has to name a file") as refused:
        Settings(**given)
    assert content not in str(refused.value)


def test_a_gateway_without_a_secret_is_open() -> None:
    assert Settings().open
    assert not Settings(token_secret="x" * 32).open
    assert not Settings(jwks="keys.json").open


@pytest.mark.parametrize(
    "changes",
    [
        {"allowed_origins": ("https://a.example", "*")},
        {"token_audience": "gateway"},
        {"token_issuer": "https://sign-in.example/"},
    ],
)
def test_what_would_not_be_safe_without_a_secret_is_refused_when_doors_open(
    changes: dict[str, Any],
) -> None:
    """Who names an audience believes that tokens are asked for. Workers have no doors."""
    (name,) = changes
    with pytest.raises(ConfigurationError, match=name):
        Settings(**changes).require_open_safe()
    Settings(**changes, token_secret="x" * 32).require_open_safe()
    Settings(allowed_origins=("https://a.example",)).require_open_safe()


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
        ("gate.example", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_this_machine_is_told_from_others(host: str, here: bool) -> None:
    assert is_loopback(host) is here


def test_a_secret_is_not_shown_with_the_settings() -> None:
    store = "nats://bob:p/s@s%hunter2@db:4222"
    settings = Settings(token_secret="hunter2" * 5, store=store, workers=7)
    for shown in (repr(settings), str(settings), f"{settings}"):
        assert "hunter2" not in shown
        assert "token_secret=[redacted:secret], jwks=''" in shown
        assert "store='nats://[redacted:url-password]@db:4222'" in shown
        assert "workers=7" in shown
    assert "token_secret=''," in repr(Settings())


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_setting_says_what_it_is(name: str) -> None:
    assert len(SETTINGS[name].metadata["help"]) > 10
    assert dataclasses.is_dataclass(Settings)
