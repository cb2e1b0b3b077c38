"""
How drafts become messages of a JetStream stream, and messages become entries.

A message is what the server accepts or refuses whole, so drafts of one append about one subject
travel in one message: an atomic batch costs a server that is not replicated five flushes to its
disk (measured: 18 to 36 ms on ext4, 0.3 ms for a message). Each message therefore has ``SLOTS``
offsets, and its last entry has the last of them: whoever has seen the last offset of one message
has missed nothing before the next one.

A message's subject is ``STREAM.KIND.ID.USER``: kind and id of what it is about, which decisions
are checked on, and whose it is, so that the server finds one user's messages without reading the
others. A message's payload is lines: a mark, then for each entry what it is, its body, its detail
and its state; compact JSON holds no line break.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from urllib.parse import quote, unquote

import orjson

from gateway.ports import Draft, Entry
from gateway.stores.stamp import stamp

__all__ = [
    "SLOTS",
    "Foreign",
    "Parcel",
    "about",
    "last_offset_of",
    "pack",
    "sequence_of",
    "unpack",
    "user_filters",
    "witness",
]

# Entries in one message at the most: more than any one decision about a task has. Offsets stay
# exact in JavaScript (2^53) for 5e14 messages.
SLOTS = 16

MARK = b"gateway/1"
_LINES_PER_ENTRY = 4
_LINE_BREAKS_BYTES = 200  # of one entry: its line breaks, and more than its first line has
_TOKEN_CHARS_MAX = 1024  # ids have 128 characters at the most, each three bytes when encoded

# Tokens that stand for no name; an encoded name has no "=".
EMPTY = "=empty"
NO_ID = "=none"
NOBODY = "=nobody"
EVERYBODY = "=everybody"
SEVERAL = "=several"


class Foreign(ValueError):
    """
    A message that no gateway has written.

    Attributes:
        about: The drafts' subject that it has all the same; empty when it has none.
    """

    def __init__(self, subject: str) -> None:
        super().__init__(subject)
        try:
            self.about = _subject_in(subject)
        except ValueError:
            self.about = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Parcel:
    """
    What one message carries.

    Attributes:
        about: The drafts' subject; empty when it carries none.
        subject: The message's own subject.
    """

    about: str
    subject: str
    payload: bytes


def last_offset_of(sequence: int) -> int:
    """Tell the offset of the last entry in message ``sequence``."""
    return sequence * SLOTS


def sequence_of(offset: int) -> int:
    """Tell which message has ``offset``; 0: none."""
    return -(-offset // SLOTS)


# --- subjects -------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _token(text: str) -> str:
    # quote() leaves the dot alone, which separates tokens here.
    token = quote(text, safe="@:").replace(".", "%2E")
    assert len(token) <= _TOKEN_CHARS_MAX, text
    return token or EMPTY


def _text(token: str) -> str:
    return "" if token == EMPTY else unquote(token)


@functools.lru_cache(maxsize=4096)
def about(stream: str, subject: str) -> str:
    """Give the filter that matches every message about ``subject``."""
    kind, slash, id = subject.partition("/")
    return f"{stream}.{_token(kind)}.{_token(id) if slash else NO_ID}.*"


@functools.lru_cache(maxsize=4096)
def _subject_in(subject: str) -> str:
    """Read the drafts' subject from a message's."""
    _, kind, id, _ = subject.split(".")
    return _text(kind) if id == NO_ID else f"{_text(kind)}/{_text(id)}"


def _user_token(topics: Iterable[str]) -> str:
    tokens = {
        EVERYBODY if topic == "system" else _token(topic[5:])
        for topic in topics
        if topic == "system" or topic.startswith("user:")
    }
    if not tokens:
        return NOBODY
    return tokens.pop() if len(tokens) == 1 else SEVERAL


def user_filters(stream: str, topics: Iterable[str]) -> list[str] | None:
    """
    Give filters that together match every message with an entry of any of ``topics``.

    None: the subjects do not say; every message has to be looked at.
    """
    tokens = {SEVERAL}
    for topic in topics:
        if topic != "system" and not topic.startswith("user:"):
            return None
        tokens.add(_user_token([topic]))
    return [f"{stream}.*.*.{token}" for token in sorted(tokens)]


# --- messages -------------------------------------------------------------------------------


def pack(stream: str, drafts: Sequence[Draft], *, payload_bytes_max: int) -> list[Parcel]:
    """Put drafts into as few messages as their order, subjects and sizes allow."""
    runs: list[list[Draft]] = []
    size = 0
    for draft in drafts:
        own = sum(map(len, (draft.body, draft.detail or b"", draft.state or b"", *draft.topics)))
        own += _LINE_BREAKS_BYTES
        run = runs[-1] if runs else []
        fits = run and len(run) < SLOTS and size + own <= payload_bytes_max
        if fits and run[0].subject == draft.subject:
            run.append(draft)
            size += own
        else:
            runs.append([draft])
            size = own
    return [_parcel(stream, run) for run in runs]


def _parcel(stream: str, drafts: Sequence[Draft]) -> Parcel:
    lines = [MARK]
    for draft in drafts:
        what = {
            "type": draft.type,
            "topics": draft.topics,
            "operators_only": draft.operators_only,
        }
        lines += (orjson.dumps(what), draft.body, draft.detail or b"", draft.state or b"")
    user = _user_token(topic for draft in drafts for topic in draft.topics)
    filter = about(stream, drafts[0].subject)
    return Parcel(drafts[0].subject, filter[:-1] + user, b"\n".join(lines))


def witness(stream: str) -> Parcel:
    """Make a message without entries: it carries an expectation that no draft can carry."""
    return Parcel("", f"{stream}.{EMPTY}.{NO_ID}.{NOBODY}", MARK)


def unpack(subject: str, payload: bytes, *, epoch: str, sequence: int, at: float) -> list[Entry]:
    """
    Read the entries of one message.

    Raises:
        Foreign: No gateway has written it.
    """
    lines = payload.split(b"\n")
    count, rest = divmod(len(lines) - 1, _LINES_PER_ENTRY)
    if lines[0] != MARK or rest or count > SLOTS:
        raise Foreign(subject)
    try:
        about = _subject_in(subject)
        entries = []
        for place in range(count):
            what, body, detail, state = lines[1 + place * 4 : 5 + place * 4]
            type, topics, operators_only = _what(what)
            if not body.startswith(b"{"):
                raise Foreign(subject)
            draft = Draft(about, type, topics, operators_only, body, detail or None, state or None)
            offset = last_offset_of(sequence) - (count - 1 - place)
            entries.append(stamp(draft, epoch=epoch, offset=offset, at=at))
        return entries
    except (ValueError, KeyError, TypeError) as error:
        raise Foreign(subject) from error


# Remembered: the same few users and tasks come again and again, and share their strings.
@functools.lru_cache(maxsize=4096)
def _what(line: bytes) -> tuple[str, tuple[str, ...], bool]:
    what = orjson.loads(line)
    return what["type"], tuple(what["topics"]), what["operators_only"]
