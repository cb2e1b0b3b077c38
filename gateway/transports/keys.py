"""
Keys: what the signatures of tokens are checked with, from a JSON Web Key Set (RFC 7517).

The set is a file or an https address. One task reads it: at the beginning, every few minutes, and
for a key that is not known, though not more often than every ten seconds. The rule: what was read
holds until the set has been read again, and a token is not refused for good as long as nobody can
say whether there is a key for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import jwt
import orjson

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import ConfigurationError, Unavailable
from gateway.domain.settings import is_loopback
from gateway.ports import Clock

__all__ = ["KEY_ALGORITHMS", "Keys"]

KEY_ALGORITHMS = ("RS256", "ES256")
# RFC 7518, 3.3: a shorter key must not be used.
RSA_BITS_MIN = 2048

# Of the set. A token that names no key is tried with each one, which takes 0.1 ms a key.
SET_BYTES_MAX = 256 * 1024
KEYS_MAX = 50
CHUNK_BYTES = 16 * 1024

# How long the address may take for one step of its answer, and for all of it, in seconds.
STEP_S, READ_S = 5.0, 6.0
# A key that was taken out of the set is no longer good after this long, in seconds.
READ_EVERY_S = 300.0
# The shortest time between two readings for keys that are not known, in seconds.
AGAIN_S = 10.0
# As long as there are no keys at all, the first tries come sooner, each after twice the time.
FIRST_AGAIN_S, DOUBLINGS_MAX = 1.0, 4
assert FIRST_AGAIN_S * 2**DOUBLINGS_MAX >= AGAIN_S

logger = logger_of(__name__)


class Keys:
    """
    The keys of one set.

    Args:
        source: A file, or an https address (http on this machine).
        clock: Tells when the set was read.

    Raises:
        ConfigurationError: If the file cannot be used. An address is first asked by ``running``.
    """

    def __init__(self, source: str, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._known: tuple[jwt.PyJWK, ...] = ()
        self._read_at: float | None = None
        self._failures = 0
        self._next_at = 0.0
        self._running = self._reading = False
        self._wanted = self._ended = asyncio.Event()
        self._loading = False  # in a thread, which may be left behind
        if "://" not in source:
            try:
                self._known, self._read_at = self._load(), clock.wall()
            except _Unreadable as error:
                raise ConfigurationError(f"jwks: {source} {error}") from error

    def fitting(self, algorithm: str, name: str | None) -> list[jwt.PyJWK]:
        """Give the keys for an algorithm; ``name`` is the token's ``kid``, None: any."""
        return [
            key
            for key in self._known
            if key.algorithm_name == algorithm and name in (None, key.key_id)
        ]

    async def look_again(self) -> None:
        """Read the set again, unless that was just done; wait until it is read, or cannot be."""
        if not self._running:
            return
        if not self._reading and self._clock.monotonic() >= self._next_at:
            self._wanted.set()
        if self._reading or self._wanted.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(READ_S + 1):
                    await self._ended.wait()

    def require_certain(self, *, issued_at: float) -> None:
        """
        Make sure that there is no key for a token that none fits, whatever is read next.

        Args:
            issued_at: When the token says that it was made, in seconds since the Unix epoch.

        Raises:
            Unavailable: If the set cannot be read, or was last read before the token was made:
                its key may be newer, too.
        """
        if self._read_at is None or self._failures or issued_at > self._read_at:
            wait_s = self._next_at - self._clock.monotonic()
            raise Unavailable(
                "tokens cannot be checked now; try again", retry_after=max(wait_s, FIRST_AGAIN_S)
            )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read the set whenever it is time to, while inside; an address is asked at once."""
        # Made here: the next run may be on another loop.
        self._wanted, self._ended = asyncio.Event(), asyncio.Event()
        self._running, self._reading = True, self._read_at is None
        reading = asyncio.create_task(self._run(), name="keys")
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            self._running = self._reading = False
            self._ended.set()

    async def _run(self) -> None:
        if self._read_at is None:
            await self._read()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wanted.wait()
            await self._read()

    def _pause_s(self) -> float:
        if self._failures:
            return max(self._next_at - self._clock.monotonic(), 0.0)
        return READ_EVERY_S

    async def _read(self) -> None:
        began_at, self._reading = self._clock.wall(), True
        try:
            known = await self._load_in_thread()
        except _Unreadable as error:
            self._failed(str(error))
        else:
            if self._failures:
                logger.warning("the keys at %s could be read again", self._source)
            self._known, self._read_at, self._failures = known, began_at, 0
            again_s = AGAIN_S if self._wanted.is_set() else 0.0
            self._next_at = self._clock.monotonic() + again_s
        finally:
            self._reading = False
            self._wanted.clear()
            ended, self._ended = self._ended, asyncio.Event()
            ended.set()

    def _failed(self, why: str) -> None:
        again_s = AGAIN_S
        if self._read_at is None:
            again_s = min(AGAIN_S, FIRST_AGAIN_S * 2 ** min(self._failures, DOUBLINGS_MAX))
        self._next_at = self._clock.monotonic() + again_s
        self._failures += 1
        if self._failures == 1:
            so = (
                "tokens that need them are answered with 503 until they can be read"
                if self._read_at is None
                else "those that were read before still hold"
            )
            logger.warning("the keys at %s cannot be read: it %s; %s", self._source, why, so)

    # --- reading, in a thread -----------------------------------------------------------------

    async def _load_in_thread(self) -> tuple[jwt.PyJWK, ...]:
        """
        Load without holding up the loop, or this process at its end.

        Raises:
            _Unreadable: Also when the thread is not done in time; it ends by itself, and no other
                one begins before.
        """
        if self._loading:
            raise _Unreadable("has still not ended an answer")
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[tuple[jwt.PyJWK, ...]] = loop.create_future()

        def work() -> None:
            keys: tuple[jwt.PyJWK, ...] = ()
            error: _Unreadable | None = None
            try:
                keys = self._load()
            except _Unreadable as unreadable:
                error = unreadable
            except Exception:
                logger.exception("reading the keys at %s failed", self._source)
                error = _Unreadable("could not be read, for a reason that is in the log")
            self._loading = False
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, keys, error)

        def settle(keys: tuple[jwt.PyJWK, ...], error: _Unreadable | None) -> None:
            if loaded.done():
                return
            if error is None:
                loaded.set_result(keys)
            else:
                loaded.set_exception(error)

        self._loading = True
        threading.Thread(target=work, name="keys", daemon=True).start()
        try:
            async with asyncio.timeout(READ_S):
                return await loaded
        except TimeoutError:
            raise _Unreadable(f"has not answered within {READ_S:.0f} s") from None

    def _load(self) -> tuple[jwt.PyJWK, ...]:
        """
        Read the set, and give its keys that may check signatures.

        Raises:
            _Unreadable: If it cannot be read, or has no such key.
        """
        try:
            body = self._fetch() if "://" in self._source else _read(Path(self._source))
        except HTTPError as error:
            error.close()
            raise _Unreadable(f"answers with {error.code}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            cause = error.reason if isinstance(error, URLError) else error
            raise _Unreadable(f"does not answer: {cause or type(error).__name__}") from error
        try:
            members = orjson.loads(body)["keys"]
        except (ValueError, LookupError, TypeError):
            members = None
        if not isinstance(members, list):
            raise _Unreadable("is no JSON Web Key Set, an object with keys")
        if len(members) > KEYS_MAX:
            raise _Unreadable(f"has {len(members)} keys, at most {KEYS_MAX} are taken")
        found = [_key_of(member) for member in members]
        keys = tuple(each for each in found if not isinstance(each, str))
        if not keys:
            left_out = Counter(each for each in found if isinstance(each, str))
            why = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
            algorithms = " or ".join(KEY_ALGORITHMS)
            raise _Unreadable(f"has no key for {algorithms} ({why or 'it is empty'})")
        return keys

    def _fetch(self) -> bytes:
        # No redirects: they could lead from https to elsewhere. Proxies of the environment are
        # used, except for this machine.
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if is_loopback(urlsplit(self._source).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(
            self._source,
            headers={"Accept": "application/json", "User-Agent": "agent-failure-gateway"},
        )
        give_up_at = self._clock.monotonic() + READ_S
        with urllib.request.build_opener(*handlers).open(request, timeout=STEP_S) as answer:
            body = bytearray()
            while chunk := answer.read1(CHUNK_BYTES):
                body += chunk
                _require_small(len(body))
                if self._clock.monotonic() > give_up_at:
                    raise _Unreadable(f"has not answered within {READ_S:.0f} s")
            return bytes(body)


class _Unreadable(Exception):
    """The set cannot be read; the text goes on after "it"."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none: the answer counts as an error."""


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            body = file.read(SET_BYTES_MAX + 1)
    except OSError as error:
        raise _Unreadable(f"cannot be opened: {error.strerror}") from error
    _require_small(len(body))
    return body


def _require_small(size: int) -> None:
    if size > SET_BYTES_MAX:
        raise _Unreadable(f"has more than {SET_BYTES_MAX} bytes")


def _key_of(member: Any) -> jwt.PyJWK | str:
    """Read one member of a set; a text says why it is no key for signatures of ours."""
    if not isinstance(member, dict):
        return "not an object"
    if "d" in member:
        return "private"
    use, operations = member.get("use"), member.get("key_ops")
    if use not in (None, "sig"):
        return "not for signatures"
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return "not for signatures"
    try:
        key = jwt.PyJWK(member)
    except (jwt.PyJWTError, ValueError, TypeError, LookupError, AttributeError):
        return "not readable"
    if key.algorithm_name not in KEY_ALGORITHMS:
        return "for another algorithm"
    if key.key_type == "RSA" and key.key.key_size < RSA_BITS_MIN:
        return f"of RSA with fewer than {RSA_BITS_MIN} bits"
    return key
