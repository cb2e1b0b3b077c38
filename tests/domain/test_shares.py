"""At the bound one loses one's own, if one has more than one's share; else the oldest goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.shares import SHARE, Shares


def filled(*added: str) -> Shares[str]:
    """Add items of these owners; an item is its owner's name with its number."""
    shares: Shares[str] = Shares()
    for number, owner in enumerate(added):
        shares.add(str(number), f"{owner}{number}", owner=owner)
    return shares


def test_who_has_more_than_a_quarter_loses_its_own_oldest() -> None:
    shares = filled("a", *"bcde", *"mmm")
    assert [shares.pop(), shares.oldest] == ["m5", "a0"]


def test_of_two_who_have_too_much_the_one_with_most_loses() -> None:
    shares = filled(*"nnn", *"mmmm", "a")
    assert [shares.pop() for _ in range(3)] == ["m3", "m4", "n0"]


def test_without_such_an_owner_the_oldest_goes() -> None:
    shares = filled(*"abcde")
    assert [shares.pop(), len(shares), shares.oldest] == ["a0", 4, "b1"]


def test_what_is_old_goes_whoever_has_most() -> None:
    assert filled("a", *"mmm").pop_oldest() == "a0"


def test_a_heavy_item_counts_as_much_as_it_weighs() -> None:
    shares = filled(*"aabbccdd")
    shares.add("x", "x", owner="x", weight=8)
    assert shares.pop() == "x"


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(1, 9)), max_size=60))
def test_nobody_loses_by_the_flood_of_another(added: list[tuple[str, int]]) -> None:
    """Each that is let go is its owner's oldest, and the owner had most, or nobody too much."""
    shares: Shares[tuple[int, str, int]] = Shares()
    kept: list[tuple[int, str, int]] = []
    for number, (owner, weight) in enumerate(added):
        item = (number, owner, weight)
        kept.append(item)
        shares.add(str(number), item, owner=owner, weight=weight)
        if len(kept) > 20:
            has = {name: sum(each[2] for each in kept if each[1] == name) for name in "abcdefg"}
            gone = shares.pop()
            if max(has.values()) * SHARE > sum(has.values()):
                assert has[gone[1]] == max(has.values())
                assert gone == next(each for each in kept if each[1] == gone[1])
            else:
                assert gone == kept[0]
            kept.remove(gone)
        assert list(shares) == kept


def test_one_item_is_found_and_let_go_by_its_key() -> None:
    shares = filled(*"ab")
    assert ("0" in shares, shares.get("0"), shares.weight) == (True, "a0", 2)
    assert shares.remove("0") == "a0"
    assert ("0" in shares, shares.get("0"), shares.remove("0")) == (False, None, None)
    assert (list(shares), shares.weight) == (["b1"], 1)
