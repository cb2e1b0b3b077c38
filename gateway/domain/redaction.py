"""
Redaction: what may be written into logs and shown to operators.

Secrets are known by their look (``secret_forms``), by the name they stand under (``secret_names``),
by the address they stand in (``secret_addresses``), and by what else is written around them
(``secret_phrases``); what belongs to people, by its form and check digits (``personal_data``).
Each is replaced by ``[redacted:<kind>]``, so that a reader still sees what was there. Redacting
twice changes nothing.

Everything here takes time linear in the text: no part of an expression can match in two ways, or
the repetition is bounded. A new expression needs its worst case in the tests.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NewType

from gateway.domain.escapes import LEVELS_MAX, View, view_of
from gateway.domain.personal_data import accounts_in, cards_in, emails_in, homes_in
from gateway.domain.secret_addresses import passwords_in, schemes_in
from gateway.domain.secret_forms import Span, keys_in
from gateway.domain.secret_names import flags_in, is_pair, is_secret_name, named_in
from gateway.domain.secret_phrases import phrases_in
from gateway.domain.secret_values import is_key, says_nothing, without_scheme

__all__ = [
    "DEPTH_MAX",
    "NODES_MAX",
    "TEXT_CHARS_MAX",
    "Redacted",
    "clip",
    "quoted",
    "redact",
    "redact_text",
    "redacted",
    "shortened",
]

# Bounds of one redacted value, all its texts together; a marker stands for what is beyond them.
TEXT_CHARS_MAX = 32_768
DEPTH_MAX = 16
NODES_MAX = 2_000

# Secrets may touch each other; so many rounds find those that another one hid.
ROUNDS_MAX = 4
# What parts them as a rule.
_PARTS = frozenset(string.whitespace + "%\"'`,;:=&/@?#()[]{}<>|\\.!")

QUOTED_CHARS_READ = 1_024

CLIPPED = "[truncated]"
TOO_DEEP = "[too deep]"
GONE = "[redacted:secret]"

# A secret that is cut in half no longer looks like one. So a cut goes back to a blank, at most
# this many characters.
_WORD_CHARS_MAX = 8_192

_PRIVATE_KEY = re.compile(
    # Also without its last line, since the text may have been cut.
    r"----(?:-|[ ])BEGIN[ +][A-Z0-9 +]{0,60}(?:PRIVATE[ +]KEY|NKEY[ +]SEED)[A-Z +]{0,12}----"
    r"(?:[^-]++|-(?!---))*+(?:-{4,5}[ ]?END[A-Z0-9 +]{0,60}-----?)?"
    r"|Private-Lines: \d+(?:(?:[\s|]|\\{1,32}[rn]){1,80}+[A-Za-z0-9+/=]+)+"
)
_BEGIN_OF_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----\s*\Z")
_KEY_LINE = re.compile(r"[A-Za-z0-9+/=]{1,128}\s*|-----END [A-Z0-9 ]{0,60}-----\s*|\s*")
_END_OF_KEY = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_LETTERS = string.ascii_letters + string.digits + "+/=\\| \r\n\t"
_KEY_CHARS_MAX = 16_384


# What operators may be shown. Every event is made from this type, so that nothing else gets there.
Redacted = NewType("Redacted", dict[str, Any])


def redacted(detail: Mapping[str, Any]) -> Redacted:
    """Copy what operators are to be shown, without its secrets; within the bounds of ``redact``."""
    return Redacted(redact(detail))


def redact(value: Any) -> Any:
    """
    Copy a JSON-like value without its secrets.

    The copy is bounded: ``DEPTH_MAX`` levels; in all, ``NODES_MAX`` names and values and
    ``TEXT_CHARS_MAX`` characters. A value that is not JSON becomes the name of its type.
    """
    return _Redactor().visit(value, depth=0)


def redact_text(text: str) -> str:
    """Copy a text without its secrets, at most ``TEXT_CHARS_MAX`` characters of it."""
    text = clip(text, TEXT_CHARS_MAX)
    for _ in range(ROUNDS_MAX):
        spans = _merged(sorted(_secrets_in(text)))
        pieces: list[str] = []
        kept = 0
        for start, end, kind in spans:
            pieces += (text[kept:start], f"[redacted:{kind}]")
            kept = end
        glued = any(_is_glued(text, start, end) for start, end, _ in spans)
        text = "".join((*pieces, text[kept:])) if pieces else text
        if not glued:
            break
    return text


def _is_glued(text: str, start: int, end: int) -> bool:
    """Whether another secret may touch this one, and be known only when this one is gone."""
    before, after = text[start - 1 : start] or " ", text[end : end + 1] or " "
    if text[max(0, start - 3) : start - 2] == "%":
        before = "%"  # an escape, such as %22
    return before not in _PARTS or after not in _PARTS


def quoted(value: object, *, chars_max: int = 64) -> str:
    """
    Repeat what somebody sent, for a refusal: as Python writes it, redacted, and then cut.

    Of a long one no more than ``QUOTED_CHARS_READ`` characters are looked at.
    """
    text = redact_text(ascii(value)[:QUOTED_CHARS_READ])
    return text if len(text) <= chars_max else f"{text[:chars_max]}…"


def clip(text: str, chars_max: int) -> str:
    """Cut a text to ``chars_max`` characters, at a blank, so that it does not end in a secret."""
    if len(text) <= chars_max:
        return text
    kept = text[: max(0, chars_max - len(CLIPPED) - 1)]
    blank = max(kept.rfind(" "), kept.rfind("\n"))
    kept = kept[:blank] if blank > len(kept) - _WORD_CHARS_MAX else kept[:-_WORD_CHARS_MAX]
    return f"{kept.rstrip()} {CLIPPED}".lstrip()


def shortened(value: Any, *, bytes_max: int) -> Any:
    """
    Copy what was redacted, with less of it if it has more than ``bytes_max`` bytes as JSON.

    Texts are cut and values left out, the last ones first; a marker stands for what is missing.
    """
    chars_max, nodes_max = TEXT_CHARS_MAX, NODES_MAX
    while len(json.dumps(value)) > bytes_max:
        chars_max, nodes_max = chars_max // 2, nodes_max // 2
        value = _Cutter(chars_max, nodes_max).visit(value)
    return value


class _Cutter:
    """One walk through a JSON value, with room for so many values, and so many characters each."""

    def __init__(self, chars_max: int, nodes_max: int) -> None:
        self._chars_max = chars_max
        self._left = nodes_max

    def visit(self, value: Any) -> Any:
        self._left -= 1
        if isinstance(value, str):
            return clip(value, self._chars_max)
        if isinstance(value, dict):
            kept = {
                clip(name, self._chars_max): self.visit(value[name]) for name in self._of(value)
            }
            return kept if len(kept) == len(value) else {**kept, CLIPPED: CLIPPED}
        if isinstance(value, list):
            kept_items = [self.visit(item) for item in self._of(value)]
            return kept_items if len(kept_items) == len(value) else [*kept_items, CLIPPED]
        return value

    def _of(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            if self._left <= 0:
                return
            yield value


def _secrets_in(text: str) -> Iterator[Span]:
    yield from _plain_in(text)
    # The same in what is escaped.
    views: list[View] = []
    view = view_of(text)
    while view is not None and len(views) < LEVELS_MAX:
        views.append(view)
        for start, end, kind in _plain_in(view.text):
            for each in reversed(views):
                start, end = each.place(start, end)
            yield start, end, kind
        view = view_of(view.text)


def _plain_in(text: str) -> Iterator[Span]:
    # Letter by letter: this one letter would become two.
    small = text.replace("\u0130", "i").lower()
    yield from _private_keys_in(text)
    yield from keys_in(text)
    yield from named_in(text, small)
    yield from flags_in(text, small)
    yield from passwords_in(text)
    yield from schemes_in(text, small)
    yield from phrases_in(text, small)
    yield from emails_in(text)
    yield from cards_in(text)
    yield from accounts_in(text)
    yield from homes_in(text)


def _private_keys_in(text: str) -> Iterator[Span]:
    if "PRIVATE" not in text and "SEED" not in text and "Private-Lines" not in text:
        return
    for found in _PRIVATE_KEY.finditer(text):
        yield (*found.span(), "private-key")
    for found in _END_OF_KEY.finditer(text):
        # Its beginning may have been cut off.
        before = text[max(0, found.start() - _KEY_CHARS_MAX) : found.start()]
        yield (
            found.start() - len(before) + len(before.rstrip(_KEY_LETTERS)),
            found.end(),
            "private-key",
        )


def _merged(spans: list[Span]) -> list[Span]:
    """Join secrets that overlap; the first one tells the kind."""
    merged: list[Span] = []
    for start, end, kind in spans:
        if merged and start < merged[-1][1]:
            first, last, kept = merged[-1]
            merged[-1] = (first, max(last, end), kept)
        else:
            merged.append((start, end, kind))
    return merged


class _Redactor:
    """One walk through a value; counts the values and the characters that it has seen."""

    def __init__(self) -> None:
        self.nodes = 0
        self._chars = 0

    def visit(self, value: Any, *, depth: int) -> Any:
        self.nodes += 1
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bytes | bytearray):
            return self._text(value[: TEXT_CHARS_MAX + 1].decode("utf-8", "replace"))
        if depth >= DEPTH_MAX:
            return TOO_DEEP
        if isinstance(value, Mapping):
            return self._mapping(value, depth=depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._items(value, depth=depth)
        return f"[{type(value).__name__}]"

    def _text(self, text: str) -> str:
        room = max(0, TEXT_CHARS_MAX - self._chars)
        self._chars += len(text)
        return redact_text(clip(text, room))

    def _is_full(self) -> bool:
        return self.nodes >= NODES_MAX or self._chars >= TEXT_CHARS_MAX

    def _mapping(self, value: Mapping[Any, Any], *, depth: int) -> dict[str, Any]:
        copy: dict[str, Any] = {}
        announced = _announced(value)
        for key, item in value.items():
            if self._is_full():
                copy[CLIPPED] = CLIPPED
                break
            name = key if isinstance(key, str) else str(key)
            shown = self._text(name)
            self.nodes += 1
            secret = name == announced or is_secret_name(name) or (name in _KTY and "kty" in value)
            if secret and _may_be_secret(name, item):
                self.nodes += 1
                copy[shown] = GONE
            else:
                copy[shown] = self.visit(item, depth=depth + 1)
        return copy

    def _items(self, value: Any, *, depth: int) -> list[Any]:
        copy: list[Any] = []
        before, keyed = "", False
        for item in value:
            if self._is_full():
                copy.append(CLIPPED)
                break
            text = _as_text(item)
            # ["authorization", "Bearer x"]; ["curl", "--token", "x", "https://…"]; of a longer
            # list the next one may be a name as well.
            listed = before.startswith("-") or len(value) == 2 or is_key(without_scheme(text))
            if keyed := keyed and _KEY_LINE.fullmatch(text) is not None:
                self.nodes += 1
                copy.append("[redacted:private-key]")
            elif before and text and listed and is_pair(before, text):
                self.nodes += 1
                copy.append(GONE)
            else:
                copy.append(self.visit(item, depth=depth + 1))
            before = text
            # Lines of a text.
            keyed = "-----END" not in text if keyed else _BEGIN_OF_KEY.search(text) is not None
        return copy


# Names under which a name and its value stand: {"name": "DB_PASSWORD", "value": "x"}.
_NAMED_BY = ("name", "key", "header", "k", "Name", "Key")
_VALUED_BY = ("value", "content", "v", "Value")
_VALUES = frozenset(("value", "default", "const", "example", "examples", "enum"))
# Of a key as JSON (RFC 7517) these are secret.
_KTY = frozenset(("d", "p", "q", "dp", "dq", "qi", "k"))


def _announced(value: Mapping[Any, Any]) -> str | None:
    """Tell under which name the value stands that another entry calls secret; None: no such."""
    for by in _NAMED_BY:
        name = value.get(by)
        if isinstance(name, str) and is_secret_name(name):
            return next((valued for valued in _VALUED_BY if valued in value), None)
    return None


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value[:TEXT_CHARS_MAX].decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _may_be_secret(name: str, value: Any) -> bool:
    if isinstance(value, str):
        return not says_nothing(value)
    if value is None or isinstance(value, bool):
        return False
    # Counts: {"tokens": 12}, {"tokens": {"prompt": 5}}, {"pass": 3, "fail": 1}.
    if isinstance(value, dict) and says_nothing(str(value.get("type", "?x"))):
        return not _VALUES.isdisjoint(value)  # a schema describes it
    if isinstance(value, list):
        return not all(isinstance(item, int) for item in value)
    return not name.lower().endswith(("tokens", "pass"))
