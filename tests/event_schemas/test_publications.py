"""What others publish: each type's own fields and addressees, and nothing that is the gateway's."""

from __future__ import annotations

import itertools
from typing import Any

import jsonschema
import pytest

from event_schemas import FILLED_IN, TYPES, Validator, bundle, example, publication, validator
from event_schemas.publications import BORROWED, NEEDED
from gateway.domain.events import PUBLISHABLE_BY_AGENTS
from gateway.protocol.operations import OPERATIONS
from gateway.protocol.shapes import LEASE_NEEDS
from tests.event_schemas.given import published

LEASES = OPERATIONS["event.publish"].events
# What the gateway adds to a notification.
BESIDE = (
    *("schema_version", "event_id", "severity", "message", "sender"),
    *("agent_name", "task_id", "attempt"),
)
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
    # What operators are to see of a failure, its reporter may say.
    gateways = {*FILLED_IN} - ({"detail"} if type == "agent_error" else set())
    for name in (*gateways, "foreign", "term"):
        assert [found.field for found in valid.violations({**event, name: None})] == [name]
    bad: dict[str, Any] = {"user_id": "*", "type": "task_started", "message": 7}
    if type == "notification":
        bad |= dict.fromkeys(BORROWED, "x")
    if type != "notification":
        bad |= {"task_id": "t", "channel": "news", "user_id": None, "agent_name": None}
    for name, value in bad.items():
        assert [found.field for found in valid.violations({**event, name: value})] == [name]


# Values about each bound of a field: its type, its characters, its length.
VALUES: tuple[Any, ...] = (
    *("", "a", "*", "a b", "ü", "a\n", "a|b", " a", "news", "x" * 128, "x" * 129, "x" * 257),
    *(None, True, 0, 2**53, -1.5, [], ["a"], {}, {"a": None}),
    *("019abb2f-6c8e-7d41-9a07-3f5f0c1e2b7a", f"00-{'a' * 32}-{'b' * 16}-01"),
)


def test_a_notification_that_complies_makes_an_event_that_complies() -> None:
    """So the gateway checks it once, and not again with what it fills in."""
    # A rule that only the event's schema had would not be found in the publication.
    rules = {"properties", "required", "allOf", "anyOf", "unevaluatedProperties"}
    whole = bundle("notification")
    about = {"$schema", "$id", "$defs", "title", "description", "examples", "type"}
    assert whole.keys() - about == rules
    assert whole["allOf"] == [{"$ref": "#/$defs/envelope"}]
    schema = publication("notification")
    valid, event_valid = Validator(schema), validator("notification", stamped=False)
    ours = {name: example("notification")[name] for name in BESIDE}
    accepted = set()
    for to in ({"recipient_id": "a"}, {"channel": "news"}):
        least = {"type": "notification", "subject": "a", "payload": None} | to
        for first, second in itertools.combinations(schema["properties"], 2):
            for values in itertools.product(VALUES, repeat=2):
                given = {**least, first: values[0], second: values[1]}
                if valid.is_valid(given):
                    accepted |= {first, second}
                    assert event_valid.is_valid({**ours, "user_id": None, **given}), given
    assert accepted == schema["properties"].keys() - {"type"}


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
