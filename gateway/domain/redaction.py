"""
Redaction: what may be written into logs and shown to operators.

Secrets are known by their look (keys, tokens, private keys, passwords in URLs, e-mail
addresses) and by the name they stand under. Each is replaced by ``[redacted:<kind>]``, so
that a reader still sees what was there. Redacting twice changes nothing.

Every expression here takes time linear in the text: no part of it can match in two ways, or the
repetition is bounded. A new expression needs its worst case in the tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["DEPTH_MAX", "NODES_MAX", "TEXT_CHARS_MAX", "clip", "redact", "redact_text", "shortened"]

# Bounds of one redacted value; a marker stands for what is beyond them.
TEXT_CHARS_MAX = 65_536
DEPTH_MAX = 16
NODES_MAX = 10_000

CLIPPED = "[truncated]"
TOO_DEEP = "[too deep]"

# A secret that is cut in half no longer looks like one. So a cut goes back to a blank, at most
# this many characters.
_WORD_CHARS_MAX = 8_192

# Passes over what has been redacted already, unless text follows it without a break.
_KEPT = r"(?!\[redacted:[a-z-]{1,16}\](?:[\s\"',;&\\]|\[redacted:|$))"
_NAMED = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key"
    r"|private[_-]?key|credentials?)"
)
_QUOTE = r"\\?[\"']"

_PATTERNS: tuple[tuple[str, re.Pattern[str], str], ...] = tuple(
    (kind, re.compile(pattern), marker)
    for kind, pattern, marker in (
        (
            "private-key",
            # Also without its last line, since the text may have been cut.
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:[^-]++|-(?!----))*+"
            r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?",
            r"{}",
        ),
        (
            # The rest of the line, up to a closing quote: one header holds many cookies.
            "header",
            r"(?i)(authorization|cookie)"
            rf"((?:{_QUOTE})?+\s{{0,4}}+[:=]\s{{0,4}}+|{_QUOTE}\s{{0,4}}+,\s{{0,4}}+)"
            rf"(b?{_QUOTE})?+{_KEPT}[^\r\n\"'\\]++",
            r"\1\2\3{}",
        ),
        (
            "api-key",
            r"(?<![A-Za-z0-9])(?:"
            r"sk-[A-Za-z0-9_-]{6,}+"  # OpenAI, Anthropic, OpenRouter, DeepSeek …
            r"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{8,}+"  # Stripe
            r"|(?:AKIA|ASIA)[0-9A-Z]{12,}+"  # AWS
            r"|AIza[A-Za-z0-9_-]{20,}+|ya29\.[A-Za-z0-9_-]{8,}+"  # Google
            r"|gh[opsur]_[A-Za-z0-9]{8,}+|github_pat_[A-Za-z0-9_]{8,}+|glpat-[A-Za-z0-9_-]{8,}+"
            r"|xox[a-z]-[A-Za-z0-9-]{8,}+|xapp-[A-Za-z0-9-]{8,}+"  # Slack
            r"|(?:gsk|hf|npm|whsec)_[A-Za-z0-9]{16,}+|(?:xai|pplx)-[A-Za-z0-9]{16,}+"
            r"|SG\.[A-Za-z0-9_-]{16,}+(?:\.[A-Za-z0-9_-]{8,}+)?"
            r"|S[UANOCX][A-Z2-7]{56}(?![A-Z2-7])"  # NATS seeds
            r")++",  # also several without a break, where the next has no boundary before it
            r"{}",
        ),
        (
            "jwt",
            r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{4,}+\.[A-Za-z0-9_-]{4,}+(?:\.[A-Za-z0-9_-]*+){0,3}",
            r"{}",
        ),
        ("token", rf"(?i)(bearer\s{{1,4}}+){_KEPT}[A-Za-z0-9._~+/=-]{{6,}}+", r"\1{}"),
        (
            "url-password",
            r"(?<=://)[^\s/?#:@\"'<>\[\]]{0,256}:[^\s/?#\"'<>\[\]]{1,512}@",
            r"{}@",
        ),
        (
            "secret",
            rf"(?i)({_NAMED}(?:{_QUOTE})?+\s{{0,4}}+(?:=>?+|:)\s{{0,4}}+)"
            rf"(?:(\\?\"){_KEPT}[^\"\\]++|(\\?'){_KEPT}[^'\\]++|{_KEPT}[^\s\"',;&\\]++)",
            r"\1\2\3{}",
        ),
        ("secret", rf"(?i)([?&](?:key|sig|signature|code|auth)=){_KEPT}[^\s\"'&]++", r"\1{}"),
        (
            "e-mail",
            r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}",
            r"{}",
        ),
    )
)

_SECRET_NAMES = frozenset(
    {
        "auth",
        "authorization",
        "cookie",
        "cookies",
        "credential",
        "credentials",
        "jwt",
        "passphrase",
        "passwd",
        "pwd",
        "proxyauthorization",
        "setcookie",
        "privatekey",
        "xapikey",
    }
)
_SECRET_ENDS = ("password", "secret", "token", "apikey", "secretkey", "accesskey", "credentials")


# The end of a name tells whether it is a secret's, so no more than this is read.
_NAME_CHARS = 128


def redact(value: Any) -> Any:
    """
    Copy a JSON-like value without its secrets.

    The copy is bounded: ``DEPTH_MAX`` levels, ``NODES_MAX`` values in all, ``TEXT_CHARS_MAX``
    characters a text. A value that is not JSON becomes the name of its type.
    """
    return _Redactor().visit(value, depth=0)


def redact_text(text: str) -> str:
    """Copy a text without its secrets, at most ``TEXT_CHARS_MAX`` characters of it."""
    text = clip(text, TEXT_CHARS_MAX)
    for kind, pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement.replace("{}", f"[redacted:{kind}]"), text)
    return text


def clip(text: str, chars_max: int) -> str:
    """Cut a text to ``chars_max`` characters, at a blank, so that it does not end in a secret."""
    if len(text) <= chars_max:
        return text
    kept = text[: max(0, chars_max - len(CLIPPED) - 1)]
    blank = max(kept.rfind(" "), kept.rfind("\n"))
    kept = kept[:blank] if blank > len(kept) - _WORD_CHARS_MAX else kept[:-_WORD_CHARS_MAX]
    return f"{kept.rstrip()} {CLIPPED}"


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


class _Redactor:
    """One walk through a value; counts the values that it has seen."""

    def __init__(self) -> None:
        self.nodes = 0

    def visit(self, value: Any, *, depth: int) -> Any:
        self.nodes += 1
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return redact_text(value)
        if isinstance(value, bytes | bytearray):
            return redact_text(value[:TEXT_CHARS_MAX].decode("utf-8", "replace"))
        if depth >= DEPTH_MAX:
            return TOO_DEEP
        if isinstance(value, Mapping):
            return self._mapping(value, depth=depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._items(value, depth=depth)
        return f"[{type(value).__name__}]"

    def _mapping(self, value: Mapping[Any, Any], *, depth: int) -> dict[str, Any]:
        copy: dict[str, Any] = {}
        for key, item in value.items():
            if self.nodes >= NODES_MAX:
                copy[CLIPPED] = CLIPPED
                break
            name = redact_text(key if isinstance(key, str) else str(key))
            if _is_secret_name(name) and item is not None and not isinstance(item, bool):
                self.nodes += 1
                copy[name] = "[redacted:secret]"
            else:
                copy[name] = self.visit(item, depth=depth + 1)
        return copy

    def _items(self, value: Any, *, depth: int) -> list[Any]:
        copy: list[Any] = []
        for item in value:
            if self.nodes >= NODES_MAX:
                copy.append(CLIPPED)
                break
            copy.append(self.visit(item, depth=depth + 1))
        return copy


def _is_secret_name(name: str) -> bool:
    plain = re.sub(r"[-_. ]", "", name[-_NAME_CHARS:]).lower()
    return plain in _SECRET_NAMES or plain.endswith(_SECRET_ENDS)
