"""
Raise every exception that SDKs, frameworks and drivers define, and print how each is named.

Run by ``make sdks`` in an environment of its own. Statuses are given by real answers of the
library's HTTP client where a class needs one. A class that ends as ``agent_exception`` is told;
the exit code is 1 when there is one that is not among ``OURS``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from gateway.domain.classification import classify

NOW = 1_800_000_000.0

# Distribution, and the modules that hold its exceptions.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "openai": ("openai",),
    "anthropic": ("anthropic",),
    "google-genai": ("google.genai.errors",),
    "mistralai": ("mistralai.client.errors", "mistralai.client"),
    "cohere": ("cohere", "cohere.errors", "cohere.core.api_error"),
    "groq": ("groq",),
    "boto3": ("boto3.exceptions",),
    "botocore": ("botocore.exceptions",),
    "litellm": ("litellm.exceptions",),
    "ollama": ("ollama",),
    "huggingface_hub": ("huggingface_hub.errors",),
    "langchain-core": ("langchain_core.exceptions", "langchain_core.tools"),
    "langchain-openai": ("langchain_openai.chat_models.base",),
    "langgraph": ("langgraph.errors",),
    "pydantic-ai-slim": ("pydantic_ai.exceptions",),
    "openai-agents": ("agents.exceptions",),
    "mcp": ("mcp", "mcp.shared.exceptions", "mcp.client.auth"),
    "httpx": ("httpx",),
    "httpx2": ("httpx2",),
    "aiohttp": ("aiohttp",),
    "requests": ("requests.exceptions",),
    "urllib3": ("urllib3.exceptions",),
    "grpcio": ("grpc", "grpc.aio"),
    "redis": ("redis.exceptions",),
    "psycopg": ("psycopg.errors",),
    "asyncpg": ("asyncpg.exceptions",),
    "sqlalchemy": ("sqlalchemy.exc", "sqlalchemy.orm.exc"),
    "google-api-core": ("google.api_core.exceptions",),
    "google-auth": ("google.auth.exceptions",),
    "azure-core": ("azure.core.exceptions",),
}

# Classes that say what ``agent_exception`` says: the agent's own code made a mistake.
_STREAMS = frozenset({"RequestNotRead", "ResponseNotRead", "StreamConsumed", "StreamError"})
OURS: dict[str, frozenset[str]] = {
    "httpx": _STREAMS | {"CookieConflict", "LocalProtocolError"},
    "httpx2": _STREAMS | {"CookieConflict", "LocalProtocolError"},
    "pydantic-ai-slim": frozenset({"AgentRunError"}),
}

# The statuses of classes that are made from an answer, by what stands in their names.
STATUSES = {
    "BadRequest": 400, "Authentication": 401, "OAuth": 401, "PermissionDenied": 403,
    "NotFound": 404, "Conflict": 409, "Unprocessable": 422, "RateLimit": 429, "Internal": 500,
    "PaymentRequired": 402, "RequestTimeout": 408, "TooLarge": 413, "ServiceUnavailable": 503,
    "Overloaded": 529, "GatewayTimeout": 504, "Deadline": 504, "Precondition": 412,
    "HeaderFields": 431, "ClientClosed": 499, "NotImplemented": 501, "Redirect": 302,
}  # fmt: skip


def exceptions(modules: tuple[str, ...], *, root: str) -> Iterator[type[BaseException]]:
    seen = set()
    for name in modules:
        module = importlib.import_module(name)
        for attribute in dir(module):
            try:
                cls = getattr(module, attribute)
            except Exception:  # noqa: BLE001 - a name that needs something that is not there
                continue
            if (
                inspect.isclass(cls)
                and issubclass(cls, BaseException)
                and not issubclass(cls, Warning | BaseExceptionGroup)
                and cls.__module__.partition(".")[0] == root
                and cls not in seen
            ):
                seen.add(cls)
                yield cls


def answers(cls: type[BaseException]) -> Iterator[Callable[[], BaseException]]:
    """Ways to make an exception, the one with an answer first."""
    make: Any = cls
    status = next((code for part, code in STATUSES.items() if part in cls.__name__), 500)
    for client in ("httpx2", "httpx"):
        http = importlib.import_module(client)
        request = http.Request("POST", "https://service.example.org/v1/things")
        answer = http.Response(status, json={"message": "it failed"}, request=request)
        yield lambda answer=answer: make("it failed", response=answer, body=None)  # type: ignore[misc]
        yield lambda answer=answer: make("it failed", request=answer.request, response=answer)  # type: ignore[misc]
        yield lambda answer=answer: make("it failed", response=answer)  # type: ignore[misc]
        yield lambda answer=answer: make("it failed", answer, "{}")  # type: ignore[misc]
        yield lambda request=request: make(request=request)  # type: ignore[misc]
        yield lambda request=request: make("it failed", request=request, body=None)  # type: ignore[misc]
        yield lambda request=request: make("it failed", request=request)  # type: ignore[misc]
        yield lambda answer=answer: make(status, {"error": {}}, answer)  # type: ignore[misc]
    yield lambda: make("it failed", "provider", "model")
    yield lambda: make("it failed")
    yield lambda: make()
    for count in range(2, 7):
        yield lambda count=count: make(*["it failed"] * count)  # type: ignore[misc]
    yield lambda: cls.__new__(cls, "it failed")


def made(cls: type[BaseException]) -> BaseException:
    for way in answers(cls):
        try:
            error = way()
            str(error)
        except Exception:  # noqa: BLE001 - another way may fit
            continue
        return error
    return cls.__new__(cls)


def raised(cls: type[BaseException]) -> BaseException:
    try:
        raise made(cls)
    except BaseException as error:  # noqa: BLE001 - it is what is tried
        return error


def main() -> int:
    """Print a line for each library, and the classes that nobody knows."""
    warnings.simplefilter("ignore")
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for prices
    unknown_all = 0
    for library, modules in LIBRARIES.items():
        version = importlib.metadata.version(library)
        root = modules[0].partition(".")[0]
        codes: Counter[str] = Counter()
        unknown = []
        for cls in exceptions(modules, root=root):
            code = classify(raised(cls), now=NOW, llm_upstream=False).error_code
            codes[code] += 1
            if code == "agent_exception" and cls.__name__ not in OURS.get(library, ()):
                unknown.append(cls.__name__)
            if "-v" in sys.argv:
                print(f"    {cls.__name__}: {code}")  # noqa: T201
        unknown_all += len(unknown)
        print(f"{library} {version}: {codes.total()} classes, {len(unknown)} unknown", *unknown)  # noqa: T201
    return int(unknown_all > 0)


if __name__ == "__main__":
    sys.exit(main())
