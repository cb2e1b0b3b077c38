"""Events that a worker publishes about its own tasks, on the ways of its operations."""

from __future__ import annotations

import pytest

from tests.execution.hands import hand
from tests.execution.world import World


@pytest.mark.parametrize(
    ("reported", "resources", "leftovers", "told"),
    [
        ("failed", ["process"], ["temp_files: note"], "failed"),
        ("partial", ["process"], [], "partial"),
        (None, ["process"], [], "success"),
        (None, ["process"], ["temp_files: note"], "partial"),
        # Nobody calls it clean while something is left.
        ("success", ["process"], ["temp_files: note"], "partial"),
    ],
)
async def test_a_cleanup_is_told_as_the_worker_found_it(
    here: World, reported: str | None, resources: list[str], leftovers: list[str], told: str
) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    status = {} if reported is None else {"cleanup_status": reported}
    await worker.tell(
        "event.publish",
        type="resource_cleanup",
        resources_cleaned=resources,
        leftovers=leftovers,
        memory_freed=1,
        **status,
    )
    (cleanup,) = here.said("resource_cleanup")
    assert cleanup["cleanup_status"] == told
    assert (cleanup["resources_cleaned"], cleanup["leftovers"]) == (resources, leftovers)
    await worker.tell("task.complete", result=1)
