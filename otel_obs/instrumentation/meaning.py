"""How much does a prompt mean what one that is not wanted means? Static embeddings that a package brings along.

The model is WordLlama's (https://github.com/dleemiller/WordLlama, extra ``otel-obs[guardrail]``): 16 MB inside the
package, nothing is fetched, 0.1 ms a sentence. It finds paraphrases that share no word with a reference, and
misses some; what it flags is worth a second look rather than a closed door.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from otel_obs.errors import ConfigurationError
from otel_obs.instrumentation.guardrails import Verdict
from otel_obs.instrumentation.references import KNOWN_ATTACKS, References, texts_of

MAX_CHARACTERS = 50_000
"""A prompt is looked at up to here."""

_SENTENCE = re.compile(r"(?<=[.!?;:])\s+|\n+")


class MeaningSimilarity:
    """Compares what each sentence of a prompt means with *references* (name -> text, or several).

    At *threshold* and above the action is *action*, below it ``allow``; the reference is named either way.

    Raises:
        ConfigurationError: the package with the model is not installed.
    """

    def __init__(
        self, references: References = KNOWN_ATTACKS, *, threshold: float = 0.53, action: str = "review"
    ) -> None:
        texts = [(name, text) for name, text in texts_of(references) if _says_something(text)]
        self._names = [name for name, _ in texts]
        self._model = _model()
        self._meant: Any = self._model.embed([text for _, text in texts], norm=True) if texts else None
        self._threshold = threshold
        self._action = action

    def check(self, prompt: str) -> Verdict:
        """Return how near the nearest sentence of *prompt* is to a reference (4 digits), which it is, what to do."""
        text = prompt[:MAX_CHARACTERS]
        sentences = [sentence for sentence in _SENTENCE.split(text) if _says_something(sentence)]
        if not sentences or not self._names:
            return Verdict(score=0.0, action="allow")
        near = self._model.embed(sentences, norm=True) @ self._meant.T
        sentence, reference = divmod(int(near.argmax()), len(self._names))
        score = max(0.0, min(1.0, float(near[sentence, reference])))
        action = self._action if score >= self._threshold else "allow"
        return Verdict(score=round(score, 4), reference=self._names[reference], action=action)


def _says_something(text: str) -> bool:
    return any(map(str.isalnum, text))


@cache
def _model() -> Any:
    try:
        import wordllama  # noqa: PLC0415  # an extra
    except ImportError:
        raise ConfigurationError("MeaningSimilarity needs the model of `pip install 'otel-obs[guardrail]'`") from None
    # It looks for its tokenizer in the cache only, where the package's own folder will do.
    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
