"""What operators read about an exception: everything useful, no secret, and never too much."""

from __future__ import annotations

import json
import types
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import description
from gateway.domain.description import DETAIL_BYTES_MAX, FRAMES_MAX, describe


def fail(error: BaseException, depth: int = 0) -> NoReturn:
    if depth:
        fail(error, depth - 1)
    raise error


def raised(error: BaseException, depth: int = 0) -> BaseException:
    try:
        fail(error, depth)
    except BaseException as caught:  # noqa: BLE001 - given back, with its traceback
        return caught


def test_an_exception_is_described_with_its_causes_and_its_upstream() -> None:
    inner = raised(ConnectionError("to redis://u:hunter2@db failed"))
    inner.status_code = 429  # type: ignore[attr-defined]
    inner.response = types.SimpleNamespace(headers={"x-request-id": "req_7"})  # type: ignore[attr-defined]
    outer = ValueError("bad key sk-abc123def456")
    outer.__cause__ = inner
    detail = describe(raised(outer, 2))
    assert detail["exception"] == "builtins.ValueError"
    assert detail["text"] == "bad key [redacted:api-key]"
    assert (detail["status"], detail["request_id"]) == (429, "req_7")
    assert [cause["exception"] for cause in detail["chain"]] == ["builtins.ConnectionError"]
    assert "hunter2" not in json.dumps(detail)
    assert detail["stack"][-1].endswith(" in fail")
    assert "test_description.py:" in detail["stack"][0]


def test_the_last_frames_of_a_deep_stack_are_kept() -> None:
    detail = describe(raised(ValueError(), 100))
    assert len(detail["stack"]) == FRAMES_MAX


def test_a_group_is_described_with_its_leaves() -> None:
    group = ExceptionGroup("g", [ValueError("one"), ExceptionGroup("h", [KeyError("two")])])
    leaves = [leaf["exception"] for leaf in describe(group)["leaves"]]
    assert leaves == ["builtins.ValueError", "builtins.KeyError"]


class Unreadable(Exception):
    status_code = property(lambda self: 1 / 0)

    def __str__(self) -> str:
        raise RuntimeError("no")


class Odd(str):
    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError("no")


class Returning(Exception):
    def __str__(self) -> str:
        return Odd("x" * 100)


def test_what_cannot_be_read_does_not_stop_the_description() -> None:
    detail = describe(raised(Unreadable()))
    assert detail["text"] == "[not readable]"
    assert detail["stack"]
    assert describe(Returning())["exception"].endswith("Returning")
    assert json.dumps(describe(ValueError("\ud800 lone")))


class Traceless(Exception):
    __traceback__ = property(lambda self: 1 / 0)


def test_an_exception_that_cannot_be_described_is_unknown() -> None:
    """Its failure has to be reported all the same."""
    assert describe(Traceless("x")) == {
        "exception": "unknown",
        "text": "[not readable]",
        "chain": [],
        "stack": [],
    }


def test_a_detail_is_bounded() -> None:
    """With everything else an event must stay within its own bound."""
    error: BaseException = ExceptionGroup("\x00" * 50_000, [ValueError("\x00" * 9_000)] * 50)
    for _ in range(20):
        outer = raised(RuntimeError("\x01" * 100_000), 50)
        outer.__cause__ = error
        error = outer
    detail = describe(error)
    assert len(json.dumps(detail)) <= DETAIL_BYTES_MAX
    assert detail["exception"] == "builtins.RuntimeError"


def test_of_a_detail_that_is_too_long_causes_go_first_then_outer_frames_then_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = raised(ValueError("word " * 200), 20)
    error.__cause__ = KeyError("cause")
    whole = describe(error)
    sizes = []
    for bytes_max in (len(json.dumps(whole)), 2_500, 1_600, 600):
        monkeypatch.setattr(description, "DETAIL_BYTES_MAX", bytes_max)
        detail = describe(error)
        assert len(json.dumps(detail)) <= bytes_max
        assert detail["stack"] == whole["stack"][len(whole["stack"]) - len(detail["stack"]) :]
        sizes.append((len(detail["chain"]), len(detail["stack"]), len(detail["text"])))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == (1, 22, len(whole["text"]))
    assert sizes[2][0] == 0
    assert sizes[3][1] == 0
    assert sizes[3][2] < sizes[2][2]


@given(st.text(max_size=3000), st.integers(0, 5))
def test_any_text_can_be_described(text: str, causes: int) -> None:
    error: BaseException = ValueError(text)
    for _ in range(causes):
        outer = RuntimeError(text)
        outer.__context__ = error
        error = outer
    encoded = json.dumps(describe(error), ensure_ascii=False).encode()
    assert len(encoded) <= DETAIL_BYTES_MAX
