"""
Limits of clients: how many connections a user has, and how many requests a second each sends.

A user's rate holds for all its connections together, at each door for itself. Operators are exempt.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TypeVar

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.domain.access import Caller
from gateway.domain.errors import (
    NotPermitted,
    RateLimitedRequest,
    RequestError,
    TooManyConnections,
    Unauthenticated,
    Unavailable,
)
from gateway.domain.meters import Meters
from gateway.domain.rates import Buckets
from gateway.domain.settings import Settings
from gateway.ports import Clock
from gateway.protocol.codes import CloseCode
from gateway.transports.access import Access, TokenExpired
from gateway.transports.places import Counts, Place, Places, network_of, place_of
from gateway.transports.problem import problem
from gateway.transports.requests import body_size_of, caller_of
from gateway.transports.safe_headers import safe
from gateway.transports.turns import REST, SHORT_REST, Turns

__all__ = ["RETRY_S", "Closing", "Crowded", "Limits", "SocketLimits"]

# A bucket holds the tokens of this many seconds.
BURST_S = 2.0

# An address opens so many connections a second that are read from at once, and as a burst half as
# many as it may have: those of all its clients, which come back after a restart. Others are read
# from in their turn. Whoever connects again and again costs more than by any request.
CONNECTIONS_PER_S, CONNECTIONS_BURST = 100.0, 0.5

# A socket is closed when so many of its frames were refused within a second: it does not heed what
# it is told.
REFUSED_MAX, REFUSED_WITHIN_S = 100, 1.0

# Before an address among users: no user's id has it.
_NO_USER = "\n"

# When to try again after there was no room, in seconds.
RETRY_S = 5.0


Refusal = TypeVar("Refusal", bound=RequestError)


class Limits:
    """
    The limits of this process, and what counts against them.

    Args:
        settings: The limits; those that are 0 do not hold.
        clock: The time.
        meters: Count what is refused; None: nobody does.

    Attributes:
        places: The places of all connections.
        users: How many each user has: WebSockets, streams, and requests that are answered now.
    """

    def __init__(self, settings: Settings, clock: Clock, meters: Meters | None = None) -> None:
        self.places = Places(settings)
        self.users = Counts(settings.max_connections_user)
        self._clock = clock
        self._refused = (meters or Meters()).refused
        self._http = _buckets(settings.rate_http)
        self._ws = _buckets(settings.rate_ws)
        # Sign-ins that are refused have no user, and count for their address.
        self._strangers = _buckets(settings.rate_http)
        most = settings.max_connections_address
        self._connections = (
            Buckets(rate=CONNECTIONS_PER_S, burst=max(1.0, most * CONNECTIONS_BURST))
            if most
            else None
        )
        self._turns = Turns(clock)

    async def admitted(self, request: Request, access: Access) -> Caller:
        """
        Give the caller of an HTTP request, which counts against its rate.

        Raises:
            RateLimitedRequest: If it asks too often, or its address has been refused too often.
            RequestError: Whatever ``access`` refuses it with.
            ClientDisconnect: If its connection has ended before its turn came.
        """
        try:
            caller = await caller_of(request, access)
        except Unauthenticated:
            await self.count_stranger(request.scope)
            raise
        if caller.operator:
            if (place := place_of(request.scope)) is not None:
                place.exempt()
            return caller
        # A refusal costs something, too, so that it comes in its turn.
        await self.turn(caller, request.scope, size=body_size_of(request))
        if self._http is not None:
            wait_s = self._http.take(caller.user_id, self._clock.monotonic())
            if wait_s:
                raise self.refused(
                    RateLimitedRequest("too many requests of this user", retry_after=wait_s)
                )
        return caller

    async def turn(self, caller: Caller, scope: Scope, *, size: int) -> None:
        """Wait until a request of so many bytes may begin; see ``Turns.wait``."""
        rest = SHORT_REST if caller.has("agent") else REST
        await self._turns.wait(caller.user_id, size=size, place=place_of(scope), rest=rest)

    async def count_stranger(self, scope: Scope) -> None:
        """
        Count a refused sign-in against its address, in its turn.

        Raises:
            RateLimitedRequest: If there were too many.
        """
        address = network_of((scope.get("client") or (None,))[0])
        await self.stranger_turn(scope)
        if self._strangers is not None and address is not None:
            wait_s = self._strangers.take(address, self._clock.monotonic())
            if wait_s:
                raise self.refused(
                    RateLimitedRequest("too many refused sign-ins", retry_after=wait_s)
                )

    async def stranger_turn(self, scope: Scope, *, size: int = 0) -> None:
        """Wait until something of nobody's may begin: by its address; see ``Turns.wait``."""
        address = network_of((scope.get("client") or (None,))[0])
        await self._turns.wait(f"{_NO_USER}{address}", size=size, place=place_of(scope))

    def connection_turn(self, place: Place) -> asyncio.Future[None] | None:
        """Give what will be done when a new connection may be read from; None: it may be now."""
        rates, address = self._connections, place.address
        if rates is None or address is None or not rates.take(address, self._clock.monotonic()):
            return None
        # Its users may be many.
        place.turn = self._turns.turn(f"{_NO_USER}{address}", rest=SHORT_REST)
        return place.turn

    def require_room(self, caller: Caller) -> None:
        """
        Check that a user may have one connection more.

        Raises:
            TooManyConnections: If it has as many as it may; operators may have any number.
        """
        if not caller.operator and self.users.full(caller.user_id):
            raise self.refused(
                TooManyConnections("this user has too many connections", retry_after=RETRY_S)
            )

    def refused(self, error: Refusal) -> Refusal:
        """Count a refusal by a limit, and give the error to raise."""
        self._refused[error.code] += 1
        return error

    def held(self, caller: Caller) -> AbstractContextManager[None]:
        """
        Hold a place of the caller's inside ``with``: it has a connection, or a request is answered.

        Raises:
            TooManyConnections: As ``require_room``.
        """
        if caller.operator:
            return _NOT_HELD
        self.require_room(caller)
        return _Held(self.users, caller.user_id)

    def socket(self, scope: Scope) -> SocketLimits:
        """Give what a WebSocket counts with."""
        return SocketLimits(self, scope, self._ws)


class Closing(Exception):
    """
    A refusal after which a WebSocket is closed.

    Attributes:
        error: The refusal.
        close: The code to close with.
    """

    def __init__(self, error: RequestError, close: CloseCode) -> None:
        super().__init__(error.message)
        self.error = error
        self.close = close


class SocketLimits:
    """
    One WebSocket: its frames against its user's rate, itself among its user's connections.

    Attributes:
        hopeless: Whether it goes on although it is refused, or sends as many frames before it has
            connected: it has to be closed.
    """

    def __init__(self, limits: Limits, scope: Scope, rates: Buckets | None) -> None:
        self.hopeless = False
        self._limits = limits
        self._scope = scope
        self._held: AbstractContextManager[None] | None = None
        self._rates = self._all_rates = rates
        self._caller: Caller | None = None
        self._refused = 0
        self._refused_since = -math.inf

    def take(self, now: float) -> float:
        """
        Count a frame.

        Args:
            now: Monotonic seconds.

        Returns:
            0, or in how many seconds there may be one.
        """
        rates, caller = self._rates, self._caller
        if rates is None:
            return 0.0
        # Until it has connected, a client has little to send but that.
        wait_s = 0.0 if caller is None else rates.take(caller.user_id, now)
        if wait_s or caller is None:
            if now - self._refused_since >= REFUSED_WITHIN_S:
                self._refused, self._refused_since = 0, now
            self._refused += 1
            self.hopeless = self._refused >= REFUSED_MAX
        return wait_s

    async def turn(self, size: int) -> None:
        """
        Wait until a frame of so many bytes may be looked at; operators do not wait.

        Raises:
            ClientDisconnect: If the connection has ended meanwhile.
        """
        if self._caller is None:
            await self._limits.stranger_turn(self._scope, size=size)
        elif not self._caller.operator:
            await self._limits.turn(self._caller, self._scope, size=size)

    async def sign_in(
        self, access: Access, token: str | None, *, user_id: str | None = None
    ) -> Caller:
        """
        Give the caller, and count for it from now on; see ``Access.caller``.

        Raises:
            Closing: If it is refused for good, or there is no room.
            RequestError: If it is refused, and may try again on this connection.
        """
        try:
            caller = await access.caller(token, user_id=user_id)
        except Unavailable as error:  # nobody can say now whether the token is good
            raise Closing(error, CloseCode.try_again_later) from None
        except Unauthenticated as error:
            expired = isinstance(error, TokenExpired)
            code = CloseCode.token_expired if expired else CloseCode.invalid_token
            try:
                await self._limits.count_stranger(self._scope)
            except RateLimitedRequest as often:
                raise Closing(often, CloseCode.too_many_requests) from None
            raise Closing(error, code) from None
        if not caller.scopes:
            raise Closing(NotPermitted("this token gives no right at all"), CloseCode.not_permitted)
        self.belongs_to(caller)
        return caller

    def belongs_to(self, caller: Caller) -> None:
        """
        Count for this caller from now on.

        Raises:
            Closing: If there are too many connections of the user, or from the address.
        """
        place = place_of(self._scope)
        if place is not None and caller.operator:
            place.exempt()
        if self._held is None:
            try:
                if place is not None and place.crowded is not None:
                    raise self._limits.refused(
                        TooManyConnections(
                            "there are too many connections from this address", retry_after=RETRY_S
                        )
                    )
                held = self._limits.held(caller)
            except TooManyConnections as error:
                raise Closing(error, CloseCode.too_many_connections) from None
            held.__enter__()
            self._held = held
        self._caller = caller
        self._refused = 0
        self._rates = None if caller.operator else self._all_rates

    def leave(self) -> None:
        """The connection has ended."""
        if self._held is not None:
            self._held.__exit__(None, None, None)
            self._held = None


class Crowded:
    """
    The application for a connection that is over a limit: an ASGI application in front of it.

    Args:
        app: The application.
        access: Finds out who is an operator.
        limits: Count what is refused.
        streams: The path of server-sent events. An ``EventSource`` would never come back after a
            refusal, so the application itself tells it.
    """

    def __init__(self, app: ASGIApp, access: Access, limits: Limits, *, streams: str) -> None:
        self._app = app
        self._limits = limits
        self._access = access
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        place = place_of(scope)
        assert scope["type"] == "http"
        assert place is not None
        if place.crowded == "address" and await self._is_operator(scope):
            place.exempt()
        if place.crowded is None or scope["path"] == self._streams:
            await self._app(scope, receive, send)
            return
        whose = "from this address" if place.crowded == "address" else "at this gateway"
        error = TooManyConnections(f"there are too many connections {whose}", retry_after=RETRY_S)
        self._limits.refused(error)
        refusal = problem(
            429 if place.crowded == "address" else 503,
            error.code,
            error.message,
            retry_after=RETRY_S,
            headers={"connection": "close"},
        )
        await safe(refusal)(scope, receive, send)

    async def _is_operator(self, scope: Scope) -> bool:
        try:
            return (await caller_of(Request(scope), self._access)).operator
        except RequestError:
            return False


class _Held:
    __slots__ = ("_counts", "_key")

    def __init__(self, counts: Counts, key: str) -> None:
        self._counts = counts
        self._key = key

    def __enter__(self) -> None:
        self._counts.enter(self._key)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._counts.leave(self._key)


_NOT_HELD = nullcontext()


def _buckets(rate: float) -> Buckets | None:
    return Buckets(rate=rate, burst=max(1.0, rate * BURST_S)) if rate else None
