"""
Secrets in addresses, and after the names of schemes: ``Bearer``, ``Basic``.

An address may hold a user and a password, and people write passwords into it as they are: with a
slash, an at sign or a percent sign. Where the password then ends is guessed, and rather too late.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from gateway.domain.secret_forms import Span
from gateway.domain.secret_values import is_drawn, is_key

__all__ = ["passwords_in", "schemes_in"]

_KIND = "url-password"
# What follows the sign of an address, up to where no address goes on.
_RUN = re.compile(r":(?://|\\/\\/)([^\s\"'<>`]{1,2048}+)")
_NEXT = re.compile(r"[,;|]?[\w+.-]{1,32}://")
_PORT = re.compile(r"\d{1,5}(?:[/?#]|$)")
_MARK = re.compile(r"\[redacted:[a-z-]{1,16}\]@")
# A token that stands in the place of a user.
_TOKEN = re.compile(r"(?=[^@]*\d)[\w.~%+=-]{10,}|[\w.~%+=-]{24,}")
# user:password@host:port without a scheme; scott/tiger@ of Oracle.
_BARE = re.compile(
    r"(?<![\w/.@:+-])([A-Za-z][\w.+-]{0,63}:[^\s:@\"'<>,;(){}\[\]]{1,128})"
    r"@[\w.-]{1,253}:\d{2,5}(?!\w)"
)
_ORACLE = re.compile(r"jdbc:oracle:\w+:([^\s/@:]{1,64}/[^\s@]{1,128})@")


def passwords_in(text: str) -> Iterator[Span]:
    """Find users and passwords in addresses, such as ``nats://user:password@host:4222``."""
    if "@" not in text:
        return
    for run in _RUN.finditer(text):
        if "@" in run[1]:
            yield from _of_run(run[1], run.start(1))
    for pattern in (_BARE, _ORACLE):
        for found in pattern.finditer(text):
            yield (*found.span(1), _KIND)


def _of_run(run: str, start: int) -> Iterator[Span]:
    """Look through one run of letters; several addresses may follow each other in it."""
    at = 0
    while at < len(run):
        following = _NEXT.search(run, at)
        end = len(run) if following is None else following.start()
        length = _userinfo(run[at:end])
        if length is not None:
            yield start + at, start + at + length, _KIND
        at = len(run) if following is None else following.end()


def _userinfo(address: str) -> int | None:
    """Tell how many letters user and password have; None: there are none, or no secret ones."""
    if "@" not in address or _MARK.match(address):
        return None
    authority = re.split(r"[/?#,]", address, maxsplit=1)[0]
    user, colon, password = address.partition(":")
    if "@" in authority:
        length = authority.rindex("@")
        if ":" not in authority[:length]:
            # A token as the user; the name of a user is no secret.
            return length if _TOKEN.fullmatch(authority[:length]) else None
        # A password with an at sign and a slash: u:p@s/s@host.
        path = re.split(r"[?#,]", address[len(authority) :], maxsplit=1)[0]
        return len(authority) + path.rindex("@") if "@" in path else length
    if not colon or re.search(r"[/?#,]", user):
        return None
    # A password with a slash: u:p/s@host. A port with a path is none: host:80/@name.
    if _PORT.match(password) and ("." in user or user == "localhost" or "/@" in password):
        return None
    return address.rindex("@")


_NAMES = ("bearer", "basic", "negotiate", "ntlm", "dpop", "apikey")
_SCHEME = re.compile(
    rf"(?<![a-z0-9_-])({'|'.join(_NAMES)})(?:\s{{1,4}}|\+|:\s?|\\{{0,8}}[\"']?,\s?\\{{0,8}}[\"']?)"
    r"((?!(?:bearer|basic)[^a-z0-9])[a-z0-9._~+/=-]{6,}+)"
)
_QUERY = re.compile(
    r"[?&](?:amp;)?(?:key|code|auth|sign|hmac|ticket|assertion|samlresponse|appkey)="
    r"([^\s&\"'<>#\[\]]{8,}+)",
    re.IGNORECASE,
)

# Who knows such a link is let in.
_LINK = re.compile(
    r"/(?:(?:re)?set[-_]?password|password[-_/]?reset|magic[-_]?link|verify[-_]?email"
    r"|confirm[-_]?email|activate|invite|invitations?)/([\w.~%=-]{16,512}+)",
    re.IGNORECASE,
)


def schemes_in(text: str, small: str) -> Iterator[Span]:
    """
    Find what follows the name of an authentication scheme, and keys in a query.

    Args:
        small: The text in small letters.
    """
    if "bearer" in small or "basic" in small or any(map(small.__contains__, _NAMES)):
        for found in _SCHEME.finditer(small):
            start, end = found.span(2)
            if _is_credential(found[1], text[start:end]):
                yield start, end, "token"
    if "?" in text or "&" in text:
        for found in _QUERY.finditer(text):
            if is_drawn(found[1]):
                yield (*found.span(1), "secret")
    if "://" in text:
        for found in _LINK.finditer(text):
            if is_key(found[1]):
                yield (*found.span(1), "secret")


def _is_credential(scheme: str, value: str) -> bool:
    """Tell a credential from a word: ``Bearer abc1`` from ``bearer tokens``."""
    if scheme == "basic":
        return _names_user(value)
    plain = value.rstrip(".=")
    if any(map(str.isdigit, plain)) or len(plain) >= 16:
        return True
    # realm=, error=; authentication, Token
    return not (plain.replace("-", "").isalpha() and plain[1:].islower())


def _names_user(value: str) -> bool:
    """Whether it is user and password in base64 (RFC 7617)."""
    value = value.rstrip(".")
    try:
        plain = base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return b":" in plain or (any(map(str.isdigit, value)) and len(value) >= 12)
