"""
Every setting, with unit, default and relations: one frozen record, validated once.

``app.settings`` fills it from flags and the environment; no other module reads either.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from gateway.domain.errors import ConfigurationError
from gateway.domain.redaction import quoted, redact_text

__all__ = [
    "ANY_ORIGIN",
    "FRAME_BYTES_MIN",
    "INPUT_BYTES_MAX",
    "PARTIAL_BYTES_TASK_MAX",
    "SETTINGS",
    "Settings",
    "is_loopback",
]

# In bytes. One event carries all that a task has preserved, beside its envelope.
PARTIAL_BYTES_TASK_MAX = 256 * 1024
# The largest input that may be allowed, in bytes.
INPUT_BYTES_MAX = 512 * 1024

# As an allowed origin it allows every origin.
ANY_ORIGIN = "*"

# The longest message that a client may send on a WebSocket before it has connected, in bytes.
FRAME_BYTES_MIN = 65_536


def _setting(default: Any, help: str, *, secret: bool = False, off: bool = False) -> Any:
    """
    Declare a setting.

    Args:
        secret: It may also come from a file, and is not shown.
        off: 0 is allowed, and means that there is no such limit.
    """
    help = f"{help}; 0: no limit" if off else help
    metadata = {"help": help, "secret": secret, "off": off}
    return dataclasses.field(default=default, metadata=metadata)


_NATS = re.compile(r"(?:nats|tls)://[^\s,]+")
# What is in a file of certificates, of keys, or of credentials.
_NO_FILE = re.compile(r"-----BEGIN|[\n\0]|^S[A-Z2-7]{57}$|^eyJ[\w-]+\.")
_STREAM = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    How one gateway behaves. Durations are seconds, sizes bytes, unless the text says otherwise.

    Raises:
        ConfigurationError: On construction, if a value or a relation between two is wrong; the
            message names the setting and what it may be.
    """

    token_secret: str = _setting(
        "", "secret of HS256 tokens, at least 32 bytes; empty: none", secret=True
    )
    jwks: str = _setting(
        "", "JSON Web Key Set for RS256/ES256 tokens: a file or an https address; empty: none"
    )
    token_audience: str = _setting("", "what the aud of tokens has to have; empty: not looked at")
    token_issuer: str = _setting("", "what the iss of tokens has to be; empty: not looked at")
    token_user_claim: str = _setting("sub", "claim of tokens that is the user id")
    token_scope_claim: str = _setting(
        "", "claim of tokens that is the scope, a string or a list; empty: scope, else scp"
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (), "addresses or networks whose X-Forwarded-For and -Proto are believed, comma-separated"
    )
    tls_cert: str = _setting("", "file with the certificate chain to serve with; empty: no TLS")
    tls_key: str = _setting("", "file with its key; empty: the key is in the same file")
    allowed_origins: tuple[str, ...] = _setting(
        (), "browser origins allowed beside the gateway's own, comma-separated; they get CORS"
    )
    store: str = _setting(
        "memory", "where the log is kept: memory, or nats://host:4222[,...] (NATS JetStream)"
    )
    store_credentials: str = _setting(
        "", "file with the login for NATS: a .creds file, or an NKey seed; empty: none"
    )
    store_ca: str = _setting(
        "", "file with the authorities of NATS's certificates; empty: the system's"
    )
    store_cert: str = _setting("", "file with a certificate to show to NATS; empty: none")
    store_key: str = _setting("", "file with its key; empty: the key is in the same file")
    store_stream: str = _setting("GATEWAY", "name of the stream that NATS keeps the log in")
    store_replicas: int = _setting(1, "servers that keep the log: 1, 3 or 5 (NATS)")
    store_timeout: float = _setting(5.0, "time the store has to answer (NATS)")
    max_attempts: int = _setting(3, "attempts of a task, unless its agent or the task says so")
    retry_base: float = _setting(1.0, "backoff before the first retry; doubles each time")
    retry_max: float = _setting(30.0, "longest backoff of our own")
    breaker_threshold: int = _setting(5, "consecutive failures that open a breaker")
    breaker_rate: float = _setting(0.5, "failure rate that opens a breaker (20 outcomes, 30 s)")
    breaker_cooldown: float = _setting(30.0, "time an open breaker waits before it probes")
    breaker_permits: int = _setting(3, "probes let through half-open; all must succeed")
    domain_rate: float = _setting(
        0.3, "failure rate above which a domain gets one task a second (10 outcomes, 30 s)"
    )
    heartbeat_timeout: float = _setting(5.0, "silence after which a worker is unhealthy")
    offline_after: float = _setting(15.0, "silence after which a worker is offline")
    lease_ttl: float = _setting(60.0, "how long a worker may act for a task unrenewed")
    workers: int = _setting(16, "tasks worked on at once in this process")
    threads: int = _setting(16, "plain functions run at once, each in a thread")
    queue_timeout: float = _setting(300.0, "how long a task waits for a holder")
    task_timeout: float = _setting(300.0, "caller's deadline of a task that names none")
    queue_limit: int = _setting(1000, "tasks that wait before more are refused")
    queue_share: float = _setting(0.25, "share of the queue that one user's tasks may fill")
    quarantine_below: float = _setting(
        0.3, "health score below which a worker gets no task", off=True
    )
    quarantine_release: float = _setting(
        0.5, "health score from which it gets tasks again; below it a worker is suspect"
    )
    degraded_queue: float = _setting(
        0.8, "share of queue_limit that waits, from which the mode is degraded", off=True
    )
    degraded_lag: float = _setting(
        0.5, "delay of the event loop, 0.75 s long, from which it is", off=True
    )
    degraded_cpu: float = _setting(
        0.95, "share of a processor that is used, 2 s long, from which it is", off=True
    )
    degraded_memory: float = _setting(
        0.9, "share of the memory that this process has, from which it is", off=True
    )
    degraded_release: float = _setting(
        0.7, "share of these limits below which all have to be, 3 s long, until it is normal again"
    )
    mode_period: float = _setting(10.0, "shortest time between two changes of the mode by measure")
    input_bytes: int = _setting(262_144, "size of a task's input, as JSON")
    finished_bytes: int = _setting(128 * 1024**2, "memory for tasks that have ended")
    partial_ttl: float = _setting(3600.0, "how long a preserved part is kept after the end")
    partial_bytes_task: int = _setting(262_144, "preserved bytes per task")
    partial_bytes_user: int = _setting(4 * 1024**2, "preserved bytes per user")
    partial_bytes_all: int = _setting(64 * 1024**2, "preserved bytes of all users")
    log_events: int = _setting(100_000, "events the log keeps")
    log_bytes: int = _setting(256 * 1024**2, "bytes the log keeps")
    log_age: float = _setting(86_400.0, "how long the log keeps an event")
    drain_grace: float = _setting(10.0, "time that running tasks get at shutdown")
    send_bytes: int = _setting(262_144, "unsent bytes of one connection before it reads the log")
    stall_timeout: float = _setting(5.0, "time a socket may accept nothing before it is freed")
    max_connections: int = _setting(
        20_000, "connections at once, those of plain HTTP and of operators too", off=True
    )
    max_connections_user: int = _setting(200, "connections of one user, not an operator", off=True)
    max_connections_address: int = _setting(
        2_000, "connections from one address, not of operators", off=True
    )
    rate_http: int = _setting(
        1_000, "requests per second and user over HTTP, twice as many at once", off=True
    )
    rate_ws: int = _setting(
        1_000, "frames per second and user over WebSocket, twice as many at once", off=True
    )
    publish_bytes: int = _setting(
        65_536, "bytes per second and user that events to publish may have, 1 MiB at once", off=True
    )
    rate_agent: float = _setting(
        0.0,
        "tasks per second that are taken for one agent, twice as many at once, at least one",
        off=True,
    )
    adaptive_concurrency: int = _setting(
        0,
        "calls of an upstream at once, at the most; its rate limits lower it, successes raise it",
        off=True,
    )
    task_bytes: int = _setting(
        1024**2,
        "bytes per second and user that tasks may put into the log, a quarter of log_bytes at once",
        off=True,
    )
    frame_bytes: int = _setting(1024**2, "longest message on a WebSocket; 65536 before connect")
    head_timeout: float = _setting(
        10.0, "time for a request's head; its body has as long, and 1 s more for each KiB"
    )
    alert_url: str = _setting(
        "", "address that gets a POST of each event that needs a person; empty: none"
    )
    alert_secret: str = _setting(
        "", "secret that these are signed with, at least 32 bytes; empty: unsigned", secret=True
    )
    log_format: str = _setting("text", "what is logged: text, or json, an object a line")
    heartbeat_interval: float = _setting(25.0, "time between heartbeats to a client")
    client_timeout: float = _setting(60.0, "time without a sign of life before a client is closed")
    connect_timeout: float = _setting(10.0, "time a connection has to send connect")

    def __repr__(self) -> str:
        """Show every setting, and no secret: an address of the store may hold a password."""
        shown = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            secret = field.metadata["secret"] and value
            text = "[redacted:secret]" if secret else redact_text(repr(value))
            shown.append(f"{field.name}={text}")
        return f"Settings({', '.join(shown)})"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            off = field.metadata["off"]
            if isinstance(value, float | int) and not (0 < value < 2**53 or (off and value == 0)):
                least = "0 or more" if off else "over 0"
                raise ConfigurationError(f"{field.name} has to be {least}, it is {value}")
        for name in ("token_secret", "alert_secret"):
            _require_long(name, getattr(self, name))
        self._require_jwks()
        self._require_alert_url()
        if not self.token_user_claim:
            raise ConfigurationError("token_user_claim has to name a claim, such as sub")
        for proxy in self.trusted_proxies:
            _require_network(proxy)
        if self.tls_key and not self.tls_cert:
            raise ConfigurationError("tls_key needs tls_cert, the certificate that it belongs to")
        if self.store != "memory" and not all(map(_NATS.fullmatch, self.store.split(","))):
            # An address may hold a password, so the value is not repeated.
            raise ConfigurationError(
                "store has to be memory or nats://host:port[,nats://host:port...]"
            )
        if self.store_key and not self.store_cert:
            raise ConfigurationError(
                "store_key needs store_cert, the certificate that it belongs to"
            )
        for name in ("store_credentials", "store_ca", "store_cert", "store_key"):
            # A key in the place of its file's name is not repeated.
            if _NO_FILE.search(getattr(self, name)):
                raise ConfigurationError(f"{name} has to name a file, not to be what is in it")
        if not _STREAM.fullmatch(self.store_stream):
            raise ConfigurationError(
                f"store_stream has to be 1 to 64 of A-Z a-z 0-9 _ -, it is {self.store_stream!r}"
            )
        if self.store_replicas not in (1, 3, 5):
            raise ConfigurationError(
                f"store_replicas has to be 1, 3 or 5, it is {self.store_replicas}"
            )
        if self.log_format not in ("text", "json"):
            raise ConfigurationError(
                f"log_format has to be text or json, it is {quoted(self.log_format)}"
            )
        for name in ("breaker_rate", "domain_rate", "queue_share"):
            if getattr(self, name) > 1:
                raise ConfigurationError(f"{name} has to be at most 1, it is {getattr(self, name)}")
        if self.input_bytes > INPUT_BYTES_MAX:
            raise ConfigurationError(
                f"input_bytes has to be at most {INPUT_BYTES_MAX}, since a claim and an answer "
                f"carry it beside what is preserved; it is {self.input_bytes}"
            )
        for name in ("degraded_queue", "degraded_memory"):
            if getattr(self, name) > 1:
                raise ConfigurationError(
                    f"{name} has to be at most 1, the whole; it is {getattr(self, name)}"
                )
        if self.degraded_release >= 1:
            raise ConfigurationError(
                f"degraded_release has to be less than 1, or degraded_queue, degraded_lag, "
                f"degraded_cpu and degraded_memory would change the mode to and fro; it is "
                f"{self.degraded_release}"
            )
        if self.quarantine_release >= 1:
            raise ConfigurationError(
                f"quarantine_release has to be less than 1, which time alone never reaches; it is "
                f"{self.quarantine_release}"
            )
        self._ordered("quarantine_below", "quarantine_release")
        self._ordered("retry_base", "retry_max")
        self._ordered("heartbeat_timeout", "offline_after")
        if self.partial_bytes_task > PARTIAL_BYTES_TASK_MAX:
            raise ConfigurationError(
                f"partial_bytes_task has to be at most {PARTIAL_BYTES_TASK_MAX}, since one event "
                f"tells of it; it is {self.partial_bytes_task}"
            )
        self._ordered("partial_bytes_task", "partial_bytes_user")
        self._ordered("partial_bytes_user", "partial_bytes_all")
        self._ordered("heartbeat_interval", "client_timeout")
        if self.frame_bytes < FRAME_BYTES_MIN:
            raise ConfigurationError(
                f"frame_bytes has to be at least {FRAME_BYTES_MIN}, which a client may send before "
                f"it has connected; it is {self.frame_bytes}"
            )

    @property
    def open(self) -> bool:
        """Whether no secret is set: a caller without a name is an operator, on loopback only."""
        return not (self.token_secret or self.jwks)

    def require_open_safe(self) -> None:
        """
        Check what may not go together with an open gateway. A worker has none of its own, so
        this is for those who open doors.

        Raises:
            ConfigurationError: If it is open, and any site or a sign-in is named.
        """
        if not self.open:
            return
        if ANY_ORIGIN in self.allowed_origins:
            raise ConfigurationError(
                "allowed_origins may not be * without a secret: every web site that somebody on "
                "this machine looks at could do everything; name the origins, or set token_secret"
            )
        for name in ("token_audience", "token_issuer"):
            if getattr(self, name):
                raise ConfigurationError(
                    f"{name} is set, yet no token is asked for: set token_secret or jwks, too"
                )

    def _require_jwks(self) -> None:
        scheme, separator, _ = self.jwks.partition("://")
        if not separator:
            return
        try:
            parts = urlsplit(self.jwks)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            host = ""
        secure = scheme == "https" or (scheme == "http" and is_loopback(host))
        if not host or not secure or parts.username is not None:
            # An address may hold a password, so the value is not repeated.
            raise ConfigurationError(
                "jwks has to be a file, or https://HOST/PATH without user and password (http on "
                "this machine only)"
            )

    def _require_alert_url(self) -> None:
        if not self.alert_url:
            return
        try:
            parts = urlsplit(self.alert_url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            host = ""
        good = (
            self.alert_url.isascii() and self.alert_url.isprintable() and " " not in self.alert_url
        )
        if not (good and host and parts.scheme in ("http", "https") and parts.username is None):
            # A part of an address is often a secret, so the value is not repeated.
            raise ConfigurationError(
                "alert_url has to be http://HOST/PATH or https://HOST/PATH without user and "
                "password"
            )

    def _ordered(self, smaller: str, larger: str) -> None:
        low, high = getattr(self, smaller), getattr(self, larger)
        if low > high:
            raise ConfigurationError(f"{smaller} ({low}) has to be at most {larger} ({high})")


def is_loopback(host: str) -> bool:
    """Whether a name or an address means this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _require_long(name: str, secret: str) -> None:
    """Refuse a secret that could be guessed; an empty one is none."""
    if secret and len(secret.encode()) < 32:
        raise ConfigurationError(
            f"{name} has to have at least 32 bytes, it has {len(secret.encode())}; make one with "
            "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
        )


def _require_network(text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ConfigurationError(
            "trusted_proxies has to be addresses or networks, such as 10.0.0.5 or 10.0.0.0/8; "
            f"{quoted(text)} is neither"
        ) from None


SETTINGS = {field.name: field for field in dataclasses.fields(Settings)}
