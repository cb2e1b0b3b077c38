"""
Secret phrases: secrets that are known by what is written around them.

Command lines of tools that take a password by a short flag, commands of databases and of mail
servers, the parts of a form, what a validation refused, and keys as JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from gateway.domain.secret_forms import Span
from gateway.domain.secret_names import is_secret_name
from gateway.domain.secret_values import says_nothing

__all__ = ["PHRASES", "Phrase", "phrases_in"]


class Phrase(NamedTuple):
    """
    Something that is written around a secret.

    Attributes:
        has: One of these is in every such text, in small letters; it is looked for first.
        pattern: The phrase; its group ``secret`` is the secret. A group ``name`` has to be a name
            that makes it one.
    """

    has: tuple[str, ...]
    pattern: re.Pattern[str]


_TOOLS = (
    *("sshpass", "mysql", "mariadb", "docker login", "podman login", "redis-cli", "ldapsearch"),
    *("az login", "7z x", "7z a", "7za x", "7za a"),
)
_BREAK = r"(?:\r?\n|(?:\\{1,32}r)?\\{1,32}n)"
_QUOTE = r"\\{0,32}[\"']"

PHRASES: tuple[Phrase, ...] = (
    Phrase(
        _TOOLS,
        re.compile(
            rf"(?:{'|'.join(_TOOLS)})(?:dump|admin)?[ ][^\n;|&]{{0,200}}?(?<=[ ])-[paw][ ]?[\"']?"
            r"(?P<secret>[^\s\"';|&-][^\s\"';|&]{0,4096}+)"
        ),
    ),
    # unzip -P x; smbclient -U bob%x
    Phrase(
        ("zip -", "smbclient "),
        re.compile(
            r"(?:zip[ ](?:-\w{1,8}[ ]){0,4}-P[ ]?"
            r"|smbclient[ ][^\n;|&]{0,200}?-U[ ][\"']?[\w.\\]{1,64}%)"
            r"[\"']?(?P<secret>(?=\S*\d)[^\s\"';|&]{6,256})"
        ),
    ),
    # CREATE USER bob IDENTIFIED BY 'x'; SET PASSWORD FOR bob = 'x'
    Phrase(
        ("identified by", "set password", "convertto-securestring"),
        re.compile(
            r"(?:(?:identified|IDENTIFIED)\s{1,8}(?:by|BY)(?:\s{1,8}(?:password|PASSWORD))?"
            r"|(?:set|SET)\s{1,8}(?:password|PASSWORD)[^\n=]{0,80}="
            rf"|ConvertTo-SecureString(?:\s{{1,8}}-String)?)\s{{0,8}}{_QUOTE}"
            r"(?P<secret>[^\"'\\\n]{1,4096}+)"
        ),
    ),
    # AUTH PLAIN of SMTP and IMAP.
    Phrase(
        ("auth plain", "auth login", "authenticate plain", "auth xoauth2"),
        re.compile(
            r"AUTH(?:ENTICATE)?[ ](?:PLAIN|LOGIN|XOAUTH2)[ ](?P<secret>[A-Za-z0-9+/]{8,4096}={0,2})"
        ),
    ),
    # The part of a form.
    Phrase(
        ("form-data",),
        re.compile(
            rf"form-data;[ ]?name={_QUOTE}(?P<name>[^\"'\\\r\n]{{1,64}}){_QUOTE}{_BREAK}{{2}}"
            r"(?P<secret>[^\r\n\"'\\]{1,4096})"
        ),
    ),
    # pydantic: the name, and what was refused in the next line.
    Phrase(
        ("input_value=",),
        re.compile(
            rf"(?<![\w.-])(?P<name>[\w.-]{{1,64}}){_BREAK}[ |]{{2,32}}[^\[\n]{{1,200}}"
            rf"\[type=\w{{1,64}}, input_value=(?:{_QUOTE})?"
            r"(?P<secret>[^\n]{1,200}?)(?:\\{0,32}[\"'])?, input_type="
        ),
    ),
    # A key as JSON (RFC 7517).
    Phrase(
        ("kty",),
        re.compile(
            rf"{_QUOTE}(?:d|p|q|dp|dq|qi|k){_QUOTE}:[ ]?{_QUOTE}(?P<secret>[\w-]{{16,4096}})"
        ),
    ),
)

_CURL = re.compile(
    r"(?<![\w-])(?:-u|-U|--user|--proxy-user)(?:[ =]{1,2}|[\"'], ?[\"'])?[\"']?"
    r"([^\s:\"'\[-][^\s:\"'\[]{0,63}:[^\s\"']+)"
)
_CURL_CHARS_MAX = 400


def phrases_in(text: str, small: str) -> Iterator[Span]:
    """
    Find the secrets in a text that are known by what is written around them.

    Args:
        small: The text in small letters.
    """
    for has, pattern in PHRASES:
        if any(map(small.__contains__, has)):
            for found in pattern.finditer(text):
                secret, name = found["secret"], found.groupdict().get("name")
                gone = secret.startswith("[redacted:") or says_nothing(secret)
                if not gone and (name is None or is_secret_name(name)):
                    yield (*found.span("secret"), "secret")
    if "curl" in small:
        for found in _CURL.finditer(text):
            if "curl" in small[max(0, found.start() - _CURL_CHARS_MAX) : found.start()]:
                yield (*found.span(1), "secret")
