"""
Whether recorded claims can have happened where no term of a task ever has two holders.

A history is what several callers saw, each of its own calls: when it asked, when it was answered,
and with what. A call takes effect at one moment between the two, or never if it was refused; of a
call without a clear answer nothing is known, and its moment may come at any time later. One call
came before another only if it was answered before the other was asked; that is how Jepsen reads
histories. No rule is broken by what merely overlaps.

The rules hold although a node may lag: whatever they are about is an append that names the task's
last offset, so that a node that has not read everything is refused by the log and looks again.
That is not so of a heartbeat without a length of its own, which is answered from what the node
knows while most of the lease is left: a recorder of heartbeats has to ask for a length.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

__all__ = ["Call", "read", "violations"]

Operation = Literal["claim", "heartbeat", "complete", "release"]
Outcome = Literal["ok", "refused", "unknown"]

# Ends of leases are told in milliseconds and kept by the wall clock, histories by another.
SLACK_S = 0.02


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    One call as its caller saw it.

    Attributes:
        agent_id: The caller.
        node: The node that it called.
        task_id: None: it asked for the next task, and was given none.
        term: None: a claim that gave none.
        lease_s: The length of lease that it asked for; None: it asked for none.
        invoked_at: In monotonic seconds, on one clock for all processes of the machine.
        answered_at: Likewise; infinite if it is not known whether or when it takes effect.
        outcome: ``unknown``: no answer, or one that promises nothing; it may take effect yet.
        code: Why it was refused, or what came instead of an answer.
    """

    agent_id: str
    node: str
    operation: Operation
    task_id: str | None
    term: int | None
    lease_s: float | None = None
    invoked_at: float
    answered_at: float = math.inf
    outcome: Outcome = "unknown"
    code: str = ""

    def before(self, other: Call) -> bool:
        """Whether it was over when the other began."""
        return self.answered_at < other.invoked_at

    def __str__(self) -> str:
        """As a violation names it."""
        when = f"{self.invoked_at:.3f} to {self.answered_at:.3f}"
        return f"{self.operation} of term {self.term} by {self.agent_id} at {self.node} ({when})"


def read(*files: Path) -> list[Call]:
    """
    Put recordings together: a line when a call begins, and one with its answer.

    A call whose process was killed has no second line, and so is unknown.
    """
    told: dict[tuple[int, int], dict[str, Any]] = {}
    for file in files:
        for line in file.read_text().splitlines():
            fields = json.loads(line)
            key = fields.pop("process"), fields.pop("number")
            told.setdefault(key, {}).update(fields)
    for fields in told.values():
        if fields.get("outcome") == "unknown":
            # A caller that stops waiting does not end its call.
            del fields["answered_at"]
    return [Call(**fields) for fields in told.values()]


def violations(calls: Iterable[Call]) -> list[str]:
    """Say what cannot have happened, a sentence each; empty: the history is possible."""
    by_task: dict[str, list[Call]] = {}
    for call in sorted(calls, key=lambda call: call.invoked_at):
        if call.task_id is not None and call.outcome != "refused":
            by_task.setdefault(call.task_id, []).append(call)
    return [
        f"task {task_id}: {found}"
        for task_id, about in by_task.items()
        for rule in RULES
        for found in rule(about)
    ]


# --- the rules: each is told the calls about one task, none of which was refused -----------------


def _one_holder_of_a_term(calls: Sequence[Call]) -> Iterator[str]:
    """A term is one append, which names its holder; asking again gives it to the same one."""
    holders: dict[int, Call] = {}
    for claim in _ok(calls, "claim"):
        first = holders.setdefault(_term(claim), claim)
        if first.agent_id != claim.agent_id:
            yield f"one term, two holders: {first}, and {claim}"


def _terms_grow(calls: Sequence[Call]) -> Iterator[str]:
    """Each term is appended after all that came before; a holder that asks again gets the same."""
    for claim in _ok(calls, "claim"):
        for earlier in _ok(calls, "claim"):
            if earlier.before(claim) and _term(claim) < _term(earlier):
                yield f"terms go back: {claim}, after {earlier}"


def _one_completion(calls: Sequence[Call]) -> Iterator[str]:
    """The first one ends the term, and what ends under no term is refused."""
    done = _ok(calls, "complete")
    for again in done[1:]:
        yield f"completed twice: {done[0]}, and {again}"


def _only_the_holder_speaks(calls: Sequence[Call]) -> Iterator[str]:
    """A term is told to the caller that claims it alone, and each word names agent and term."""
    for word in _ok(calls, "heartbeat", "complete", "release"):
        claims = [claim for claim in _ok(calls, "claim") if claim.invoked_at < word.answered_at]
        if (word.agent_id, word.term) not in {(claim.agent_id, claim.term) for claim in claims}:
            yield f"accepted from a caller that never held it: {word}"


def _what_is_late_is_refused(calls: Sequence[Call]) -> Iterator[str]:
    """A word is an append on what was read of the task, so it cannot overlook a newer term."""
    for word in _ok(calls, "claim", "heartbeat", "complete", "release"):
        for earlier in _ok(calls, "claim", "release"):
            newer = earlier.operation == "claim" and _term(earlier) > _term(word)
            given_back = earlier.operation == "release" and earlier.term == word.term
            # A claim of an older term is said to go back, above.
            if earlier.before(word) and ((newer and word.operation != "claim") or given_back):
                yield f"accepted too late: {word}, after {earlier}"


def _nothing_follows_the_end(calls: Sequence[Call]) -> Iterator[str]:
    """A task that has ended is not taken again, on no node: the append would overlook its end."""
    for end in _ok(calls, "complete"):
        for late in _ok(calls, "claim", "heartbeat", "release"):
            if end.before(late):
                yield f"accepted after the end: {late}, after {end}"


def _leases_last(calls: Sequence[Call]) -> Iterator[str]:
    """Over HTTP a lease is lost by its end alone; it lasts from when it is asked for."""
    for given in _ok(calls, "claim"):
        later = [call for call in _ok(calls, "claim") if _term(call) > _term(given)]
        if given.lease_s is None or not later:
            continue  # Its length is not known, or no worker took it over.
        heir = min(later, key=_term)
        mine = [call for call in calls if call.agent_id == given.agent_id]
        # Calls may shorten it, even those that may not have taken place.
        shortest_s = min(call.lease_s for call in mine if call.lease_s is not None)
        # What was accepted later still is too late, as said above.
        words = [
            call for call in mine if call.term == given.term and call.invoked_at < heir.answered_at
        ]
        if any(word.operation == "release" for word in words):
            continue
        for word in _ok(words, "claim", "heartbeat"):
            early_s = word.invoked_at + shortest_s - heir.answered_at
            if word.lease_s is not None and early_s > SLACK_S:
                yield f"passed on {early_s:.3f} s before its end: {word}, then {heir}"


RULES: tuple[Callable[[Sequence[Call]], Iterator[str]], ...] = (
    _one_holder_of_a_term,
    _terms_grow,
    _one_completion,
    _only_the_holder_speaks,
    _what_is_late_is_refused,
    _nothing_follows_the_end,
    _leases_last,
)


def _ok(calls: Iterable[Call], *operations: Operation) -> list[Call]:
    return [call for call in calls if call.outcome == "ok" and call.operation in operations]


def _term(call: Call) -> int:
    assert call.term is not None, f"an ok call without a term: {call}"
    return call.term
