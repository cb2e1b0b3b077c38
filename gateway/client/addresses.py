"""The address of a gateway, in the two forms that it is given in."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["http_root", "websocket_url"]

_OTHER = {"http": "ws", "https": "wss", "ws": "http", "wss": "https"}


def websocket_url(url: str) -> str:
    """
    Give the WebSocket of a gateway: of ``http://HOST:PORT``, as it is said by ``gateway serve``,
    or of ``ws://HOST:PORT/ws``.

    Raises:
        ConfigurationError: If it is neither.
    """
    scheme, place, path = _parts(url)
    if scheme in ("http", "https"):
        return f"{_OTHER[scheme]}://{place}{path.rstrip('/')}/ws"
    return f"{scheme}://{place}{path if path.strip('/') else '/ws'}"


def http_root(url: str) -> str:
    """
    Give the HTTP root of a gateway, ``http://HOST:PORT``, of either form.

    Raises:
        ConfigurationError: If it is neither.
    """
    scheme, place, path = _parts(url)
    if scheme in ("ws", "wss"):
        return f"{_OTHER[scheme]}://{place}{path.rpartition('/')[0]}"
    return f"{scheme}://{place}{path.rstrip('/')}"


def _parts(url: str) -> tuple[str, str, str]:
    try:
        parts = urlsplit(url)
        good = parts.scheme in _OTHER and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        good = False
    if not good:
        # Only now: a job that reports starts without what takes longest to load.
        from gateway.domain.errors import ConfigurationError
        from gateway.domain.redaction import quoted

        raise ConfigurationError(
            f"--url has to be http://HOST:PORT or ws://HOST:PORT/ws, it is {quoted(url)}"
        )
    # What stands before an @ is a name and a password; a gateway takes tokens alone.
    return parts.scheme, parts.netloc.rpartition("@")[2], parts.path
