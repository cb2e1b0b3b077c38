"""
One connection to one NATS server, from its making to its loss; it is never revived.

A nats-py client that reconnects keeps what it could not send and sends it later, when the writer
has long been told that the store is away. So a session never reconnects: when it is lost, ``link``
makes a new one, and each caller decides what becomes of what it had under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import ConfigurationError
from gateway.stores.jetstream import wire
from gateway.stores.jetstream.access import NO_ACCESS, Access, nats_options, refusal
from gateway.stores.jetstream.address import without_secrets

__all__ = ["FAILURES", "ApiError", "Msg", "Session", "SessionLost", "answer_of"]

logger = logger_of(__name__)

# nats-py gives the connection up when its own pings, this far apart, are not answered. The link
# looks much more often; the pings are for the time before the link looks after the session.
_PING_INTERVAL_S = 10
_CONNECT_LIMIT_S = 2.0
_CLOSE_LIMIT_S = 1.0

# The status of an answer that the server itself gives when no subscriber takes the request.
_NO_RESPONDERS = "503"

# What nats-py raises when it cannot send, whatever broke the connection before.
_CLOSED = (
    nats.errors.ConnectionClosedError,
    nats.errors.OutboundBufferLimitError,
    OSError,
)

# Called with an answer; None: the connection broke, and there will be none.
Answered = Callable[[Msg | None], None]


class SessionLost(Exception):
    """The connection broke; messages under way may have arrived or not."""


class ApiError(Exception):
    """
    The JetStream API refused a request.

    Attributes:
        err_code: The server's number of the error, see ``wire``; 0: the server gave none.
    """

    def __init__(self, err_code: int, description: str) -> None:
        super().__init__(description)
        self.err_code = err_code


class _Client(Client):
    """
    A client of nats-py that keeps to TLS.

    nats-py itself goes on without it when the server offers none, whatever the address says: who
    stands between could get the login.

    Args:
        url: The server's address, for the error.
        encrypted: Whether nothing may be said without TLS.
    """

    def __init__(self, url: str, *, encrypted: bool) -> None:
        super().__init__()
        self._url = url
        self._encrypted = encrypted

    @property
    def info(self) -> Mapping[str, Any]:
        """What the server said of itself; empty: nothing yet."""
        return self._server_info

    def _connect_command(self) -> bytes:
        # The first that is said to a server, and it holds the login.
        writer = getattr(self._transport, "_io_writer", None)
        if self._encrypted and not (writer and writer.get_extra_info("ssl_object")):
            raise ConfigurationError(
                f"the store at {without_secrets(self._url)} does not ask for TLS, which tls://, "
                "store_ca and store_cert need; set tls in the configuration of nats-server"
            )
        return super()._connect_command()


# How a request to the server may fail.
FAILURES = (ApiError, SessionLost, TimeoutError)


class Session:
    """
    A connected nats-py client, with answers to its requests.

    Args:
        timeout_s: How long a request waits for an answer, in seconds.

    Attributes:
        lost: Done as soon as the connection has broken.
    """

    def __init__(self, client: Client, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inbox = client.new_inbox()
        self._numbers = itertools.count(1)
        self._answered: dict[str, Answered] = {}

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        name: str,
        timeout_s: float,
        access: Access = NO_ACCESS,
        tls_name: str | None = None,
    ) -> Session:
        """
        Connect to the server at ``url``, under the name ``name``.

        Args:
            access: What we show, and what we ask for.
            tls_name: The name in the server's certificate; None: as in ``url``.

        Raises:
            OSError, TimeoutError, nats.errors.Error: The connection could not be made.
            ConfigurationError: The server and we do not accept each other.
        """
        # In a thread: reading the system's authorities takes a tenth of a second, and a file may
        # be on another machine.
        async with asyncio.timeout(_CONNECT_LIMIT_S):
            options = await asyncio.to_thread(nats_options, url, access)
        client = _Client(url, encrypted="tls" in options)
        session: Session | None = None

        async def ended() -> None:
            if session is not None:
                session._end()

        async def failed(error: Exception) -> None:
            if session is None:
                raise error  # otherwise nats-py tries again without telling
            if isinstance(error, (OSError, nats.errors.UnexpectedEOF)) or client.is_closed:
                session._end()
            else:
                logger.warning("nats: %s", error)

        connecting = client.connect(
            [without_secrets(url)],
            **options,
            tls_hostname=tls_name,
            name=name,
            allow_reconnect=False,
            ping_interval=_PING_INTERVAL_S,
            # No buffer for what cannot be sent now: sending fails instead.
            pending_size=0,
            disconnected_cb=ended,
            closed_cb=ended,
            error_cb=failed,
        )
        try:
            async with asyncio.timeout(_CONNECT_LIMIT_S):
                await _apart(connecting)
                session = cls(client, timeout_s=timeout_s)
                session._watch_tasks()
                await session.subscribe(session._inbox + ".*", session._take_answer)
        except BaseException as error:
            await _abort(client)
            if (refused := refusal(error, url, access, client.info)) is not None:
                raise refused from error
            raise
        return session

    @property
    def payload_bytes_max(self) -> int:
        """How many bytes the server takes in one message, headers included."""
        return self._client.max_payload

    @property
    def server_version(self) -> tuple[int, int]:
        """Major and minor version of the server."""
        version = self._client.connected_server_version
        return version.major, version.minor

    @property
    def servers(self) -> list[str]:
        """The addresses of the cluster's servers that this server knows."""
        return [uri.geturl() for uri in self._client.servers]

    def _watch_tasks(self) -> None:
        # When one of nats-py's tasks fails, nats-py does not always say so, and the connection
        # is no longer read.
        for task in _tasks(self._client):
            task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("nats: %s", error)
        self._end()

    def _end(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        for answered in tuple(self._answered.values()):
            answered(None)
        self._answered.clear()

    async def close(self) -> None:
        """Break the connection; what is not sent yet never will be."""
        self._end()
        await _abort(self._client)

    # --- messages ---------------------------------------------------------------------------

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        reply: str = "",
    ) -> None:
        """
        Send a message, without waiting; messages leave in the order of the calls.

        Args:
            reply: The address that answers should go to; empty: none are wanted.

        Raises:
            SessionLost: The message could not be sent.
        """
        if self.lost.done():
            raise SessionLost
        try:
            await self._client.publish(subject, payload, reply, headers)
        except _CLOSED as error:
            self._end()
            raise SessionLost from error

    def expect(self, answered: Answered) -> str:
        """Give an address; ``answered`` gets each answer to it, until ``expect_no_more``."""
        reply = f"{self._inbox}.{next(self._numbers)}"
        self._answered[reply] = answered
        return reply

    def expect_no_more(self, reply: str) -> None:
        """Drop further answers to this address."""
        self._answered.pop(reply, None)

    async def _take_answer(self, msg: Msg) -> None:
        answered = self._answered.get(msg.subject)
        if answered is not None:
            answered(msg)

    async def stream_of_answers(
        self, subject: str, payload: bytes, take: Callable[[Msg], bool]
    ) -> None:
        """
        Send a request, and call ``take`` with each answer until it returns True.

        Raises:
            SessionLost: The connection broke.
            TimeoutError: The next answer did not come within the session's limit.
        """
        came = asyncio.Event()
        over = False

        def answered(msg: Msg | None) -> None:
            nonlocal over
            over = over or msg is None or take(msg)
            came.set()

        reply = self.expect(answered)
        try:
            await self.publish(subject, payload, reply=reply)
            while not over:
                came.clear()
                async with asyncio.timeout(self._timeout_s):
                    await came.wait()
            if self.lost.done():
                raise SessionLost
        finally:
            self.expect_no_more(reply)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        timeout_s: float | None = None,
    ) -> Msg:
        """
        Send a request and give its one answer.

        Args:
            timeout_s: How long to wait, in seconds; None: the session's limit.

        Raises:
            SessionLost: The connection broke.
            TimeoutError: The answer did not come in time.
        """
        future: asyncio.Future[Msg | None] = asyncio.get_running_loop().create_future()

        def answered(msg: Msg | None) -> None:
            if not future.done():
                future.set_result(msg)

        reply = self.expect(answered)
        try:
            await self.publish(subject, payload, reply=reply)
            async with asyncio.timeout(timeout_s or self._timeout_s):
                answer = await future
        finally:
            self.expect_no_more(reply)
        if answer is None:
            raise SessionLost
        return answer

    async def api(
        self,
        verb: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """
        Send a request to the JetStream API and give its answer; see ``request``.

        Raises:
            ApiError: The API refused the request.
            SessionLost, TimeoutError: There was no answer.
        """
        payload = b"" if arguments is None else orjson.dumps(arguments)
        return answer_of(await self.request(f"$JS.API.{verb}", payload, timeout_s=timeout_s))

    def new_inbox(self) -> str:
        """Give an address that no other connection uses."""
        return self._client.new_inbox()

    async def subscribe(
        self, subject: str, take: Callable[[Msg], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        """
        Call ``take`` with each message, one after the other; returns a function that ends it.

        Raises:
            SessionLost: The connection broke.
        """
        try:
            # 0: nats-py drops nothing. What comes is bounded by what was asked for.
            subscription = await self._client.subscribe(
                subject, cb=take, pending_msgs_limit=0, pending_bytes_limit=0
            )
        except _CLOSED as error:
            self._end()
            raise SessionLost from error

        async def end() -> None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

        return end


def answer_of(msg: Msg) -> dict[str, Any]:
    """
    Read the answer of the API, or of a stream that took a message.

    Raises:
        ApiError: The answer is an error, or no server answers.
    """
    if not msg.data and (msg.headers or {}).get(wire.STATUS) == _NO_RESPONDERS:
        raise ApiError(0, "no server answers for this stream now")
    answer: dict[str, Any] = orjson.loads(msg.data)
    if error := answer.get("error"):
        raise ApiError(error.get("err_code", 0), error.get("description", "no reason given"))
    return answer


# nats-py uses asyncio.wait_for, which on Python 3.11 may lose a cancellation (gh-86296). In a task
# of its own it cannot lose ours.
async def _apart(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait((task,))
        raise
    task.result()


# nats-py closes politely: it first waits until all is sent, for ever if the peer reads nothing, and
# when the connection breaks meanwhile it leaves its tasks behind. Its public API has no other way.
async def _abort(client: Client) -> None:
    writer = getattr(getattr(client, "_transport", None), "_io_writer", None)
    if writer is not None:
        writer.transport.abort()
    tasks = _tasks(client)
    if not tasks:
        return  # it was never connected; after a TLS handshake that failed, closing would hang
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSE_LIMIT_S):
            await _apart(client.close())
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=_CLOSE_LIMIT_S)


def _tasks(client: Client) -> list[asyncio.Task[None]]:
    own = [
        getattr(client, name, None)
        for name in ("_reading_task", "_flusher_task", "_ping_interval_task")
    ]
    subscriptions = getattr(client, "_subs", {}).values()
    own += [getattr(each, "_wait_for_msgs_task", None) for each in subscriptions]
    return [task for task in own if task is not None]
