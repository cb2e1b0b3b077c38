"""
Evidence: what can be read from an exception of an unknown kind, without harm to the reader.

Vendors are known by the shape of their exceptions (``status_code``, ``response.headers``,
``body``) and by the names of their classes, never by import: other frameworks wrap them,
and their next version moves them. An attribute may be missing, of the wrong type,
enormous, or raise when read; then it is no evidence.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping

__all__ = [
    "CHAIN_DEPTH_MAX",
    "LEAVES_MAX",
    "Evidence",
    "attribute",
    "chain_of",
    "evidence_of",
    "headers_of",
    "leaves_of",
    "names_of",
    "status_of",
]

# Frameworks wrap an error three or four times; a chain that is deeper than this has no end.
CHAIN_DEPTH_MAX = 10
# A group of more leaves than this is judged by its first ones.
LEAVES_MAX = 256

_HEADERS_MAX = 200
_VALUE_CHARS_MAX = 256
_BODY_BYTES_MAX = 65_536
_MESSAGE_CHARS_MAX = 2_000

# The fields in which bodies and exceptions name the kind of error.
_WORD_FIELDS = ("code", "type", "error_code", "status", "Code", "reason")


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """
    What one exception, without its causes, says about itself.

    Attributes:
        status: The HTTP status, 100 to 599.
        words: Names of the kind of error, lower case, from the exception and the body.
        message: The upstream's sentence, lower case; to be searched, never to be shown.
        headers: The response's headers by lower-case name.
        retry_after: The exception's own ``retry_after``, of any type; None: it has none.
    """

    status: int | None
    words: tuple[str, ...]
    message: str
    headers: Mapping[str, str]
    retry_after: object


def attribute(thing: object, name: str) -> object:
    """Read an attribute; None when there is none or when it cannot be read."""
    try:
        return getattr(thing, name, None)
    except BaseException:  # noqa: BLE001 - a property of an unknown class; nothing is awaited here, so no cancellation of ours is caught
        return None


def names_of(error: BaseException) -> list[tuple[str, str]]:
    """List (root package, class name) along the MRO, the most exact first; built-ins have ""."""
    names = []
    for cls in type.mro(type(error)):
        module = cls.__dict__.get("__module__", "")
        root = module.partition(".")[0] if isinstance(module, str) else ""
        names.append((root, type.__dict__["__name__"].__get__(cls)))
    return names


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """
    Walk from an exception to what caused it: ``__cause__``, else ``__context__``.

    ``raise … from None`` ends the chain. At most ``CHAIN_DEPTH_MAX`` exceptions, none twice.
    """
    seen: set[int] = set()
    step: BaseException | None = error
    while step is not None and id(step) not in seen and len(seen) < CHAIN_DEPTH_MAX:
        seen.add(id(step))
        yield step
        cause = attribute(step, "__cause__")
        if cause is None and not attribute(step, "__suppress_context__"):
            cause = attribute(step, "__context__")
        step = cause if issubclass(type(cause), BaseException) else None  # type: ignore[assignment]


def leaves_of(group: BaseException, *, count_max: int = LEAVES_MAX) -> list[BaseException]:
    """List the exceptions in a group and in the groups within it, at most ``count_max``."""
    leaves: list[BaseException] = []
    seen: set[int] = set()
    waiting = [group]
    while waiting and len(leaves) < count_max and len(seen) < 4 * LEAVES_MAX:
        error = waiting.pop(0)
        if id(error) in seen:
            continue
        seen.add(id(error))
        if not issubclass(type(error), BaseExceptionGroup):
            leaves.append(error)
            continue
        members = attribute(error, "exceptions")
        if isinstance(members, tuple | list):
            waiting.extend(
                member for member in members[:LEAVES_MAX] if issubclass(type(member), BaseException)
            )
    return leaves


def evidence_of(error: BaseException) -> Evidence:
    """Read everything that one exception tells, without its causes."""
    words: list[str] = []
    message = ""
    for body in _bodies_of(error):
        for part in _parts_of(body):
            words.extend(_words_of(part.get(field) for field in _WORD_FIELDS))
            message = message or _text(part.get("message") or part.get("Message"))
    words.extend(_words_of(attribute(error, field) for field in _WORD_FIELDS))
    return Evidence(
        status=status_of(error),
        words=tuple(dict.fromkeys(words)),
        message=message or _text(attribute(error, "message")),
        headers=headers_of(error),
        retry_after=attribute(error, "retry_after"),
    )


def status_of(error: BaseException) -> int | None:
    """Find the HTTP status where SDKs, HTTP clients and cloud libraries put it."""
    response = attribute(error, "response")
    candidates = (
        attribute(error, "status_code"),
        attribute(error, "http_status"),
        attribute(response, "status_code"),
        _get(_get(response, "ResponseMetadata"), "HTTPStatusCode"),  # botocore
        attribute(error, "status"),  # aiohttp
        attribute(error, "code"),  # urllib, google
    )
    for candidate in candidates:
        if (
            isinstance(candidate, int)
            and not isinstance(candidate, bool)
            and 100 <= candidate <= 599
        ):
            return int(candidate)
    return None


def headers_of(error: BaseException) -> dict[str, str]:
    """Copy the response's headers, names in lower case; empty when there are none."""
    response = attribute(error, "response")
    for headers in (
        attribute(response, "headers"),
        attribute(error, "headers"),
        _get(_get(response, "ResponseMetadata"), "HTTPHeaders"),
    ):
        items = attribute(headers, "items")
        if not callable(items):
            continue
        try:
            return {
                str(name)[:_VALUE_CHARS_MAX].lower(): str(value)[:_VALUE_CHARS_MAX]
                for name, value in itertools.islice(items(), _HEADERS_MAX)
            }
        except Exception:  # noqa: BLE001 - a mapping of unknown code; the next place may do
            continue
    return {}


def _bodies_of(error: BaseException) -> Iterator[object]:
    """Give the error's body where it has already been read; nothing is read from a socket."""
    yield attribute(error, "body")
    yield attribute(error, "details")
    response = attribute(error, "response")
    yield response
    # `requests` reads from the network when it is asked for the content of an open stream.
    if attribute(response, "_content_consumed") is not False:
        yield attribute(response, "content")


def _parts_of(body: object) -> Iterator[Mapping[object, object]]:
    """Give the mappings of a body that may describe an error, the innermost first."""
    if isinstance(body, bytes | bytearray | str) and len(body) <= _BODY_BYTES_MAX:
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            return
    if not isinstance(body, dict):
        return
    error = body.get("error") or body.get("Error") or body.get("detail")
    if isinstance(error, str):
        yield {"message": error}
    if isinstance(error, dict):
        for inner in ("innererror", "details"):
            if isinstance(deeper := error.get(inner), dict):
                yield deeper
        yield error
    yield body


def _words_of(values: Iterator[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str) and len(value) <= _VALUE_CHARS_MAX:
            yield str(value).lower()


def _text(value: object) -> str:
    return str(value[:_MESSAGE_CHARS_MAX]).lower() if isinstance(value, str) else ""


def _get(mapping: object, key: str) -> object:
    return mapping.get(key) if isinstance(mapping, dict) else None
