"""The model: the same answer to the same conversation, continued where one is begun."""

from __future__ import annotations

import orjson
import pytest

from gateway.app.demo.agents import PROMPTS
from gateway.app.demo.model import TEXT_MARK, reply, words_of
from gateway.app.demo.reading import sentences
from tests.app.demo.conversations import conversation


def test_an_answer_goes_on_after_its_beginning() -> None:
    """At any place, so that a beginning and what follows are the answer, once."""
    question = PROMPTS[0].prompt
    whole = reply(conversation("Answer.", question))
    words = words_of(whole)
    assert "".join(words) == whole
    for count in range(len(words) + 1):
        begun = "".join(words[:count])
        assert begun + reply(conversation("Answer.", question, begun)) == whole


def test_a_beginning_by_another_model_gets_the_sentences_that_it_lacks() -> None:
    whole = reply(conversation("Answer.", PROMPTS[0].prompt))
    first, *rest = sentences(whole)
    begun = f"As I said: {first}"
    assert reply(conversation("Answer.", PROMPTS[0].prompt, begun)) == " ".join(["", *rest])
    assert reply(conversation("Answer.", PROMPTS[0].prompt, f"Once more. {whole}")) == ""


def test_keywords_come_as_json() -> None:
    assert len(orjson.loads(reply(conversation("Name the keywords.")))["keywords"]) == 8


def test_the_system_message_says_what_is_done_with_the_text() -> None:
    said = {reply(conversation(task, "Eddystone")) for task in ("Answer.", "Quote.", "Summarise.")}
    assert len(said) == 3


@pytest.mark.parametrize(
    "content", ["A. B." + TEXT_MARK + "One thing.", [{"type": "text", "text": "One thing."}], None]
)
def test_content_may_be_text_or_parts_or_nothing(content: object) -> None:
    said = reply([{"role": "user", "content": content}])
    assert said == ("One thing." if content else "")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [("", []), ("one", ["one"]), ("one two", ["one ", "two"]), ("one ", ["one ", ""])],
)
def test_a_streamed_text_is_cut_after_its_spaces(text: str, pieces: list[str]) -> None:
    assert words_of(text) == pieces
