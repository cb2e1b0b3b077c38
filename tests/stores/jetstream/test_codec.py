"""
What a message looks like: subjects, payloads, offsets.

All of it is stored, so a message of today has to be read by every later version; the ones written
out here are such messages.
"""

from __future__ import annotations

from typing import Any

import pytest

from gateway.ports import Draft, Entry
from gateway.stores.jetstream.codec import (
    SLOTS,
    Foreign,
    Parcel,
    about,
    last_offset_of,
    name_to_token,
    pack,
    sequence_of,
    unpack,
    user_filters,
    witness,
)
from tests.stores.drafts import draft

ROOM = 10_000
HEAD = b'gateway/1\n{"type":"t","topics":["user:a"],"operators_only":false}\n'


def packed(*drafts: Draft, room: int = ROOM) -> list[Parcel]:
    return pack("S", drafts, payload_bytes_max=room)


def unpacked(parcel: Parcel, *, sequence: int = 1) -> list[Entry]:
    return unpack(parcel.subject, parcel.payload, epoch="e", sequence=sequence, at=5.0)


# --- offsets ------------------------------------------------------------------------------------


def test_a_message_has_as_many_offsets_as_slots() -> None:
    assert last_offset_of(0) == 0
    assert (last_offset_of(1), last_offset_of(2)) == (SLOTS, 2 * SLOTS)


@pytest.mark.parametrize(
    ("offset", "sequence"),
    [(0, 0), (1, 1), (SLOTS - 1, 1), (SLOTS, 1), (SLOTS + 1, 2), (2 * SLOTS, 2)],
)
def test_an_offset_names_its_message(offset: int, sequence: int) -> None:
    assert sequence_of(offset) == sequence


@pytest.mark.parametrize("count", [1, 2, SLOTS])
def test_the_last_entry_of_a_message_has_its_last_offset(count: int) -> None:
    """So a reader that has seen it has missed nothing before the next message."""
    (parcel,) = packed(*[draft()] * count)
    offsets = [entry.offset for entry in unpacked(parcel, sequence=3)]
    assert offsets == [*range(3 * SLOTS - count + 1, 3 * SLOTS + 1)]


# --- subjects -----------------------------------------------------------------------------------


def test_a_long_user_id_stands_in_the_subject_by_its_digest() -> None:
    """A subject has a bound, and nothing reads the user back from it; filters find the same."""
    long_id = "😀" * 256
    draft = Draft("task/1", "notification", (f"user:{long_id}",), operators_only=False, body=b"{}")
    (parcel,) = pack("S", [draft], payload_bytes_max=10_000)
    token = parcel.subject.rpartition(".")[2]
    assert token.startswith("=sha256-")
    assert len(parcel.subject) < 100
    assert f"S.*.*.{token}" in (user_filters("S", [f"user:{long_id}"]) or [])


@pytest.mark.parametrize(
    ("subject", "topics", "expected"),
    [
        ("task/1", ["user:ann", "task:1"], "S.task.1.ann"),
        ("task/1", ["user:ann@x.org"], "S.task.1.ann@x%2Eorg"),
        ("task/1", ["user:auth0|5f 7c"], "S.task.1.auth0%7C5f%207c"),
        ("task/1", ["user:"], "S.task.1.=empty"),
        ("task/1", ["system"], "S.task.1.=everybody"),
        ("task/1", ["user:a", "user:b"], "S.task.1.=several"),
        ("task/1", ["user:a", "system"], "S.task.1.=several"),
        ("task/1", [], "S.task.1.=nobody"),
        ("task/1", ["agent:x"], "S.task.1.=nobody"),
        ("breaker/a.b *>", [], "S.breaker.a%2Eb%20%2A%3E.=nobody"),
        ("lock/a/b", [], "S.lock.a%2Fb.=nobody"),
        ("kind/", [], "S.kind.=empty.=nobody"),
        ("alone", [], "S.alone.=none.=nobody"),
        ("=none", ["user:=nobody"], "S.%3Dnone.=none.%3Dnobody"),
    ],
)
def test_the_subject_of_a_message_says_what_it_is_about_and_whose_it_is(
    subject: str, topics: list[str], expected: str
) -> None:
    (parcel,) = packed(draft(subject, *topics))
    assert (parcel.subject, parcel.about) == (expected, subject)
    assert about("S", subject) == expected.rpartition(".")[0] + ".*"
    assert unpacked(parcel)[0].subject == subject


def test_a_message_with_entries_of_two_users_is_of_several() -> None:
    (parcel,) = packed(draft("task/1", "user:a"), draft("task/1", "user:b"))
    assert parcel.subject == "S.task.1.=several"


@pytest.mark.parametrize(
    ("topics", "filters"),
    [
        (["user:a"], ["S.*.*.=several", "S.*.*.a"]),
        (["user:a", "system"], ["S.*.*.=everybody", "S.*.*.=several", "S.*.*.a"]),
        ([], ["S.*.*.=several"]),
        (["user:a", "task:1"], None),
        (["*"], None),
    ],
)
def test_filters_name_the_users_or_there_are_none(
    topics: list[str], filters: list[str] | None
) -> None:
    assert user_filters("S", topics) == filters


@pytest.mark.parametrize("name", ["a.b", "*", ">", "a b", "ä/ö", "%2E", "\n"])
def test_a_token_has_nothing_that_a_subject_could_mistake(name: str) -> None:
    assert not set(name_to_token(name)) & set(".*> \n/")


# --- what travels together ----------------------------------------------------------------------


def shape(parcels: list[Parcel]) -> list[tuple[str, int]]:
    return [(parcel.about, len(unpacked(parcel))) for parcel in parcels]


def test_neighbours_about_one_subject_share_a_message_and_the_order_stays() -> None:
    parcels = packed(draft("a/1"), draft("a/1"), draft("b/1"), draft("a/1"))
    assert shape(parcels) == [("a/1", 2), ("b/1", 1), ("a/1", 1)]


@pytest.mark.parametrize(
    ("count", "expected"), [(SLOTS, [SLOTS]), (SLOTS + 1, [SLOTS, 1]), (2 * SLOTS, [SLOTS] * 2)]
)
def test_a_message_has_no_more_entries_than_slots(count: int, expected: list[int]) -> None:
    assert [number for _, number in shape(packed(*[draft()] * count))] == expected


def test_a_message_that_would_be_too_large_is_cut() -> None:
    drafts = [draft(size=900, detail=b"{}", state=b"{}") for _ in range(5)]
    parcels = packed(*drafts, room=3000)
    assert shape(parcels) == [("task/1", 2), ("task/1", 2), ("task/1", 1)]
    assert all(len(parcel.payload) <= 3000 for parcel in parcels)


def test_a_draft_that_is_too_large_alone_still_gets_its_message() -> None:
    """The writer refuses it; to cut it would be to lose it."""
    (parcel,) = packed(draft(size=900), room=100)
    assert len(unpacked(parcel)) == 1


# --- payloads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"detail": b'{"d":1}'}, {"state": b"{}"}])
def test_what_was_packed_is_unpacked(options: dict[str, Any]) -> None:
    given = draft("task/1", "user:a", "system", **options)._replace(operators_only=True)
    (entry,) = unpacked(packed(given)[0])
    assert (entry.subject, entry.type, entry.topics) == (given.subject, given.type, given.topics)
    assert entry.operators_only
    assert entry.state == given.state
    assert given.body[1:] in entry.public
    assert (given.detail or b"") in entry.operator
    assert entry.at == 5.0


def test_a_message_as_it_is_stored() -> None:
    (entry,) = unpack(
        "S.task.1.a", HEAD + b'{"n":1}\n{"d":1}\n{"s":1}', epoch="e", sequence=2, at=0.0
    )
    stamps = b'{"epoch":"e","offset":32,"timestamp":"1970-01-01T00:00:00.000Z","n":1'
    assert entry.public == stamps + b"}"
    assert entry.operator == stamps + b',"detail":{"d":1}}'
    assert (entry.subject, entry.type, entry.topics) == ("task/1", "t", ("user:a",))
    assert (entry.operators_only, entry.state) == (False, b'{"s":1}')


def test_a_message_without_entries_carries_nothing() -> None:
    parcel = witness("S")
    assert (parcel.about, unpacked(parcel)) == ("", [])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b"gateway/2\n",
        b"gateway/1\n1\n2",
        HEAD + b"1\n\n",
        HEAD.replace(b'"t"', b'"t') + b'{"n":1}\n\n',
        HEAD.replace(b"topics", b"x") + b'{"n":1}\n\n',
        HEAD.replace(b'["user:a"]', b"1") + b'{"n":1}\n\n',
    ],
)
def test_a_payload_that_no_gateway_wrote_is_foreign(payload: bytes) -> None:
    with pytest.raises(Foreign) as refused:
        unpack("S.task.1.a", payload, epoch="e", sequence=1, at=0.0)
    assert refused.value.about == "task/1"


@pytest.mark.parametrize("count", [SLOTS, SLOTS + 1])
def test_a_message_with_more_entries_than_slots_is_foreign(count: int) -> None:
    payload = b"gateway/1" + (b"\n" + HEAD.split(b"\n")[1] + b'\n{"n":1}\n\n') * count
    if count == SLOTS:
        assert len(unpack("S.task.1.a", payload, epoch="e", sequence=1, at=0.0)) == SLOTS
    else:
        with pytest.raises(Foreign):
            unpack("S.task.1.a", payload, epoch="e", sequence=1, at=0.0)


@pytest.mark.parametrize("subject", ["S.task", "S.task.1", "S.task.1.a.b"])
def test_a_subject_that_no_gateway_uses_is_foreign_and_about_nothing(subject: str) -> None:
    with pytest.raises(Foreign) as refused:
        unpack(subject, HEAD + b'{"n":1}\n\n', epoch="e", sequence=1, at=0.0)
    assert refused.value.about == ""
