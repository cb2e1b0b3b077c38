"""Places: who is counted where, until when."""

from __future__ import annotations

import pytest

from gateway.domain.settings import Settings
from gateway.transports.places import Place, Places, network_of, place_of


def places(*, most: int = 0, each: int = 0) -> Places:
    return Places(Settings(max_connections=most, max_connections_address=each))


def opened(here: Places, address: str | None = "1.1.1.1") -> Place:
    place = here.open(address)
    assert place is not None
    return place


def test_over_the_limit_a_connection_is_crowded_and_over_twice_the_limit_dropped() -> None:
    here = places(most=2)
    first, second = opened(here), opened(here)
    assert (first.crowded, second.crowded) == (None, None)
    third, fourth = opened(here), opened(here)
    assert (third.crowded, fourth.crowded) == ("gateway", "gateway")
    assert here.open("1.1.1.1") is None
    # One that is turned away takes no place from others.
    first.leave()
    assert opened(here).crowded is None
    for place in (third, fourth):
        place.leave()
    assert (here.taken, here.turned_away) == (2, 0)


def test_an_address_has_its_own_limit_and_room_for_an_operator() -> None:
    here = places(each=20)
    mine = [opened(here) for _ in range(20)]
    assert opened(here, "2.2.2.2").crowded is None
    over = [opened(here) for _ in range(2)]
    assert [place.crowded for place in over] == ["address", "address"]
    assert here.open("1.1.1.1") is None
    # An operator's connection does not count for its address, however often it says so.
    for _ in range(2):
        over[0].exempt()
    assert over[0].crowded is None
    assert opened(here).crowded == "address"
    mine.pop().leave()
    mine.pop().leave()
    assert opened(here).crowded == "address"
    for place in (*mine, *over):
        place.leave()
    assert here.taken == 3


def test_nothing_is_kept_of_an_address_without_connections() -> None:
    here = places(each=5)
    for number in range(100):
        opened(here, f"10.0.0.{number}").leave()
    assert (len(here.addresses), here.taken) == (0, 0)


def test_without_limits_everything_has_room() -> None:
    here = places()
    assert {opened(here).crowded for _ in range(100)} == {None}
    assert opened(here, None).crowded is None


def test_what_a_proxy_forwards_counts_for_the_client() -> None:
    here = Places(Settings(max_connections_address=2, trusted_proxies=("9.9.9.0/24",)))
    assert opened(here, "::ffff:9.9.9.8").forwarded
    assert not opened(here, "9.9.8.9").forwarded
    here = Places(Settings(max_connections_address=2, trusted_proxies=("9.9.9.9", "fd00::/8")))
    assert opened(here, "fd00::7%eth0").forwarded
    here = Places(Settings(max_connections_address=2, trusted_proxies=("9.9.9.9",)))
    forwarded = [opened(here, "9.9.9.9") for _ in range(5)]
    assert len(here.addresses) == 0
    for place in forwarded[:2]:
        place.move("1.1.1.1")
    # The next request on the same connection is another client's, and another's again.
    forwarded[0].move("2.2.2.2")
    forwarded[0].move("1.1.1.1")
    moves = ["1.1.1.1", "3.3.3.3", "1.1.1.1", None]
    crowded = []
    for address in moves:
        forwarded[2].move(address)
        crowded.append((forwarded[0].crowded, forwarded[2].crowded))
    assert crowded == [(None, "address"), (None, None), (None, "address"), (None, None)]
    for place in forwarded:
        place.leave()
    assert (len(here.addresses), here.taken) == (0, 0)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
        (None, None),
    ],
)
def test_an_ipv6_client_is_as_large_as_its_network(address: str | None, network: str) -> None:
    """It owns more addresses than there are connections."""
    assert network_of(address) == network


@pytest.mark.parametrize("scope", [{}, {"extensions": None}, {"extensions": {}}])
def test_under_another_server_there_are_no_places(scope: dict[str, object]) -> None:
    assert place_of(scope) is None
