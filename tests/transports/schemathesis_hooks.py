"""Loaded by Schemathesis itself: what JSON Schema cannot say of the values that we take."""

from __future__ import annotations

from typing import Any

import schemathesis


def exact(value: Any) -> bool:
    """Tell whether everybody reads this as it is written: 64-bit integers, text that is Unicode."""
    match value:
        case bool() | None | float():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case str():
            return value.encode(errors="replace").decode() == value
        case dict():
            return all(exact(name) and exact(item) for name, item in value.items())
        case list():
            return all(map(exact, value))
    return True


@schemathesis.hook
def filter_body(context: schemathesis.HookContext, body: Any) -> bool:
    """Keep bodies whose free parts, such as an input or a result, can be taken."""
    return exact(body)
