"""Headers that tell browsers what not to do with an answer; made once, sent with every answer."""

from __future__ import annotations

import functools
import re

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

__all__ = ["NO_STORE", "SAFE_HEADERS", "page_policy", "safe"]

# A browser takes an answer for what its Content-Type says, shows it to no page of another origin
# that has not asked for it by CORS, and tells no other site where its reader comes from.
SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)

# What an answer about somebody says to caches.
NO_STORE = {"cache-control": "no-store"}

# A host as it may stand in a policy: a name or an address, and a port.
_HOST = re.compile(r"(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?", re.IGNORECASE)


def safe(response: Response) -> Response:
    """Add ``SAFE_HEADERS`` to an answer that does not pass through the application."""
    response.raw_headers.extend(SAFE_HEADERS)
    return response


def page_policy(scope: Scope) -> str:
    """
    Give the content security policy of the page (CSP 3).

    Scripts, styles and pictures from here only, and connections home. ``'self'`` does not cover
    WebSockets in every browser, so the gateway's own address stands beside it.
    """
    return _policy(Headers(scope=scope).get("host", ""), scope.get("scheme") == "https")


@functools.lru_cache(64)
def _policy(host: str, secure: bool) -> str:
    home = ""
    if _HOST.fullmatch(host):
        # Without TLS here there may be a proxy with TLS in front.
        home = f" wss://{host}" if secure else f" ws://{host} wss://{host}"
    return (
        f"default-src 'self'; connect-src 'self'{home}; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"
    )
