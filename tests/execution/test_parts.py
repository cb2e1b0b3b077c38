"""The parts: made once, wired in one file, and none that remembers the log is left out."""

from __future__ import annotations

from gateway.execution.parts import Parts
from tests.execution.kept import Cluster
from tests.execution.world import World

# They have a ``clear`` and remember nothing of a log: the first calls all others, one is a table.
REMEMBER_NOTHING = {"reactions", "handlers"}


async def test_every_part_that_remembers_the_log_drops_it_when_it_is_lost() -> None:
    parts = Cluster().node().engine.parts
    remember = {name for name, part in vars(parts).items() if hasattr(part, "clear")}
    dropped = {
        name for name in remember if any(vars(parts)[name] is one for one in parts.reactions._parts)
    }
    assert dropped == remember - REMEMBER_NOTHING
    # The folds go first: what follows looks at them.
    assert parts.reactions._parts[0] is parts.state


async def test_a_gateway_alone_on_its_log_is_no_member_and_has_no_others(here: World) -> None:
    parts = here.engine.parts
    assert (parts.membership, parts.others, parts.durable) == (None, None, False)
    shared = Cluster().node().engine.parts
    assert shared.membership is not None
    assert shared.others is not None


async def test_the_runner_and_the_blocks_of_a_process_are_one_holder() -> None:
    """So that one goodbye, and one loss, is about all of its tasks."""
    parts: Parts = Cluster().node().engine.parts
    assert parts.membership is not None
    holders = {parts.runner.holder, parts.blocks._holder, parts.membership._holder}
    assert len(holders) == 1
