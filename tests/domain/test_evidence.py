"""What an exception of an unknown kind tells, and that reading it does no harm."""

from __future__ import annotations

import itertools
import json
import types
from typing import Any

import pytest

from gateway.domain.evidence import (
    CHAIN_DEPTH_MAX,
    LEAVES_MAX,
    Evidence,
    attribute,
    called,
    chain_of,
    evidence_of,
    headers_of,
    leaves_of,
    names_of,
    status_of,
    text_of,
    url_of,
)


def error(**attributes: Any) -> Exception:
    made = Exception("not evidence")
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def response(**attributes: Any) -> Any:
    return types.SimpleNamespace(**attributes)


# --- attributes and names --------------------------------------------------------------------


class Unreadable(Exception):
    @property
    def code(self) -> int:
        raise KeyboardInterrupt

    @property
    def body(self) -> str:
        raise RuntimeError


def test_an_attribute_that_is_missing_or_cannot_be_read_is_none() -> None:
    assert attribute(error(code=7), "code") == 7
    assert attribute(error(), "code") is None
    assert attribute(Unreadable(), "code") is None
    assert attribute(None, "code") is None


def test_a_method_that_is_missing_or_fails_gives_nothing() -> None:
    assert called(error(code=lambda: 7), "code") == 7
    assert called(error(code=7), "code") is None
    assert called(error(code=lambda: 1 / 0), "code") is None


def test_a_text_is_lower_case_and_cut_and_may_be_missing() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    assert text_of(ValueError("A" * 3_000)) == "a" * 2_000
    assert text_of(Silent()) == ""


def test_an_address_that_is_none_is_not_known() -> None:
    assert url_of(error()) is None
    assert url_of(error(request=response(url="http://["))) is None
    assert url_of(error(request=response(url="https://A.example/B?c=d"))) == ("a.example", "/b")


@pytest.mark.parametrize(
    "body",
    [
        [{"error": {"message": "Inner", "code": "C"}}],
        {"error": {"message": json.dumps({"error": {"message": "Inner", "code": "C"}})}},
        {"error": {"metadata": {"raw": json.dumps({"message": "Inner", "code": "C"})}}},
        {"message": json.dumps({"error": {"message": "Inner", "code": "C"}})},
    ],
)
def test_a_body_that_another_one_passes_on_is_read(body: object) -> None:
    found = evidence_of(error(body=body))
    assert (found.message, found.words[0]) == ("inner", "c")


def test_what_stands_among_the_details_is_read_to_a_bound() -> None:
    details = [{"reason": f"R{number}"} for number in range(1_000)]
    found = evidence_of(error(body={"error": {"message": "m", "details": details}}))
    assert "r0" in found.words
    assert len(found.parts) == 32


def test_an_exception_that_cannot_be_read_has_no_evidence() -> None:
    assert evidence_of(Unreadable()) == Evidence(None, (), "", {}, None)


def test_names_go_from_the_most_exact_class_to_the_root() -> None:
    vendor = type("Refused", (ConnectionError,), {"__module__": "vendor.errors.http"})
    assert names_of(vendor())[:3] == [
        ("vendor", "Refused"),
        ("", "ConnectionError"),
        ("", "OSError"),
    ]
    nameless = type("Odd", (Exception,), {"__module__": 7})
    assert names_of(nameless())[0] == ("", "Odd")


# --- chains and groups -----------------------------------------------------------------------


def test_a_chain_goes_by_cause_then_by_context() -> None:
    outer, cause, context = ValueError(), KeyError(), OSError()
    outer.__cause__, outer.__context__ = cause, context
    assert list(chain_of(outer)) == [outer, cause]
    outer.__cause__ = None
    outer.__suppress_context__ = False
    assert list(chain_of(outer)) == [outer, context]


def test_a_chain_ends_where_its_raiser_ended_it() -> None:
    outer = ValueError()
    outer.__context__ = OSError()
    outer.__suppress_context__ = True  # as `raise … from None` does
    assert list(chain_of(outer)) == [outer]


def test_a_circle_is_walked_once() -> None:
    one, two = ValueError(), KeyError()
    one.__cause__, two.__cause__ = two, one
    assert list(chain_of(one)) == [one, two]


@pytest.mark.parametrize("depth", [CHAIN_DEPTH_MAX - 1, CHAIN_DEPTH_MAX, CHAIN_DEPTH_MAX + 1])
def test_a_chain_is_walked_to_its_bound(depth: int) -> None:
    errors = [ValueError(number) for number in range(depth)]
    for outer, cause in itertools.pairwise(errors):
        outer.__cause__ = cause
    assert list(chain_of(errors[0])) == errors[:CHAIN_DEPTH_MAX]


def test_the_leaves_of_inner_groups_count_and_none_counts_twice() -> None:
    one, two, three = ValueError(), KeyError(), OSError()
    inner = ExceptionGroup("inner", [three, one])
    assert leaves_of(ExceptionGroup("outer", [one, inner, two])) == [one, two, three]
    assert leaves_of(one) == [one]


def test_leaves_are_listed_to_their_bound() -> None:
    members = [ValueError() for _ in range(LEAVES_MAX + 1)]
    assert leaves_of(ExceptionGroup("many", members)) == members[:LEAVES_MAX]
    assert leaves_of(ExceptionGroup("many", members), count_max=2) == members[:2]


class OddGroup(ExceptionGroup[Exception]):
    members: object = None

    @property
    def exceptions(self) -> Any:
        return self.members


@pytest.mark.parametrize(
    ("members", "count"), [(None, 0), ("abc", 0), ([], 0), ([1, "x", ValueError()], 1)]
)
def test_members_that_are_no_exceptions_are_no_leaves(members: object, count: int) -> None:
    group = OddGroup("odd", [ValueError()])
    group.members = members
    assert len(leaves_of(group)) == count


def test_groups_inside_groups_without_end_come_to_an_end() -> None:
    group: ExceptionGroup[Exception] = ExceptionGroup("x", [ValueError()])
    for _ in range(5 * LEAVES_MAX):
        group = ExceptionGroup("x", [group])
    assert leaves_of(group) == []


# --- the status ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failed",
    [
        error(status_code=429),
        error(http_status=429),
        error(response=response(status_code=429)),
        error(response={"ResponseMetadata": {"HTTPStatusCode": 429}}),
        error(status=429),
        error(code=429),
        error(status_code="429", status=429),
        error(status_code=7, code=429),
    ],
)
def test_a_status_is_found_where_libraries_put_it(failed: Exception) -> None:
    assert status_of(failed) == 429


@pytest.mark.parametrize(
    ("value", "status"),
    [(99, None), (100, 100), (599, 599), (600, None), (True, None), (429.0, None), ("429", None)],
)
def test_only_an_integer_from_100_to_599_is_a_status(value: object, status: int | None) -> None:
    assert status_of(error(status_code=value)) == status


# --- headers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failed",
    [
        error(response=response(headers={"Retry-After": 7})),
        error(headers={"Retry-After": "7"}),
        error(response={"ResponseMetadata": {"HTTPHeaders": {"retry-after": "7"}}}),
    ],
)
def test_headers_are_found_where_libraries_put_them(failed: Exception) -> None:
    assert headers_of(failed) == {"retry-after": "7"}


class Raising:
    def items(self) -> Any:
        raise OSError


def test_headers_that_cannot_be_read_make_way_for_the_next_place() -> None:
    failed = error(response=response(headers=Raising()), headers={"A": "b"})
    assert headers_of(failed) == {"a": "b"}
    assert headers_of(error(headers=[("A", "b")])) == {}


def test_headers_are_bounded_in_number_and_in_length() -> None:
    many = {f"x-{number}": "v" * 1_000 for number in range(1_000)}
    headers = headers_of(error(headers=many))
    assert len(headers) == 200
    assert max(map(len, headers.values())) == 256


# --- words and sentences ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "Overloaded", "message": "Too Busy"}},
        json.dumps({"error": {"code": "Overloaded", "message": "Too Busy"}}),
        b'{"Error": {"Code": "Overloaded", "Message": "Too Busy"}}',
        {"error": "Too Busy", "type": "Overloaded"},
        {"detail": {"innererror": {"code": "Overloaded", "message": "Too Busy"}}},
        {"code": "Overloaded", "message": "Too Busy"},
    ],
)
@pytest.mark.parametrize("place", ["body", "details", "content"])
def test_a_body_names_the_kind_of_error_and_has_a_sentence(place: str, body: Any) -> None:
    failed = (
        error(response=response(content=body)) if place == "content" else error(**{place: body})
    )
    found = evidence_of(failed)
    assert (found.words, found.message) == (("overloaded",), "too busy")


def test_the_innermost_sentence_counts_and_no_word_counts_twice() -> None:
    body = {
        "error": {"message": "inner", "code": "a", "type": "b"},
        "message": "outer",
        "code": "a",
    }
    found = evidence_of(error(body=body, code="B", reason="c", message="own"))
    assert (found.words, found.message) == (("a", "b", "c"), "inner")
    assert evidence_of(error(message="Own")).message == "own"


@pytest.mark.parametrize(
    "body", [b"\xff", "nonsense", "[" * 60_000, "[1]", 7, " " * 65_537, {"error": [1]}, None]
)
def test_a_body_that_tells_nothing_is_passed_over(body: Any) -> None:
    found = evidence_of(error(body=body))
    assert (found.words, found.message) == ((), "")


def test_words_and_sentences_are_bounded() -> None:
    assert evidence_of(error(code="x" * 256)).words == ("x" * 256,)
    assert evidence_of(error(code="x" * 257)).words == ()
    assert len(evidence_of(error(message="x" * 5_000)).message) == 2_000


def test_an_open_stream_is_not_read() -> None:
    """`requests` would go to the network for the content of a response that is not read yet."""

    class Response:
        _content_consumed = False
        reads = 0

        @property
        def content(self) -> bytes:
            self.reads += 1
            return b'{"code": "late"}'

    pending = Response()
    assert evidence_of(error(response=pending)).words == ()
    assert pending.reads == 0
    pending._content_consumed = True
    assert evidence_of(error(response=pending)).words == ("late",)


def test_the_exceptions_own_delay_is_kept_as_it_is() -> None:
    assert evidence_of(error(retry_after="soon")).retry_after == "soon"
