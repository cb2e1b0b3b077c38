"""The drain rate: when there will be room."""

from __future__ import annotations

from gateway.domain.drain import WINDOW_S, DrainRate


def test_nothing_is_known_until_a_task_has_begun_lately() -> None:
    drain = DrainRate()
    assert drain.wait_s(5, 100.0) is None
    drain.began(100.0)
    assert drain.wait_s(5, 100.5) == 5.0
    assert drain.wait_s(5, 100.0 + WINDOW_S + 1) is None


def test_the_wait_is_what_so_many_took_lately() -> None:
    drain = DrainRate()
    for tenth in range(100):
        drain.began(100.0 + tenth / 10)
    assert 0.9 <= (drain.wait_s(10, 110.0) or 0) <= 1.2
    assert len(drain._counts) <= WINDOW_S


def test_a_time_that_goes_back_counts_where_it_is_now() -> None:
    drain = DrainRate()
    drain.began(105.0)
    drain.began(101.0)
    assert drain.wait_s(2, 105.5) == 1.0
