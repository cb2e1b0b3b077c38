"""Who follows something: called with each piece of news, in the order in which they came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

__all__ = ["Followers"]

News = ParamSpec("News")


class Followers(Generic[News]):
    """Functions that are called with the same arguments; see ``EventLog.follow``."""

    def __init__(self) -> None:
        self._followers: dict[object, Callable[News, None]] = {}

    def add(self, follower: Callable[News, None]) -> Callable[[], None]:
        """Call ``follower`` from now on; returns a function that ends it, also a second time."""
        key = object()
        self._followers[key] = follower

        def end() -> None:
            self._followers.pop(key, None)

        return end

    def tell(self, *args: News.args, **kwargs: News.kwargs) -> None:
        """Call each."""
        for key, follower in tuple(self._followers.items()):
            if key in self._followers:  # another one may have ended it just now
                follower(*args, **kwargs)

    def clear(self) -> None:
        """Call nobody any more."""
        self._followers.clear()
