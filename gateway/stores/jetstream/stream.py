"""
The stream in the server: made when there is none, checked when there is one.

A stream that a gateway made says so in its metadata, together with the log's epoch. Its bounds
and replicas follow the settings of the gateway that connected last; everything else has to be as
we made it, or decisions and offsets would not mean what they do.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from typing import Any

from gateway.domain.errors import ConfigurationError
from gateway.stores.jetstream.session import ApiError, Session

__all__ = ["Bounds", "StreamState", "ensure_stream", "look_at_stream", "settled_stream"]

logger = logging.getLogger(__name__)

FORMAT = "1"
_EPOCH, _FORMAT = "gateway-epoch", "gateway-format"
# It goes into JSON as it is.
_EPOCH_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,128}")

# For how long a message sent twice is known to be the same. A call lasts seconds; what arrives
# later than this, over a connection that was given up long ago, would be taken for new.
DUPLICATES_S = 30.0

# Atomic batches.
_SERVER_MIN = (2, 12)

# For the answer whether it is there. It is asked for every second, so that a dead server is known
# to be dead within four.
LOOK_LIMIT_S = 1.0

# A server that took the lead has to apply what it has; before that it looks as if it had less.
BEHIND_LIMIT_S = 3.0
_BEHIND_AGAIN_S = 0.1

_NOT_FOUND, _NAME_IN_USE, _OVERLAP = 10059, 10058, 10065


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """
    How much the stream keeps.

    Attributes:
        replicas: Servers of the cluster that keep it: 1, 3 or 5.
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
        first: The sequence of the oldest message; ``last + 1`` when there is none.
        last: The sequence that was given last; 0: none was.
    """

    epoch: str
    first: int
    last: int


async def ensure_stream(
    session: Session, name: str, bounds: Bounds, *, new_epoch: str
) -> StreamState:
    """
    Make the stream if there is none, check it if there is one.

    Raises:
        ConfigurationError: It is not a gateway's, or the server is too old.
        ApiError, SessionLost, TimeoutError: The server could not do it.
    """
    if session.server_version < _SERVER_MIN:
        raise ConfigurationError(
            f"nats-server {'.'.join(map(str, session.server_version))} is too old for the store, "
            f"it takes {'.'.join(map(str, _SERVER_MIN))} or newer"
        )
    try:
        info = await session.api(f"STREAM.INFO.{name}", timeout_s=LOOK_LIMIT_S)
    except ApiError as error:
        if error.err_code != _NOT_FOUND:
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
    Ask how it is; there is less time for an answer than for other calls.

    Raises:
        ApiError, SessionLost, TimeoutError: It could not be found out, or it is not a gateway's.
    """
    return _state(await session.api(f"STREAM.INFO.{name}", timeout_s=LOOK_LIMIT_S))


async def settled_stream(session: Session, name: str, *, seen: int, new_epoch: str) -> StreamState:
    """
    Ask how it is, and see to it that it has message ``seen``; else it gets another epoch.

    A server without its last moments (its machine lost power, a backup was restored) would give
    the same offsets to other entries.

    Raises:
        ApiError, SessionLost, TimeoutError: It could not be found out.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + BEHIND_LIMIT_S
    while (state := await look_at_stream(session, name)).last < seen:
        if loop.time() >= until:
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
        if error.err_code == _NAME_IN_USE:  # another node was first
            return await session.api(f"STREAM.INFO.{name}")
        if error.err_code == _OVERLAP:
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
    return StreamState(epoch, first, state["last_seq"])
