"""
Snapshots of the folds, in a small stream beside the log's.

A snapshot is chunks, and a manifest that is written last. A snapshot without a manifest, or whose
chunks do not add up, was never finished, and readers pass over it. The newest two are kept, so
that a node can finish reading one while another node writes the next.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import orjson

from gateway.ports import Snapshot
from gateway.stores.jetstream import wire
from gateway.stores.jetstream.session import ApiError, Session, answer_of
from gateway.stores.jetstream.stream import PAYLOAD_BYTES_MIN

__all__ = ["load_snapshot", "save_snapshot"]

_KEPT = 2
_CHUNK_BYTES_MAX = PAYLOAD_BYTES_MIN // 2
_MANIFEST = "manifest"
# The format of manifest and chunks. Snapshots of another format are passed over.
_FORMAT = 1


def _stream(log: str) -> str:
    return f"{log}_SNAPSHOTS"


async def save_snapshot(
    session: Session, log: str, *, epoch: str, snapshot: Snapshot, replicas: int, id: str
) -> None:
    """
    Write ``snapshot``, and drop those that are too many.

    Args:
        log: The name of the log's stream.
        epoch: The log that the snapshot is of.
        replicas: How many servers of the cluster keep it.
        id: A new id, so that two nodes may write at the same time.

    Raises:
        ApiError, SessionLost, TimeoutError: The snapshot was not written.
    """
    stream = _stream(log)
    await session.api(
        f"STREAM.CREATE.{stream}",
        {
            "name": stream,
            "subjects": [f"{stream}.>"],
            "storage": "file",
            "num_replicas": replicas,
            "allow_direct": True,
        },
    )
    # Keys sort by offset.
    key = f"{snapshot.offset:020d}-{id}"
    body = memoryview(snapshot.body)
    size = _CHUNK_BYTES_MAX
    # Copied one by one: all at once would hold up the loop for as long as the folds are large.
    starts = range(0, len(body), size)
    for number, at in enumerate(starts):
        chunk = bytes(body[at : at + size])
        answer_of(await session.request(f"{stream}.{key}.{number}", chunk))
    manifest = {
        "format": _FORMAT,
        "epoch": epoch,
        "offset": snapshot.offset,
        "version": snapshot.version,
        "chunks": len(starts),
        "sha256": await _digest(snapshot.body),
    }
    answer_of(await session.request(f"{stream}.{key}.{_MANIFEST}", orjson.dumps(manifest)))
    await _drop_older(session, stream, epoch)


async def load_snapshot(session: Session, log: str, *, epoch: str) -> Snapshot | None:
    """
    Read the newest whole snapshot of this epoch; None: there is none.

    Raises:
        ApiError, SessionLost, TimeoutError: The server did not answer.
    """
    stream = _stream(log)
    for key in await _finished(session, stream):
        manifest = await _manifest(session, stream, key)
        if manifest is None or manifest["epoch"] != epoch:
            continue
        chunks = [
            await _get(session, f"{stream}.{key}.{number}") for number in range(manifest["chunks"])
        ]
        body = b"".join(chunk for chunk in chunks if chunk is not None)
        if await _digest(body) == manifest["sha256"]:
            return Snapshot(manifest["offset"], manifest["version"], body)
    return None


async def _digest(body: bytes | bytearray) -> str:
    # In a thread: a hundred megabytes take a tenth of a second.
    return (await asyncio.to_thread(hashlib.sha256, body)).hexdigest()


async def _keys(session: Session, stream: str, filter: str) -> list[str]:
    """Give the keys of the snapshots with a message that matches ``filter``, newest first."""
    keys: set[str] = set()
    offset, total = 0, 1
    while offset < total:
        try:
            info = await session.api(
                f"STREAM.INFO.{stream}", {"subjects_filter": filter, "offset": offset}
            )
        except ApiError as error:
            if error.err_code == wire.STREAM_NOT_FOUND:
                return []
            raise
        subjects = info["state"].get("subjects") or {}
        keys.update(subject.split(".")[1] for subject in subjects)
        total = info.get("total", 0)
        offset += len(subjects) or total
    return sorted(keys, reverse=True)


async def _finished(session: Session, stream: str) -> list[str]:
    return await _keys(session, stream, f"{stream}.*.{_MANIFEST}")


async def _get(session: Session, subject: str) -> bytes | None:
    stream = subject.partition(".")[0]
    answer = await session.request(f"{wire.DIRECT_GET}.{stream}.{subject}")
    return answer.data if wire.SEQUENCE in (answer.headers or {}) else None


async def _manifest(session: Session, stream: str, key: str) -> dict[str, Any] | None:
    data = await _get(session, f"{stream}.{key}.{_MANIFEST}")
    manifest = None if data is None else orjson.loads(data)
    return manifest if manifest is not None and manifest["format"] == _FORMAT else None


async def _drop_older(session: Session, stream: str, epoch: str) -> None:
    ours = []
    for key in await _finished(session, stream):
        manifest = await _manifest(session, stream, key)
        if manifest is not None and manifest["epoch"] == epoch:
            ours.append(key)
    kept = set(ours[:_KEPT])
    for key in await _keys(session, stream, f"{stream}.>"):
        # One that is newer and has no manifest is being written by another node.
        if key not in kept and key < ours[0]:
            await session.api(f"STREAM.PURGE.{stream}", {"filter": f"{stream}.{key}.*"})
