"""What the package offers by its name alone."""

from __future__ import annotations

import gateway
from gateway import Settings
from gateway.app.gateway import Gateway


def test_all_that_is_offered_is_there_and_settings_are_those_of_a_gateway() -> None:
    assert {name for name in gateway.__all__ if getattr(gateway, name) is None} == set()
    assert Gateway(Settings(queue_limit=7)).settings.queue_limit == 7
