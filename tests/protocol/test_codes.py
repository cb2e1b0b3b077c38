"""Close codes: after which ones a client comes back."""

from __future__ import annotations

import pytest

from gateway.protocol.codes import CloseCode, comes_back

STAYS_AWAY = {
    CloseCode.invalid_utf8,
    CloseCode.frame_too_large,
    CloseCode.invalid_token,
    CloseCode.bad_request,
    CloseCode.not_permitted,
}


@pytest.mark.parametrize("code", list(CloseCode))
def test_each_code_says_whether_to_come_back(code: CloseCode) -> None:
    assert comes_back(code) is (code not in STAYS_AWAY)


@pytest.mark.parametrize(
    ("code", "back"),
    [(3999, False), (4000, True), (4499, True), (4500, False), (4999, False), (1006, True)],
)
def test_codes_yet_unknown_go_by_their_range(code: int, back: bool) -> None:
    assert comes_back(code) is back
