"""What others publish: each type's own fields and addressees, and nothing that is the gateway's."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from event_schemas import FILLED_IN, TYPES, Validator, bundle, publication
from event_schemas.publications import BORROWED, NEEDED
from gateway.domain.events import PUBLISHABLE_BY_AGENTS
from gateway.protocol.operations import OPERATIONS
from gateway.protocol.shapes import LEASE_NEEDS
from tests.event_schemas.given import published

LEASES = OPERATIONS["event.publish"].events
UNDER_LEASE = sorted(type for type, lease in LEASES.items() if lease is not None)


def test_the_table_the_domain_and_the_schemas_name_the_same_types() -> None:
    assert LEASES.keys() == NEEDED.keys() == PUBLISHABLE_BY_AGENTS | {"notification"}
    for type in set(TYPES) - NEEDED.keys():
        with pytest.raises(KeyError):
            publication(type)


@pytest.mark.parametrize("type", NEEDED)
def test_a_publication_is_a_schema_of_its_own_and_takes_what_its_type_says(type: str) -> None:
    schema = publication(type)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "$ref" not in str(schema)
    event = published(type)
    valid = Validator(schema)
    assert valid.violations(event) == []
    least = {name: event[name] for name in event if name in schema["required"]}
    least |= {"notification": {"channel": "news"}, "partial_result": {"text": ""}}.get(type, {})
    assert valid.violations(least) == []
    assert set(bundle(type)["properties"]) - set(FILLED_IN) <= schema["properties"].keys()


@pytest.mark.parametrize("type", NEEDED)
def test_what_is_missing_unknown_or_the_gateways_is_refused_by_its_field(type: str) -> None:
    valid, event = Validator(publication(type)), published(type)
    for name in publication(type)["required"]:
        cut = {key: value for key, value in event.items() if key != name}
        assert [found.field for found in valid.violations(cut)] == [name]
    for name in (*FILLED_IN, "foreign", "term"):
        assert [found.field for found in valid.violations({**event, name: None})] == [name]
    bad: dict[str, Any] = {"user_id": "*", "type": "task_started", "message": 7}
    if type == "notification":
        bad |= dict.fromkeys(BORROWED, "x")
    if type != "notification":
        bad |= {"task_id": "t", "channel": "news", "user_id": None, "agent_name": None}
    for name, value in bad.items():
        assert [found.field for found in valid.violations({**event, name: value})] == [name]


def test_a_reported_recovery_is_of_what_was_reported() -> None:
    valid, event = Validator(publication("system_recovered")), published("system_recovered")
    for name, value in (("scope", "mode"), ("degradation_id", "d1"), ("error_id", None)):
        assert [found.field for found in valid.violations({**event, name: value})] == [name]


@pytest.mark.parametrize("type", UNDER_LEASE)
def test_a_report_on_a_task_names_its_lease_and_nobody_else(type: str) -> None:
    schema = publication(type, lease=LEASES[type])
    valid = Validator(schema)
    report = {"type": type, "task_id": "t", "agent_id": "a", "agent_secret": "s", "term": 1}
    report |= {"text": "so far"} if type == "partial_result" else {}
    assert valid.violations(report) == []
    assert set(schema["required"]) == {"type", *LEASE_NEEDS}
    for name in LEASE_NEEDS:
        cut = {key: value for key, value in report.items() if key != name}
        assert [found.field for found in valid.violations(cut)] == [name]
    for name, value in (("term", True), ("agent_secret", 7), ("foreign", 1), ("severity", "info")):
        assert [found.field for found in valid.violations({**report, name: value})] == [name]
