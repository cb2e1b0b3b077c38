"""The schema files: complete, composed as they say, and the same when bundled."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jsonschema
import jsonschema_rs
import pytest
import referencing

import event_schemas
from event_schemas import BOOKKEEPING_TYPES, FAILURE_TYPES, TYPES, bundle, document, example
from gateway.domain.names import USER_ID

FOLDER = pathlib.Path(event_schemas.__file__).parent
SHARED = ("envelope", "failure")
README = (FOLDER / "README.md").read_text()


def nodes(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Walk everything in a schema that is an object, leaving examples out."""
    if isinstance(schema, dict):
        yield path, schema
        for key, value in schema.items():
            if key != "examples":
                yield from nodes(value, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from nodes(value, f"{path}/{index}")


def test_each_type_has_a_file_and_two_files_are_shared() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {*TYPES, *SHARED}
    assert len(set(TYPES)) == len(TYPES)


def test_an_unknown_name_never_becomes_a_path() -> None:
    for name in ("nothing", "../pyproject", "__init__", "", "x" * 10_000):
        for give in (document, bundle, example):
            with pytest.raises(KeyError) as unknown:
                give(name)
            assert len(str(unknown.value)) < 200


def test_what_one_caller_changes_the_next_does_not_see() -> None:
    document("agent_error")["properties"].clear()
    bundle("agent_error")["$defs"].clear()
    example("agent_error").clear()
    assert document("agent_error")["properties"]
    assert bundle("agent_error")["$defs"]
    assert example("agent_error")


@pytest.mark.parametrize("name", [*TYPES, *SHARED])
def test_a_file_is_a_valid_schema_of_its_own_name(name: str) -> None:
    schema = document(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema_rs.meta.validate(bundle(name))
    assert schema["$id"] == f"/schemas/{name}.json"
    assert schema["title"]
    assert schema["description"]
    assert len(schema["examples"]) == 1


@pytest.mark.parametrize("name", TYPES)
def test_a_type_names_itself_and_refuses_unknown_fields(name: str) -> None:
    schema = document(name)
    assert schema["properties"]["type"]["const"] == name
    assert schema["unevaluatedProperties"] is False
    assert {"$ref": "envelope.json"} in schema["allOf"]
    assert ({"$ref": "failure.json"} in schema["allOf"]) == (name in FAILURE_TYPES)


@pytest.mark.parametrize("name", [*TYPES, *SHARED])
def test_every_field_is_described(name: str) -> None:
    for path, node in nodes(document(name)):
        # The condition of an "if" tells no reader anything new.
        if "/if" in path:
            continue
        for field, schema in node.get("properties", {}).items():
            assert schema.get("description"), f"{name}{path}: {field}"


@pytest.mark.parametrize("name", [*TYPES, *SHARED])
def test_nothing_is_used_in_which_validators_differ(name: str) -> None:
    """format and multipleOf are judged differently; a mere "$" lets a newline through."""
    for path, node in nodes(document(name)):
        if path.endswith("/properties"):
            continue
        assert not {"format", "multipleOf"} & set(node), path
        if "pattern" in node:
            assert node["pattern"].startswith("^"), path
            assert node["pattern"].endswith(r"(?![\s\S])"), path
            assert node["pattern"].isascii(), path
        if "integer" in str(node.get("type")):
            assert node["minimum"] >= 0, path
            assert node["maximum"] < 2**63, path


@pytest.mark.parametrize("name", [*TYPES, *SHARED])
def test_a_bundle_refers_to_itself_only(name: str) -> None:
    schema = bundle(name)
    definitions = schema.get("$defs", {})
    for path, node in nodes(schema):
        assert "$id" not in node, path
        if "$ref" in node:
            assert node["$ref"].removeprefix("#/$defs/") in definitions, path


def test_equal_names_in_both_shared_files_cannot_meet_in_a_bundle() -> None:
    """Definitions share one space of names there."""
    envelope, failure = (set(document(name)["$defs"]) | {name} for name in SHARED)
    assert not envelope & failure


@pytest.mark.parametrize("name", TYPES)
def test_the_example_complies_with_file_and_bundle(name: str) -> None:
    event = example(name)
    assert json.loads(json.dumps(event)) == event
    jsonschema.Draft202012Validator(bundle(name)).validate(event)
    jsonschema_rs.Draft202012Validator(bundle(name)).validate(event)
    composed(name).validate(event)


@pytest.mark.parametrize("name", TYPES)
def test_the_example_shows_every_required_field(name: str) -> None:
    own = [field for field in document(name)["properties"] if field not in ("text", "replaces")]
    assert set(own) <= set(example(name))


@pytest.mark.parametrize("name", TYPES)
def test_the_reference_tells_of_every_type_and_its_own_fields(name: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| `{name}`"))
    envelope, failure = (document(shared)["properties"] for shared in SHARED)
    for field in document(name)["properties"]:
        if field not in envelope and field not in failure:
            assert f"`{field}`" in row, field


def test_no_bookkeeping_is_a_failure() -> None:
    assert not BOOKKEEPING_TYPES & FAILURE_TYPES
    for name in BOOKKEEPING_TYPES:
        assert "operators only" in document(name)["description"]


def composed(name: str) -> jsonschema.Draft202012Validator:
    """Build a validator over the files as they are, resolving references between them."""
    files = [document(file) for file in (name, *SHARED)]
    registry: referencing.Registry[Any] = referencing.Registry().with_contents(
        (file["$id"], file) for file in files
    )
    return jsonschema.Draft202012Validator(files[0], registry=registry)


def test_the_envelope_takes_user_ids_as_the_doors_do() -> None:
    envelope = event_schemas.document("envelope")
    assert envelope["properties"]["recipient_id"]["pattern"] == USER_ID
    everyone_or_one = USER_ID.replace("^(?:", "^(?:\\*|(?:", 1).replace("(?![", ")(?![", 1)
    assert envelope["properties"]["user_id"]["pattern"] == everyone_or_one
