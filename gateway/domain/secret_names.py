r"""
Secret names: what is secret because of the name that it stands under.

``password=x``, ``"apiKey": "x"``, ``Authorization: Bearer x``, ``--token x``,
``<SessionToken>x</SessionToken>``, ``password: |`` and a block of YAML.
A name is secret by its end, so that ``OPENAI_API_KEY`` needs no row; a short tail such as
``_header`` or ``_2`` may follow. ``secret_values`` tells what is no secret all the same.

Everything is looked up in a text of small letters: an expression that ignores case takes five
times as long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gateway.domain.secret_forms import Span
from gateway.domain.secret_values import (
    STAYS_CHARS_MAX,
    SourceLines,
    is_code,
    is_count,
    is_drawn,
    is_key,
    is_place,
    says_nothing,
    without_scheme,
)

__all__ = ["NAMES_READ_MAX", "flags_in", "is_pair", "is_secret_name", "named_in"]

# --- names ------------------------------------------------------------------------------------

# They begin with few different letters: a text is searched for those first.
_NAMES = (
    *("passwords?", "passwd", "passphrase", "passcode", "passwort", "passe", "passw", "pass"),
    *(
        "pwd",
        "pw",
        "psw",
        "pin",
        "secrets?",
        "senha",
        "kennwort",
        r"contrase(?:[nñ]|\\{1,32}u00f1|\\{1,32}xc3\\{1,32}xb1)a",
        "cvv",
        "cvc",
    ),
    *("tokens?", "keys?", "credentials?", "authorization", "auth", "cookies?", "signature", "sig"),
    *("session[-_. ]?id", "session", "sessid", "sess", "sid", "sas", "connstr", "conn[-_]str"),
    *("csrf", "xsrf", "samlresponse", "assertion", "hmac", "psk", "totp", "otp"),
    *("string", "phrase", "code", "verifier", "jwt", "pat", "creds?"),
    *("密码", "密碼", "パスワード", "пароль"),
)
# These are secret only where no letter stands before them: `compass` and `oauth` are not.
_SHORT = (
    *("pass", "passw", "passe", "pwd", "pw", "psw", "pin", "cvv", "cvc", "totp", "otp", "auth"),
    *("sig", "sid", "sas", "sess", "session", "psk", "hmac", "csrf", "xsrf", "jwt", "pat"),
    *("cred", "creds"),
)
# These are secret only where one of these words stands before them.
_AFTER: Mapping[str, tuple[str, ...]] = {
    "key": (
        *("api", "access", "secret", "private", "account", "auth", "admin", "encryption", "crypt"),
        *("decryption", "signing", "sign", "master", "shared", "subscription", "service", "role"),
        *("storage", "deploy", "license", "hmac", "session", "function", "functions", "ssh"),
        *("root", "machine", "user", "aes", "rsa", "host", "webhook", "recovery", "integration"),
        *("app", "application", "consumer", "project", "write", "ingest", "ingestion", "bot"),
    ),
    "code": (
        *("mfa", "otp", "verification", "recovery", "backup", "2fa", "pin", "device", "sms"),
        *("auth", "access", "authorization", "security", "login"),
    ),
    "phrase": ("seed", "recovery", "mnemonic"),
    "string": ("connection", "conn"),
    "verifier": ("code",),
}
# What may follow a name without changing what it is.
_TAIL = (
    r"(?:[-_.]?(?:values?|headers?|pem|b64|base64|hash(?:ed)?|string|text|raw|plain(?:text)?|hex"
    r"|bytes|str|old|new|current|previous|prod(?:uction)?|dev|staging|live|test|main|default"
    r"|primary|secondary|backup|confirm(?:ation)?|repeat(?:ed)?|key|env|json|data|blob|enc(?:rypted)?|v?[0-9]{1,2})){0,3}"
)
_NAME = "|".join(sorted(_NAMES, key=lambda name: (name[0], -len(name))))
_HEADERS = ("authorization", "cookie", "cookies")
# After these a value in quotation marks may follow at once: the password 'x' is wrong.
_SPOKEN = ("password", "passwords", "passwd", "passphrase", "passcode", "passwort", "secret")
# After these and a colon there may be anything: signature: (a, b); pass: all.
_VAGUE = ("sig", "signature", "auth", "sid", "pass", "pin", "sas", "string", "code")
# After these there may be anything at all: session=self.session.
_OBJECTS = ("session", "sess", "assertion", "hmac", "csrf", "xsrf", "samlresponse", "jwt", "pat")
# As keys of a mapping these are secret, too.
_KEYS = ("basicauth", "httpauth", "proxyauth", "authheader", "jwt", "dsn", "_pat", "bearer")

# --- what stands between a name and its value -------------------------------------------------

# Quotation marks, also escaped.
_MARK = r"\\{0,32}[\"'`]"

_BREAK = r"(?:\r?\n(?: {1,32}\| )?|(?:\\{1,32}r)?\\{1,32}n)"

# What colours a word in a terminal; the first sign may have been escaped.
_COLOUR = r"(?:[\x1b ]{1,2}\[[0-9;]{1,8}m){0,2}"

_BETWEEN = (
    rf"(?P<mark>{_MARK})?[\])]{{0,2}}{_COLOUR}[ \t]{{0,8}}(?:"
    # name: str = x
    r":[ ]?(?:str|bytes|secretstr|optional\[str\]|str \| none)[ ]?=[ ]?"
    # name:\n  value: x
    rf"|:{_BREAK}[ \t]{{1,64}}value:[ ]{{1,4}}"
    # name = x, name: x, name => x; a quoted value may stand on the next line
    rf"|(?:[:!=]?=>?|::?|->|：){_COLOUR}"
    rf"(?:[ \t\xa0]{{0,64}}(?:{_BREAK}[ \t]{{0,64}}(?=\\{{0,32}}[\"']))?)"
    # {"name": "name", "value": "x"}; <input name="name" value="x">; name: NAME\n  value: x
    rf"|,?[ ]{{0,2}}(?:{_BREAK}[ \t]{{0,64}})?\\{{0,32}}[\"']?value\\{{0,32}}[\"']?[ ]?[=:][ ]?"
    # ("name", "x"), ["--name", "x"]
    r"|(?P<pair>,)[ ]{0,2}(?=b?\\{0,32}[\"'])"
    # set_name("x"), Name("x")
    r"|(?P<call>\()(?=b?\\{0,32}[\"'])"
    # <name>x
    r"|(?P<tag>(?(mark)(?!))(?:(?<=[ ])[^<>\n]{0,80})?>)"
    # api key provided: x; name is x; name "x"
    r"|(?<=[ \t])(?P<said>[|│][ ]{1,64}"
    r"|(?:is|was|provided|given|supplied|used|sent|received|found)(?:[ ]is)?"
    r":?[ ]|(?=[\"'`\\]|(?=\S{0,30}\d)(?=\S{0,30}[a-z])\S{8}))"
    r")"
)
_NAMED = re.compile(rf"(?P<name>{_NAME}){_TAIL}{_BETWEEN}")
_AT_END = re.compile(rf"(?P<name>{_NAME})(?={_TAIL}\Z)")
# --name x, of a command line; login u password x, of .netrc
_FLAG = re.compile(r"-(?<![\w-]-)-?([a-z][\w-]{1,63})[ ]{1,4}(?=[^\s-])")
_NETRC = re.compile(r"login\s{1,8}\S{1,256}\s{1,8}password\s{1,8}(\S{1,256})")

# --- values -----------------------------------------------------------------------------------

# Letters of a value without quotation marks. Signs between values belong to it where no other
# name follows: a;b&c,d
_LETTERS = (
    r"[^\s\"'`,;&\\<>]++"
    r"|[,;&](?!\s|$|[\"'\]})]|(?:amp|lt|gt);|[\w.-]{1,40}[ ]?[=:]"
    r"|(?:user|initial|data|integrated|application|persist|trusted|min|max)[ ][\w ]{1,30}=)"
    r"|\\{1,32}+(?![nrtu\"'])|<(?!/)|>"
)
# A word that has the rest of its line to itself.
_ALONE = r"[^\s:=<>\"'\\]{8,256}+(?=\r?\n|\Z|\\{1,32}[rn]|\\{0,32}[\"'])"
_VALUE = re.compile(
    # b"x"; Some("x"); an anchor or a type of YAML
    r"(?:[bruf]{1,2}(?=[\"'])|some\((?=\\{0,32}[\"'])|[&!]!?\w{1,32}[ ](?=\S))?(?:"
    r"\"\"\"(?P<quoted3>[^\"]*+)"
    r"|(?:\\{1,32}[\"']){3}(?P<quoted7>[^\"'\\]*+)"
    # A mark in the middle of a word closes nothing: an escape of it was escaped once more.
    r"|\"(?P<quoted>(?:[^\"\\]++|\\[\s\S]|(?<=\\)\"(?=\w))*+)"
    r"|'(?P<quoted1>(?:[^'\\]++|\\[\s\S]|(?<=\\)'(?=\w))*+)"
    r"|`(?P<quoted2>[^`\n]*+)"
    r"|\\\"(?P<quoted4>(?:\\\\\\\"|[^\"\\]++|\\(?!\"))*+)"
    r"|\\'(?P<quoted5>(?:\\\\\\'|[^'\\]++|\\(?!'))*+)"
    r"|\\{2,32}[\"'](?P<quoted6>[^\"'\\]*+)"
    r"|\[(?P<items>[^\[\]]{1,4096}+)\]|\{(?=(?:[\s|]|\\{1,32}[rn]){0,80}\\{0,32}[\"'])(?P<within>[^{}]{1,4096}+)\}|\((?P<both>[^()\n]{1,4096}+)\)"
    # Items of YAML, or one alone in its line.
    rf"|(?P<lines>{_BREAK}[ \t]{{1,64}}+(?:-[ ]{{1,4}})?(?P<first>{_ALONE})"
    rf"(?:{_BREAK}[ \t]{{1,64}}+-[ ]{{1,4}}{_ALONE})*+)"
    # A block of YAML: all lines that stand as far in as its first.
    r"|[|>][-+]?\d?[ \t]*(?P<block>\r?\n(?P<by>[ \t]+)\S[^\n]*(?:\n(?P=by)[^\n]*)*)"
    r"|[|>][-+]?\d?(?P<line>(?:(?:\\{1,32}r)?\\{1,32}n[ ]+[^\\\"']*)+)"
    rf"|(?P<plain>(?:{_LETTERS})++))"
)
_ITEM = re.compile(r"\"[^\"]*\"|'[^']*'")
# The rest of a header's line: many cookies, or one value with parts in quotation marks.
_LINE = re.compile(
    r"(?:[^\r\n\"'\\]++|(?<==)\\{0,32}(?:\"[^\"\r\n]*\"|'[^'\r\n]*')|\\(?![nrtu\"']))++"
)
_WORD = re.compile(r"[^\s`\"']{0,40}")
_IDENTIFIER = re.compile(r"[a-z_]+")
# print("the token:", token): the mark closes a text that ends with the name.
_CLOSES = re.compile(r"(?:[:=>][\"'`](?:[,)\]};.]?(?:[\s,)\]}]|$))|[^:=>][\"'`][)\]},;])")
# No text that somebody wrote has more secret names; of one that has, the values are not read.
NAMES_READ_MAX = 1_000
# Letters of a name that may stand before the part that makes it secret.
_STEM = "abcdefghijklmnopqrstuvwxyz0123456789_.-"
_OPENED_BY = {")": "(", "]": "[", "}": "{", ">": "<"}
_STOPS = tuple(".,:;!? ")
_TRIMMED_MAX = 4


def is_secret_name(name: str) -> bool:
    """Tell whether a value that has this name, as a key or a parameter, is secret."""
    small = name[-128:].lower()
    if small == "pat" or small.endswith(_KEYS):
        return True
    return any(
        found["name"] not in _OBJECTS and _is_secret(small, found)
        for found in _AT_END.finditer(small)
    )


def is_pair(name: str, value: str) -> bool:
    """
    Tell whether two texts that stand side by side are a secret's name and the secret.

    ("authorization", "Bearer x") are; ("password", "email") are two names.
    """
    bare = without_scheme(value)
    if not is_secret_name(name) or says_nothing(value) or says_nothing(bare):
        return False
    drawn = any(map(str.isdigit, bare)) and not is_secret_name(bare)
    return name.startswith("-") or bare != value or "=" in value or drawn


def named_in(text: str, small: str) -> Iterator[Span]:
    """
    Find the secrets in a text that stand under a name.

    Args:
        small: The text in small letters, letter by letter.
    """
    source = SourceLines(text)
    done = names = 0
    for found in _NAMED.finditer(small):
        if found.start() < done or not _is_secret(small, found):
            continue
        names += 1
        place = _value(text, small, found, source if names <= NAMES_READ_MAX else None)
        if place is not None:
            done = place[1]
            yield (*place, "header" if found["name"] in _HEADERS else "secret")


def flags_in(text: str, small: str) -> Iterator[Span]:
    """Find the secrets that follow a flag of a command line (``--token x``), and in .netrc."""
    if " -" in text or "'-" in text:
        for found in _FLAG.finditer(small):
            value = _VALUE.match(small, found.end()) if is_secret_name(found[1]) else None
            if value is not None:
                form = str(value.lastgroup)
                start, end = value.span(form if form.startswith("quoted") else 0)
                end = _trimmed(text, start, end)
                if start < end and not says_nothing(text[start:end]):
                    yield start, end, "secret"
    if "machine " in small:
        for found in _NETRC.finditer(text):
            yield (*found.span(1), "secret")


def _is_secret(small: str, found: re.Match[str]) -> bool:
    """Tell whether a name is secret, by what stands before it."""
    name, start = found["name"], found.start()
    before = small[max(0, start - 24) : start]
    if "redacted:" in before and "]" not in before.rpartition("redacted:")[2]:
        return False  # the name of a mark
    words = _AFTER.get(name.removesuffix("s"))
    if words is not None:
        return before.rstrip("-_. ").endswith(words)
    if name in _SHORT and before[-1:].isalpha():
        return before[-2:-1] == "\\"  # the letter belongs to an escape: \npass=
    return not before.endswith("unexpected ")


def _value(
    text: str, small: str, found: re.Match[str], source: SourceLines | None
) -> tuple[int, int] | None:
    """
    Tell where the secret stands that a name announces; None: there is none.

    Args:
        source: The lines of source; None: whatever stands there is taken for a secret.
    """
    name = found["name"]
    # What is cheap to see comes first: a text may be full of names.
    if found["pair"] is not None and _opener(small, found) not in ("-", "(", "[", "{", ","):
        return None
    if found["tag"] is not None and not _may_be_tag(small, found):
        return None
    if found["said"] is not None and (name in _SHORT or name in _HEADERS or name in _OBJECTS):
        return None
    value = _VALUE.match(small, found.end())
    if value is None:
        return None
    form = "block" if value.lastgroup == "by" else str(value.lastgroup)
    start, end = value.span(form)
    if form == "plain":
        if source is None or end - start > STAYS_CHARS_MAX:
            return start, end
        return _plain(text, small, found, start, end, source)
    if form in ("block", "line"):
        return value.start(), end
    if form == "lines":
        first = text[slice(*value.span("first"))]
        stands = found["said"] is None and found["name"] not in _OBJECTS and is_key(first)
        return (value.start("first"), end) if stands else None
    if form == "within":
        # {"token": {"value": "x"}}; that of a schema describes it.
        stands = found["said"] is None and found["name"] not in (*_OBJECTS, "tokens")
        items = _ITEM.findall(text, start, end) if stands else ()
        return (start, end) if any(is_key(item.strip("\"'\\")) for item in items) else None
    if form in ("items", "both"):
        # ["k1", "k2"]; of two values the user's name and the password: auth=("user", "x").
        listed = found["said"] is None and (form == "items" or name == "auth")
        items = _ITEM.findall(text, start, end) if listed else ()
        if all(map(says_nothing, items)):
            return None
        if found["name"] == "tokens" and not any(is_key(item.strip("\"'\\")) for item in items):
            return None  # the words of a text
        return (start - 1, end + 1) if form == "items" else (start, end)
    if form != "quoted3" and (line := text.find("\n", start, end)) >= 0:
        end = line  # it is never closed, or the mark closes what the name stands in
    if source is None:
        return (start, end) if start < end else None
    closes = found["mark"] is None and _CLOSES.match(text, start - 2) is not None
    secret = start < end and not closes and _is_quoted_secret(text[start:end], small, found)
    return (start, end) if secret else None


def _before(small: str, found: re.Match[str]) -> tuple[str, str]:
    """Give what stands before a name, and the part of the name before that which is secret."""
    start = found.start()
    before = small[max(0, start - 40) : start]
    opened = before.rstrip(_STEM)
    return opened, before[len(opened) :]


def _opener(small: str, found: re.Match[str]) -> str:
    """Give the sign before a name in quotation marks: of ("name", of , "name", of "--name"."""
    before, stem = _before(small, found)
    if stem.startswith("-"):
        return "-"
    quoted = before[-1:] in ("'", '"')
    return before[:-1].rstrip("\\").removesuffix("b").rstrip()[-1:] if quoted else ""


def _may_be_tag(small: str, found: re.Match[str]) -> bool:
    """Tell whether it is <name>x, with a prefix or without."""
    before, _ = _before(small, found)
    return before.rstrip(_STEM + ":").endswith("<")


def _is_quoted_secret(value: str, small: str, found: re.Match[str]) -> bool:
    name, bare = found["name"], without_scheme(value)
    if not bare or says_nothing(value) or (bare is not value and says_nothing(bare)):
        return False
    if found["pair"] is not None:
        # In a list of many the name may be anything.
        sure = bare is not value or is_key(value) or _opener(small, found) != ","
        return sure and is_pair(_before(small, found)[1] + name, value)
    if found["call"] is not None:
        return (
            name not in _OBJECTS
            and is_key(value)
            and not any(map(_before(small, found)[1].__contains__, _ASKS))
        )
    if found["said"] is not None:
        # Much else may stand there: invalid token '@'.
        return name in _SPOKEN or is_drawn(bare)
    if name in _OBJECTS and not is_drawn(bare):
        return False
    return not is_count(name, bare) and not (name.startswith("cred") and is_place(bare))


def _plain(
    text: str, small: str, found: re.Match[str], start: int, end: int, source: SourceLines
) -> tuple[int, int] | None:
    """Tell where a value without quotation marks ends; None: it is no secret."""
    name = found["name"]
    bare = without_scheme(text[start : start + STAYS_CHARS_MAX])
    first = _WORD.match(bare)
    assert first is not None
    if says_nothing(first[0].rstrip(",;:.!?)]}")) or source.has(start):
        return None
    if name in _HEADERS:
        line = _LINE.match(text, start)
        assert line is not None
        end = line.end()
        if end - start > STAYS_CHARS_MAX:
            return start, end
    end = _trimmed(text, start, end)
    value = text[start:end]
    if says_nothing(value) or is_code(value) or _is_named_like_it(name, value):
        return None
    if found["mark"] == "`" and not is_drawn(value):
        return None  # `token`: makes one
    if found["said"] is not None and not _is_said(found["said"], value):
        return None
    return (start, end) if _is_plain_secret(small, found, value) else None


# Functions that take the name of a secret, and none.
_ASKS = ("get", "load", "fetch", "read", "find", "check", "has", "is_", "delete", "remove")


def _is_said(words: str, value: str) -> bool:
    """Tell whether a value may follow without a sign: ``api key provided: x``, ``API_KEY x``."""
    if words[:1] in ("|", "│"):
        return is_key(value)
    if words:
        return is_drawn(value)
    return len(value) >= 8 and is_drawn(value) and not _UUID.fullmatch(value)


_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def _is_plain_secret(small: str, found: re.Match[str], value: str) -> bool:
    name = found["name"]
    if not any(map(str.isalnum, value)) and len(value) < 3:
        return False
    if (name == "pwd" or name.startswith("cred")) and is_place(value):
        return False  # the working directory, or where a file is
    if name in ("cookie", "cookies"):
        return "=" in value or is_drawn(value)
    if is_count(name, value):
        return False
    if is_drawn(value) or (value.isdigit() and name not in _OBJECTS):
        return True
    if name == "pass" and _before(small, found)[1]:
        return True  # db_pass: x
    return name not in _OBJECTS and (name not in _VAGUE or "=" in found[0])


def _is_named_like_it(name: str, value: str) -> bool:
    """Tell whether a value is a name itself: ``api_key=openai_key``, ``password=password``."""
    small = value.lower()
    if small == name:
        return True
    return "_" in small and _IDENTIFIER.fullmatch(small) is not None and is_secret_name(small)


def _trimmed(text: str, start: int, end: int) -> int:
    """Leave out brackets that were opened before the value, and the stop of a sentence."""
    for _ in range(_TRIMMED_MAX):
        last = text[end - 1] if end > start else ""
        opener = _OPENED_BY.get(last)
        if last not in _STOPS and (opener is None or opener in text[start : end - 1]):
            break
        end -= 1
    return end
