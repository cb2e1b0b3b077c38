"""Operations on the mode: what the gateway takes on now."""

from __future__ import annotations

from gateway.protocol.shapes import POSITION, Operation, Schema, params

__all__ = ["MODES", "MODE_OPERATIONS"]

MODES = ("normal", "degraded", "read_only", "draining")
# A longer note of an operator is refused.
NOTE_CHARS_MAX = 200

MODE: Schema = {
    "title": "mode",
    "type": "object",
    "properties": {
        "mode": {"enum": list(MODES)},
        "reason": {"description": "start, overload, or operator", "type": "string"},
        "since": {
            "description": "when it began; null: with the log",
            "type": ["string", "null"],
        },
        "degradation_id": {
            "description": "of the degradation that it is; null: the mode is normal",
            "type": ["string", "null"],
        },
        "note": {
            "description": "why, in the words of the operator who set it; absent: none were given, "
            "or you are no operator",
            "type": "string",
        },
    },
    "required": ["mode", "reason", "since", "degradation_id"],
}

MODE_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "mode.get",
        "GET",
        "/api/mode",
        "events:read",
        "Tell the mode: which tasks are taken now.",
        params((), min_position=POSITION),
        MODE,
    ),
    Operation(
        "mode.set",
        "PUT",
        "/api/mode",
        "admin",
        "Set the mode; an operator's mode stays until an operator sets another.",
        params(
            ("mode",),
            mode={
                "description": "degraded takes no tasks of priority 6 to 10; read_only and "
                "draining take no new tasks; what was accepted goes on",
                "enum": list(MODES),
            },
            note={
                "description": "why, for other operators; a mode that stays keeps the one it has",
                "type": "string",
                "minLength": 1,
                "maxLength": NOTE_CHARS_MAX,
            },
        ),
        MODE,
        audited=True,
    ),
)
