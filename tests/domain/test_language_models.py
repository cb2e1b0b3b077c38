"""Whether a language model was asked, as far as an exception tells."""

from __future__ import annotations

import types
from typing import Any

import pytest

from gateway.domain.language_models import (
    LLM_HOSTS,
    LLM_PACKAGES,
    LLM_PATHS,
    OTHER_PACKAGES,
    asked_model,
    request_kind,
)


def error(module: str = "agents.own", name: str = "Failed", **attributes: Any) -> Exception:
    made: Exception = type(name, (Exception,), {"__module__": module})()
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def asking(url: object) -> Exception:
    return error("httpx", request=types.SimpleNamespace(url=url))


def test_the_tables_are_lower_case_and_say_one_thing_each() -> None:
    assert all(path == path.lower() for path in (*LLM_PATHS, *LLM_HOSTS))
    assert not LLM_PACKAGES & OTHER_PACKAGES


@pytest.mark.parametrize(
    ("failed", "asked"),
    [
        (error(), None),
        (error("openai"), True),
        (error("google.genai.errors"), True),
        (error("google.api_core.exceptions"), None),
        (error("langchain_core.exceptions", "OutputParserException"), True),
        (error("langchain_core.tools.base", "ToolException"), None),
        (error("github.GithubException"), False),
        (error("botocore.errorfactory", operation_name="Converse"), True),
        (error("botocore.errorfactory", operation_name="GetObject"), False),
    ],
)
def test_a_package_or_an_operation_tells(failed: Exception, asked: bool | None) -> None:
    assert asked_model(failed) is asked


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://api.openai.com/v1/files", True),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com/model/x/converse", True),
        ("https://me.openai.azure.com/anything", True),
        ("https://europe-west1-aiplatform.googleapis.com/v1/x", True),
        ("http://127.0.0.1:8000/v1/chat/completions", True),
        ("http://127.0.0.1:11434/api/chat", True),
        ("https://discord.com/api/v10/channels/7/messages", None),
        ("https://graph.microsoft.com/v1.0/me/messages", None),
        ("https://api.typeform.com/forms/u/responses", None),
        ("https://api.github.com/repos/a/b", None),
        ("https://not-api.openai.com.example.org/", None),
        ("http://[", None),
        (7, None),
    ],
)
def test_an_address_tells(url: object, asked: bool | None) -> None:
    """A chat service has messages, too."""
    assert asked_model(asking(url)) is asked


def test_an_address_is_read_where_each_client_has_it() -> None:
    url = "https://api.x.ai/v1/chat/completions"
    requests = types.SimpleNamespace(request=types.SimpleNamespace(url=url))
    yarl = types.SimpleNamespace(host="api.x.ai", path="/v1/chat/completions")
    assert asked_model(error("requests", response=requests)) is True
    assert asked_model(error("requests", response=types.SimpleNamespace(url=url))) is True
    assert asked_model(error("aiohttp", request_info=types.SimpleNamespace(url=yarl))) is True


def test_the_kind_of_a_request_is_found_along_the_chain() -> None:
    chat = asking("https://x.example/v1/chat/completions/")
    assert request_kind([error(), chat]) == "chat"
    assert request_kind([asking("https://x.example/v1/Embeddings")]) == "embedding"
    assert request_kind([error(), asking("https://x.example/weather")]) is None
