"""
Language models: whether one was asked, as far as an exception tells.

A language model is named only on evidence: an SDK of a vendor of models, the address of the
request, an operation of a cloud, or that the agent declared an upstream. A tool that answers 401
or 503 is a service, and its user does not read of a language model that was never asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.domain.evidence import attribute, names_of, url_of

__all__ = [
    "CLOUD_OPERATIONS",
    "LLM_HOSTS",
    "LLM_PACKAGES",
    "LLM_PATHS",
    "OTHER_PACKAGES",
    "asked_model",
    "request_kind",
]

# What these raise is about a language model.
LLM_PACKAGES = frozenset(
    {
        *("ai21", "anthropic", "azure.ai", "cerebras", "cohere", "dashscope", "fireworks"),
        *("google.genai", "google.generativeai", "groq", "instructor", "langchain_anthropic"),
        *("langchain_aws", "langchain_cohere", "langchain_google_genai", "langchain_groq"),
        *("langchain_mistralai", "langchain_ollama", "langchain_openai", "litellm", "llama_cpp"),
        *("mistralai", "ollama", "openai", "openrouter", "pydantic_ai", "replicate", "together"),
        *("vertexai", "vllm", "voyageai", "xai_sdk", "zai", "zhipuai"),
    }
)
# In packages that do other things as well, the classes that are about a language model.
LLM_CLASSES = frozenset(
    {
        *(("huggingface_hub", name) for name in ("InferenceTimeoutError", "TextGenerationError")),
        ("agents", "ModelBehaviorError"),
        ("agents", "ModelRefusalError"),
        ("agents", "ModelTimeoutError"),
        ("langchain_core", "ModelError"),
        ("langchain_core", "OutputParserException"),
    }
)
# What these raise is about something else, whatever upstream the agent declared.
OTHER_PACKAGES = frozenset(
    {
        *("atlassian", "discord", "elasticsearch", "fastmcp", "firecrawl", "github", "gitlab"),
        *("googleapiclient", "googlemaps", "jira", "kubernetes", "mcp", "notion_client"),
        *("opensearchpy", "pinecone", "playwright", "qdrant_client", "redis", "selenium"),
        *("sendgrid", "slack_sdk", "smtplib", "stripe", "tavily", "telegram", "tweepy"),
        *("twilio", "weaviate", "zeep"),
    }
)

# The ends of paths at which language models are asked, for agents without an SDK.
LLM_PATHS: Mapping[str, str] = {
    "/chat/completions": "chat",
    "/completions": "completion",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/openai/responses": "chat",
    "/embeddings": "embedding",
    ":generatecontent": "chat",
    ":streamgeneratecontent": "chat",
    ":embedcontent": "embedding",
    "/api/chat": "chat",
    "/api/generate": "completion",
    "/api/embed": "embedding",
}
# Hosts of models, and what begins or ends their names.
LLM_HOSTS = (
    *("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"),
    *("api.mistral.ai", "api.cohere.com", "api.cohere.ai", "api.groq.com", "api.x.ai"),
    *("api.deepseek.com", "openrouter.ai", "api.together.xyz", "api.together.ai"),
    *("api.fireworks.ai", "api.perplexity.ai", "api.cerebras.ai", "router.huggingface.co"),
    *("bedrock-runtime.", "aiplatform.googleapis.com", ".openai.azure.com"),
    *(".services.ai.azure.com", "-aiplatform.googleapis.com"),
)
# The operations of botocore (``operation_name``) that ask a model; its others do not.
CLOUD_OPERATIONS = frozenset(
    {
        *("Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream"),
        *("InvokeModelWithBidirectionalStream", "CountTokens", "ApplyGuardrail"),
    }
)


def asked_model(error: BaseException) -> bool | None:
    """
    Tell whether one exception, without its causes, is about a language model.

    Returns:
        False when it is about something else, whatever the agent declared; None when it does
        not say.
    """
    operation = attribute(error, "operation_name")
    if isinstance(operation, str):
        return operation in CLOUD_OPERATIONS
    names = names_of(error)
    packages = {package for package, _ in names}
    if packages & LLM_PACKAGES or not LLM_CLASSES.isdisjoint(names):
        return True
    if packages & OTHER_PACKAGES:
        return False
    where = url_of(error)
    return True if where is not None and _is_model(*where) else None


def request_kind(chain: Iterable[BaseException]) -> str | None:
    """Tell from the path of the request what was asked of a language model; None: not one."""
    for step in chain:
        where = url_of(step)
        if where is not None and (kind := _path_kind(where[1])) is not None:
            return kind
    return None


def _is_model(host: str, path: str) -> bool:
    if _path_kind(path) is not None:
        return True
    return any(
        host == known
        or (known.endswith(".") and host.startswith(known))
        or (known[0] in ".-" and host.endswith(known))
        for known in LLM_HOSTS
    )


def _path_kind(path: str) -> str | None:
    end = path[-64:].rstrip("/")
    return next((kind for ending, kind in LLM_PATHS.items() if end.endswith(ending)), None)
