"""
Personal data: e-mail addresses, payment cards, bank accounts, and people's home folders.

Numbers are told from other long numbers by their check digits: one in ten numbers of sixteen
digits passes as a card's by chance, so that the issuer's digits and lengths have to fit as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.domain.secret_forms import Span

__all__ = ["accounts_in", "cards_in", "emails_in", "homes_in"]

# --- e-mail -----------------------------------------------------------------------------------

_DOMAIN = re.compile(
    r"@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}([^\W\d_]{2,24}|xn--[\w-]{2,59})(?![\w(])"
)
_LOCAL_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.!#$%&*+?^_`{|}~-"
_LOCAL_CHARS_MAX = 64
# Names of files, packages and units that look like an address: icon@2x.png, getty@tty1.service.
_ENDINGS = """
    png jpg jpeg gif svg webp ico py pyc js mjs cjs ts tsx jsx json css scss html xml yaml yml toml
    md txt log tgz gz zip whl jar lock map so dll exe sh service socket target mount timer slice
    scope local internal
"""
_NO_DOMAINS = frozenset(_ENDINGS.split())
# Whom the tools of programmers log in as; no person.
_NO_PEOPLE = ("git", "hg", "svn")
_VERSION = re.compile(r"@v?\d+\.\d")


def emails_in(text: str) -> Iterator[Span]:
    """Find e-mail addresses (RFC 5321; letters of any language)."""
    if "@" not in text:
        return
    for found in _DOMAIN.finditer(text):
        end = found.start()
        window = text[max(0, end - _LOCAL_CHARS_MAX) : end]
        local = window[len(window.rstrip(_LOCAL_LETTERS)) :]
        while len(local) < len(window) and window[-len(local) - 1].isalpha():
            local = window[-len(local) - 1 :]
        # What an escape leaves: \nann@example.org, %3Dann@example.org.
        before = text[end - len(local) - 1 : end - len(local)]
        if before == "\\" and local[:1] in tuple("nrt"):
            local = local[1:]
        local = local.lstrip(".?&!")
        if not local or local in _NO_PEOPLE or not any(map(str.isalnum, local)):
            continue
        if found[1].lower() in _NO_DOMAINS or _VERSION.match(text, end):
            continue
        yield end - len(local), found.end(1), "e-mail"


# --- payment cards ----------------------------------------------------------------------------

# In one piece, or in the groups that are printed on cards.
_NUMBER = re.compile(
    r"[2-6](?<![\w.+-][2-6])\d{3}"
    r"(?:\d{9,15}|([ -])(?:\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{6}\1\d{4,5}))(?![\w-]|\.\d)"
)
# First digits and lengths (ISO/IEC 7812, the schemes' own lists).
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|65\d\d|64[4-9]\d)\d{12}|62\d{14,17}"  # Discover, UnionPay
    r"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
    r"|3(?:0[0-5]|[68]\d)\d{11}"  # Diners Club
    r"|220[0-4]\d{12}|(?:50|5[6-8]|63|67)\d{14}"  # Mir, Maestro
)
_TWICE = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def cards_in(text: str) -> Iterator[Span]:
    """Find the numbers of payment cards."""
    for found in _NUMBER.finditer(text):
        number = found[0].replace(" ", "").replace("-", "")
        if _ISSUERS.fullmatch(number) and _luhn(number) and len(set(number)) > 1:
            yield (*found.span(), "card-number")


def _luhn(number: str) -> bool:
    """Compare the check digit (ISO/IEC 7812-1, annex B)."""
    digits = [int(digit) for digit in reversed(number)]
    return (sum(digits[::2]) + sum(_TWICE[digit] for digit in digits[1::2])) % 10 == 0


# --- bank accounts ----------------------------------------------------------------------------

_IBAN = re.compile(
    r"[A-Z](?<![A-Za-z0-9][A-Z])[A-Z]\d{2}"
    r"(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"
)
# Lengths (the IBAN registry of SWIFT).
_LENGTHS = {
    15: "NO", 16: "BE BI", 18: "DK FI FO GL NL SD FK", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG DZ", 25: "LY PT ST", 26: "IS TR CV",
    27: "BF BJ CF CG CI CM DJ FR GA GQ GR IT MC MG ML MR SM SN",
    28: "AL AZ BY CY DO GT HU LB NI PL SV HN MA", 29: "BR EG PS QA UA", 30: "JO KW MU YE",
    31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
_LENGTH_OF = {country: length for length, names in _LENGTHS.items() for country in names.split()}


def accounts_in(text: str) -> Iterator[Span]:
    """Find the numbers of bank accounts (IBAN, ISO 13616)."""
    for found in _IBAN.finditer(text):
        number = found[0].replace(" ", "")
        length = _LENGTH_OF.get(number[:2])
        # A word of capitals may follow it.
        if length is None or len(number) < length or _mod_97(number[:length]) != 1:
            continue
        end = _after(text, found.start(), length)
        if not text[end : end + 1].isalnum():
            yield found.start(), end, "iban"


def _mod_97(number: str) -> int:
    """Give the remainder that is 1 where the check digits fit (ISO 7064, MOD 97-10)."""
    return int("".join(str(int(letter, 36)) for letter in number[4:] + number[:4])) % 97


def _after(text: str, start: int, letters: int) -> int:
    while letters:
        letters -= text[start] != " "
        start += 1
    return start


# --- home folders -----------------------------------------------------------------------------

_HOME = re.compile(
    r"(?:(?<![\w.~\]-])(?:file:/{2,3})?/(?:(?:var|export|usr)/)?(?:home|Users)/"
    r"|(?<![A-Za-z0-9])[A-Za-z]:(?:\\{1,4}|/)(?:Users|Documents and Settings)(?:\\{1,4}|/)"
    r"|(?<![\w.~\]-])/mnt/[a-z]/Users/)"
    r"([^\s/\\\"'<>:;,|?*%&()\[\]{}]{1,64})"
)
# Folders there that are nobody's.
_NOBODY = frozenset(("Public", "Default", "Shared", "All", "Guest", "lost+found"))
_METHODS = re.compile(r"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) $")


def homes_in(text: str) -> Iterator[Span]:
    """Find the names of people in the paths of their home folders."""
    if "home" not in text and "Users" not in text and "Settings" not in text:
        return
    for found in _HOME.finditer(text):
        if found[1] in _NOBODY or _METHODS.search(text, max(0, found.start() - 8), found.start()):
            continue
        yield (*found.span(1), "user")
