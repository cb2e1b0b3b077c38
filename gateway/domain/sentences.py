"""
Sentences: what an upstream says only in words, and what is left of an exception as text.

Words are the last evidence: code, status and class come before. What stands between quotation
marks is somebody else's sentence and never decides. Some frameworks keep the cause of a failure
only as text; the forms in which known libraries write a status or a code are read back.

All texts are lower case, and cut by ``evidence``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = [
    "OVERFLOW",
    "SENTENCES",
    "SETTINGS",
    "TRANSIENT",
    "Sentence",
    "Told",
    "outside",
    "said",
    "told",
]


class Sentence(NamedTuple):
    """A sentence that names a kind, and the statuses that leave it open (0: no status)."""

    pattern: re.Pattern[str]
    code: str
    statuses: frozenset[int]


# A request that is longer than the model reads. Each phrase is one vendor's, or a few vendors'.
OVERFLOW = re.compile(
    r"prompt is too long|prompt too long"  # Anthropic, Ollama
    r"|input is too long"  # Bedrock
    r"|maximum context|context[ _](?:length|window|limit|size).{0,40}exceed"  # OpenAI, MiniMax
    r"|(?:exceed|greater|longer|larger).{0,60}context[ _](?:length|window|limit|size)"  # llama.cpp
    r"|token count.{0,40} exceeds the (?:maximum|limit)"  # Gemini, GitHub Copilot
    r"|maximum (?:prompt|input) length|max(?:imum)? input tokens"  # xAI, DashScope
    r"|too many (?:input )?tokens|token limit exceeded|exceeded model token limit"  # Cohere, Kimi
    r"|reduce the length of the (?:messages|prompt|input)"  # Groq, Cerebras
    r"|number of tokens in the prompt exceed|tokens to keep from the initial prompt"  # LM Studio
    r"|tokens.{0,60} must be <=|must have less than \d{1,12} tokens"  # text-generation-inference
    r"|range of input length should be|prompt exceeds max length"  # Qwen, GLM
    r"|too large to process.{0,40}batch size"  # llama.cpp
)
# The phrases that are clear without a status: llama-cpp-python raises a plain ValueError.
_OVERFLOW_ALONE = re.compile(
    r"exceeds? (?:the )?(?:available |model'?s? )?context (?:window|size|length)"
    r"|maximum context length|maximum prompt length|prompt is too long"
    r"|token count.{0,40} exceeds the maximum"
)
# A request that is alone larger than a limit per minute never gets through (OpenAI, Groq).
OVERSIZED = re.compile(r"request too large for")
_FILTERED = re.compile(
    r"content.(?:filter|management policy|policy)|usage polic|safety (?:system|filter)"
    r"|blocked by .{0,20}policy|violat.{0,20}polic"
)
_QUOTA = re.compile(
    r"credit balance|billing.(?:hard.)?limit|plan and billing|spend(?:ing)? limit"
    r"|api usage limits|insufficient (?:credits|balance|funds)"
    r"|(?:exceeded|insufficient|out of).{0,24}quota|quota.{0,12}exceeded"
)
_LIMITED = re.compile(
    r"rate.?limit|too many requests|too many tokens.{0,20} wait|please wait before|throttl"
    r"|try again in \d|retry in \d"
)
# Nothing was sent, since a key or a usable address is missing: openai, anthropic, google-genai,
# groq, huggingface_hub, langchain, pydantic-ai, litellm; boto, redis, urllib.
SETTINGS = re.compile(
    r"missing credentials\. please pass|could not resolve authentication method"
    r"|no api key was provided|missing key inputs argument|missing \w{2,20} api key"
    r"|must provide an? (?:\w{1,20}_)?api[_ ]key|did not find \w{0,30}api_?key"
    r"|api_key client option must be set|set the .{0,60} environment variable"
    r"|^invalid endpoint: |url must specify one of the following schemes|unknown url type"
)
_UNKNOWN_KEY = re.compile(
    r"(?:incorrect|invalid|wrong|no) api.?key"
    r"|api.?key (?:is )?(?:not valid|invalid|expired|missing)"
)
_UNKNOWN_MODEL = re.compile(
    r"model identifier is invalid|invalid model(?: id| name)?\b|unknown model|no such model"
    r"|model.{0,80}(?:does not exist|not found|is not supported)"
)

# The first that matches decides, so a limit that resets comes before all that it sounds like.
SENTENCES: tuple[Sentence, ...] = (
    Sentence(SETTINGS, "configuration_error", frozenset({0, 400, 500})),
    Sentence(_QUOTA, "quota_exhausted", frozenset({0, 400, 403, 413, 422, 429})),
    Sentence(_LIMITED, "rate?", frozenset({0, 400, 403, 422})),
    Sentence(OVERFLOW, "llm_context_too_long", frozenset({0, 400, 413, 422, 500})),
    Sentence(OVERSIZED, "llm_context_too_long", frozenset({0, 400, 413, 422, 429})),
    Sentence(_FILTERED, "llm_content_filtered", frozenset({0, 400, 403, 422})),
    Sentence(_UNKNOWN_KEY, "auth?", frozenset({0, 400, 403})),
    Sentence(_UNKNOWN_MODEL, "llm_model_not_found", frozenset({0, 400, 422})),
)
# A quota that refills by itself is a rate limit, whatever it is called.
TRANSIENT = re.compile(r"per (?:minute|second|hour)|(?:retry|try again|retry again) in|wait before")

_PAIRS = {"“": "”", "«": "»", "„": "“", "‘": "’", '"': '"', "`": "`", "'": "'"}
_QUOTATION_CHARS_MAX = 2_000


def outside(text: str) -> str:
    """
    Blank out what stands between quotation marks; what is left keeps its place.

    An apostrophe inside a word opens and closes nothing, and neither does a mark whose partner
    is missing.
    """
    pieces = []
    start = position = 0
    missing: set[str] = set()
    while position < len(text):
        mark = text[position]
        closing = _PAIRS.get(mark)
        end = -1
        if closing is not None and mark not in missing and not _inside_word(text, position):
            end = _closing(text, closing, position + 1)
            if end == -1:
                missing.add(mark)
        if end == -1 or end - position > _QUOTATION_CHARS_MAX:
            position += 1
            continue
        pieces += [text[start:position], " " * (end + 1 - position)]
        start = position = end + 1
    return "".join(pieces) + text[start:]


def _inside_word(text: str, position: int) -> bool:
    """Tell whether an apostrophe stands after a letter, as in ``model's``."""
    return text[position] in "'’" and position > 0 and text[position - 1].isalnum()


def _closing(text: str, closing: str, position: int) -> int:
    while (position := text.find(closing, position)) != -1:
        after = text[position + 1 : position + 2]
        if closing not in "'’" or not after.isalnum():
            return position
        position += 1
    return -1


def said(message: str, *, status: int | None, words_decide: bool = False) -> str | None:
    """
    Tell the code that a sentence stands for, outside its quotations; None: it says nothing.

    Args:
        message: The upstream's sentence.
        status: The HTTP status; None when there is none.
        words_decide: A code has named a rate limit: only the size of the request may still say
            that waiting is no use.
    """
    if not message:
        return None
    message = outside(message)
    for sentence in SENTENCES:
        if (status or 0) not in sentence.statuses or not sentence.pattern.search(message):
            continue
        if words_decide and sentence.pattern is not OVERSIZED:
            continue
        if sentence.code == "quota_exhausted" and TRANSIENT.search(message):
            continue
        return sentence.code
    return None


class Told(NamedTuple):
    """What a text tells: a status, the names of kinds, and what is searched for sentences."""

    status: int | None
    words: tuple[str, ...]
    message: str


# How libraries write the status into the text of their exceptions.
_STATUSES = tuple(
    re.compile(pattern)
    for pattern in (
        r"\berror code: (\d{3})\b",  # openai, anthropic, groq
        r"\b(?:client|server) error '(\d{3}) [a-z' -]{2,40}' for url",  # httpx
        r"\b(\d{3}) (?:client|server) error: [a-z' -]{0,40} for url",  # requests
        r"\bhttp(?: error|/[\d.]{1,3}|_?status| status| status code| code)?[ :=]{1,2}(\d{3})\b",
        r"\bstatus(?:_code|code| code)?[ :=]{1,3}(\d{3})\b",  # pydantic-ai, mistralai, ollama
        r"\b(\d{3})(?:, message=| [a-z_]{4,24}\. \{)",  # aiohttp, google
        r"\b(\d{3}) (?:too many requests|unauthorized|forbidden|not found|bad request"
        r"|service unavailable|bad gateway|gateway time-?out|internal server error"
        r"|payment required|request timeout|resource_exhausted|unavailable|invalid_argument)\b",
    )
)
_AWS = re.compile(r"an error occurred \((\w{3,64})\) when calling the \w{2,64} operation")
_CLASSES = re.compile(
    r"\b(?:\w{1,40}\.){0,6}(\w{3,60}(?:error|exception|exceeded|limit))\b(?=:|\()"
)
_FIELD = re.compile(r"""['"](?:code|type|status|reason)['"]: {0,2}['"]([\w.-]{2,64})['"]""")
_MESSAGE = re.compile(
    r"""['"]message['"]: {0,2}(?:'((?:[^'\\]|\\.|(?<=\w)'(?=\w)){1,1000})'"""
    r"""|"((?:[^"\\]|\\.){1,1000})")"""
)
_WORDS_MAX = 8


def told(text: str) -> Told | None:
    """Read back what a library wrote into a text; None: nothing that is known."""
    if not text:
        return None
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]  # anthropic quotes the whole of a sentence
    plain = outside(text)

    def unquoted(match: re.Match[str] | None) -> bool:
        return match is not None and plain[match.start()] == text[match.start()]

    status = None
    begin = len(text)
    words: list[str] = []
    for pattern in _STATUSES:
        match = pattern.search(text)
        if match is not None and unquoted(match) and 400 <= int(match[1]) <= 599:
            status, begin = int(match[1]), match.start()
            break
    cloud = _AWS.search(text)
    if cloud is not None and unquoted(cloud):
        words.append(cloud[1])
        begin = min(begin, cloud.start())
    words += [match[1] for match in _CLASSES.finditer(plain)][:_WORDS_MAX]
    body = text[begin:]
    if status is not None:
        words += [match[1] for match in _FIELD.finditer(body)][:_WORDS_MAX]
    spoken = _MESSAGE.search(body)
    message = (spoken[1] or spoken[2]) if spoken is not None else plain
    if (
        status is None
        and not words
        and not (_OVERFLOW_ALONE.search(plain) or SETTINGS.search(plain))
    ):
        return None
    return Told(status, tuple(words), message)
