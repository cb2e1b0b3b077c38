"""
The stream in the server: made when there is none, checked when there is one.

A stream that a gateway made says so in its metadata, which also hold the log's epoch. Its bounds
and replicas follow the settings of the gateway that connected last. Everything else has to be as
a gateway makes it, because offsets and decisions rely on it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from typing import Any

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import ConfigurationError
from gateway.domain.timestamps import seconds_of
from gateway.stores.jetstream import wire
from gateway.stores.jetstream.session import ApiError, Session

__all__ = [
    "PAYLOAD_BYTES_MIN",
    "Bounds",
    "StreamState",
    "ensure_stream",
    "look_at_stream",
    "require_payload",
    "require_version",
    "settled_stream",
    "time_of_stream",
]

logger = logger_of(__name__)

FORMAT = "1"
_EPOCH, _FORMAT = "gateway-epoch", "gateway-format"
# The epoch goes into JSON as it is.
_EPOCH_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,128}")

# For how long the stream recognizes the id of a message that is sent twice, in seconds. A call
# lasts seconds; a message that arrives later than this, over a connection that was given up long
# ago, would be taken for a new one.
DUPLICATES_S = 30.0

# The first nats-server with atomic batches (ADR-50).
_SERVER_MIN = (2, 12)

# What a server has to take in one message, in bytes: its own default. The largest entry that the
# gateway's bounds allow (what is preserved at a failure, with steps, text and plan that came along)
# needs nearly all of it. With less, some failures could not be told.
PAYLOAD_BYTES_MIN = 1024 * 1024

# How long the answer may take whether the stream is there, in seconds. The link asks every second
# and ends the session at the second miss, so that a dead server is noticed within four seconds.
LOOK_LIMIT_S = 1.0

# A server that has just taken the lead applies what it has, and until then looks as if it had
# less. How long that may take, and how often it is asked again, in seconds.
BEHIND_LIMIT_S = 3.0
_BEHIND_AGAIN_S = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """
    How much the stream keeps.

    Attributes:
        events_max: How many messages at the most.
        bytes_max: How many bytes at the most, by the server's own count.
        age_max_s: How long a message is kept at the most, in seconds.
        replicas: How many servers of the cluster keep it: 1, 3 or 5.
    """

    events_max: int
    bytes_max: int
    age_max_s: float
    replicas: int


@dataclasses.dataclass(frozen=True, slots=True)
class StreamState:
    """
    What the server said of the stream.

    Attributes:
        epoch: The log's name; empty when the stream is not a gateway's.
        first: The sequence of the oldest message; ``last + 1`` when there is none.
        last: The sequence that was given last; 0: none was.
        messages: How many messages it keeps.
        bytes: How many bytes they have.
    """

    epoch: str
    first: int
    last: int
    messages: int = dataclasses.field(default=0, compare=False)
    bytes: int = dataclasses.field(default=0, compare=False)


def require_version(version: tuple[int, ...]) -> None:
    """
    Go on only with a server that has what the store needs.

    Raises:
        ConfigurationError: The server is too old.
    """
    if version < _SERVER_MIN:
        raise ConfigurationError(
            f"nats-server {'.'.join(map(str, version))} is too old for the store, "
            f"it takes {'.'.join(map(str, _SERVER_MIN))} or newer"
        )


def require_payload(bytes_max: int) -> None:
    """
    Go on only with a server that takes every entry.

    Raises:
        ConfigurationError: It takes less in one message.
    """
    if bytes_max < PAYLOAD_BYTES_MIN:
        raise ConfigurationError(
            f"nats-server takes {bytes_max} bytes in one message, and the store needs "
            f"{PAYLOAD_BYTES_MIN}, its default: set max_payload in its configuration"
        )


async def ensure_stream(
    session: Session, name: str, bounds: Bounds, *, new_epoch: str
) -> StreamState:
    """
    Make the stream if there is none, check it if there is one.

    Args:
        new_epoch: The log's name if the stream is made now.

    Raises:
        ConfigurationError: The stream is not a gateway's, or the server is too old, or takes too
            little in one message.
        ApiError, SessionLost, TimeoutError: The server could not do it.
    """
    require_version(session.server_version)
    require_payload(session.payload_bytes_max)
    try:
        info = await session.api(f"STREAM.INFO.{name}", timeout_s=LOOK_LIMIT_S)
    except ApiError as error:
        if error.err_code != wire.STREAM_NOT_FOUND:
            raise
        info = await _make(session, name, bounds, new_epoch)
    config = info["config"]
    _check(name, config)
    wanted = _changeable(bounds)
    if differing := {key: value for key, value in wanted.items() if config.get(key) != value}:
        logger.info("stream %s: now with %s", name, differing)
        info = await session.api(f"STREAM.UPDATE.{name}", {**config, **wanted})
    return _state(info)


async def look_at_stream(session: Session, name: str) -> StreamState:
    """
    Ask the server for the state of the stream; the answer has less time than that to other calls.

    Raises:
        ApiError, SessionLost, TimeoutError: There is no such stream, it has come to take too little
            in one message, or no answer.
    """
    info = await session.api(f"STREAM.INFO.{name}", timeout_s=LOOK_LIMIT_S)
    if (words := _takes_too_little(name, info["config"])) is not None:
        # Else some entries would be refused again and again, and the node would look well.
        raise ApiError(0, words)
    return _state(info)


def _takes_too_little(name: str, config: dict[str, Any]) -> str | None:
    bytes_max = config.get("max_msg_size", -1)
    if bytes_max < 0:
        return None
    return (
        f"stream {name} takes {bytes_max} bytes in one message, and the store needs "
        f"{PAYLOAD_BYTES_MIN}: set its max_msg_size to -1"
    )


async def time_of_stream(session: Session, name: str) -> float:
    """
    Ask the server that leads the stream for its time, which entries get, since the Unix epoch.

    Raises:
        ApiError, SessionLost, TimeoutError: There is no such stream, or no answer.
    """
    info = await session.api(f"STREAM.INFO.{name}", timeout_s=LOOK_LIMIT_S)
    return seconds_of(info["ts"])


async def settled_stream(session: Session, name: str, *, seen: int, new_epoch: str) -> StreamState:
    """
    Ask for the state of the stream, and give it a new epoch if it does not have message ``seen``.

    A server that lost its last moments (its machine lost power, a backup was restored) would give
    the same offsets to other entries.

    Args:
        seen: The sequence of a message that was in this log; 0: none is known.
        new_epoch: The log's name if the stream has less.

    Raises:
        ApiError, SessionLost, TimeoutError: The server did not answer.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + BEHIND_LIMIT_S
    while (state := await look_at_stream(session, name)).last < seen:
        if loop.time() >= deadline:
            logger.error("stream %s ends at %d, %d was seen", name, state.last, seen)
            config = (await session.api(f"STREAM.INFO.{name}"))["config"]
            config["metadata"] = {**config["metadata"], _EPOCH: new_epoch}
            return _state(await session.api(f"STREAM.UPDATE.{name}", config))
        await asyncio.wait((session.lost,), timeout=_BEHIND_AGAIN_S)
    return state


def _changeable(bounds: Bounds) -> dict[str, Any]:
    return {
        "max_msgs": bounds.events_max,
        "max_bytes": bounds.bytes_max,
        "max_age": round(bounds.age_max_s * 1e9),
        "num_replicas": bounds.replicas,
        "duplicate_window": round(min(DUPLICATES_S, bounds.age_max_s) * 1e9),
    }


def _fixed(name: str) -> dict[str, Any]:
    return {
        "subjects": [f"{name}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "allow_atomic": True,
        "allow_direct": True,
    }


async def _make(session: Session, name: str, bounds: Bounds, epoch: str) -> dict[str, Any]:
    config = {
        "name": name,
        **_fixed(name),
        **_changeable(bounds),
        "metadata": {_EPOCH: epoch, _FORMAT: FORMAT},
    }
    try:
        return await session.api(f"STREAM.CREATE.{name}", config)
    except ApiError as error:
        if error.err_code == wire.NAME_IN_USE:  # another node was first
            return await session.api(f"STREAM.INFO.{name}")
        if error.err_code == wire.SUBJECTS_OVERLAP:
            raise ConfigurationError(
                f"another stream takes messages of {name}.> in this NATS account, so that stream "
                f"{name} cannot be made; name the gateway's stream differently, or remove the other"
            ) from error
        raise


def _check(name: str, config: dict[str, Any]) -> None:
    metadata = config.get("metadata") or {}
    if _FORMAT not in metadata or not _EPOCH_PATTERN.fullmatch(metadata.get(_EPOCH, "")):
        raise _foreign(name, "it has no mark of a gateway in its metadata")
    if metadata[_FORMAT] != FORMAT:
        raise _foreign(name, f"it has format {metadata[_FORMAT]}, expected is format {FORMAT}")
    if (words := _takes_too_little(name, config)) is not None:
        raise ConfigurationError(words)
    for key, value in _fixed(name).items():
        if config.get(key) != value:
            raise _foreign(name, f"its {key} is {config.get(key)!r}, expected is {value!r}")
    for key in ("mirror", "sources", "subject_transform", "republish", "sealed"):
        if config.get(key):
            raise _foreign(name, f"it has {key}")


def _foreign(name: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"stream {name} is not one that this gateway can use: {what}; name the gateway's stream "
        f"differently, or remove this one (nats stream rm {name}) if nobody needs it"
    )


def _state(info: dict[str, Any]) -> StreamState:
    epoch = (info["config"].get("metadata") or {}).get(_EPOCH, "")
    state = info["state"]
    first = state["first_seq"] if state["messages"] else state["last_seq"] + 1
    return StreamState(epoch, first, state["last_seq"], state["messages"], state["bytes"])
