"""What holders may ask about locks: every call names its holder, and its term once it has one."""

from __future__ import annotations

from typing import Any

import pytest

from event_schemas import Validator
from gateway.protocol.lock_operations import LOCK_OPERATIONS

BY_NAME = {operation.name: operation for operation in LOCK_OPERATIONS}
HELD = {"lock_id": "l1", "holder": "w1", "term": 1}


def taken(name: str, given: dict[str, Any]) -> bool:
    return Validator(dict(BY_NAME[name].params)).is_valid(given)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("lock.acquire", {"resource_key": "r", "holder": "w1"}),
        ("lock.acquire", {"resource_key": "x" * 128, "holder": "w1", "ttl": 0.1}),
        ("lock.renew", {**HELD, "ttl": 3600}),
        ("lock.release", {**HELD, "term": 2**63 - 1}),
    ],
)
def test_a_request_within_its_bounds_is_taken(name: str, given: dict[str, Any]) -> None:
    assert taken(name, given)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("lock.acquire", {"resource_key": "r"}),
        ("lock.acquire", {"resource_key": "a b", "holder": "w1"}),
        ("lock.acquire", {"resource_key": "r", "holder": "w1", "ttl": 0.09}),
        ("lock.acquire", {"resource_key": "r", "holder": "w1", "ttl": 3601}),
        ("lock.acquire", {"resource_key": "r", "holder": "w1", "term": 1}),
        ("lock.renew", {**HELD, "term": 0}),
        ("lock.release", {**HELD, "term": 2**63}),
        ("lock.release", {**HELD, "ttl": 1}),
    ],
)
def test_a_request_beyond_its_bounds_is_refused(name: str, given: dict[str, Any]) -> None:
    assert not taken(name, given)


@pytest.mark.parametrize("name", ["lock.renew", "lock.release"])
@pytest.mark.parametrize("missing", sorted(HELD))
def test_a_holder_names_its_lock_itself_and_its_term(name: str, missing: str) -> None:
    """A term that is not named could be an older one."""
    assert taken(name, HELD)
    assert not taken(name, {field: value for field, value in HELD.items() if field != missing})
