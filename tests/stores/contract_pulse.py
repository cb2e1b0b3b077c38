"""What every pulse has to do: one suite, run over each implementation."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from gateway.ports import Pulse

__all__ = ["PulseContract"]


class PulseContract:
    """Subclass it and say how to open a pulse."""

    def open_pulse(self) -> AbstractAsyncContextManager[Pulse]:
        """Open the pulse of one node."""
        raise NotImplementedError

    async def test_a_hearer_hears_each_signal_once_those_of_its_own_node_too(self) -> None:
        async with self.open_pulse() as pulse:
            heard: list[tuple[str, bytes]] = []
            came = asyncio.Event()

            def hear(subject: str, body: bytes) -> None:
                heard.append((subject, body))
                if subject == "last":
                    came.set()

            end = pulse.follow(hear)
            names = ["a", "agent/1", "a.b", "*", ">", "a b", "ä", "%2E"]
            for name in [*names, "last"]:
                await pulse.publish(name, name.encode())
            async with asyncio.timeout(10):
                await came.wait()
            assert heard == [(name, name.encode()) for name in [*names, "last"]]
            end()
            end()

    async def test_a_hearer_that_has_ended_hears_no_more(self) -> None:
        async with self.open_pulse() as pulse:
            heard: list[bytes] = []
            came = asyncio.Event()
            end = pulse.follow(lambda subject, body: heard.append(body))
            pulse.follow(lambda subject, body: came.set())
            end()
            await pulse.publish("x", b"x")
            async with asyncio.timeout(10):
                await came.wait()
            assert heard == []
