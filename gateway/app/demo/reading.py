"""
Reading without a language model: cuts a text into sentences and picks those that fit a question.

Pure functions. Every result is taken from the text word for word.
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Iterable, Sequence

__all__ = ["answer", "first_sentences", "keywords", "passages", "quote", "sentences", "summary"]

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9'’-]*")

# Words that say nothing about the subject of a text.
_EMPTY = frozenset(
    """
    a about after again all also always an and another any anybody are as at back be became because
    been before began begin being but by came can cannot come could did do does down each end ever
    every everybody everything for from gave give go gone had has have he her here him his how i if
    in into is it its itself just keep least less let like made make many may me more most much must
    my never no nobody not nothing now of often on once one only open or other our out over own part
    please put say said she should so some somebody something such take taken tell than that the
    their them then there these they this those three time to too two under until up us very was way
    we well went were what when where which while who whole why will with without would you your
    text story summarise summarize summary keyword keywords key word words question answer happened
    """.split()  # noqa: SIM905 - a paragraph of words is read better than a column of them
)


def sentences(text: str) -> list[str]:
    """Cut a text into its sentences, in their order."""
    return [
        sentence
        for paragraph in text.split("\n\n")
        if (words := " ".join(paragraph.split()))
        for sentence in _SENTENCE_END.split(words)
    ]


def stems(text: str) -> list[str]:
    """Give the words with a meaning, without endings, so that "failed" and "fails" are equal."""
    lowered = (word.lower().replace("’", "'").removesuffix("'s") for word in _WORD.findall(text))
    return [_stem(word) for word in lowered if word not in _EMPTY and len(word) > 1]


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4 and not word.endswith("ss"):
            return word.removesuffix(ending)
    return word


def passages(question: str, text: str, count: int) -> list[str]:
    """Give the ``count`` sentences that fit the question best, in the order of the text."""
    everything = sentences(text)
    weights = _weights(everything)
    asked = set(stems(question))
    scores = [_score(asked, sentence, weights) for sentence in everything]
    return _best(everything, scores, count)


def answer(question: str, text: str) -> str:
    """Give the two sentences that fit the question best, each with the sentence after it."""
    everything = sentences(text)
    close = [everything.index(sentence) for sentence in passages(question, text, 2)]
    places = {place + next for place in close for next in (0, 1)}
    return " ".join(everything[place] for place in sorted(places) if place < len(everything))


def quote(question: str, text: str) -> str:
    """Give the sentence that fits the question best."""
    return " ".join(passages(question, text, 1))


def summary(text: str) -> str:
    """Give the first sentence and the two with most of the text's repeated words."""
    everything = sentences(text)
    counts = collections.Counter(stems(text))
    scores = []
    for sentence in everything:
        found = set(stems(sentence))
        # The square root: a sentence twice as long counts more, but not twice as much.
        scores.append(sum(counts[stem] - 1 for stem in found) / math.sqrt(len(found) or 1))
    return " ".join(everything[:1] + _best(everything[1:], scores[1:], 2))


def keywords(text: str, count: int = 8) -> list[str]:
    """Give the most frequent words of the text that mean something, most frequent first."""
    counts: collections.Counter[str] = collections.Counter()
    written: dict[str, collections.Counter[str]] = {}
    for word in _WORD.findall(text):
        for stem in stems(word):
            counts[stem] += 1
            written.setdefault(stem, collections.Counter())[word] += 1
    return [written[stem].most_common(1)[0][0] for stem, _ in counts.most_common(count)]


def first_sentences(text: str, count: int = 2) -> str:
    """Give the first ``count`` sentences."""
    return " ".join(sentences(text)[:count])


def _weights(everything: Sequence[str]) -> dict[str, float]:
    """Give the weight of each stem: the rarer, the more (inverse document frequency)."""
    seen = collections.Counter(stem for sentence in everything for stem in set(stems(sentence)))
    return {stem: math.log(1 + len(everything) / count) for stem, count in seen.items()}


def _score(asked: Iterable[str], sentence: str, weights: dict[str, float]) -> float:
    found = set(stems(sentence))
    shared = sum(weights.get(stem, 0.0) for stem in asked if stem in found)
    return shared / math.sqrt(math.sqrt(len(found) or 1))


def _best(everything: Sequence[str], scores: Sequence[float], count: int) -> list[str]:
    order = sorted(range(len(everything)), key=lambda place: (-scores[place], place))
    return [everything[place] for place in sorted(order[:count])]
