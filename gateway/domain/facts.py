"""
Facts: the hidden half of an entry, which the folds need and which never leaves the gateway.

The public half of an entry is an event, and its schema says what it holds. This is the schema of
the other half: one immutable record for each type of event that has one (a named tuple: a log is
folded by the hundred thousand). A fact is in the log for as long as the entry, and a log may be
older than the code that reads it. So:

- A field is added with a default, and never renamed.
- A field that changes its meaning needs a new ``VERSION``, and its reader here.
- What a newer version has written is read as far as it is known; ``Unread`` counts the rest.

Versions: 0 is what was written before there was a mark; 1 has the same fields, and the mark.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gateway.domain.agent import AgentPolicy
from gateway.domain.breaker import Outcome
from gateway.domain.errors import ConfigurationError

__all__ = [
    "VERSION",
    "Fact",
    "Failed",
    "Finished",
    "Leased",
    "Locked",
    "ModeChanged",
    "Produced",
    "Progressed",
    "Registered",
    "Salvaged",
    "Started",
    "StatusChanged",
    "Submitted",
    "Unread",
    "from_json",
    "to_json",
]

VERSION = 1
# The mark stands beside the fields, so that a version 0 reader passes it over.
MARK = "v"
# Names of what was not read are counted apart up to this many; the rest is counted as "other".
UNREAD_NAMES_MAX = 100
# What decoding a value raises that is not as it is written here.
UNREADABLE = (TypeError, ValueError, LookupError, AttributeError, ConfigurationError)


class Submitted(NamedTuple):
    """
    Of ``task_submitted``.

    Attributes:
        input: What the agent is asked, as JSON.
        fingerprint: Digest of the whole order, to compare it with another under the same key.
        reserved_for: agent_id of the one process that may take the task; None: any may.
        breaker, generation, probe: Of the permit that the task took when it was accepted as a
            probe; None: it took none.
        title: What its caller calls it; None: nothing.
    """

    input: Any = None
    idempotency_key: str | None = None
    fingerprint: str = ""
    reserved_for: str | None = None
    breaker: str | None = None
    generation: int = 0
    probe: str | None = None
    title: str | None = None


class Started(NamedTuple):
    """
    Of ``task_started``.

    Attributes:
        term: Of the lease under which the attempt is made.
        holder: agent_id of the lease's holder.
        breaker, generation, probe: Of the admission; None: no breaker judges the attempt.
        lease_ttl: Length of the lease in seconds; None: it needs no renewal.
        budget: Name of the retry budget of which the attempt is a call; None: the agent's own.
        hold: The upstream that the attempt calls, where a hold of it is still remembered.
    """

    term: int
    holder: str
    breaker: str | None = None
    generation: int = 0
    probe: str | None = None
    lease_ttl: float | None = None
    budget: str | None = None
    hold: str | None = None


class Progressed(NamedTuple):
    """
    Of ``task_progress``.

    Attributes:
        plan: Names of the steps there will be; None: as before.
        retry_now: The task stops waiting for its next attempt.
        piece, part: As of ``Produced``.
    """

    plan: tuple[str, ...] | None = None
    retry_now: bool = False
    piece: int | None = None
    part: int = 1


class Produced(NamedTuple):
    """
    Of ``partial_result``.

    Attributes:
        piece: The worker's own number of the update that this came with; None: it gave none.
        part: Which event of that update this is, from 1.
    """

    piece: int | None = None
    part: int = 1


class Salvaged(NamedTuple):
    """Of ``partial_result_preserved``: what was not told yet when the attempt ended."""

    steps: Mapping[str, Any]
    text: str
    progress: float | None
    plan: tuple[str, ...] | None


class Failed(NamedTuple):
    """
    Of ``agent_error``.

    Attributes:
        outcome: For the breaker that admitted the attempt; None: no breaker judges it.
        root: event_id of the ``agent_error`` that this failure goes back to; None: to none.
        upstream: What has asked to be left alone, for ``retry_after`` seconds; None: nothing has.
        spared: Whether the attempt is not counted; see ``Failure.spared``.
    """

    outcome: Outcome | None = None
    root: str | None = None
    upstream: str | None = None
    retry_after: float | None = None
    spared: bool = False


class Leased(NamedTuple):
    """
    Of ``lease_changed``.

    Attributes:
        lease_ttl: Length of a renewed lease in seconds; None: it was given back.
        outcome: Of an attempt that was given back, for its breaker.
        taken: Why it was taken from its holder, in a word; None: the holder gave it back.
    """

    lease_ttl: float | None = None
    outcome: Outcome | None = None
    taken: str | None = None


class Finished(NamedTuple):
    """
    Of ``task_finished``.

    Attributes:
        outcome: Of the attempt that this ends, for its breaker.
        steps: Finished steps that were not told yet.
    """

    outcome: Outcome | None = None
    steps: Mapping[str, Any] | None = None


class Registered(NamedTuple):
    """
    Of ``agent_registered``.

    Attributes:
        agents: What the worker does.
        secret_digest: Of the secret that its later calls carry.
        owner: The user on whose token it registered.
        by_socket: Whether it came over a connection that lives as long as it does.
    """

    agents: tuple[AgentPolicy, ...]
    secret_digest: str
    owner: str
    by_socket: bool
    type: str | None = None


class StatusChanged(NamedTuple):
    """
    Of ``agent_status_changed``.

    Attributes:
        removed: Whether the worker has said goodbye.
    """

    removed: bool = False


class Locked(NamedTuple):
    """
    Of ``lock_changed``.

    Attributes:
        owner: The user whose token took the lock.
        ttl: How long it is held from now on, in seconds; None: until its task lets go, or it has
            ended.
        task_id: The task that it is held for; None: it stands alone.
    """

    owner: str
    ttl: float | None = None
    task_id: str | None = None


class ModeChanged(NamedTuple):
    """
    Of ``mode_changed``.

    Attributes:
        by: agent_id of the node that has measured an overload, or its end; None: nobody did.
        note: Why, in the words of the operator who set it; None: none were given.
    """

    by: str | None = None
    note: str | None = None


Fact = (
    Submitted
    | Started
    | Progressed
    | Produced
    | Salvaged
    | Failed
    | Leased
    | Finished
    | Registered
    | StatusChanged
    | Locked
    | ModeChanged
)

_KINDS: dict[str, type[Fact]] = {
    "task_submitted": Submitted,
    "task_started": Started,
    "task_progress": Progressed,
    "partial_result": Produced,
    "partial_result_preserved": Salvaged,
    "agent_error": Failed,
    "lease_changed": Leased,
    "task_finished": Finished,
    "agent_registered": Registered,
    "agent_status_changed": StatusChanged,
    "lock_changed": Locked,
    "mode_changed": ModeChanged,
}


class Unread:
    """
    What was written and cannot be read: counted, and passed over.

    Attributes:
        counts: ``type`` or ``type.field`` → how often.
    """

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()

    def note(self, name: str) -> bool:
        """Count one more; tells whether it is the first of its name."""
        if name not in self.counts and len(self.counts) >= UNREAD_NAMES_MAX:
            name = "other"
        self.counts[name] += 1
        return self.counts[name] == 1


def to_json(fact: Fact) -> dict[str, Any]:
    """Encode a fact as a JSON object; fields that have their default are left out."""
    encoded: dict[str, Any] = {MARK: VERSION}
    for (field, default, encode), value in zip(_FIELDS[fact.__class__], fact, strict=True):
        if value is not default and value != default:
            encoded[field] = value if encode is None or value is None else encode(value)
    return encoded


def from_json(
    type: str, encoded: Mapping[str, Any] | None, unread: Callable[[str], object]
) -> Fact | None:
    """
    Decode the fact of an event of ``type``.

    Args:
        encoded: As ``to_json`` of this version, of an earlier or of a later one gave it;
            None: the entry has no hidden half.
        unread: Called with the name of what is not known here; see ``Unread.note``.

    Returns:
        None: this type has no fact here, or it lacks what it cannot do without.
    """
    if encoded is None:
        return _EMPTY.get(type)
    kind = _KINDS.get(type)
    if kind is None:
        unread(type)
        return None
    # A log is folded by the hundred thousand, so what is as this version writes it takes no detour.
    try:
        values = dict(encoded)
        values.pop(MARK, None)
        for field, decode in _DECODERS_OF[kind]:
            if (value := values.get(field)) is not None:
                values[field] = decode(value)
        return kind(**values)
    except UNREADABLE:
        return _as_far_as_known(type, kind, encoded, unread)


def _as_far_as_known(
    type: str, kind: type[Fact], encoded: Mapping[str, Any], unread: Callable[[str], object]
) -> Fact | None:
    """Decode field by field: one of them at least is not as this version writes it."""
    values: dict[str, Any] = {}
    for field, value in encoded.items():
        if field in kind._fields:
            decode = _DECODERS.get(field)
            try:
                values[field] = value if decode is None or value is None else decode(value)
            except UNREADABLE:
                unread(f"{type}.{field}")
        elif field != MARK:
            unread(f"{type}.{field}")
    try:
        return kind(**values)
    except TypeError:
        unread(type)
        return None


# --- fields that are more than JSON -------------------------------------------------------------

# What an entry without a hidden half says, for the types that may have none.
_EMPTY: dict[str, Fact] = {
    "task_submitted": Submitted(),
    "task_progress": Progressed(),
    "partial_result": Produced(),
    "agent_error": Failed(),
    "lease_changed": Leased(),
    "task_finished": Finished(),
    "agent_status_changed": StatusChanged(),
}


def _outcome(encoded: Mapping[str, Any]) -> Outcome:
    return Outcome(encoded["breaker"], encoded["generation"], encoded.get("probe"), encoded["kind"])


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    # ``dataclasses.asdict`` takes ten times as long.
    return {
        "breaker": outcome.breaker,
        "generation": outcome.generation,
        "probe": outcome.probe,
        "kind": outcome.kind,
    }


_POLICY_FIELDS = frozenset(field.name for field in dataclasses.fields(AgentPolicy))


def _policies(encoded: list[dict[str, Any]]) -> tuple[AgentPolicy, ...]:
    return tuple(_policy(item) for item in encoded)


def _policy(encoded: Mapping[str, Any]) -> AgentPolicy:
    known: dict[str, Any] = {name: encoded[name] for name in _POLICY_FIELDS & encoded.keys()}
    for name in ("capabilities", "features"):
        known[name] = tuple(known.get(name, ()))
    return AgentPolicy(**known)


_ENCODERS: dict[str, Callable[[Any], Any]] = {
    "outcome": _outcome_json,
    "agents": lambda agents: [dataclasses.asdict(policy) for policy in agents],
}
# Of each kind its fields, with their defaults (``...``: none) and what encodes them.
_FIELDS: dict[type[Fact], tuple[tuple[str, Any, Callable[[Any], Any] | None], ...]] = {
    kind: tuple(
        (field, kind._field_defaults.get(field, ...), _ENCODERS.get(field))
        for field in kind._fields
    )
    for kind in _KINDS.values()
}
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "outcome": _outcome,
    "agents": _policies,
    "plan": tuple,
}
_DECODERS_OF: dict[type[Fact], tuple[tuple[str, Callable[[Any], Any]], ...]] = {
    kind: tuple((field, decode) for field, decode in _DECODERS.items() if field in kind._fields)
    for kind in _KINDS.values()
}
