"""
The way to the store: one session at a time, and the next one whenever it is lost.

The store is there when a server is connected and the stream answers through it. A server that is
stopped, or cut off from its cluster, keeps the connection and says nothing. So the stream is asked
often, and when it does not answer twice running, another server is tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import nats.errors

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import ConfigurationError, StoreNotThere, StoreUnavailable
from gateway.stores.jetstream import wire
from gateway.stores.jetstream.access import NO_ACCESS, Access
from gateway.stores.jetstream.address import (
    host_of,
    shared_name,
    with_login_of,
    without_secrets,
)
from gateway.stores.jetstream.pause import pause
from gateway.stores.jetstream.session import FAILURES, ApiError, Session, SessionLost

__all__ = ["Link", "store_away"]

logger = logger_of(__name__)

# How often the stream is asked whether it is there, and how many times running it may fail to
# answer before the session ends.
LOOK_EVERY_S = 1.0
_MISSES_MAX = 2

# How long a cluster that was just started may take to elect its leaders; it does not answer before.
_ELECTION_LIMIT_S = 20.0
_NO_LEADER_YET = (wire.NO_PEERS, wire.UNAVAILABLE)

# The pause between two tries to connect. Half of it is chance, so that the nodes do not all come
# at once.
_PAUSE_MIN_S = 0.05
_PAUSE_MAX_S = 2.0

# What a store may fail with; every other exception is a mistake of ours.
_AWAY = (*FAILURES, OSError, nats.errors.Error)

_OUR_MISTAKE = "a mistake of ours; see the log"
_NO_ANSWER = "it did not answer in time"

Care = Callable[[Session], Awaitable[None]]
# So many servers are known; a cluster that has had more names others in vain.
SERVERS_MAX = 64


class Link:
    """
    Holds the current session, and makes the next one when it is lost.

    Args:
        servers: Addresses, ``nats://[user:password@]host:port``; of a cluster one is enough.
        access: What the servers are shown, and what is asked of them.
        name: The name of this connection in the servers' logs.
        timeout_s: How long a call may last, in seconds; also how long it waits for a session.
        prepare: Called with each new session before any other caller gets it.
        look: Asks the stream whether it is there, and soon raises if it is not.
        changed: Called when ``current`` or ``reason`` has changed.
        chance: Gives a random number from [0, 1).
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        access: Access = NO_ACCESS,
        name: str,
        timeout_s: float,
        prepare: Care,
        look: Care,
        changed: Callable[[], None],
        chance: Callable[[], float],
    ) -> None:
        # The addresses, each with the name in the server's certificate; None: the address's own.
        self._servers: dict[str, str | None] = dict.fromkeys(servers)
        self._access = access
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
        """The session; None while there is none."""
        return None if self._session is None or self._session.lost.done() else self._session

    @property
    def reason(self) -> str | None:
        """Why there is no session; None when there is one."""
        return self._reason

    async def open(self) -> None:
        """
        Connect, and from then on stay connected.

        Raises:
            StoreNotThere: No server could be reached within the limit.
            ConfigurationError: A server refused us.
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
                    raise StoreNotThere(
                        f"the store at {self._addresses()} cannot be used: {_words(error)}; "
                        + _remedy(error)
                    ) from error
            pause_s = await self._pause(pause_s)
        self._arrived(session)
        self._keeper = asyncio.create_task(self._keep(session), name="jetstream link")

    async def close(self) -> None:
        """End the session for good."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
            # A keeper that was cancelled before it ran has not closed its session.
            session, self._session, self._reason = self._session, None, "closed"
            if session is not None:
                await session.close()

    async def session(self, *, in_doubt: bool = False) -> Session:
        """
        Give the session; wait for it until it has been away for as long as a call may last.

        Args:
            in_doubt: Passed on to the error.

        Raises:
            StoreUnavailable: There was no session in time.
        """
        loop = asyncio.get_running_loop()
        while (session := self.current) is None:
            self._up.clear()  # the keeper may not have noticed the loss yet
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
        """Make the error that says that the store is away, and why."""
        return store_away(self._reason or _NO_ANSWER, in_doubt=in_doubt)

    # --- staying connected ------------------------------------------------------------------

    async def _connect(self) -> Session:
        """Try each server once, in random order; raises what one of them failed with."""
        last: Exception = TimeoutError()
        for url in sorted(self._servers, key=lambda _: self._chance()):
            session: Session | None = None
            try:
                session = await Session.connect(
                    url,
                    name=self._name,
                    timeout_s=self._timeout_s,
                    access=self._access,
                    tls_name=self._servers[url],
                )
                self._reached = True
                await self._prepare(session)
            except (*_AWAY, ConfigurationError) as error:
                if not isinstance(last, ConfigurationError):  # which says more than the others
                    last = error
            except BaseException:
                if session is not None:
                    await session.close()
                raise
            else:
                # The servers of a cluster name each other.
                known, tls_name = set(map(host_of, self._servers)), self._servers[url]
                for server in session.servers:
                    if host_of(server) not in known and len(self._servers) < SERVERS_MAX:
                        name = shared_name(url, server, known=tls_name)
                        self._servers[with_login_of(url, server)] = name
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
        """Try without end; cancelling ends it."""
        pause_s = _PAUSE_MIN_S
        while True:
            pause_s = await self._pause(pause_s)
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
        """Look after ``session`` until it is lost, and return why."""
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

    async def _pause(self, pause_s: float) -> float:
        """Wait for at least half of ``pause_s``, and return how long the next pause should be."""
        await pause(pause_s * (0.5 + self._chance() / 2))
        return min(pause_s * 2, _PAUSE_MAX_S)

    def _addresses(self) -> str:
        return ", ".join(map(without_secrets, self._servers))


def store_away(reason: str, *, in_doubt: bool = False) -> StoreUnavailable:
    """Make the error of a call that the store could not answer."""
    return StoreUnavailable(f"the store is away: {reason}", in_doubt=in_doubt)


def _is_electing(error: Exception) -> bool:
    if isinstance(error, ApiError):
        return error.err_code in _NO_LEADER_YET
    return isinstance(error, TimeoutError)


def _words(error: BaseException) -> str:
    if isinstance(error, SessionLost):
        return "the connection broke"
    if isinstance(error, TimeoutError):
        return _NO_ANSWER
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    return str(error) or type(error).__name__


def _remedy(error: BaseException) -> str:
    if isinstance(error, ApiError) and error.err_code:
        return "the log of nats-server says more"
    return "start nats-server there, with JetStream (-js), or correct the address"
