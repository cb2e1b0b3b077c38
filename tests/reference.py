"""
The pages of the reference, made from what they describe.

    python -m tests.reference      writes docs/reference/*.md
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import event_schemas
from gateway.domain.settings import SETTINGS
from gateway.protocol.operations import OPERATIONS, Operation

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
MADE = "<!-- Made by `make reference`; a test compares it with the code. -->"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _kind(schema: Mapping[str, Any]) -> str:
    """Say what a value has to be, in a few words."""
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{'null' if value is None else value}`" for value in schema["enum"])
    kinds = schema.get("type", "any JSON")
    words = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    bounds = [
        f"{sign} {schema[name]:,}"
        for name, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("minItems", "items ≥"),
            ("maxItems", "items ≤"),
            ("maxLength", "characters ≤"),
        )
        if name in schema
    ]
    return " ".join([words, *([f"({', '.join(bounds)})"] if bounds else [])])


def _params(operation: Operation) -> Iterator[str]:
    required = set(operation.params.get("required", ()))
    for name, schema in operation.params["properties"].items():
        need = "yes" if name in required else "one of" if name in operation.one_of else ""
        about = _cell(schema.get("description", ""))
        yield f"| `{name}` | {need} | {_cell(_kind(schema))} | {about} |"


def operations() -> str:
    """Every operation, with its parameters and errors."""
    lines = [
        "# Operations",
        "",
        MADE,
        "",
        "Each is a JSON-RPC method over the WebSocket (`/ws`), a request over HTTP, and, where it",
        "says so, a tool over MCP (`/mcp`): with the same parameters, results and errors.",
        "Schemas of the results are in `/openapi.json`.",
        "",
    ]
    for operation in OPERATIONS.values():
        lines += [f"## {operation.name}", "", operation.summary, ""]
        scopes = " or ".join(f"`{one}`" for one in (operation.scope, operation.or_scope) if one)
        lines.append(f"`{operation.method} {operation.path}`, status {operation.status}.")
        lines.append(
            f"Scope: {scopes or 'any token'}.{' A tool of MCP.' if operation.tool else ''}"
        )
        if operation.errors:
            lines.append(f"Errors of its own: {', '.join(f'`{one}`' for one in operation.errors)}.")
        if operation.params["properties"]:
            lines += ["", "| parameter | required | is | |", "|---|---|---|---|"]
            lines += _params(operation)
        lines.append("")
    return "\n".join(lines)


def events() -> str:
    """Every type of event, with the fields of its own."""
    lines = [
        "# Events",
        "",
        MADE,
        "",
        "The fields of all events are in [the schemas' page](../../event_schemas/README.md); these",
        "are the others. Each schema is at `/schemas/<type>.json`.",
        "",
    ]
    for kind in event_schemas.TYPES:
        schema = event_schemas.document(kind)
        lines += [f"## {kind}", "", schema["description"], ""]
        fields = {name: found for name, found in schema["properties"].items() if name != "type"}
        if fields:
            lines += ["| field | |", "|---|---|"]
            lines += [
                f"| `{name}` | {_cell(found.get('description', ''))} |"
                for name, found in fields.items()
            ]
            lines.append("")
    return "\n".join(lines)


def settings() -> str:
    """Every setting, with its flag, its variable and its default."""
    lines = [
        "# Settings",
        "",
        MADE,
        "",
        "Of `gateway serve`: a flag, or an environment variable; flags win. In Python",
        "`Gateway(Settings(queue_limit=100))`. Times are in seconds, sizes in bytes.",
        "",
        "| flag | variable | default | is |",
        "|---|---|---|---|",
    ]
    for name, setting in SETTINGS.items():
        flag, default = f"--{name.replace('_', '-')}", setting.default
        shown = ",".join(default) if isinstance(default, tuple) else str(default)
        known = f"`{shown}`" if shown else ""
        lines.append(
            f"| `{flag}` | `GATEWAY_{name.upper()}` | {known} | {_cell(setting.metadata['help'])} |"
        )
    return "\n".join([*lines, ""])


PAGES: dict[str, Callable[[], str]] = {
    "operations.md": operations,
    "events.md": events,
    "settings.md": settings,
}


if __name__ == "__main__":
    for page, make in PAGES.items():
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / page).write_text(make())
        sys.stdout.write(f"docs/reference/{page}\n")
