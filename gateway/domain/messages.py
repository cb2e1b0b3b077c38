"""
Messages about failures: a sentence for people, a line for developers, and how long it may take.

Both are made from known facts and never from the text of an exception. The sentence names the
kind of problem and what happens next, and it does not blame the reader. The messages of events
that are not failures are in ``announcements``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from gateway.domain.error_codes import CODES, RETRY_LATER_FROM_S, action_of
from gateway.domain.failure import Failure

__all__ = [
    "FACT_CHARS_MAX",
    "default_recovery_s",
    "developer_message",
    "duration_words",
    "moment_words",
    "user_message",
    "wait_words",
]

FACT_CHARS_MAX = 200

# What went wrong, by error code. Each sentence names its kind in words that can be searched for.
PROBLEMS: Mapping[str, str] = {
    "llm_timeout": "The language model took too long to answer (LLM timeout).",
    "network_timeout": "A service that this agent needs did not answer in time (network timeout).",
    "task_timeout": "The work took longer than it may (task timeout).",
    "caller_deadline": "The time set for this request is over (deadline, a timeout).",
    "llm_rate_limit": "The language model is getting too many requests right now (LLM rate limit).",
    "upstream_rate_limit": (
        "A service that this agent needs is getting too many requests right now"
        " (upstream rate limit)."
    ),
    "too_many_requests": "That was more than one may ask for at once (too many requests).",
    "quota_exhausted": "An allowance that this agent needs is used up (quota exhausted).",
    "memory_limit_exceeded": "The agent needed more memory than it has (memory limit exceeded).",
    "disk_full": "There is no space left to work with (disk full).",
    "capacity_exceeded": "There is more work right now than we can take (capacity exceeded).",
    "step_limit_exceeded": (
        "The agent did not finish within the steps that it may take (step limit exceeded)."
        " Asking for less at once may help."
    ),
    "usage_limit_exceeded": (
        "The agent did not finish within what it may use (usage limit exceeded)."
        " Asking for less at once may help."
    ),
    "connection_failed": "We could not reach a service that this agent needs (connection failed).",
    "connection_interrupted": (
        "The connection to a service that this agent needs broke off (connection interrupted)."
    ),
    "llm_invalid_response": (
        "The language model's answer could not be used (LLM invalid response)."
    ),
    "unacceptable_result": (
        "The agent's answer was not what it has to be (unacceptable result, a validation error)."
    ),
    "upstream_invalid_response": (
        "The answer of a service that this agent needs could not be used"
        " (upstream invalid response)."
    ),
    "event_invalid": "An agent reported a problem in a form that we cannot read (event invalid).",
    "upstream_unavailable": (
        "A service that this agent needs is not working right now (upstream unavailable)."
    ),
    "llm_overloaded": "The language model has too much to do right now (LLM overloaded).",
    "upstream_conflict": (
        "A service that this agent needs was busy with something else (upstream conflict)."
    ),
    "no_worker": "No agent was free to take this on (no worker).",
    "shutdown": "The service is being restarted, so this had to stop (shutdown).",
    "store_away": "Nothing new can be recorded right now (store away).",
    "database_connection_lost": (
        "A database that this agent needs is not answering (database connection lost)."
    ),
    "database_conflict": (
        "A database that this agent needs was busy with something else (database conflict)."
    ),
    "upstream_auth_failed": (
        "A service that this agent needs does not accept our sign-in (upstream auth failed)."
    ),
    "upstream_permission_denied": (
        "A service that this agent needs does not let us do that (upstream permission denied)."
    ),
    "llm_auth_failed": (
        "The language model does not accept this service's sign-in (LLM auth failed)."
    ),
    "llm_permission_denied": (
        "The language model does not let this service do that (LLM permission denied)."
    ),
    "invalid_input": "The agent cannot work with this request as it is (invalid input).",
    "llm_context_too_long": (
        "The text is longer than the language model can read at once (LLM context too long)."
    ),
    "llm_bad_request": "The language model did not understand the request (LLM bad request).",
    "llm_model_not_found": (
        "The language model for this agent is not available (LLM model not found)."
    ),
    "upstream_bad_request": (
        "A service that this agent needs did not understand the request (upstream bad request)."
    ),
    "upstream_not_found": (
        "A service that this agent needs does not have what was asked for (upstream not found)."
    ),
    "input_required": "This agent needs an answer before it can go on (input required).",
    "content_refused": "This content is not worked on (content refused).",
    "guardrail_tripped": "The agent's own rules do not allow this (guardrail tripped).",
    "llm_content_filtered": (
        "The language model will not work on this content (LLM content filtered)."
        " Putting it differently may help."
    ),
    "tool_failed": "A tool of this agent did not work (tool failed).",
    "query_rejected": ("A database did not accept what this agent asked of it (query rejected)."),
    "configuration_error": "This agent is not set up correctly (configuration error).",
    "agent_exception": "Something unexpected went wrong in the agent (processing error).",
    "cancelled_itself": (
        "The agent broke its own work off without being asked to (cancelled itself)."
    ),
    "background_failure": (
        "Something that the agent does on the side went wrong; it goes on (background failure)."
    ),
    "unencodable_result": "The agent's result could not be passed on (processing error).",
    "circuit_open": (
        "This agent has failed several times and is given a rest (circuit breaker open)."
    ),
    "heartbeat_lost": "The agent stopped responding (heartbeat lost).",
    "stalled": "The agent stopped making progress (stalled).",
    "connection_lost": "The connection to the agent was lost (connection lost).",
    "lease_expired": "The agent did not report back in time (lease expired).",
    "process_lost": "The agent ended unexpectedly (process lost).",
    "cancelled": "This was cancelled.",
    "control_flow": "The agent stopped here on purpose (cancelled).",
    "internal_error": "Something went wrong on our side (internal error).",
}

# For the codes that are an agent's own.
PROBLEMS_BY_TYPE: Mapping[str, str] = {
    "timeout": "This took too long (timeout).",
    "rate_limit": "There are too many requests right now (rate limit).",
    "resource_limit": "The agent ran out of something that it needs (resource limit).",
    "network_error": "The connection to a service that this agent needs failed (network error).",
    "validation_error": "An answer could not be used (validation error).",
    "service_unavailable": (
        "A service that this agent needs is not working right now (service unavailable)."
    ),
    "database_error": "A database that this agent needs is not answering (database error).",
    "auth_error": "A service that this agent needs does not accept our sign-in (auth error).",
    "invalid_input": PROBLEMS["invalid_input"],
    "content_refused": "This content is not worked on (content refused).",
    "processing_error": PROBLEMS["agent_exception"],
    "circuit_open": PROBLEMS["circuit_open"],
    "agent_lost": "The agent was lost on the way (agent lost).",
    "cancelled": PROBLEMS["cancelled"],
    "internal_error": PROBLEMS["internal_error"],
}

# What the reader can do when the gateway does nothing more by itself, by suggested action.
ADVICE: Mapping[str, str] = {
    "wait": "Please try again in {wait}.",
    "retry_later": "Please come back in {wait}.",
    "retry": "You can try again.",
    "shorten_input": "Please shorten your text and send it again.",
    "sign_in_again": "Please sign in again.",
    "contact_support": "Please contact support, who can put this right.",
    "none": "",
}

# How long a recovery usually takes, in seconds, while nothing better is known: what the limits
# per minute, restarts and short network faults of upstreams usually take. 0: waiting does not
# help.
RECOVERY_S: Mapping[str, float] = {
    "timeout": 5.0,
    "rate_limit": 30.0,
    "resource_limit": 0.0,
    "network_error": 10.0,
    "validation_error": 2.0,
    "service_unavailable": 30.0,
    "database_error": 15.0,
    "auth_error": 0.0,
    "invalid_input": 0.0,
    "content_refused": 0.0,
    "processing_error": 5.0,
    "circuit_open": 30.0,
    "agent_lost": 5.0,
    "cancelled": 0.0,
    "internal_error": 0.0,
}
RECOVERY_OF_CODE_S: Mapping[str, float] = {
    "capacity_exceeded": 30.0,
    "caller_deadline": 0.0,
    "connection_interrupted": 5.0,
    "upstream_conflict": 2.0,
    "shutdown": 30.0,
    "no_worker": 60.0,
}

# Unit, its length in seconds, and the seconds from which the next unit reads better.
_DURATIONS = (
    ("second", 1, 90),
    ("minute", 60, 5_400),
    ("hour", 3_600, 129_600),
    ("day", 86_400, math.inf),
)


def user_message(
    error_code: str,
    error_type: str,
    *,
    will_retry: bool,
    delay_s: float | None,
    fallback: bool = False,
    action: str | None = None,
) -> str:
    """
    Say to a person what went wrong and what happens next.

    Args:
        error_code: The exact kind; a code that is not in the table is worded by its type.
        error_type: The class.
        will_retry: Whether the gateway tries again by itself.
        delay_s: Seconds until it does, or until it makes sense that the user does; None: not
            known.
        fallback: Whether the fallback answers instead.
        action: The suggested action; None: the one that the code stands for.
    """
    known = CODES.get(error_code)
    if known is not None and known.error_type == error_type:
        problem = PROBLEMS[error_code]
    else:
        problem = PROBLEMS_BY_TYPE.get(error_type, PROBLEMS["agent_exception"])
    if fallback:
        following = "A simpler stand-in is answering instead."
    elif will_retry:
        following = f"We are trying again {moment_words(delay_s)}."
    else:
        action = action or action_of(error_code, error_type)
        if action == "wait" and (delay_s or 0.0) > RETRY_LATER_FROM_S:
            action = "retry_later"
        following = ADVICE[action].format(wait=wait_words(delay_s))
    return f"{problem} {following}".strip()


def developer_message(failure: Failure, *, agent_name: str, attempt: int | None = None) -> str:
    """
    Say to a developer what is known: agent, attempt, kind and facts, on one line.

    Args:
        failure: What happened.
        agent_name: The agent that failed.
        attempt: The number of its attempt; None: outside an attempt.
    """
    subject = f"agent {agent_name}" + (f", attempt {attempt}" if attempt is not None else "")
    facts = [f"{name} {str(value)[:FACT_CHARS_MAX]}" for name, value in failure.facts.items()]
    if failure.retry_after_s is not None:
        facts.append(f"retry_after_s {failure.retry_after_s:g}")
    return f"{subject}: " + ", ".join([f"{failure.error_code} ({failure.error_type})", *facts])


def default_recovery_s(error_type: str, error_code: str) -> float:
    """Estimate the seconds to recovery, when neither the upstream nor experience says."""
    return RECOVERY_OF_CODE_S.get(error_code, RECOVERY_S.get(error_type, 0.0))


def duration_words(seconds: float) -> str:
    """
    Word a duration: ``about 2 seconds``, ``about 1 minute``, ``about 3 hours``.

    Rounded to whole units, since what is announced is an estimate.
    """
    unit, size_s = next(
        (unit, size_s)
        for unit, size_s, until_s in _DURATIONS
        if not seconds >= until_s or until_s == math.inf
    )
    number = round(max(1.0, min(seconds / size_s, 99.0)))
    return f"about {number} {unit}" + ("" if number == 1 else "s")


def moment_words(delay_s: float | None) -> str:
    """Word a moment: ``in about 2 seconds``, ``now`` (under 1 s), ``shortly`` (not known)."""
    if delay_s is None:
        return "shortly"
    return f"in {duration_words(delay_s)}" if delay_s >= 1 else "now"


def wait_words(delay_s: float | None) -> str:
    """Word a wait: ``about 2 seconds``; ``a little while`` when it is under 1 s or not known."""
    return "a little while" if delay_s is None or delay_s < 1 else duration_words(delay_s)
