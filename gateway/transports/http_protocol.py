"""
uvicorn's HTTP protocol with a bound on everything that a client sends, before anything reads it.

A request's head has a size and a time, its body a pace, a connection a number of requests sent
ahead. What is over a bound is refused by a problem (RFC 9457) like everything else, and the
connection ends. An address that opens connections all the time is read from in its turn.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import http
from typing import Any, cast

import httptools
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.transports.arrivals import Arrivals
from gateway.transports.frames_protocol import FramesProtocol
from gateway.transports.heads import no_http, without_wish
from gateway.transports.http_1_0 import unchunked
from gateway.transports.limits import Limits
from gateway.transports.places import PLACE_EXTENSION, Place
from gateway.transports.problem import problem
from gateway.transports.safe_headers import safe
from gateway.transports.sink import ABORT_EXTENSION

__all__ = ["HttpProtocol", "bounded"]

# A request's head in bytes, all lines together, and its URL among them: as much as the usual
# servers take. The fields are looked through for each name that is asked for, so they have a number
# too.
HEAD_BYTES_MAX = 64 * 1024
URL_BYTES_MAX = 8 * 1024
FIELDS_MAX = 256

# The parser of the opening handshake takes no longer lines, and no more of them.
HANDSHAKE_LINE_BYTES_MAX = 8 * 1024
HANDSHAKE_FIELDS_MAX = 128

# A body that does not arrive whole at first has the time of a head, and a second more for each so
# many bytes.
BODY_BYTES_S = 1024

# Requests that wait behind the one that is answered (RFC 9112, 9.3.2). One more is refused.
PIPELINED_MAX = 64

# A client that is refused while it still sends has this long to stop, in seconds: a connection that
# is closed over unread bytes is reset, and the refusal may be lost (RFC 9112, 9.6).
LINGER_S = 2.0


class _Phase(enum.Enum):
    """How much of a request is there."""

    NOTHING = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    WHOLE = enum.auto()
    REFUSED = enum.auto()


class _Refused(Exception):
    """
    Raised inside the parser, which then stops.

    Attributes:
        answer: What to answer; None: the answer waits for its turn already.
    """

    def __init__(self, answer: Response | None) -> None:
        super().__init__()
        self.answer = answer


def bounded(limits: Limits, *, head_s: float, crowded: ASGIApp) -> type[HttpProtocol]:
    """
    Make what uvicorn takes for the class of its protocol: ``HttpProtocol`` for one server.

    Args:
        limits: Gives each connection its place.
        head_s: How long a request's head may take, in seconds.
        crowded: The application for a connection that is over a limit.
    """
    arrivals = Arrivals(head_s=head_s)
    made = functools.partial(HttpProtocol, limits=limits, arrivals=arrivals, crowded=crowded)
    return cast("type[HttpProtocol]", made)


class HttpProtocol(HttpToolsProtocol):
    """
    One connection.

    Args:
        limits: Gives it its place.
        arrivals: Looks after it while a request arrives.
        crowded: The application for a connection that is over a limit.
    """

    def __init__(
        self, *args: Any, limits: Limits, arrivals: Arrivals, crowded: ASGIApp, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._arrivals = arrivals
        self._crowded = crowded
        self._place: Place | None = None
        # The request that is answered now; uvicorn's `cycle` is the one that arrived last.
        self._answered: RequestResponseCycle | None = None
        self._phase = _Phase.NOTHING
        # Whether it has been read from, for which it may have to wait.
        self._begun = False
        # Whether `arrivals` looks after it, and until when what it waits for has to be there, in
        # seconds of the loop; 0: that begins with the next read.
        self._watched = False
        self._due = 0.0
        # Bytes of the newest read, of the read that the request began in, of those after it since
        # the parser last gave some of the request, and of the body since the last look.
        self._read_bytes = 0
        self._first_bytes = 0
        self._unparsed_bytes = 0
        self._body_bytes = 0
        # A head that asked for another protocol, without that wish, to be read again.
        self._passed_over: bytes | None = None

    # --- its life -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._place = self._limits.places.open(self.client[0] if self.client else None)
        if self._place is None:
            self._phase = _Phase.REFUSED
            self.transport.abort()
            return
        self._watch(self._arrivals.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        answered = self._answered
        if answered is not None and not answered.response_complete:
            # uvicorn tells it only if no request was sent ahead.
            answered.disconnected = True
            answered.message_event.set()
        self._arrivals.discard(self)
        if self._place is not None:
            self._place.leave()
            self._place = None

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self._arrivals.discard(self)
        frames = self.transport.get_protocol()
        assert isinstance(frames, FramesProtocol)
        assert self._place is not None
        place, self._place = self._place, None
        frames.take(place)

    # --- what arrives ---------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        before = self._phase
        if before is _Phase.REFUSED or not (self._begun or self._begins(data)):
            return
        self._read_bytes = len(data)
        self._unparsed_bytes += len(data)
        try:
            if not self._feed(data):
                self.handle_websocket_upgrade()
                self.parser = None  # type: ignore[assignment]  # each holds the other
                return
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.answer if isinstance(cause, _Refused) else no_http(error))
            return
        if self._phase is _Phase.WHOLE and self.cycle.response_complete:
            self._take_rest(before)
            return
        if self._phase is not _Phase.WHOLE:
            self._wait_for_more()
        elif self._watched:
            self._unwatch()

    def _begins(self, data: bytes) -> bool:
        """Whether the first bytes are to be read now; else they are when its turn has come."""
        self._begun = True
        assert self._place is not None
        turn = self._limits.connection_turn(self._place)
        if turn is None:
            return True
        self.flow.pause_reading()
        turn.add_done_callback(functools.partial(self._begin_late, data))
        return False

    def _begin_late(self, data: bytes, turn: asyncio.Future[None]) -> None:
        if not turn.cancelled() and not self.transport.is_closing():
            self.flow.resume_reading()
            self.data_received(data)

    def _feed(self, data: bytes) -> bool:
        """Let the parser read; False: a WebSocket begins. What else is wished is passed over."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                head, self._passed_over = self._passed_over, None
                if head is None:
                    return not self._should_upgrade()
                self.parser = httptools.HttpRequestParser(self)
                data = head + data[upgrade.args[0] :]
            else:
                return True

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.cycle is not None:
            self._due = 0.0
        self._phase = _Phase.HEAD
        self._first_bytes, self._unparsed_bytes = self._read_bytes, 0
        self.scope["extensions"] = {
            ABORT_EXTENSION: self.transport.abort,  # type: ignore[dict-item]
            PLACE_EXTENSION: self._place,  # type: ignore[dict-item]
        }

    def on_headers_complete(self) -> None:
        self._require_bounds()
        if self.parser.should_upgrade() and not self._should_upgrade():
            parser = self.parser
            self._passed_over = without_wish(
                parser.get_method(), self.url, parser.get_http_version(), self.headers
            )
            if self._passed_over is not None:
                return
        assert self._place is not None
        if len(self.pipeline) >= PIPELINED_MAX:
            self._begin(_too_far_ahead)
            raise _Refused(None)
        if self._place.crowded is None:
            super().on_headers_complete()
        else:
            self._begin(self._crowded)
        self._phase = _Phase.BODY
        self._due = 0.0
        self._unparsed_bytes = self._body_bytes = 0
        if not self.parser.should_upgrade():
            # What follows a chunked body (RFC 9112, 7.1.2) is no part of the head that was judged.
            self.headers = []

    def _begin(self, app: ASGIApp) -> None:
        """Let ``app`` answer this request."""
        ours, self.app = self.app, app
        super().on_headers_complete()
        self.app = ours

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        if cycle.scope["http_version"] == "1.0":
            app = unchunked(app, cycle)
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._passed_over is not None:
            return  # it is read again
        self._phase = _Phase.WHOLE
        super().on_message_complete()

    def on_response_complete(self) -> None:
        # As uvicorn does it, but for the timer that each answer would start.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._phase is _Phase.WHOLE:
            self._watch(self.timeout_keep_alive)

    def send_400_response(self, msg: str) -> None:
        self._refuse(no_http())

    # --- its bounds -----------------------------------------------------------------------

    def _require_bounds(self) -> None:
        """
        Check a head that is there.

        Raises:
            _Refused: If it is too large.
        """
        upgrade = self.parser.should_upgrade() and self._should_upgrade()
        url_bytes_max = URL_BYTES_MAX
        if upgrade:
            if self.cycle is not None and not self.cycle.response_complete:
                raise _Refused(no_http())  # an answer would stand among the frames
            url_bytes_max = HANDSHAKE_LINE_BYTES_MAX - len("GET  HTTP/1.1\r\n")
        if len(self.url) > url_bytes_max:
            raise _Refused(_long_url())
        if len(self.headers) > (HANDSHAKE_FIELDS_MAX if upgrade else FIELDS_MAX):
            raise _Refused(_large_head())
        if self._first_bytes + self._unparsed_bytes > HEAD_BYTES_MAX or upgrade:
            lines = [len(name) + len(value) + len(": \r\n") for name, value in self.headers]
            if len(self.url) + sum(lines) > HEAD_BYTES_MAX:
                raise _Refused(_large_head())
            if upgrade and max(lines) > HANDSHAKE_LINE_BYTES_MAX:
                raise _Refused(_large_head())

    def _take_rest(self, before: _Phase) -> None:
        """Take in what arrived after the answer: the rest of a body, or the beginning of a head."""
        if before is _Phase.BODY:
            self._watch(self.timeout_keep_alive)
        else:
            # Empty lines, which may come before a request (RFC 9112, 2.2).
            self._phase = _Phase.HEAD
            self._watch(self._arrivals.head_s)

    def _wait_for_more(self) -> None:
        """A request, or what looks like one, is not complete: it has a bound in bytes and time."""
        if self._phase is _Phase.HEAD and len(self.url) > URL_BYTES_MAX:
            self._refuse(_long_url())
        elif self._unparsed_bytes > HEAD_BYTES_MAX:
            self._refuse(_large_head())
        elif not self._due:
            self._watch(self._arrivals.head_s)

    def _watch(self, within_s: float) -> None:
        self._due = self.loop.time() + within_s
        self._watched = True
        self._arrivals.add(self)

    def _unwatch(self) -> None:
        self._watched = False
        self._arrivals.discard(self)

    def look(self, now: float) -> None:
        """End it if it takes too long; ``now`` is the loop's time."""
        if self._phase is _Phase.REFUSED:
            if now >= self._due:
                self.transport.abort()
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        latest = now + self._arrivals.head_s
        if self.flow.read_paused or (busy and self._phase is _Phase.HEAD):
            # It is we who do not read it, or who have not answered the request before it.
            self._due = latest
        elif busy:
            self._due = min(self._due + self._body_bytes / BODY_BYTES_S, latest)
        self._body_bytes = 0
        if now < self._due:
            return
        if self._phase in (_Phase.NOTHING, _Phase.WHOLE):
            self.transport.close()
        else:
            self._refuse(
                problem(408, "timeout", "the request did not arrive in time", retry_after=1.0)
            )

    def _refuse(self, answer: Response | None) -> None:
        """
        Answer what arrives now and end the connection; no more of it is taken.

        Args:
            answer: None: it will be answered in its turn.
        """
        arriving, self._phase = self._phase, _Phase.REFUSED
        self._unwatch()
        cycle = self.cycle
        if answer is None:
            return
        if cycle is not None and not cycle.response_complete:
            if arriving is not _Phase.BODY:
                # An earlier request is being answered, and the connection ends with it.
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started or self.pipeline:
                self.transport.abort()
                return
        elif cycle is not None and arriving is _Phase.BODY:
            # It has been answered, and its body is of no use.
            self._linger()
            return
        head = [f"HTTP/1.1 {answer.status_code} {_phrase(answer)}\r\n".encode()]
        fields = [*self.server_state.default_headers, *safe(answer).raw_headers]
        head += [b"%b: %b\r\n" % field for field in fields]
        self.transport.write(b"".join(head) + b"connection: close\r\n\r\n" + bytes(answer.body))
        self._linger()

    def _linger(self) -> None:
        """Close our side, and drop what still comes for a while."""
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self._watch(LINGER_S)


def _phrase(answer: Response) -> str:
    return http.HTTPStatus(answer.status_code).phrase


def _long_url() -> Response:
    return problem(414, "url_too_long", f"the URL may have {URL_BYTES_MAX} bytes")


def _large_head() -> Response:
    detail = f"the head may have {HEAD_BYTES_MAX} bytes in {FIELDS_MAX} fields"
    return problem(431, "head_too_large", detail)


async def _too_far_ahead(scope: Any, receive: Any, send: Any) -> None:
    refusal = problem(
        429,
        "too_many_requests",
        f"at most {PIPELINED_MAX} requests may be sent ahead of an answer",
        retry_after=1.0,
        headers={"connection": "close"},
    )
    await safe(refusal)(scope, receive, send)
