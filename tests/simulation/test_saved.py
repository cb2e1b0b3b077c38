"""What the folds know can be written down at any moment, and folding goes on from it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import orjson
import pytest

from gateway.domain.settings import Settings
from gateway.execution.record.snapshot import encode, restore
from gateway.execution.record.state import State
from gateway.ports import Entry
from tests.execution.world import VirtualLoop, world
from tests.simulation.test_random_runs import live
from tests.soak import SOAK


def folded(entries: Sequence[Entry], state: State) -> State:
    for entry in entries:
        state.apply(entry, orjson.loads(entry.public))
    return state


@pytest.mark.parametrize("seed", range(60 if SOAK else 2))
def test_folding_goes_on_from_what_was_saved_as_if_nothing_had_been(seed: int) -> None:
    chance = random.Random(f"saved {seed}")

    async def run() -> None:
        # Small bounds, so that what is preserved is evicted, too.
        async with world(seed=seed, partial_bytes_user=4096, partial_bytes_task=2048) as here:
            await live(here, chance)
        settings = here.engine.parts.settings
        whole = folded(here.entries, State(settings))
        assert whole.tasks
        for _ in range(8):
            cut = chance.randrange(len(here.entries) + 1)
            earlier = encode(folded(here.entries[:cut], State(settings)))
            later = State(settings)
            restore(later, earlier)
            assert encode(later) == earlier
            folded(here.entries[cut:], later)
            assert encode(later) == encode(whole)
            assert (later.running, later.queue_depth) == (whole.running, whole.queue_depth)
            assert later._bytes_by_user == whole._bytes_by_user

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"mode":1}', b'{"mode":"normal","tasks":[{"task_id":"x"}]}', b"\xff"]
)
def test_a_snapshot_of_another_format_is_refused_and_nothing_is_known(body: bytes) -> None:
    state = State(Settings())
    with pytest.raises(ValueError, match=r"."):
        restore(state, body)
    assert not state.tasks
