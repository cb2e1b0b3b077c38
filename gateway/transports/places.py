"""
Places: how many connections there are, all together and from each address.

A connection has a place from its first byte to its last. Whose it is shows later, when its request
has been read: an operator's does not count for its address. So a connection for which there is no
room is not refused at once but marked as crowded, up to a second bound, where it is dropped.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
from typing import Literal

from starlette.types import Scope

from gateway.domain.settings import Settings

__all__ = ["PLACE_EXTENSION", "Counts", "Place", "Places", "network_of", "place_of"]

# The extension in a scope that is the connection's place. Only our own server counts places.
PLACE_EXTENSION = "gateway.place"

# So many more than an address may have are let in, as a part of its limit, so that an operator who
# shares the address gets in. Beyond it connections are dropped.
OPERATORS_ROOM = 0.1

# An IPv6 client owns a network of this many bits (RFC 6177), and counts as one address.
NETWORK_BITS = 64

Kind = Literal["gateway", "address"]


class Place:
    """
    One connection among all.

    Attributes:
        address: What it counts for; None: nothing, since it is an operator's, or a proxy's that has
            not said whose it is.
        crowded: The limit that it is over: the gateway's or its address's; None: it has room.
        forwarded: Whether a trusted proxy has made it, for clients of its own.
        left: Whether the connection has ended.
        turn: The turn that it, or its request, waits for, cancelled when it ends; None: it does not
            wait.
    """

    __slots__ = ("_places", "address", "crowded", "forwarded", "left", "turn")

    def __init__(
        self, places: Places, address: str | None, crowded: Kind | None, *, forwarded: bool
    ) -> None:
        self._places = places
        self.address = address
        self.forwarded = forwarded
        self.crowded = crowded
        self.left = False
        self.turn: asyncio.Future[None] | None = None

    def exempt(self) -> None:
        """Take in that the connection is an operator's: it does not count for its address."""
        if self.address is not None:
            self._places.addresses.leave(self.address)
            self.address = None
            if self.crowded == "address":
                self.crowded = None

    def move(self, address: str | None) -> None:
        """
        Take in that the connection comes from ``address``.

        For one that a trusted proxy has made: which client's it is stands in each request's head.
        """
        places, address = self._places, network_of(address)
        if address == self.address:
            return
        self.exempt()
        if address is not None:
            if self.crowded is None and places.addresses.full(address):
                self.crowded = "address"
            places.addresses.enter(address)
            self.address = address

    def leave(self) -> None:
        """The connection has ended."""
        self.left = True
        if self.turn is not None:
            self.turn.cancel()
        if self.address is not None:
            self._places.addresses.leave(self.address)
        if self.crowded == "gateway":
            self._places.turned_away -= 1
        else:
            self._places.taken -= 1


class Places:
    """
    The places of all connections of this process.

    Args:
        settings: ``max_connections`` and ``max_connections_address``; 0: any number. The
            connections of ``trusted_proxies`` are their clients'.

    Attributes:
        taken: How many connections there are, but for those that ``turned_away`` counts.
        turned_away: How many there are that the gateway has no room for.
        addresses: How many there are from each address.
    """

    def __init__(self, settings: Settings) -> None:
        self.taken = 0
        self.turned_away = 0
        self.addresses = Counts(settings.max_connections_address)
        self._most = settings.max_connections
        self._proxies = [ipaddress.ip_network(proxy) for proxy in settings.trusted_proxies]

    def open(self, address: str | None) -> Place | None:
        """
        Give a new connection its place.

        Args:
            address: Where it comes from; None: from no network.

        Returns:
            None: it has to be dropped.
        """
        most = self._most
        crowded: Kind | None = None
        if most and self.taken >= most:
            if self.turned_away >= most:
                return None
            crowded = "gateway"
        forwarded = address is not None and self._is_proxy(address)
        network = None if forwarded else network_of(address)
        if network is not None:
            if self.addresses.full(network):
                if self.addresses.full(network, room=OPERATORS_ROOM):
                    return None
                crowded = crowded or "address"
            self.addresses.enter(network)
        if crowded == "gateway":
            self.turned_away += 1
        else:
            self.taken += 1
        return Place(self, network, crowded, forwarded=forwarded)

    def _is_proxy(self, address: str) -> bool:
        parsed = _parsed(address) if self._proxies else None
        return parsed is not None and any(parsed in network for network in self._proxies)


class Counts:
    """
    How many connections each key has; keys without any are not kept.

    Args:
        most: How many one may have; 0: any number.
    """

    __slots__ = ("_by_key", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_key: dict[str, int] = {}

    def __len__(self) -> int:
        """How many keys have any."""
        return len(self._by_key)

    def full(self, key: str, *, room: float = 0.0) -> bool:
        """Whether a key has as many as it may have, and ``room``, a part of it, more."""
        most = self._most
        return bool(most) and self._by_key.get(key, 0) >= most + (room and max(1, int(most * room)))

    def enter(self, key: str) -> None:
        """Count one more."""
        self._by_key[key] = self._by_key.get(key, 0) + 1

    def leave(self, key: str) -> None:
        """Count one less."""
        count = self._by_key[key] - 1
        if count:
            self._by_key[key] = count
        else:
            del self._by_key[key]


def place_of(scope: Scope) -> Place | None:
    """Give the place of a request's connection; None: this server counts none."""
    place = (scope.get("extensions") or {}).get(PLACE_EXTENSION)
    assert place is None or isinstance(place, Place)
    return place


@functools.lru_cache(1024)
def network_of(address: str | None) -> str | None:
    """Give what counts as one address: an IPv4 address, or the network of an IPv6 one."""
    if address is None:
        return None
    parsed = _parsed(address)
    if parsed is None:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, NETWORK_BITS), strict=False))
    return str(parsed)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address; None: it is none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    # On a socket that serves both families an address of IPv4 looks like one of IPv6.
    return getattr(parsed, "ipv4_mapped", None) or parsed
