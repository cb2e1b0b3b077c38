"""
Names: what callers may call agents, keys and channels, and what a sign-in may call its users.

A name is ours to restrict: it stands in addresses, in subjects of a log and in commands. A user
id is not: a sign-in issues it (``auth0|5f7c``, ``ann+test@example.org``), and it is taken as it
is. Each pattern is a regular expression that Python, ECMA-262 and Rust read alike. It ends with a
look-ahead, since ``$`` would let a line break pass.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable
from typing import Any, TypeGuard

__all__ = [
    "NAME",
    "TOPIC",
    "TRACEPARENT",
    "USER_ID",
    "is_name",
    "is_traceparent",
    "is_user_id",
    "similar_to",
]

# How many names are looked at for similar ones, which takes a millisecond, and how many are given.
LOOKED_AT_MAX = 100
SIMILAR_MAX = 3

_END = r"(?![\s\S])"
_NAME = r"[A-Za-z0-9._~@:-]{1,128}"
# Not "*" alone, which means everyone; no space at either end; no control character. Written without
# look-around, so that an engine whose time is linear reads it.
_CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_USER_ID = rf"(?:[^{_CONTROL} *]|[^{_CONTROL} ][^{_CONTROL}]{{0,254}}[^{_CONTROL} ])"

NAME = f"^{_NAME}{_END}"
USER_ID = f"^{_USER_ID}{_END}"
# A recipient is an agent_id or a user id.
TOPIC = rf"^(\*|system|(task|agent|channel):{_NAME}|(user|recipient):{_USER_ID}){_END}"

# The span of a caller (W3C Trace Context, 3.2), as far as every version of it is alike.
TRACEPARENT = rf"^[0-9a-f]{{2}}-[0-9a-f]{{32}}-[0-9a-f]{{16}}-[0-9a-f]{{2}}{_END}"

_NAMES, _USER_IDS, _TRACEPARENTS = map(re.compile, (NAME, USER_ID, TRACEPARENT))


def is_name(value: Any) -> TypeGuard[str]:
    """Whether a value may name an agent, a breaker, a channel, a key and the like."""
    return isinstance(value, str) and _NAMES.match(value) is not None


def is_user_id(value: Any) -> TypeGuard[str]:
    """Whether a value may be the id of a user, 1 to 256 characters long."""
    return isinstance(value, str) and _USER_IDS.match(value) is not None and _is_unicode(value)


def is_traceparent(text: str) -> bool:
    """Whether a text names a span; version ff, and ids of zeros alone, are names of none."""
    version, _, rest = text.partition("-")
    ids = rest.split("-")[:2]
    return (
        _TRACEPARENTS.match(text) is not None
        and version != "ff"
        and all(id.strip("0") for id in ids)
    )


def similar_to(name: str, known: Iterable[str]) -> list[str]:
    """Give the known names that look most like one that is not, the most alike first."""
    looked_at = {one.lower(): one for one in itertools.islice(known, LOOKED_AT_MAX)}
    alike = difflib.get_close_matches(name.lower(), looked_at, n=SIMILAR_MAX)
    return [looked_at[one] for one in alike]


def _is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8; half a surrogate pair cannot, and JSON may hold one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
