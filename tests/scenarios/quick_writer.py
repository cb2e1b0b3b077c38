"""
Writes to one lock, one worker's record and some tasks, one after the other as fast as it goes.

    python -m tests.scenarios.quick_writer URL NAME

``writes`` is the plan of one writer, whichever door it uses. As a process it writes over one
HTTP connection: it says ``ready``, reads the aim as a line of JSON, and prints what came of it.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import random
import sys
import urllib.parse
from collections.abc import Generator
from typing import Any

__all__ = ["Outcome", "outcomes", "writes"]

Params = dict[str, Any]
# An operation with its parameters.
Write = tuple[str, Params]

# The HTTP paths of the operations; DELETE takes its parameters from the query.
PATHS = {
    "lock.acquire": ("POST", "/api/locks"),
    "lock.renew": ("POST", "/api/locks/{lock_id}/renew"),
    "lock.release": ("DELETE", "/api/locks/{lock_id}"),
    "agent.register": ("POST", "/api/agents"),
    "task.update": ("POST", "/api/tasks/{task_id}/update"),
    "task.complete": ("POST", "/api/tasks/{task_id}/complete"),
}


@dataclasses.dataclass
class Outcome:
    """
    What came of one write.

    Attributes:
        writer: Who wrote.
        refused: The text code of the refusal; None: it was taken.
        content: The answer.
    """

    writer: str
    operation: str
    params: Params
    refused: str | None
    content: Any


def writes(name: str, aim: Params) -> Generator[Write, Outcome, None]:
    """Give what a writer writes; what it holds of the lock follows from the outcomes."""
    tasks: list[Params] = list(aim["tasks"])
    random.Random(f"{aim['seed']} {name}").shuffle(tasks)
    for number in range(aim["rounds"]):
        asked = {"resource_key": aim["resource_key"], "holder": name, "ttl": 30}
        taken = yield "lock.acquire", asked
        if taken.refused is None:
            lock = {key: taken.content[key] for key in ("lock_id", "holder", "term")}
            yield "lock.renew", {**lock, "ttl": 30}
            yield "lock.release", lock
        yield "agent.register", {**aim["worker"], "handle": "many", "domain": f"{name}-{number}"}
        if tasks:
            yield "task.complete", {**tasks.pop(), "result": name}
        if number < aim["texts"]:
            yield "task.update", {**aim["task"], "text": f"{name}-{number} "}


def outcomes(name: str, url: str, aim: Params) -> list[Outcome]:
    """Write over one connection, and give what came of it."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=30)
    plan, found = writes(name, aim), list[Outcome]()
    operation, params = next(plan)
    while True:
        method, path = PATHS[operation]
        rest = dict(params)
        for key in params:
            if f"{{{key}}}" in path:
                path = path.replace(f"{{{key}}}", str(rest.pop(key)))
        if method == "DELETE":
            path, rest = f"{path}?{urllib.parse.urlencode(rest)}", {}
        body = json.dumps(rest) if rest else None
        connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        answer = connection.getresponse()
        content = json.loads(answer.read())
        refused = content["code"] if answer.status >= 400 else None
        found.append(Outcome(name, operation, params, refused, content))
        try:
            operation, params = plan.send(found[-1])
        except StopIteration:
            return found


def main(url: str, name: str) -> None:
    """Write when told what."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    found = outcomes(name, url, json.loads(sys.stdin.readline()))
    json.dump([dataclasses.asdict(outcome) for outcome in found], sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
