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
from collections.abc import Iterator
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
    "openai-agents": frozenset({"AgentsException"}),
    "langchain-core": frozenset({"LangChainException", "TracerException"}),
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


def made(cls: type[BaseException]) -> BaseException:
    """
    Make an exception by the names of what its class asks for.

    A class that asks for nothing gets a text alone: an answer among its arguments would be a
    status in its text, and so a name that the class does not have.
    """
    status = next((code for part, code in STATUSES.items() if part in cls.__name__), 500)
    for client in ("httpx2", "httpx"):
        http = importlib.import_module(client)
        request = http.Request("POST", "https://service.example.org/v1/things")
        answer = http.Response(status, json={"message": "it failed"}, request=request)
        given = {
            **dict.fromkeys(("response", "raw_response", "http_response"), answer),
            **dict.fromkeys(("status_code", "status", "code"), status),
            "request": request, "response_json": {"error": {}}, "headers": {}, "body": None,
        }  # fmt: skip
        try:
            error = cls(*_arguments(cls, given)[0], **_arguments(cls, given)[1])
            str(error)
        except Exception:  # noqa: BLE001 - the other client may fit
            continue
        return error
    return cls.__new__(cls)


def _arguments(cls: type[BaseException], given: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    initializer: Any = cls.__init__
    try:
        parameters = list(inspect.signature(initializer).parameters.values())[1:]
    except (TypeError, ValueError):
        return ["it failed"], {}
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return ["it failed"], {}
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in parameters:
        needed = parameter.default is parameter.empty or parameter.name in ("response", "request")
        if not needed or parameter.kind is parameter.VAR_KEYWORD:
            continue
        value = given.get(parameter.name, "it failed")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional.append(value)
        else:
            named[parameter.name] = value
    return positional, named


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
