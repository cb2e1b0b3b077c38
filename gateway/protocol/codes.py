"""
Why a WebSocket is closed, and whether the client should come back.

4000 to 4499, and 1012 and 1013 of IANA's registry (RFC 6455, 11.7), mean that the client should
come back; 4500 to 4999 mean that coming back would end the same way. A client needs to know the
ranges only, so that codes can be added.
"""

from __future__ import annotations

import enum

__all__ = ["CloseCode", "comes_back"]


class CloseCode(enum.IntEnum):
    """The codes that this gateway closes with; the name is the reason sent beside it."""

    invalid_utf8 = 1007
    frame_too_large = 1009
    internal_error = 1011
    restarting = 1012
    try_again_later = 1013
    no_connect_in_time = 4002
    too_many_connections = 4004
    token_expired = 4005
    too_slow = 4008
    epoch_changed = 4010
    no_sign_of_life = 4012
    too_many_requests = 4013
    invalid_token = 4500
    bad_request = 4501
    not_permitted = 4503


# The network broke (1006) or no code was sent (1005), the server failed (1011, 1014) or goes away
# (1001, 1012, 1013): nothing that the client did. 1000: see `comes_back`.
_COME_BACK = frozenset({1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014})


def comes_back(code: int) -> bool:
    """
    Tell whether a client that was closed with ``code`` should connect again.

    1000 counts as coming back: a client that ended the connection itself does not ask.
    """
    return code in _COME_BACK or 4000 <= code <= 4499
