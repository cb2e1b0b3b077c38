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
    BY_UPSTREAM,
    CANCELLED,
    CONTROL_FLOW,
    ERRNO,
    GRPC,
    INPUT_REQUIRED,
    JSON_RPC,
    NAMES,
    PHASES,
    REFINED_BY,
    STATUS,
    STRONG_WORDS,
    THROTTLED,
    WEAK_WORDS,
)

TABLES: dict[str, Mapping[Any, str]] = {
    "STRONG_WORDS": STRONG_WORDS,
    "STATUS": STATUS,
    "WEAK_WORDS": WEAK_WORDS,
    "GRPC": GRPC,
    "JSON_RPC": JSON_RPC,
    "NAMES": NAMES,
    "ERRNO": ERRNO,
}


@pytest.mark.parametrize("name", TABLES)
def test_every_signature_leads_to_a_code(name: str) -> None:
    assert set(TABLES[name].values()) <= set(CODES) | set(BY_UPSTREAM)


def test_what_depends_on_the_upstream_is_of_one_type_for_both() -> None:
    """Else what is retried would depend on a guess; a text too long is what a service refuses."""
    for code, (of_model, of_service) in BY_UPSTREAM.items():
        assert code.endswith("?")
        assert CODES[of_model].error_type == CODES[of_service].error_type
        assert not of_service.startswith("llm_")


def test_a_name_alone_never_blames_a_language_model_for_a_status() -> None:
    assert not [code for code in STATUS.values() if code.startswith("llm_")]


def test_every_exported_table_is_not_empty() -> None:
    for name in signatures.__all__:
        table = getattr(signatures, name)
        assert getattr(table, "pattern", None) or len(table)


def test_a_cause_refines_only_what_is_known_and_to_types_that_exist() -> None:
    assert set(REFINED_BY) <= set(CODES) | set(BY_UPSTREAM)
    for types in REFINED_BY.values():
        assert types <= set(TYPES)


@pytest.mark.parametrize("status", range(400, 600))
def test_every_status_of_an_error_has_a_code(status: int) -> None:
    assert status in STATUS or status // 100 in STATUS


def test_words_are_compared_in_lower_case_and_in_one_table_only() -> None:
    assert all(word == word.lower() for word in (*STRONG_WORDS, *WEAK_WORDS))
    assert not STRONG_WORDS.keys() & WEAK_WORDS.keys()


def test_no_name_is_two_things() -> None:
    assert len(CANCELLED | CONTROL_FLOW | INPUT_REQUIRED) == sum(
        map(len, (CANCELLED, CONTROL_FLOW, INPUT_REQUIRED))
    )
    assert not (CANCELLED | CONTROL_FLOW | INPUT_REQUIRED) & NAMES.keys()
    assert {STRONG_WORDS[word] for word in THROTTLED} == {"rate?"}


def test_every_phase_belongs_to_a_name_of_a_timeout_or_connection() -> None:
    assert set(PHASES.values()) == {"connect", "pool", "write", "read"}
    kinds = {NAMES.get(name) for name in PHASES} - {None}
    assert kinds == {"network_timeout", "timeout?", "connection_failed", "connection_interrupted"}


def test_the_machines_own_limits_are_told_from_the_networks() -> None:
    limits = {number for number, code in ERRNO.items() if "network" not in CODES[code].error_type}
    assert limits == {
        *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
        errno.ETIMEDOUT,
    }
