"""The operations on the mode, as the table has them."""

from __future__ import annotations

from event_schemas.documents import document
from gateway.protocol.mode_operations import MODE_OPERATIONS, MODES


def test_the_modes_are_those_of_the_event() -> None:
    assert list(MODES) == document("mode_changed")["properties"]["mode"]["enum"]


def test_asking_is_for_everyone_and_setting_is_audited() -> None:
    get, put = MODE_OPERATIONS
    assert (get.method, get.path, get.scope, get.audited) == (
        "GET",
        "/api/mode",
        "events:read",
        False,
    )
    assert (put.method, put.path, put.scope, put.audited) == ("PUT", "/api/mode", "admin", True)
