"""
The time of a log that several nodes share: who joins asks the others, and who is alone the server.

The server's clock may be set like any other; what it says is believed at the beginning only, when
nobody else knows. From then on time goes on by the monotonic clocks of those who write: each
message says when it was written, and whoever is behind that follows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import StoreUnavailable
from gateway.ports import Clock
from gateway.stores.jetstream import wire
from gateway.stores.jetstream.session import FAILURES, Msg, Session, SessionLost
from gateway.stores.jetstream.stream import time_of_stream
from gateway.stores.steady import Steady

__all__ = ["AgreedTime"]

logger = logger_of(__name__)

# How long a node that joins waits for the others' answer, in seconds. When there are none, the
# server says so at once.
ASK_LIMIT_S = 1.0
# The log's time and the server's may be so far apart before that is worth a line, in seconds.
APART_S = 2.0


class AgreedTime:
    """
    The log's time on this node.

    Args:
        stream: The stream's name.
        clock: This machine's; only its monotonic time is looked at.
    """

    def __init__(self, stream: str, clock: Clock) -> None:
        self._stream = stream
        # Below the prefix of signals, for which every gateway has permission.
        self._subject = f"{stream}_PULSE.time.now"
        self.steady = Steady(clock)

    def written_at(self) -> str | None:
        """What a message that is written now says of its time; None: nothing is known yet."""
        return str(round(self.steady.now() * 1e9)) if self.steady.known else None

    async def agreed(self, session: Callable[[], Awaitable[Session]]) -> bool:
        """Learn the log's time before anything is written; False: nobody said what time it is."""
        try:
            await self.agree(await session())
        except (*FAILURES, StoreUnavailable):
            return False
        return True

    async def agree(self, session: Session) -> None:
        """
        Learn the log's time; what was seen of the log before counts, too.

        Raises:
            ApiError, SessionLost, TimeoutError: Nobody said what time it is.
        """
        told = await self._ask(session)
        server_s = await time_of_stream(session, self._stream)
        self.steady.seen(server_s if told is None else told)
        if abs(apart_s := self.steady.now() - server_s) > APART_S:
            logger.warning(
                "the log's time is %.1f s %s the store's, whose clock was set: times in events are "
                "so far off until the gateways on this log have been stopped together",
                abs(apart_s),
                "ahead of" if apart_s > 0 else "behind",
            )
        await self.tell(session)

    async def tell(self, session: Session) -> None:
        """
        Answer those who ask over ``session``, once the time is known.

        Raises:
            SessionLost: The session is lost already.
        """
        if not self.steady.known:
            return

        async def answer(msg: Msg) -> None:
            at = self.written_at()
            if msg.reply and at is not None:
                with contextlib.suppress(SessionLost):
                    await session.publish(msg.reply, headers={wire.WRITTEN_AT: at})

        await session.subscribe(self._subject, answer)

    async def _ask(self, session: Session) -> float | None:
        try:
            answer = await session.request(self._subject, timeout_s=ASK_LIMIT_S)
        except TimeoutError:
            return None
        return wire.written_at(answer.headers)
