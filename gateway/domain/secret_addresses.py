"""
Secrets in addresses, and the words that go before a secret: ``Bearer``, ``Basic``, ``curl -u``.

An address may hold a user and a password, and people write passwords into it as they are: with a
slash, an at sign or a percent sign.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

__all__ = ["passwords_in", "schemes_in"]

Span = tuple[int, int, str]

_KIND = "url-password"
# What follows the sign of an address, up to where no address goes on.
_RUN = re.compile(r"(?::|%3A|%3a)(?://|%2F%2F|%2f%2f|\\/\\/)([^\s\"'<>`]{1,2048}+)")
_NEXT = re.compile(r"[,;|]?(?:[\w+.-]{1,32})(?:://|%3A%2F%2F)")
_PORT = re.compile(r"\d{1,5}(?:[/?#]|$)")
_ESCAPED = re.compile(r"((?:[\w.~-]|%(?!2F|40))*%3A[^/?#]*)%40", re.IGNORECASE)
_MARK = re.compile(r"\[redacted:[a-z-]{1,16}\]@")
_DRAWN = re.compile(r"(?=\D*\d)(?=[^A-Za-z]*[A-Za-z]).{8,}|\S{24,}")
_RANDOM = re.compile(r"(?=[^@]*\d)[\w.~%+=-]{12,}|[\w.~%+=-]{24,}")
# user:password@host:port without a scheme; scott/tiger@ of Oracle.
_BARE = re.compile(
    r"(?<![\w/.@:+-])([A-Za-z][\w.+-]{0,63}:[^\s:@\"'<>,;(){}\[\]]{1,128})@[\w.-]{1,253}:\d{2,5}(?!\w)"
)
_ORACLE = re.compile(r"jdbc:oracle:\w+:([^\s/@:]{1,64}/[^\s@]{1,128})@")


def passwords_in(text: str) -> Iterator[Span]:
    """Find users and passwords in addresses, such as ``nats://user:password@host:4222``."""
    if "@" not in text and "%40" not in text:
        return
    for run in _RUN.finditer(text):
        if "@" in run[1] or "%40" in run[1]:
            yield from _of_run(run[1], run.start(1))
    for pattern, part in ((_BARE, "@"), (_ORACLE, "jdbc:oracle")):
        if part in text:
            for found in pattern.finditer(text):
                yield (*found.span(1), _KIND)


def _of_run(run: str, start: int) -> Iterator[Span]:
    """Look through one run of letters; several addresses may follow each other in it."""
    at = 0
    while at < len(run):
        following = _NEXT.search(run, at)
        end = len(run) if following is None else following.start()
        if (length := _userinfo(run[at:end])) is not None:
            yield start + at, start + at + length, _KIND
        at = len(run) if following is None else following.end()


def _userinfo(address: str) -> int | None:
    """Tell how many letters user and password have; None: there are none, or no secret ones."""
    if "@" not in address:
        # An address inside an address, escaped.
        found = _ESCAPED.match(address)
        return None if found is None else found.end(1)
    if _MARK.match(address):
        return None
    authority = re.split(r"[/?#,]", address, maxsplit=1)[0]
    user, colon, password = address.partition(":")
    if "@" in authority:
        length = authority.rindex("@")
        if ":" not in authority[:length]:
            # A token as the user; the name of a user is no secret.
            return length if _RANDOM.fullmatch(authority[:length]) else None
        # A password with an at sign and a slash: u:p@s/s@host.
        path = re.split(r"[?#,]", address[len(authority) :], maxsplit=1)[0]
        return len(authority) + path.rindex("@") if "@" in path else length
    if not colon or re.search(r"[/?#,]", user):
        return None
    # A password with a slash: u:p/s@host. A port with a path is none: host:80/@name.
    if _PORT.match(password) and ("." in user or user == "localhost" or "/@" in password):
        return None
    return address.rindex("@")


_SCHEME = re.compile(
    r"(?<![a-z0-9_-])(bearer|basic|negotiate|ntlm|dpop|apikey|token)(?:\s{1,4}|%20|\+|:\s?)"
    r"([a-z0-9._~+/=-]{6,}+|[a-z0-9._~%-]{6,}+)"
)
_WORD = re.compile(r"[A-Za-z]?[a-z]*[a-z_.-]*[.,:;]?")
_CURL = re.compile(
    r"(?<![\w-])(?:-u|-U|--user|--proxy-user)(?:[ =]{1,2}|[\"'], ?[\"'])?[\"']?"
    r"([^\s:\"'-][^\s:\"']{0,63}:)(?:(?<=[\"'])|)([^\s\"']+)"
)


_QUERY = re.compile(
    r"[?&](?:amp;)?(?:key|code|auth|sign|hmac|ticket|assertion|samlresponse|appkey)="
    r"([^\s&\"'<>#\[\]]{6,}+)",
    re.IGNORECASE,
)


def schemes_in(text: str, small: str) -> Iterator[Span]:
    """
    Find what follows the name of an authentication scheme, and users of ``curl``.

    Args:
        small: The text in small letters.
    """
    if any(
        name in small
        for name in ("bearer", "basic", "negotiate", "ntlm", "dpop", "apikey", "token")
    ):
        for found in _SCHEME.finditer(small):
            start, end = found.span(2)
            value = text[start:end]
            if _is_credential(found[1], value):
                yield start, end, "token"
    if "?" in text or "&" in text:
        for found in _QUERY.finditer(text):
            if _DRAWN.fullmatch(found[1]):
                yield (*found.span(1), "secret")
    if "curl" in small:
        for found in _CURL.finditer(text):
            if "curl" in small[max(0, found.start() - 400) : found.start()]:
                yield found.start(1), found.end(2), "secret"


def _is_credential(scheme: str, value: str) -> bool:
    if scheme == "basic":
        return _names_user(value)
    if scheme == "token":
        return len(value) >= 20 and any(map(str.isdigit, value))
    plain = value.rstrip(".=")
    if any(map(str.isdigit, plain)):
        return True
    # realm=, error=
    if value.endswith("=") and plain.isalpha():
        return False
    return len(plain) >= 16 or not (
        plain[:1] + plain[1:].lower() == plain and plain.replace("-", "").isalpha()
    )


def _names_user(value: str) -> bool:
    """Whether it is user and password in base64 (RFC 7617)."""
    value = value.rstrip(".")
    try:
        plain = base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return b":" in plain or (any(map(str.isdigit, value)) and len(value) >= 12)
