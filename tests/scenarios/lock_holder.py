"""
A process that takes locks over HTTP, with nothing of ours in it.

    python -m tests.scenarios.lock_holder hold URL KEY HOLDER TTL
    python -m tests.scenarios.lock_holder race URL KEY HOLDER ROUNDS LEDGER

``hold`` takes a lock, prints the answer and waits to be killed. ``race`` takes and releases one
again and again, and notes in a shared ledger, a line each, when it enters and leaves.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import threading
import urllib.parse
from typing import Any


def main(mode: str, url: str, key: str, holder: str, *more: str) -> None:
    """Do what ``mode`` says."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)

    def ask(method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        encoded = None if body is None else json.dumps(body)
        connection.request(method, path, encoded, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    if mode == "hold":
        _, lock = ask(
            "POST", "/api/locks", {"resource_key": key, "holder": holder, "ttl": float(more[0])}
        )
        sys.stdout.write(json.dumps(lock) + "\n")
        sys.stdout.flush()
        signal.pause()
    rounds, ledger = int(more[0]), os.open(more[1], os.O_WRONLY | os.O_APPEND)
    done = 0
    while done < rounds:
        asked = {"resource_key": key, "holder": holder, "ttl": 30}
        status, lock = ask("POST", "/api/locks", asked)
        if status != 200:
            threading.Event().wait(0.005)
            continue
        os.write(ledger, f"enter {lock['term']} {holder}\n".encode())
        os.write(ledger, f"leave {lock['term']} {holder}\n".encode())
        path = f"/api/locks/{lock['lock_id']}?holder={holder}&term={lock['term']}"
        status, answer = ask("DELETE", path)
        if status != 200:
            raise SystemExit(f"not released: {answer}")
        done += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
