"""
The tables of signatures: each leads to a code that exists, and none hides another.

What the tables make of real exceptions is in ``test_classification``.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.domain import signatures
from gateway.domain.error_codes import CODES, TYPES
from gateway.domain.signatures import (
    CANCELLED,
    CONTROL_FLOW,
    ERRNO,
    LLM_PATHS,
    NAMES,
    PACKAGED,
    PHASES,
    REFINED_BY,
    SENTENCE_STATUSES,
    SENTENCES,
    SQLITE_CODES,
    STATUS,
    STRONG_WORDS,
    TRANSIENT_SENTENCE,
    WEAK_WORDS,
)

# Codes that depend on what the agent waits for, or on a deeper cause.
UNDECIDED = {"timeout?", "limit?", "connection?", "database?"}

TABLES: dict[str, Mapping[Any, str]] = {
    "STRONG_WORDS": STRONG_WORDS,
    "STATUS": STATUS,
    "WEAK_WORDS": WEAK_WORDS,
    "PACKAGED": PACKAGED,
    "SQLITE_CODES": SQLITE_CODES,
    "NAMES": NAMES,
    "ERRNO": ERRNO,
    "SENTENCES": {pattern.pattern: code for pattern, code in SENTENCES},
}


@pytest.mark.parametrize("name", TABLES)
def test_every_signature_leads_to_a_code(name: str) -> None:
    assert set(TABLES[name].values()) <= set(CODES) | UNDECIDED


def test_every_exported_table_is_not_empty() -> None:
    for name in signatures.__all__:
        table = getattr(signatures, name)
        assert getattr(table, "pattern", None) or len(table)


def test_a_cause_refines_only_what_is_known_and_to_types_that_exist() -> None:
    assert set(REFINED_BY) <= set(CODES) | UNDECIDED
    for types in REFINED_BY.values():
        assert types <= set(TYPES)


@pytest.mark.parametrize("status", range(400, 600))
def test_every_status_of_an_error_has_a_code(status: int) -> None:
    assert status in STATUS or status // 100 in STATUS


def test_a_sentence_is_searched_only_where_a_status_is_ambiguous() -> None:
    assert {STATUS[status] for status in SENTENCE_STATUSES} == {
        *("llm_bad_request", "llm_permission_denied", "llm_context_too_long", "llm_rate_limit"),
    }


def test_words_are_compared_in_lower_case_and_in_one_table_only() -> None:
    assert all(word == word.lower() for word in (*STRONG_WORDS, *WEAK_WORDS, *LLM_PATHS))
    assert not STRONG_WORDS.keys() & WEAK_WORDS.keys()


def test_no_name_is_two_things() -> None:
    assert not CANCELLED & CONTROL_FLOW
    assert not (CANCELLED | CONTROL_FLOW) & NAMES.keys()


def test_every_phase_belongs_to_a_name_of_a_timeout_or_connection() -> None:
    assert set(PHASES.values()) == {"connect", "pool", "write", "read"}
    kinds = {NAMES.get(name) for name in PHASES} - {None}
    assert kinds == {"network_timeout", "timeout?", "connection_failed", "connection_interrupted"}


@pytest.mark.parametrize(
    ("sentence", "code"),
    [
        ("prompt is too long: 210000 tokens > 200000 maximum", "llm_context_too_long"),
        ("this model's maximum context length is 8192 tokens", "llm_context_too_long"),
        ("too many input tokens", "llm_context_too_long"),
        ("output blocked by content filtering policy", "llm_content_filtered"),
        ("this violates our usage policies", "llm_content_filtered"),
        ("your credit balance is too low", "quota_exhausted"),
        ("you exceeded your current quota, please check your plan", "quota_exhausted"),
        ("messages: required", None),
    ],
)
def test_a_sentence_names_its_kind(sentence: str, code: str | None) -> None:
    found = [code for pattern, code in SENTENCES if pattern.search(sentence)]
    assert found[:1] == ([] if code is None else [code])


@pytest.mark.parametrize(
    ("sentence", "transient"),
    [
        ("quota of 10 requests per minute exceeded", True),
        ("quota exceeded, retry in 7s", True),
        ("quota exceeded, please try again in 7s", True),
        ("quota exceeded for this month", False),
    ],
)
def test_a_quota_that_refills_is_told_from_one_that_does_not(
    sentence: str, transient: bool
) -> None:
    assert bool(TRANSIENT_SENTENCE.search(sentence)) is transient


def test_the_machines_own_limits_are_told_from_the_networks() -> None:
    limits = {number for number, code in ERRNO.items() if "network" not in CODES[code].error_type}
    assert limits == {
        *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
        errno.ETIMEDOUT,
    }
