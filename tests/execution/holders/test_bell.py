"""The bell: each ring reaches every hearer."""

from __future__ import annotations

from gateway.execution.holders.bell import Bell


def test_a_ring_reaches_every_hearer_in_the_order_in_which_they_came() -> None:
    bell = Bell()
    heard: list[str] = []
    bell.ring()
    bell.hear(lambda: heard.append("first"))
    bell.hear(lambda: heard.append("second"))
    assert heard == []
    bell.ring()
    bell.ring()
    assert heard == ["first", "second"] * 2


async def test_a_timer_rings_it_too() -> None:
    bell = Bell()
    heard: list[str] = []
    bell.hear(lambda: heard.append("it"))
    await bell.ring_later()
    assert heard == ["it"]
