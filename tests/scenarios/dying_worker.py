"""
A process that claims one task over HTTP and kills itself, with nothing of ours in it.

    python -m tests.scenarios.dying_worker URL HANDLE LEDGER

Before it dies it notes in the ledger what it was given, one JSON line.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import urllib.parse
from typing import Any

LEASE_S = 0.4


def main(url: str, handle: str, ledger: str) -> None:
    """Register, claim, note it, die."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)

    def post(path: str, body: dict[str, Any]) -> Any:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        return json.loads(text) if text else None

    agents = [{"name": handle, "max_attempts": 3}]
    me = post("/api/agents", {"handle": handle, "agents": agents})
    proof = {name: me[name] for name in ("agent_id", "agent_secret")}
    while (claim := post("/api/tasks/claim", {**proof, "lease_ttl": LEASE_S, "wait": 20})) is None:
        pass
    with open(ledger, "a", encoding="utf-8") as notes:
        notes.write(json.dumps(claim) + "\n")
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
