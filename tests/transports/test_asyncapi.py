"""The AsyncAPI document names every message that travels over the WebSocket."""

from __future__ import annotations

import event_schemas
from gateway.protocol.codes import CloseCode
from gateway.protocol.operations import OPERATIONS, SESSION_PARAMS
from gateway.transports.asyncapi import asyncapi_document

DOCUMENT = asyncapi_document("/agents/")
NOTICES = {"heartbeat", "gap", "drain"}


def names(side: str) -> set[str]:
    """The messages that one side sends, by the ends of their references."""
    return {
        message["$ref"].removeprefix("#/channels/ws/messages/")
        for message in DOCUMENT["operations"][side]["messages"]
    }


def test_the_gateway_sends_events_and_notices_and_takes_requests() -> None:
    assert names("sent") == NOTICES | set(event_schemas.TYPES)
    assert names("received") == OPERATIONS.keys() | SESSION_PARAMS.keys()


def test_every_message_of_the_channel_is_defined() -> None:
    messages = DOCUMENT["components"]["messages"]
    assert messages.keys() == names("sent") | names("received")
    for name, message in DOCUMENT["channels"]["ws"]["messages"].items():
        assert message == {"$ref": f"#/components/messages/{name}"}
        assert messages[name]["name"] == name


def test_addresses_are_below_the_path_where_the_gateway_is_mounted() -> None:
    assert DOCUMENT["channels"]["ws"]["address"] == "/agents/ws"
    payload = DOCUMENT["components"]["messages"]["agent_error"]["payload"]
    assert payload == {"$ref": "/agents/schemas/agent_error.json"}
    assert asyncapi_document("/")["channels"]["ws"]["address"] == "/ws"


def test_a_request_has_the_parameters_of_its_operation() -> None:
    messages = DOCUMENT["components"]["messages"]
    methods = {name: operation.params for name, operation in OPERATIONS.items()}
    for name, params in {**methods, **SESSION_PARAMS}.items():
        payload = messages[name]["payload"]
        assert payload["properties"]["method"] == {"const": name}
        assert payload["properties"]["params"] == params
        assert set(payload["required"]) == {"jsonrpc", "id", "method"}


def test_every_close_code_is_named() -> None:
    for code in CloseCode:
        assert f"{code.value} {code.name}" in DOCUMENT["info"]["description"]
