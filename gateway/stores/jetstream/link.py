"""
The way to the store: one session at a time, replaced for ever when it is lost.

Two things decide whether the store is there: the server that we are connected to, and whether
the stream answers through it. A server that is cut off from its cluster, or stopped, keeps the
connection and says nothing; so the stream is asked often, and when it does not answer twice
running, another server is tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import nats.errors

from gateway.domain.errors import ConfigurationError, StoreUnavailable
from gateway.stores.jetstream.session import ApiError, Session, SessionLost

__all__ = ["Link", "without_secrets"]

logger = logging.getLogger(__name__)

# How often the stream is asked whether it is there. Misses running that end the session.
LOOK_EVERY_S = 1.0
_MISSES_MAX = 2

# A cluster that has just been started elects its leaders; until then it does not answer.
_ELECTION_LIMIT_S = 20.0
_NO_LEADER_YET = (10005, 10008)  # no suitable peers, temporarily unavailable

# Between two tries to connect, half of it by chance, so that nodes do not come all at once.
_PAUSE_MIN_S = 0.05
_PAUSE_MAX_S = 2.0

# What may go wrong on the way; everything else is a mistake of ours.
_AWAY = (SessionLost, ApiError, OSError, TimeoutError, nats.errors.Error)

_OUR_MISTAKE = "a mistake of ours; see the log"

Care = Callable[[Session], Awaitable[None]]


class Link:
    """
    Holds a session, and makes the next one.

    Args:
        servers: Addresses, ``nats://[user:password@]host:port``; any one is enough.
        name: What the servers call this connection.
        timeout_s: Limit of a call, in seconds; also how long a call waits for a session.
        prepare: Makes a new session useful, before anybody else has it.
        look: Asks the stream whether it is there; soon raises if it is not.
        changed: Called when ``current`` or ``reason`` has changed.
        chance: Gives a number from [0, 1).
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        name: str,
        timeout_s: float,
        prepare: Care,
        look: Care,
        changed: Callable[[], None],
        chance: Callable[[], float],
    ) -> None:
        self._servers = list(servers)
        self._name = name
        self._timeout_s = timeout_s
        self._prepare = prepare
        self._look = look
        self._changed = changed
        self._chance = chance
        self._session: Session | None = None
        self._reason: str | None = "not connected yet"
        self._up = asyncio.Event()
        self._away_since: float | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._reached = False

    @property
    def current(self) -> Session | None:
        """The session, None while there is none."""
        return None if self._session is None or self._session.lost.done() else self._session

    @property
    def reason(self) -> str | None:
        """Why there is no session; None when there is one."""
        return self._reason

    async def open(self) -> None:
        """
        Connect, and from then on stay connected.

        Raises:
            ConfigurationError: No server could be reached within the limit, or one said no.
        """
        begun = asyncio.get_running_loop().time()
        pause_s = _PAUSE_MIN_S
        while True:
            try:
                session = await self._connect()
                break
            except ConfigurationError:
                raise
            except _AWAY as error:
                limit_s = self._timeout_s
                if self._reached and _is_electing(error):
                    limit_s = max(limit_s, _ELECTION_LIMIT_S)
                if asyncio.get_running_loop().time() + pause_s >= begun + limit_s:
                    raise ConfigurationError(
                        f"the store at {self._addresses()} cannot be used: {_words(error)}; "
                        + _remedy(error)
                    ) from error
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)
        self._arrived(session)
        self._keeper = asyncio.create_task(self._keep(session), name="jetstream link")

    async def close(self) -> None:
        """End the session for good."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None

    async def session(self, *, in_doubt: bool = False) -> Session:
        """
        Give the session, and wait for it as long as it has been away for less than a call may last.

        Raises:
            StoreUnavailable: It has been away for longer; ``in_doubt`` is passed on.
        """
        loop = asyncio.get_running_loop()
        while (session := self.current) is None:
            # Perhaps nobody else has noticed yet that it is lost.
            self._up.clear()
            away_s = 0.0 if self._away_since is None else loop.time() - self._away_since
            if away_s >= self._timeout_s or self._keeper is None:
                raise self.away(in_doubt=in_doubt)
            try:
                async with asyncio.timeout(self._timeout_s - away_s):
                    await self._up.wait()
            except TimeoutError:
                raise self.away(in_doubt=in_doubt) from None
        return session

    def away(self, *, in_doubt: bool = False) -> StoreUnavailable:
        """Make the error that says that the store is away."""
        return StoreUnavailable(
            f"the store is away: {self._reason or 'it did not answer in time'}", in_doubt=in_doubt
        )

    # --- staying connected ------------------------------------------------------------------

    async def _connect(self) -> Session:
        """Try each server once; raises what one of them said."""
        last: Exception = TimeoutError()
        for url in sorted(self._servers, key=lambda _: self._chance()):
            session: Session | None = None
            try:
                session = await Session.connect(url, name=self._name, timeout_s=self._timeout_s)
                self._reached = True
                await self._prepare(session)
            except (*_AWAY, ConfigurationError) as error:
                if not isinstance(last, ConfigurationError):  # it says more than the others
                    last = _refused(url) if "authorization" in str(error).lower() else error
            except BaseException:
                if session is not None:
                    await session.close()
                raise
            else:
                # Of a cluster one address is enough: its servers tell of each other.
                known = set(map(_host, self._servers))
                for server in session.servers:
                    if _host(server) not in known:
                        self._servers.append(_with_secrets_of(url, server))
                return session
            if session is not None:
                await session.close()
        raise last

    async def _keep(self, session: Session) -> None:
        try:
            while True:
                self._left(await self._watch(session))
                await session.close()
                session = await self._reconnect()
                self._arrived(session)
        finally:
            self._session, self._reason = None, "closed"
            await session.close()

    async def _reconnect(self) -> Session:
        """Try for ever."""
        pause_s = _PAUSE_MIN_S
        while True:
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)
            try:
                return await self._connect()
            except (*_AWAY, ConfigurationError) as error:
                self._left(_words(error))
            except Exception:
                logger.exception("connecting to the store failed; trying again")
                self._left(_OUR_MISTAKE)

    def _arrived(self, session: Session) -> None:
        self._session, self._reason, self._away_since = session, None, None
        self._up.set()
        self._changed()

    def _left(self, reason: str) -> None:
        if self._session is None and reason == self._reason:
            return
        if self._session is not None or self._away_since is None:
            self._away_since = asyncio.get_running_loop().time()
        self._session, self._reason = None, reason
        self._up.clear()
        logger.warning("the store is away: %s", reason)
        self._changed()

    async def _watch(self, session: Session) -> str:
        """Look after ``session`` until it is lost, and tell why."""
        misses = 0
        while misses < _MISSES_MAX:
            await asyncio.wait((session.lost,), timeout=LOOK_EVERY_S)
            if session.lost.done():
                return "the connection broke"
            try:
                await self._look(session)
                misses = 0
            except _AWAY as error:
                misses += 1
                reason = _words(error)
            except Exception:
                logger.exception("looking after the store failed")
                misses += 1
                reason = _OUR_MISTAKE
        return reason

    async def _pause(self, seconds: float) -> None:
        """Wait for half of ``seconds`` or more; real time, whatever a test's clock says."""
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * (0.5 + self._chance() / 2)):
                await never

    def _addresses(self) -> str:
        return ", ".join(map(without_secrets, self._servers))


def _refused(url: str) -> ConfigurationError:
    return ConfigurationError(
        f"the store at {without_secrets(url)} does not accept these credentials; put the right "
        "ones into its address, nats://USER:PASSWORD@HOST:PORT"
    )


def _is_electing(error: Exception) -> bool:
    if isinstance(error, ApiError):
        return error.err_code in _NO_LEADER_YET
    return isinstance(error, TimeoutError)


def _words(error: BaseException) -> str:
    if isinstance(error, SessionLost):
        return "the connection broke"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    return str(error) or type(error).__name__


def _remedy(error: BaseException) -> str:
    if isinstance(error, ApiError) and error.err_code:
        return "the log of nats-server says more"
    return "start nats-server there, with JetStream (-js), or correct the address"


def without_secrets(url: str) -> str:
    """Give the address without user and password."""
    return re.sub(r"(^|//)[^/]*@", r"\1", url)


def _host(url: str) -> str:
    return without_secrets(url).rpartition("//")[2]


def _with_secrets_of(url: str, server: str) -> str:
    user, at, _ = urlsplit(url).netloc.rpartition("@")
    return server.replace("://", f"://{user}{at}", 1)
