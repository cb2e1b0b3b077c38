"""
How drafts become messages of a JetStream stream, and how messages become entries.

The server accepts or refuses a message whole, so the drafts of one append about one subject travel
in one message. An atomic batch of messages would cost a server without replicas five flushes to
its disk (measured: 18 to 36 ms on ext4, against 0.3 ms for one message). Each message therefore
has ``SLOTS`` offsets, and its last entry has the last of them: a reader that has seen the last
offset of one message has missed nothing before the next message.

A message's subject is ``STREAM.KIND.ID.USER``. Kind and id are those of the drafts' subject, on
which the server checks decisions. The user lets the server find one user's messages without
reading the others. A message's payload is lines: a mark, then for each entry four lines with its
type and topics, its body, its detail and its state. Compact JSON holds no line break.

All of it is stored, so what stands here may be read for as long as any stream lives.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Sequence
from urllib.parse import quote, unquote

import orjson

from gateway.ports import Draft, Entry
from gateway.stores.stamp import entry_of

__all__ = [
    "SLOTS",
    "Foreign",
    "Parcel",
    "about",
    "last_offset_of",
    "name_to_token",
    "pack",
    "sequence_of",
    "unpack",
    "user_filters",
    "witness",
]

# Entries in one message at the most: more than any one decision about a task makes. Offsets stay
# exact in JavaScript, whose integers end at 2^53, for 5e14 messages.
SLOTS = 16

MARK = b"gateway/1"
_LINES_PER_ENTRY = 4
_OVERHEAD_BYTES = 200  # of one entry: its line breaks, and all of its first line but the topics
_TOKEN_CHARS_MAX = 1024  # names have 128 characters at the most; user ids may have more

# Tokens that stand for no name: an encoded name has no "=".
EMPTY_NAME = "=empty"
NO_ID = "=none"
NO_USER = "=nobody"
EVERY_USER = "=everybody"
SEVERAL_USERS = "=several"


class Foreign(ValueError):
    """
    A message that no gateway has written.

    Attributes:
        about: The drafts' subject that its own subject stands for; empty when it stands for none.
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
    One message to be.

    Attributes:
        about: The subject of the drafts in it; empty when there are none.
        subject: The message's own subject.
    """

    about: str
    subject: str
    payload: bytes


def last_offset_of(sequence: int) -> int:
    """Give the offset of the last entry in message ``sequence``."""
    return sequence * SLOTS


def sequence_of(offset: int) -> int:
    """Give the sequence of the message that has ``offset``; 0: none."""
    return -(-offset // SLOTS)


# --- subjects -------------------------------------------------------------------------------


def name_to_token(name: str, *, safe: str = "") -> str:
    """Encode a name so that it may be one token of a subject; ``unquote`` reads it."""
    # A dot separates tokens, and quote() leaves it alone.
    return quote(name, safe=safe).replace(".", "%2E")


@functools.lru_cache(maxsize=4096)
def _token(text: str) -> str:
    token = name_to_token(text, safe="@:")
    assert len(token) <= _TOKEN_CHARS_MAX, text
    return token or EMPTY_NAME


def _text(token: str) -> str:
    return "" if token == EMPTY_NAME else unquote(token)


@functools.lru_cache(maxsize=4096)
def about(stream: str, subject: str) -> str:
    """Give the filter that matches every message about ``subject``."""
    kind, slash, id = subject.partition("/")
    return f"{stream}.{_token(kind)}.{_token(id) if slash else NO_ID}.*"


@functools.lru_cache(maxsize=4096)
def _subject_in(subject: str) -> str:
    """Read the drafts' subject from a message's; raises ValueError if it stands for none."""
    _, kind, id, _ = subject.split(".")
    return _text(kind) if id == NO_ID else f"{_text(kind)}/{_text(id)}"


@functools.lru_cache(maxsize=4096)
def _user(user_id: str) -> str:
    """Encode a user id; a long one by its digest, since nothing reads it from a subject."""
    token = name_to_token(user_id, safe="@:")
    if len(token) <= _TOKEN_CHARS_MAX:
        return token or EMPTY_NAME
    return f"=sha256-{hashlib.sha256(user_id.encode()).hexdigest()}"


def _user_token(topics: Iterable[str]) -> str:
    tokens = {
        EVERY_USER if topic == "system" else _user(topic[5:])
        for topic in topics
        if topic == "system" or topic.startswith("user:")
    }
    if not tokens:
        return NO_USER
    return tokens.pop() if len(tokens) == 1 else SEVERAL_USERS


def user_filters(stream: str, topics: Iterable[str]) -> list[str] | None:
    """
    Give filters that together match every message with an entry of any of ``topics``.

    None when subjects do not name one of the topics, so that every message has to be read.
    """
    tokens = {SEVERAL_USERS}
    for topic in topics:
        if topic != "system" and not topic.startswith("user:"):
            return None
        tokens.add(_user_token([topic]))
    return [f"{stream}.*.*.{token}" for token in sorted(tokens)]


# --- messages -------------------------------------------------------------------------------


def pack(stream: str, drafts: Sequence[Draft], *, payload_bytes_max: int) -> list[Parcel]:
    """
    Put drafts into as few messages as their order, subjects and sizes allow.

    Args:
        payload_bytes_max: How large a payload should be at the most. A draft that is larger alone
            still gets a message, which is too large.
    """
    runs: list[list[Draft]] = []
    size = 0
    for draft in drafts:
        own = sum(map(len, (draft.body, draft.detail or b"", draft.state or b"", *draft.topics)))
        own += _OVERHEAD_BYTES
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
    """Make a message without entries, to carry an expectation that no other message can."""
    return Parcel("", f"{stream}.{EMPTY_NAME}.{NO_ID}.{NO_USER}", MARK)


def unpack(subject: str, payload: bytes, *, epoch: str, sequence: int, at: float) -> list[Entry]:
    """
    Read the entries of one message.

    Args:
        subject: The message's own subject.
        epoch: The log's name.
        sequence: The message's place in the stream.
        at: When the stream accepted it, in seconds since the Unix epoch.

    Raises:
        Foreign: No gateway has written the message.
    """
    lines = payload.split(b"\n")
    count, rest = divmod(len(lines) - 1, _LINES_PER_ENTRY)
    if lines[0] != MARK or rest or count > SLOTS:
        raise Foreign(subject)
    try:
        about = _subject_in(subject)
        entries = []
        for place in range(count):
            first = 1 + place * _LINES_PER_ENTRY
            what, body, detail, state = lines[first : first + _LINES_PER_ENTRY]
            if not body.startswith(b"{"):
                raise Foreign(subject)
            offset = last_offset_of(sequence) - (count - 1 - place)
            own = (about, *_what(what), body, detail or None, state or None)
            entries.append(entry_of(epoch, offset, at, *own))
        return entries
    except (ValueError, KeyError, TypeError) as error:
        raise Foreign(subject) from error


# Cached: the same few users and tasks come again and again, and then share their strings.
@functools.lru_cache(maxsize=4096)
def _what(line: bytes) -> tuple[str, tuple[str, ...], bool]:
    what = orjson.loads(line)
    return what["type"], tuple(what["topics"]), what["operators_only"]
