"""Overload: what lasts, what is a moment, and when it is over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import ConfigurationError
from gateway.domain.overload import CALM_S, Load, Overload
from gateway.domain.settings import Settings

QUIET = Load(0.0, 0.0, 0.0, 0.0)


def judge(overload: Overload, *loads: tuple[Load, float]) -> list[str | None]:
    """Let it look, each look as long as is said; gives what it says."""
    told, now = [], 100.0
    for load, length_s in loads:
        told.append(overload.look(load, began=now, now=now + length_s))
        now += length_s
    return told


@pytest.mark.requirement("FLUX-W10")
@pytest.mark.parametrize(
    ("load", "looks", "measure"),
    [
        (QUIET._replace(queue=0.8), 1, "queue"),
        (QUIET._replace(memory=0.95), 1, "memory"),
        (QUIET._replace(loop_lag=0.6, cpu=0.5), 3, "loop_lag"),
        (QUIET._replace(loop_lag=0.6), 4, "loop_lag"),
        (QUIET._replace(cpu=1.0), 8, "cpu"),
    ],
)
def test_each_measure_counts_when_it_has_lasted(load: Load, looks: int, measure: str) -> None:
    told = judge(Overload(Settings()), *[(load, 0.25)] * looks)
    assert told == [None] * (looks - 1) + [measure]


@pytest.mark.parametrize("setting", ["degraded_queue", "degraded_memory"])
def test_a_share_is_at_most_the_whole(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=setting):
        Settings(**{setting: 1.1})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"degraded_release.*degraded_queue"):
        Settings(degraded_release=1.0)


def test_one_long_delay_has_lasted_unless_the_process_was_stopped() -> None:
    worked = QUIET._replace(loop_lag=2.0, cpu=0.9)
    assert judge(Overload(Settings(degraded_cpu=0)), (worked, 2.25)) == ["loop_lag"]
    stopped = QUIET._replace(loop_lag=2.0)
    assert judge(Overload(Settings()), (stopped, 2.25), (QUIET, 0.25)) == [None, None]
    assert judge(Overload(Settings()), (stopped, 2.25), (stopped, 2.25)) == [None, "loop_lag"]


def test_what_is_below_its_limit_in_between_has_not_lasted() -> None:
    late = QUIET._replace(loop_lag=0.6)
    told = judge(Overload(Settings()), (late, 0.25), (late, 0.25), (QUIET, 0.25), (late, 0.25))
    assert told == [None] * 4


def test_a_measure_that_is_off_does_not_count() -> None:
    off = Overload(Settings(degraded_queue=0, degraded_lag=0, degraded_cpu=0, degraded_memory=0))
    assert judge(off, (Load(9.0, 9.0, 9.0, 1.0), 9.0)) == [None]


def test_it_is_calm_when_all_are_well_below_their_limits_for_a_while() -> None:
    overload = Overload(Settings())
    for queue, calm in ((0.7, False), (0.55, False)):
        overload.look(QUIET._replace(queue=queue), began=0.0, now=1.0)
        assert overload.calm(1.0) is calm
    assert overload.calm(1.0 + CALM_S)
    overload.look(QUIET._replace(queue=0.6), began=4.0, now=5.0)
    assert not overload.calm(100.0)


@given(st.lists(st.floats(0, 1.5), max_size=60))
def test_it_is_never_over_and_calm_at_once(queues: list[float]) -> None:
    overload, now = Overload(Settings()), 0.0
    for queue in queues:
        over = overload.look(QUIET._replace(queue=queue), began=now, now=now + 1)
        now += 1
        assert not (over and overload.calm(now))
