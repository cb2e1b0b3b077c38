"""What belongs to people is known by its form and its check digits."""

from __future__ import annotations

import pytest

from gateway.domain.escapes import view_of
from gateway.domain.personal_data import accounts_in, cards_in, emails_in, homes_in
from tests.domain.harmless_samples import HARMLESS
from tests.domain.secret_samples import PERSONAL


def found(text: str) -> list[str]:
    spans = [*emails_in(text), *cards_in(text), *accounts_in(text), *homes_in(text)]
    return [text[start:end] for start, end, _ in sorted(spans)]


@pytest.mark.parametrize(("form", "secret"), [row for row in PERSONAL if not view_of(row[1])])
def test_it_is_found_as_a_whole_and_nothing_else_is(form: str, secret: str) -> None:
    assert found(form.replace("{}", secret)) == [secret]


def test_numbers_and_addresses_of_machines_stay() -> None:
    assert [text for text in HARMLESS if found(text)] == []


def test_a_number_with_a_wrong_check_digit_is_no_card_and_no_account() -> None:
    """Both ways of one digit: nine of ten neighbours are none."""
    right = "4111111111111111"
    wrong = [right[:-1] + digit for digit in "0234567890"]
    assert [number for number in wrong if found(number)] == []
    account = "DE89370400440532013000"
    assert found(account) == [account]
    assert found(account.replace("89", "88")) == []
    assert found("XX89370400440532013000") == []
    assert found(account + "A") == []


def test_of_an_issuer_only_its_lengths_are_cards() -> None:
    assert found("4222222222222") == ["4222222222222"]
    assert found("5555555555554") == []
    assert found("1111111111111117") == []
    assert found("4111 1111 1111 1111 111") == []
    assert found("4111 1111-1111 1111") == []


def test_several_people_of_one_line_are_all_found() -> None:
    text = "a@b.org, c@d.org; /home/ann/x /home/bob/y"
    assert found(text) == ["a@b.org", "c@d.org", "ann", "bob"]
