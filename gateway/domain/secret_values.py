"""
Secret values: whether what stands under a secret name is a secret.

``token=None``, ``password: must be …`` and ``api_key=settings.api_key`` are none. They stay: what
is removed for no reason is missed when something has to be found. What stays is short; a long
value is taken for a secret, which also bounds the time.
"""

from __future__ import annotations

import re

__all__ = [
    "STAYS_CHARS_MAX",
    "SourceLines",
    "is_code",
    "is_count",
    "is_drawn",
    "is_key",
    "is_place",
    "says_nothing",
    "without_scheme",
]

# What stays has at most so many letters.
STAYS_CHARS_MAX = 120

# Words that stand where a value is missing, or that a sentence about the value goes on with.
_ALONE = """
    a an and any are as at bad be been before but by can cannot contains could did do does either
    else empty error exceeded expected expects expired expires failed fails field file for found
    from given has have header how if in incorrect into invalid is isn't it its lacks length less
    like longer looks malformed match matches may might mismatch missing more most must need needs
    neither never no none nor not of omitted on once only optional or out please present provided
    read refused rejected required requires revoked see set shall should since so still such than
    that the their then there these they this to too type types unauthorized undefined unexpected
    unknown unreadable unset unsupported until use used uses using valid validation value verified
    verification via was were what when where whether which while who will with within without
    would wrong yet you your
    null nil nan n/a na true false yes off enabled disabled always auto
    str string int integer float bool boolean bytes bytearray dict list tuple object array number
    secretstr text path uuid callable class function method mapping sequence
    redacted filtered masked hidden secure censored removed sensitive placeholder
"""
_WORDS = frozenset(_ALONE.split())
# A sentence about a value begins with one of these, and goes on with one of the others.
_BEGINNINGS = """
    a an at cannot ensure enter expected field input invalid is may missing must no not please
    should string that the this too unknown unsupported value you your
"""
_ENDS = """
    be but characters character didn't do does empty expired field fields found given incorrect
    invalid is are least letters long match missing must password passwords provided required set
    short should string token key too valid value
"""
_FIRST, _LATER = frozenset(_BEGINNINGS.split()), frozenset(_ENDS.split())
_PLACEHOLDER = re.compile(
    # Nothing, or signs for something.
    r"\**|\.{2,}|…|[xX]{3,}|•+|-+|_+|\?+|\*{3,}\S{0,4}"
    # [redacted:secret], <hidden>, (none), ...
    r"|\[redacted:[a-z-]{1,16}\][.,;:!?)\]}]*"
    r"|[\[({<]{1,2}(?i:[a-z_]{0,30} ?(?:redacted|filtered|masked|hidden|secure|secret|omitted"
    r"|removed|sensitive|truncated|none|null|empty)|\.\.\.|…)[\])}>]{0,2}"
    # Something that is to be filled in, in many languages.
    r"|\$[A-Z_][A-Z0-9_]*|\$[{(].*|%[sdr]|%\(\w+\)[sdr]?|\{\{.*|\{[\w.\[\]'\"!: ()]*\}?"
    r"|<[\w .:/|-]{1,60}>?|[A-Z_]*(?:PASSWORD|TOKEN|SECRET|KEY)(?:_HERE)?"
    r"|Secret(?:Str|Bytes)\(.*"
)
_FILLED_IN = re.compile(r"\{[\w.\[\]'\"!: ()]*\}")
# Names and calls, as lines of source have them.
_CODE = re.compile(
    r"(?:self|cls|os|settings|config|cfg|conf|request|req|response|args|kwargs|options|opts|ctx"
    r"|context|env|environ|process\.env|this|params|data|event|body|headers|app|client|session"
    r"|secrets|st\.secrets|module|node)[.\[(]\S*"
    r"|[A-Za-z_]+(?:\.[A-Za-z_]+)*[(\[](?!\S*[)\]]\w)\S*"
)
_SCHEME = re.compile(
    r"(?:bearer|basic|digest|token|api-?key|key|jwt|negotiate|ntlm|hawk|dpop|aws4-hmac-sha256"
    r"|sso-key|splunk|genie-?key|oauth|snowflake)(?:[ \t]+|$|(?=[\s`,.;:)]))",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"[\d_.,]+%?")
# A digit among letters, capitals inside, or too long for a word.
_DRAWN = re.compile(r"(?=\D*\d)(?=[^A-Za-z]*[A-Za-z])\S{6,}|(?=\S+[A-Z])(?=\S*[a-z])\S{8,}|\S{20,}")
_KEY = re.compile(r"(?=\D*\d)(?=[^A-Za-z]*[A-Za-z])\S{8,}")
# Names with a number, places, ids, and times.
_NO_KEY = re.compile(
    r"[A-Za-z]+(?:[-_.][A-Za-z]+)*[-_.]?\d{1,4}|[a-z0-9_.-]*(?:/[a-z0-9_.-]+)+|[a-z]+://.*"
    r"|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|\d{4}-\d\d-\d\d.*"
)
_PLACE = re.compile(r"[~/.]|[A-Za-z]:[\\/]")


def says_nothing(value: str) -> bool:
    """Tell whether a value stands for one that is missing, or describes what it should be."""
    if len(value) > STAYS_CHARS_MAX:
        return False
    value = value.strip(" \t\r\n\"'")
    small = value.lower()
    if small in _WORDS:
        return True
    first = value[:1]
    # No placeholder begins with any other letter.
    if not (first.isalnum() and small[:1] == first != "x") and _PLACEHOLDER.fullmatch(value):
        return True
    if "{" in value and not any(map(str.isalnum, _FILLED_IN.sub("", value))):
        return True
    words = small.replace(",", " ").replace(".", " ").split()
    return len(words) > 1 and words[0] in _FIRST and not _LATER.isdisjoint(words[1:])


def without_scheme(value: str) -> str:
    """Leave out the name of an authentication scheme: of ``Bearer x`` give ``x``."""
    scheme = _SCHEME.match(value)
    return value if scheme is None else value[scheme.end() :]


def is_code(value: str) -> bool:
    """Tell whether a value is a name or a call in a line of source."""
    return _CODE.fullmatch(value) is not None


def is_drawn(value: str) -> bool:
    """Tell whether a value looks drawn by chance: nobody would write it as a word."""
    return len(value) > STAYS_CHARS_MAX or _DRAWN.fullmatch(value) is not None


def is_key(value: str) -> bool:
    """Tell whether a value looks like a key wherever it stands: letters with digits, and no id."""
    return _KEY.fullmatch(value) is not None and _NO_KEY.fullmatch(value) is None


def is_place(value: str) -> bool:
    """Tell whether a value is the place of a file or a folder."""
    return _PLACE.match(value) is not None


def is_count(name: str, value: str) -> bool:
    """Tell whether a value is a number of something: ``tokens=512``, ``pass: 12``."""
    if not _DIGITS.fullmatch(value):
        return False
    if name == "tokens":
        return True
    if name in ("token", "sid", "sig", "signature", "auth", "sas"):
        return len(value) < 6
    return name in ("pass", "code", "pin", "string") and len(value) < 4


class SourceLines:
    """Tells which lines of a traceback are source; asked from the top of the text to its end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._traced = '  File "' in text
        self._end = -1
        self._source = False

    def has(self, at: int) -> bool:
        """Tell whether a place in the text is in a line of somebody's code."""
        if self._traced and at > self._end:
            text = self._text
            begin = text.rfind("\n", 0, at) + 1
            end = text.find("\n", at)
            self._end = len(text) if end < 0 else end
            above = text.rfind("\n", 0, max(0, begin - 1)) + 1
            self._source = (
                _SOURCE.match(text, begin) is not None and _ABOVE.match(text, above) is not None
            )
        return self._source


# Of a group of exceptions each line has a margin.
_SOURCE = re.compile(r" +\| {5}| {4}(?! *[|+])")
_ABOVE = re.compile(r"(?: +\| )?  File \"| +\| {5}| {4}(?! *[|+])")
