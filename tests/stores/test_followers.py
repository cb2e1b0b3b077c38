"""Functions that follow something: the order of the calls, and joining and ending meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from gateway.stores.followers import Followers


def test_followers_are_called_in_the_order_in_which_they_joined() -> None:
    followers: Followers[int] = Followers()
    called: list[tuple[str, int]] = []
    for name in "abc":
        followers.add(lambda number, name=name: called.append((name, number)))  # type: ignore[misc]
    followers.tell(1)
    followers.tell(2)
    assert called == [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("c", 2)]


def test_without_followers_telling_does_nothing() -> None:
    Followers[[]]().tell()


def test_a_function_that_follows_twice_is_called_twice_and_ends_once_each() -> None:
    followers: Followers[int] = Followers()
    called: list[int] = []
    end = followers.add(called.append)
    followers.add(called.append)
    followers.tell(1)
    end()
    end()
    followers.tell(2)
    assert called == [1, 1, 2]


def test_a_follower_that_an_earlier_one_ends_is_not_called_any_more() -> None:
    followers: Followers[[]] = Followers()
    called: list[str] = []
    ends: list[Callable[[], None]] = []
    followers.add(lambda: ends[0]())
    ends.append(followers.add(lambda: called.append("ended")))
    followers.tell()
    assert called == []


def test_a_follower_that_joins_meanwhile_is_called_from_the_next_time_on() -> None:
    followers: Followers[int] = Followers()
    called: list[int] = []
    followers.add(lambda number: None if number > 1 else ends.append(followers.add(called.append)))
    ends: list[Callable[[], None]] = []
    followers.tell(1)
    followers.tell(2)
    assert called == [2]


def test_after_clearing_no_follower_is_called_and_ending_is_fine() -> None:
    followers: Followers[int] = Followers()
    called: list[int] = []
    end = followers.add(called.append)
    followers.clear()
    followers.tell(1)
    end()
    assert called == []
