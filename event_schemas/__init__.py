"""
The schemas of all events: one JSON Schema file per type, a loader and compiled validators.

The files are the source of truth; the code here does not know what an event means. A file is
read and compiled when it is first asked for, and only once.
"""

from __future__ import annotations

from event_schemas.documents import (
    BOOKKEEPING_TYPES,
    FAILURE_TYPES,
    TYPES,
    bundle,
    document,
    example,
)
from event_schemas.publications import FILLED_IN, publication
from event_schemas.validation import Validator, validator
from event_schemas.violations import Violation, field_name

# What every event carries as ``schema_version``.
SCHEMA_VERSION = "1"

__all__ = [
    "BOOKKEEPING_TYPES",
    "FAILURE_TYPES",
    "FILLED_IN",
    "SCHEMA_VERSION",
    "TYPES",
    "Validator",
    "Violation",
    "bundle",
    "document",
    "example",
    "field_name",
    "publication",
    "validator",
]
