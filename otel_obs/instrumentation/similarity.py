"""How much is a prompt like one that is not wanted? A detector that needs no model, no database and no network.

Trigrams as PostgreSQL's ``pg_trgm`` makes them, compared as its ``strict_word_similarity`` does
(https://www.postgresql.org/docs/current/pgtrgm.html): the reference against the run of words in the prompt that is
most like it, so that a long text around it does not hide it. Misspelled and slightly changed prompts are found;
for those that say the same in other words there is ``meaning``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from otel_obs.instrumentation.guardrails import Verdict
from otel_obs.instrumentation.references import KNOWN_ATTACKS, References, texts_of

_WORD = re.compile(r"[^\W_]+")

MAX_CHARACTERS = 20_000
"""A prompt is looked at up to here."""

RUN = 3
"""A run of words is compared up to so many times as many words as the reference has."""


def words(text: str) -> list[frozenset[str]]:
    """Return the trigrams of each word of *text*: lower case, two blanks before and one after it."""
    return [frozenset(_trigrams(word)) for word in _WORD.findall(text.lower())]


def _trigrams(word: str) -> Iterable[str]:
    padded = f"  {word} "
    return (padded[start : start + 3] for start in range(len(padded) - 2))


def strict_word_similarity(reference: str, text: str) -> float:
    """Return how much of *reference* the most similar run of words in *text* is, 0 to 1."""
    return _similarity(_Reference.of("", reference), words(text), 0.0)


@dataclass(frozen=True, slots=True)
class _Reference:
    """A text to compare with."""

    name: str
    trigrams: frozenset[str]
    longest: int
    """Words of the longest run that it is compared with."""

    @classmethod
    def of(cls, name: str, text: str) -> _Reference:
        found = words(text)
        return cls(name, frozenset().union(*found), RUN * len(found))


def _similarity(reference: _Reference, text: list[frozenset[str]], least: float) -> float:
    """Return the greatest similarity of *reference* to a run of words, or *least* if none is greater."""
    wanted = reference.trigrams
    best = least
    for start, word in enumerate(text):
        if wanted.isdisjoint(word):
            continue
        seen: set[str] = set()
        common = 0
        for end in range(start, min(start + reference.longest, len(text))):
            new = text[end] - seen
            if not new:
                continue
            seen |= new
            common += len(new & wanted)
            # However much of it follows, a run with so many trigrams cannot become more similar.
            if len(wanted) <= best * len(seen):
                break
            best = max(best, common / (len(wanted) + len(seen) - common))
    return best


class PromptSimilarity:
    """Compares prompts with *references* (name -> text, or several), and says which is the most similar.

    At *threshold* and above the action is *action*, below it ``allow``; the reference is named either way.
    """

    def __init__(
        self, references: References = KNOWN_ATTACKS, *, threshold: float = 0.6, action: str = "block"
    ) -> None:
        found = (_Reference.of(name, text) for name, text in texts_of(references))
        self._references = [reference for reference in found if reference.trigrams]
        self._threshold = threshold
        self._action = action

    def check(self, prompt: str) -> Verdict:
        """Return how similar *prompt* is to the most similar reference (4 digits), which it is, and what to do."""
        text = words(prompt[:MAX_CHARACTERS])
        there = frozenset().union(*text)
        bounds = [
            (len(reference.trigrams & there) / len(reference.trigrams), reference) for reference in self._references
        ]
        best, nearest = 0.0, None
        for bound, reference in sorted(bounds, key=lambda pair: pair[0], reverse=True):
            if bound <= best:
                break
            score = _similarity(reference, text, best)
            if score > best:
                best, nearest = score, reference.name
        action = self._action if best >= self._threshold else "allow"
        return Verdict(score=round(best, 4), reference=nearest, action=action)
