"""Signals between the nodes on one stream, over core NATS: beside the stream, never stored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from urllib.parse import unquote

from gateway.domain.diagnostics import logger_of
from gateway.ports import Hearer
from gateway.stores.followers import Followers
from gateway.stores.jetstream.codec import name_to_token
from gateway.stores.jetstream.session import Msg, Session, SessionLost

__all__ = ["NatsPulse"]

logger = logger_of(__name__)


class NatsPulse:
    """
    A ``Pulse`` of all nodes on one stream.

    Args:
        stream: The stream's name.
        session: Gives the current session; None while there is none.
    """

    def __init__(self, stream: str, *, session: Callable[[], Session | None]) -> None:
        # Below the stream's own prefix the signals would be stored.
        self._prefix = f"{stream}_PULSE."
        self._session = session
        self._hearers: Followers[str, bytes] = Followers()

    async def publish(self, subject: str, body: bytes) -> None:
        session = self._session()
        if session is not None:
            with contextlib.suppress(SessionLost):
                await session.publish(self._prefix + name_to_token(subject), body)

    def follow(self, hearer: Hearer) -> Callable[[], None]:
        return self._hearers.add(hearer)

    async def listen(self, session: Session) -> None:
        """
        Hear the signals over a new session.

        Raises:
            SessionLost: The session is lost already.
        """
        await session.subscribe(self._prefix + "*", self._hear)

    async def _hear(self, msg: Msg) -> None:
        try:
            self._hearers.tell(unquote(msg.subject[len(self._prefix) :]), msg.data)
        except Exception:
            logger.exception("whoever hears %s failed", msg.subject)
