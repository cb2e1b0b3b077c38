"""Reading without a model: every result stands in the text, word for word."""

from __future__ import annotations

import pytest

from gateway.app.demo import library, reading
from gateway.app.demo.agents import PROMPTS, Prompt

TEXT = """The tower stood on a rock. A storm took the tower in one night! Who paid for it?

Smeaton built the next tower of granite. Granite lasts."""


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.name)
def test_every_answer_stands_in_the_text(prompt: Prompt) -> None:
    text = " ".join(library.find(prompt.prompt).body.split())
    told = (reading.answer(prompt.prompt, text), reading.summary(text), reading.quote("", text))
    for said in told:
        assert said
        assert all(sentence in text for sentence in reading.sentences(said))
    assert all(word in text for word in reading.keywords(text))


def test_sentences_end_at_stops_and_paragraphs() -> None:
    assert reading.sentences(TEXT) == [
        "The tower stood on a rock.",
        "A storm took the tower in one night!",
        "Who paid for it?",
        "Smeaton built the next tower of granite.",
        "Granite lasts.",
    ]
    assert reading.sentences("It cost 3.5 pounds. so it said") == ["It cost 3.5 pounds. so it said"]
    assert reading.sentences(" \n\n ") == []


def test_forms_of_a_word_have_one_stem_and_empty_words_none() -> None:
    assert reading.stems("failed FAILS failing the fail’s") == ["fail"] * 4
    assert reading.stems("glass sing a I") == ["glass", "sing"]


def test_passages_are_those_closest_to_the_question_in_the_order_of_the_text() -> None:
    assert reading.passages("granite storms", TEXT, 2) == [
        "A storm took the tower in one night!",
        "Granite lasts.",
    ]
    assert reading.quote("granite", TEXT) == "Granite lasts."
    assert reading.answer("storm", TEXT).startswith("The tower stood")


def test_a_summary_is_the_first_sentence_and_the_two_that_repeat_most() -> None:
    assert reading.sentences(reading.summary(TEXT)) == [
        "The tower stood on a rock.",
        "A storm took the tower in one night!",
        "Smeaton built the next tower of granite.",
    ]


def test_keywords_are_the_most_frequent_first_in_their_most_frequent_form() -> None:
    assert reading.keywords(TEXT, 2) == ["tower", "granite"]
    assert reading.keywords(TEXT + " Look: towers towers towers towers.", 1) == ["towers"]


def test_an_empty_text_gives_nothing() -> None:
    assert reading.answer("What?", "") == reading.summary("") == reading.quote("", "") == ""
    assert reading.keywords("") == []
    assert reading.first_sentences("") == ""


def test_the_first_sentences_are_the_beginning() -> None:
    assert reading.first_sentences(TEXT, 1) == "The tower stood on a rock."
