"""
Turns: who asks much waits for a turn, so that who asks little does not wait for it.

All that the gateway does is done in one loop, a step of this and a step of that in each round. A
user with a hundred connections would have a hundred requests in each round, and each step of
anybody else's task would come after them. So a user has some requests a second that begin at once;
the others begin one by one, a user after the other, when the loop has little else to do: what a
request sets off, such as an agent that runs, is done before the next one begins.

Users take turns by deficit round robin (Shreedhar and Varghese, 1996): each turn is worth so many
bytes, and a large request begins when its user has let as many turns go by as it is worth.

While others ask little, the loop rests after each turn, for some times as long as the turn took:
what they ask for comes at any time, and mostly finds the loop idle.

Connections of an address that opens many take turns as well, until their first bytes are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
from collections import deque
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect

from gateway.domain.rates import Buckets
from gateway.ports import Clock
from gateway.transports.places import Place

__all__ = [
    "AT_ONCE_MAX",
    "BETWEEN_S_MAX",
    "OTHERS_S",
    "QUICK_S",
    "REST",
    "ROUNDS_BETWEEN",
    "SHORT_REST",
    "Calm",
    "Turns",
]

# Requests of one user that begin at once, each second, and as a burst: a page that opens.
AT_ONCE_PER_S, AT_ONCE_MAX = 10.0, 100.0
# For each so many bytes a request counts as one more, here and for its turn.
SIZE_OF_ONE = 16 * 1024

# Rounds of the loop, one after the other, that have to be quick before the next turn; how many
# seconds such a round takes at the most. An empty one takes ten microseconds, one step of a task
# a tenth of a millisecond; a task takes about eight rounds from `task.create` to `task_finished`.
ROUNDS_BETWEEN, QUICK_S = 8, 0.0003
# A loop that is never quick, or rests for long, gives a turn after so many seconds all the same.
BETWEEN_S_MAX = 0.05

# How many times as long as a turn the rest after it is: those who ask much have a quarter of the
# loop, and half of it if it is for agents, whose work others wait for, or may be for many users.
REST, SHORT_REST = 3.0, 1.0
# There is a rest if within so many seconds something began at once for somebody who has so much of
# a burst left.
OTHERS_S, LITTLE = 1.0, 0.5


class Calm:
    """
    Tells when a loop has little to do: so many of its rounds in a row were quick.

    Attributes:
        at: When the newest round began, in monotonic seconds.
    """

    __slots__ = ("_left", "at")

    def __init__(self) -> None:
        self.at = -math.inf
        self._left = 0

    def after_round(self, now: float) -> bool:
        """Take in that another round begins; gives whether the loop is calm."""
        self._left = self._left - 1 if now - self.at <= QUICK_S else ROUNDS_BETWEEN
        self.at = now
        return self._left <= 0

    def begin_anew(self) -> None:
        """Take in that something has begun, so that as many rounds have to be quick after it."""
        self._left = ROUNDS_BETWEEN


@dataclass(slots=True, eq=False)
class _Turn:
    worth: float
    rest: float
    begun: asyncio.Future[None]


@dataclass(slots=True)
class _Line:
    """The requests of one user that wait, and the turns that have come to it and were not used."""

    turns: deque[_Turn] = field(default_factory=deque)
    credit: float = 0.0


class Turns:
    """
    The turns of all users at one gateway.

    Args:
        clock: Tells how long a round of the loop has taken.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at_once = Buckets(rate=AT_ONCE_PER_S, burst=AT_ONCE_MAX)
        # In the order of whose turn is next.
        self._waiting: dict[str, _Line] = {}
        # The loop that is to give the next turn.
        self._going: asyncio.AbstractEventLoop | None = None
        self._calm = Calm()
        # When the newest turn began, and a request of somebody who asks little.
        self._turn_at = self._others_at = -math.inf
        # How long the rest after the newest turn is to be, once that is over; until when it is.
        self._rest = 0.0
        self._rest_until = -math.inf

    def __len__(self) -> int:
        """How many users have requests that wait."""
        return len(self._waiting)

    async def wait(
        self, key: str, *, size: int = 0, place: Place | None = None, rest: float = REST
    ) -> None:
        """
        Wait until a request may begin, after those of the same key that wait.

        Cancelling gives the turn up.

        Args:
            key: Whose request it is.
            size: Its bytes: a large one counts as many.
            place: Of its connection: when that ends, so does the wait; None: it goes on.
            rest: How many times as long as its turn the rest after it is.

        Raises:
            ClientDisconnect: If the connection has ended.
        """
        begun = self.turn(key, worth=1 + size / SIZE_OF_ONE, rest=rest)
        if begun is None:
            now = self._clock.monotonic()
            if self._at_once.left(key, now) >= LITTLE:
                self._others_at = now
            return
        if place is not None:
            place.turn = begun
        try:
            await begun
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if place is not None and place.left and task is not None and not task.cancelling():
                raise ClientDisconnect from None
            raise
        finally:
            if place is not None:
                place.turn = None

    def turn(
        self, key: str, *, worth: float = 1.0, rest: float = REST
    ) -> asyncio.Future[None] | None:
        """
        Give what will be done when something may begin; None: it may begin now.

        Cancelling gives the turn up.

        Args:
            key: Whose it is.
            worth: How many turns it is worth.
            rest: How many times as long as its turn the rest after it is.
        """
        loop = asyncio.get_running_loop()
        line = self._waiting.get(key)
        if line is None:
            if not self._at_once.take(key, self._clock.monotonic(), worth):
                return None
            if self._going is not loop:
                self._going = loop
                loop.call_soon(self._go_on, loop)
            line = self._waiting[key] = _Line()
        turn = _Turn(worth, rest, loop.create_future())
        line.turns.append(turn)
        turn.begun.add_done_callback(functools.partial(self._leave, key, line, turn))
        return turn.begun

    def _leave(self, key: str, line: _Line, turn: _Turn, begun: asyncio.Future[None]) -> None:
        """Take a turn that was given up out of its line."""
        if not begun.cancelled():
            return
        with contextlib.suppress(ValueError):  # it had come already
            line.turns.remove(turn)
        if not line.turns and self._waiting.get(key) is line:
            del self._waiting[key]

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give the next turn, when enough rounds of the loop have gone by quickly."""
        now = self._clock.monotonic()
        calm = self._calm.after_round(now)
        if not self._waiting:
            self._going = None
            return
        if calm and self._rest:
            if now - self._others_at <= OTHERS_S:
                self._rest_until = now + self._rest * (now - self._turn_at)
            self._rest = 0.0
        latest = self._turn_at + BETWEEN_S_MAX
        if now > latest or (calm and now >= self._rest_until):
            self._give()
            self._turn_at = now
            self._calm.begin_anew()
        elif calm:
            # It sleeps as if it had gone round meanwhile; if it wakes up late, it has.
            self._calm.at = min(self._rest_until, latest)
            loop.call_later(self._calm.at - now, self._go_on, loop)
            return
        loop.call_soon(self._go_on, loop)

    def _give(self) -> None:
        """Let the next user's request begin, unless all of them are worth more turns yet."""
        for _ in range(len(self._waiting)):
            key = next(iter(self._waiting))
            line = self._waiting.pop(key)
            line.credit += 1
            begins = line.turns[0].worth <= line.credit
            if begins:
                turn = line.turns.popleft()
                line.credit -= turn.worth
                self._rest = turn.rest
                if not turn.begun.done():  # else it is being cancelled
                    turn.begun.set_result(None)
            if line.turns:
                self._waiting[key] = line
            if begins:
                return
