"""The library: texts with a title and a source, found by a question."""

from __future__ import annotations

import pytest

from gateway.app.demo import library
from gateway.app.demo.agents import PROMPTS


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("What did Smeaton build?", "The lights of Eddystone"),
        ("How many words had the Queen's message through the cable?", "The Atlantic cable"),
        ("When does a half open breaker close?", "Circuit breakers"),
    ],
)
def test_a_question_finds_its_text(question: str, title: str) -> None:
    assert library.find(question).title == title


def test_a_question_about_no_text_finds_the_first_one() -> None:
    assert library.find("Quidditch?") == library.find("") == library.texts()[0]


def test_every_text_has_a_title_a_source_and_a_body() -> None:
    assert len(library.texts()) == 3
    for text in library.texts():
        assert "\n" not in text.title
        assert text.source
        assert len(text.body) > 1000


def test_the_prompts_are_about_different_texts() -> None:
    found = {library.find(prompt.prompt).title for prompt in PROMPTS}
    assert found == {text.title for text in library.texts()}
