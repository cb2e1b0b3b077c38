"""
What NATS calls things, in one place: error codes, headers, the subject of direct reads.

Error codes are the ``err_code`` of an answer; their names and texts are those of nats-server's
``server/errors.json``. Headers are described in NATS ADR-15 (consumers) and ADR-31 (direct get).
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "BATCH_HAS_STORED_ID",
    "BATCH_INCOMPLETE",
    "BATCH_TOO_LARGE",
    "DESCRIPTION",
    "DIRECT_GET",
    "ID_IN_PROCESS",
    "MESSAGE_ID",
    "NAME_IN_USE",
    "NO_PEERS",
    "SEQUENCE",
    "STATUS",
    "STREAM_NOT_FOUND",
    "SUBJECTS_OVERLAP",
    "TOO_MANY_BATCHES",
    "UNAVAILABLE",
    "WRITTEN_AT",
    "WRONG_LAST_SEQUENCE",
    "written_at",
]

# --- error codes ----------------------------------------------------------------------------

NO_PEERS = 10005  # JSClusterNoPeersErr
UNAVAILABLE = 10008  # JSClusterNotAvailErr: also while a leader is elected
NAME_IN_USE = 10058  # JSStreamNameExistErr
STREAM_NOT_FOUND = 10059  # JSStreamNotFoundErr
SUBJECTS_OVERLAP = 10065  # JSStreamSubjectOverlapErr
# JSStreamWrongLastSequenceErr, and the one that does not name the sequence: another message
# about this subject is being written.
WRONG_LAST_SEQUENCE = (10071, 10164)
ID_IN_PROCESS = 10158  # JSStreamDuplicateMessageConflict: its twin is being stored
BATCH_INCOMPLETE = 10176  # JSAtomicPublishIncompleteBatchErr: a change of leader tore it
BATCH_TOO_LARGE = 10199  # JSAtomicPublishTooLargeBatchErr: over 1000 messages (ADR-50)
BATCH_HAS_STORED_ID = 10201  # JSAtomicPublishContainsDuplicateMessageErr
TOO_MANY_BATCHES = (10210, 10211)  # JSAtomicPublishTooManyInflight, JSBatchPublishTooManyInflight

# --- headers --------------------------------------------------------------------------------

STATUS = "Status"
DESCRIPTION = "Description"
# A stream takes a message with an id that it has seen lately for the same one.
MESSAGE_ID = "Nats-Msg-Id"
SEQUENCE = "Nats-Sequence"
# Ours: when a message was written, by its writer's log time, in nanoseconds since the Unix epoch.
WRITTEN_AT = "Gateway-Written-At"

# --- subjects -------------------------------------------------------------------------------

# Followed by a stream's name, and for its last message about a subject by that subject.
DIRECT_GET = "$JS.API.DIRECT.GET"

# --- what they say --------------------------------------------------------------------------


def written_at(headers: Mapping[str, str] | None) -> float | None:
    """Read ``WRITTEN_AT``, in seconds; None: it is not there, or is no number."""
    text = "" if headers is None else headers.get(WRITTEN_AT, "")
    return int(text) / 1e9 if text.isascii() and text.isdigit() and len(text) < 20 else None
