"""Idempotency keys: each its user's own, for a day, within a number and bytes."""

from __future__ import annotations

import pytest

from gateway.execution.record import order_keys
from gateway.execution.record.order_keys import KEYS_AGE_S, KEYS_BYTES, KEYS_MAX, OrderKeys


def test_a_key_is_its_users_own() -> None:
    keys = OrderKeys()
    keys.add("ann", "k", "t1", "print", 0.0)
    assert keys.task_of("ann", "k") == ("t1", "print")
    assert keys.task_of("bob", "k") is None
    keys.add("ann", "k", "t2", "other", 1.0)
    assert keys.task_of("ann", "k") == ("t2", "other")
    assert len(keys) == 1


def test_keys_expire_the_oldest_first_and_only_those_that_are_too_old() -> None:
    keys = OrderKeys()
    keys.add("ann", "old", "t1", "", 0.0)
    keys.add("ann", "young", "t2", "", 1.0)
    keys.expire(KEYS_AGE_S + 0.5)
    assert [key for _, key, *_ in keys] == ["young"]


def pushed_out() -> int:
    """How many keys are kept after a user has pushed in a hundred; another one's is."""
    keys = OrderKeys()
    keys.add("ann", "k", "t", "", 0.0)
    for number in range(100):
        keys.add("mal", f"k{number}", f"t{number}", "", float(number))
    assert keys.task_of("ann", "k") == ("t", "")
    return len(keys)


def test_a_user_with_many_keys_pushes_out_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_keys, "KEYS_MAX", 8)
    assert pushed_out() == 8


def test_a_user_with_heavy_keys_pushes_out_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_keys, "KEYS_BYTES", 8 * 530)
    assert pushed_out() == 8


def test_as_many_of_the_longest_keys_as_may_be_weigh_what_the_bound_says() -> None:
    """By the number alone they would weigh more."""
    keys, user_id = OrderKeys(), "u" * 256
    one = len(user_id) + 1 + 128 + order_keys.BESIDE_BYTES
    assert one * KEYS_MAX > KEYS_BYTES
    for number in range(KEYS_BYTES // one + 10):
        keys.add(user_id, f"{number:0128d}", "t", "", 0.0)
    assert KEYS_BYTES // one - 1 <= len(keys) <= KEYS_BYTES // one
