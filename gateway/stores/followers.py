"""
Functions that follow something: each is called with everything that is new.

They are called in the order in which they joined, so that a follower may rely on the work of
those before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

__all__ = ["Followers"]

Arguments = ParamSpec("Arguments")


class Followers(Generic[Arguments]):
    """Functions that are called with the same arguments; see ``EventLog.follow``."""

    def __init__(self) -> None:
        self._followers: dict[object, Callable[Arguments, None]] = {}

    def add(self, follower: Callable[Arguments, None]) -> Callable[[], None]:
        """Call ``follower`` from now on; returns a function that ends it, as often as called."""
        key = object()  # the same function may follow twice
        self._followers[key] = follower

        def end() -> None:
            self._followers.pop(key, None)

        return end

    def tell(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        """Call each follower; one that joins meanwhile is called from the next time on."""
        for key, follower in tuple(self._followers.items()):
            if key in self._followers:  # a follower before it may just have ended it
                follower(*args, **kwargs)

    def clear(self) -> None:
        """Call none of them any more."""
        self._followers.clear()
