"""What upstreams say only in words, outside quotations, and what is read back from texts."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import sentences
from gateway.domain.error_codes import CODES
from gateway.domain.retry_hints import retry_after_of_sentence
from gateway.domain.sentences import OVERFLOW, SENTENCES, TRANSIENT, outside, said, told
from gateway.domain.signatures import BY_UPSTREAM

CONTEXT = "llm_context_too_long"


def test_every_sentence_leads_to_a_code() -> None:
    assert {sentence.code for sentence in SENTENCES} <= set(CODES) | set(BY_UPSTREAM)


def test_no_sentence_makes_a_rate_limit_a_long_text_but_a_request_above_the_limit() -> None:
    """Code and status beat the sentence (crewAI#7377, Roo-Code#5050)."""
    assert {s.code for s in SENTENCES if 429 in s.statuses} == {"quota_exhausted", CONTEXT}
    assert said("too many tokens, please wait before trying again.", status=429) is None
    assert said("request too large for m on tokens per min: limit 9", status=429) == CONTEXT


@pytest.mark.parametrize(
    ("sentence", "code"),
    [
        ("prompt is too long: 210000 tokens > 200000 maximum", CONTEXT),
        ("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000", CONTEXT),
        ("this model's maximum context length is 8192 tokens", CONTEXT),
        ("your input exceeds the context window of this model", CONTEXT),
        ("too many input tokens", CONTEXT),
        ("the input token count (1196265) exceeds the maximum number of tokens allowed", CONTEXT),
        ("this model's maximum prompt length is 131072 but the request contains 5", CONTEXT),
        ("the request exceeds the available context size, try increasing it", CONTEXT),
        ("requested tokens (5000) exceed context window of 4096", CONTEXT),
        ("prompt contains 65673 tokens, too large for model with 32768 maximum context", CONTEXT),
        ("too many tokens: total number of tokens in the prompt exceed the limit", CONTEXT),
        ("please reduce the length of the messages or completion.", CONTEXT),
        ("`inputs` tokens + `max_new_tokens` must be <= 4096. given: 9", CONTEXT),
        ("tokens to keep from the initial prompt is greater than the context length", CONTEXT),
        ("invalid params, context window exceeds limit (2013)", CONTEXT),
        ("your request exceeded model token limit: 8192 (requested: 9000)", CONTEXT),
        ("prompt token count of 150000 exceeds the limit of 128000", CONTEXT),
        ("range of input length should be [1, 30720]", CONTEXT),
        ("input is too long for requested model.", CONTEXT),
        ("output blocked by content filtering policy", "llm_content_filtered"),
        ("this violates our usage policies", "llm_content_filtered"),
        ("your credit balance is too low", "quota_exhausted"),
        ("you exceeded your current quota, please check your plan", "quota_exhausted"),
        ("too many tokens, please wait before trying again.", "rate?"),
        ("api rate limit exceeded for user id 7.", "rate?"),
        ("api key not valid. please pass a valid api key.", "auth?"),
        ("incorrect api key provided: xa***", "auth?"),
        ("the provided model identifier is invalid.", "llm_model_not_found"),
        ("missing credentials. please pass an `api_key`", "configuration_error"),
        ("set the `x_api_key` environment variable", "configuration_error"),
        ("did not find openai_api_key, please add it", "configuration_error"),
        ("messages: required", None),
        ("unknown field context_window in the configuration", None),
        ("", None),
    ],
)
def test_a_sentence_names_its_kind(sentence: str, code: str | None) -> None:
    assert said(sentence, status=400) == code


@pytest.mark.parametrize(
    ("sentence", "transient"),
    [
        ("quota of 10 requests per minute exceeded", True),
        ("quota exceeded, retry in 7s", True),
        ("quota exceeded, please try again in 7s", True),
        ("quota exceeded for this month", False),
    ],
)
def test_a_quota_that_refills_is_told_from_one_that_does_not(
    sentence: str, transient: bool
) -> None:
    assert bool(TRANSIENT.search(sentence)) is transient
    assert (said(sentence, status=429) is None) is transient


@pytest.mark.parametrize(
    "quoted",
    [
        'unknown title "prompt is too long"',
        "unknown title 'prompt is too long'",
        "unknown title `prompt is too long`",
        "unknown title “prompt is too long”",
        "unknown title «prompt is too long»",
        "unknown title „prompt is too long“",
        "it's the title 'this model's prompt is too long'",
    ],
)
def test_a_quotation_never_decides(quoted: str) -> None:
    """What a user wrote comes back in the upstream's sentence."""
    assert said(quoted, status=400) is None
    assert len(outside(quoted)) == len(quoted)


def test_an_apostrophe_or_a_lonely_mark_quotes_nothing() -> None:
    for text in ("this model's limit, the users' too long", 'a 5" disk', "don't 'go", ""):
        assert outside(text) == text


@pytest.mark.parametrize(
    ("text", "status", "word"),
    [
        ("error code: 429 - {'error': {'message': 'slow', 'code': 'rate_limit_exceeded'}}",
         429, "rate_limit_exceeded"),
        ("client error '401 unauthorized' for url 'https://x.example/y'", 401, None),
        ("503 server error: service unavailable for url: https://x.example/y", 503, None),
        ("tool failed: http 404", 404, None),
        ("tool failed: http status 404", 404, None),
        ("api error occurred: status 429. body: {}", 429, None),
        ("status_code: 500, model_name: m, body: {}", 500, None),
        ("429, message='too many requests', url='https://x.example'", 429, None),
        ("429 resource_exhausted. {'error': {}}", 429, None),
        ("litellm.ratelimiterror: ratelimiterror: openaiexception - slow", None, "ratelimiterror"),
        ("an error occurred (throttlingexception) when calling the converse operation: too many"
         " tokens", None, "throttlingexception"),
    ],
)  # fmt: skip
def test_what_libraries_write_into_texts_is_read_back(
    text: str, status: int | None, word: str | None
) -> None:
    found = told("step 3: " + text)
    assert found is not None
    assert found.status == status
    assert word is None or word in found.words


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing of the kind",
        "429",
        "500, 300 is no point",
        "the user wrote 'error code: 429 - {}'",
        'no document named "http 404"',
        "status code: 302",
        "wanted 404 items",
        "no context_window in the settings",
    ],
)
def test_a_text_that_only_looks_like_it_tells_nothing(text: str) -> None:
    assert told(text) is None


def test_the_message_of_a_body_in_a_text_is_what_is_searched() -> None:
    found = told(
        "error code: 400 - {'type': 'error', 'error': {'type': 'invalid_request_error',"
        " 'message': 'this model's prompt is too long: 9 tokens > 5 maximum'}}"
    )
    assert found is not None
    assert found.message == "this model's prompt is too long: 9 tokens > 5 maximum"
    alone = told("requested tokens (5000) exceed context window of 4096")
    assert alone is not None
    assert OVERFLOW.search(alone.message)


# --- time --------------------------------------------------------------------------------------

HOSTILE = [
    *("'" * 65_536, '"' * 65_536, "'a" * 32_768, "a'" * 32_768, "“" * 65_536, "'(" * 32_768),
    *("a" * 65_536, "a." * 32_768, "1 " * 32_768, "1s" * 32_768, "http " * 13_000, "(" * 65_536),
    *("'message': '" * 6_000, "'message': '" + "\\" * 60_000, "exceed " * 9_000),
    *("token count " * 5_500, "tokens " * 9_000, "violat" * 10_000, "model " * 10_000),
    *("error code: " * 5_000, "an error occurred (a" * 3_000, "retry in 1m" * 6_000),
    *("context length " * 4_000, "larger " * 9_000, "exceeded " * 7_000, "aerror" * 10_000),
    *("a.error." * 8_000, "'code': '" * 7_000, "wait 1 h " * 7_000, "429 " * 16_000),
]
READERS: dict[str, Callable[[str], object]] = {
    "outside": outside,
    "told": told,
    "said": lambda text: said(text, status=400),
    "sentence": lambda text: retry_after_of_sentence(text, now=0.0),
}


@pytest.mark.parametrize("reader", READERS)
def test_no_text_keeps_a_reader_for_long(reader: str) -> None:
    """64 KiB, where 2,000 characters are the most that is read: every pattern stays linear."""
    for text in HOSTILE:
        began = time.process_time()
        READERS[reader](text)
        assert time.process_time() - began < 1.0, text[:20]


@given(st.text(alphabet="'\"“”a1 :{}.\n", max_size=200))
def test_no_text_breaks_a_reader(text: str) -> None:
    assert len(outside(text)) == len(text)
    told(text)
    said(text, status=None)
    assert sentences.outside(outside(text)) is not None
