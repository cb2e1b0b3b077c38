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
import urllib.parse
from collections.abc import Iterator, Mapping

__all__ = [
    "CHAIN_DEPTH_MAX",
    "LEAVES_MAX",
    "Evidence",
    "attribute",
    "called",
    "chain_of",
    "evidence_of",
    "headers_of",
    "leaves_of",
    "names_of",
    "status_of",
    "text_of",
    "url_of",
]

# Frameworks wrap an error three or four times; a chain that is deeper than this has no end.
CHAIN_DEPTH_MAX = 10
# A group of more leaves than this is judged by its first ones.
LEAVES_MAX = 256

_HEADERS_MAX = 200
_VALUE_CHARS_MAX = 256
_BODY_BYTES_MAX = 65_536
_MESSAGE_CHARS_MAX = 2_000
_PARTS_MAX = 32
# An upstream may pass on the body of another one as text in its own.
_BODY_DEPTH_MAX = 3

# The fields in which bodies and exceptions name the kind of error.
_WORD_FIELDS = ("code", "type", "error_code", "status", "Code", "reason")
# Many vendors publish below these roots: there the next name belongs to the vendor, too.
_SHARED_ROOTS = frozenset({"azure", "google"})


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
        parts: The mappings of the body and of what is nested in it, the innermost first.
    """

    status: int | None
    words: tuple[str, ...]
    message: str
    headers: Mapping[str, str]
    retry_after: object
    parts: tuple[Mapping[object, object], ...] = ()


def attribute(thing: object, name: str) -> object:
    """Read an attribute; None when there is none or when it cannot be read."""
    try:
        return getattr(thing, name, None)
    except BaseException:  # noqa: BLE001 - a property of an unknown class; nothing is awaited here, so no cancellation of ours is caught
        return None


def called(thing: object, name: str) -> object:
    """Call a method without arguments; None when there is none or when it fails."""
    method = attribute(thing, name)
    try:
        return method() if callable(method) else None
    except BaseException:  # noqa: BLE001 - a method of an unknown class; nothing is awaited here
        return None


def names_of(error: BaseException) -> list[tuple[str, str]]:
    """
    List (root package, class name) along the MRO, the most exact first; built-ins have "".

    Where many vendors share a root, the package has two names: ``google.genai``.
    """
    names = []
    for cls in type.mro(type(error)):
        module = cls.__dict__.get("__module__", "")
        root, _, rest = module.partition(".") if isinstance(module, str) else ("", "", "")
        if root in _SHARED_ROOTS:
            root = f"{root}.{rest.partition('.')[0]}"
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
    parts = tuple(
        itertools.islice(
            (part for body in _bodies_of(error) for part in _parts_of(body)), _PARTS_MAX
        )
    )
    for part in parts:
        words.extend(_words_of(part.get(field) for field in _WORD_FIELDS))
        message = message or _text(part.get("message") or part.get("Message"))
    words.extend(_words_of(attribute(error, field) for field in _WORD_FIELDS))
    return Evidence(
        status=status_of(error),
        words=tuple(dict.fromkeys(words)),
        message=message or _text(attribute(error, "message")),
        headers=headers_of(error),
        retry_after=attribute(error, "retry_after"),
        parts=parts,
    )


def text_of(error: BaseException) -> str:
    """Give the exception's own text, lower case and cut; "" when it has none or cannot say it."""
    try:
        return _text(str(error))
    except BaseException:  # noqa: BLE001 - the `__str__` of an unknown class; nothing is awaited here
        return ""


def url_of(error: BaseException) -> tuple[str, str] | None:
    """Give (host, path) of the request that failed, lower case; None: not known."""
    response = attribute(error, "response")
    for url in (
        attribute(attribute(error, "request"), "url"),
        attribute(attribute(error, "request_info"), "url"),  # aiohttp
        attribute(attribute(response, "request"), "url"),  # requests, azure
        attribute(response, "url"),
    ):
        if isinstance(url, str):
            try:
                split = urllib.parse.urlsplit(url[: 4 * _VALUE_CHARS_MAX])
                return _text(split.hostname), _text(split.path)
            except ValueError:
                continue
        path = attribute(url, "path")
        if isinstance(path, str):
            return _text(attribute(url, "host")), path[-_VALUE_CHARS_MAX:].lower()
    return None


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


def _parts_of(body: object, depth: int = 0) -> Iterator[Mapping[object, object]]:
    """Give the mappings of a body that may describe an error, the innermost first."""
    if isinstance(body, bytes | bytearray | str) and len(body) <= _BODY_BYTES_MAX:
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            return
    if isinstance(body, list) and len(body) == 1:  # Gemini's, as a stream or through a proxy
        body = body[0]
    if not isinstance(body, dict):
        return
    error = body.get("error") or body.get("Error") or body.get("detail")
    if isinstance(error, str):
        yield from _passed_on(error, depth)
        yield {"message": error}
    if isinstance(error, dict):
        yield from _described(error, depth)
    yield from _described(body, depth)
    for listed in (_get(error, "details"), _get(error, "errors"), body.get("details")):
        if isinstance(listed, list):  # google.rpc.Status and Google's JSON APIs
            yield from (item for item in listed[:_PARTS_MAX] if isinstance(item, dict))


def _described(error: dict[object, object], depth: int) -> Iterator[Mapping[object, object]]:
    for inner in ("innererror", "details"):
        if isinstance(deeper := error.get(inner), dict):
            yield deeper
    metadata = error.get("metadata")  # OpenRouter: what the provider behind it said
    yield from _passed_on(_get(metadata, "raw"), depth)
    yield from _passed_on(error.get("message"), depth)
    yield error
    if isinstance(metadata, dict):
        yield metadata
        if isinstance(headers := metadata.get("headers"), dict):
            yield headers


def _passed_on(text: object, depth: int) -> Iterator[Mapping[object, object]]:
    if isinstance(text, str) and text.lstrip().startswith("{") and depth < _BODY_DEPTH_MAX:
        yield from _parts_of(text, depth + 1)


def _words_of(values: Iterator[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str) and len(value) <= _VALUE_CHARS_MAX:
            yield str(value).lower()


def _text(value: object) -> str:
    return str(value[:_MESSAGE_CHARS_MAX]).lower() if isinstance(value, str) else ""


def _get(mapping: object, key: str) -> object:
    return mapping.get(key) if isinstance(mapping, dict) else None
