"""A function of the operator's that redacts content: asked in a thread of its own, and not waited for long.

Whatever goes wrong in it (an exception, an answer that is not text, no answer in time) is one error to whoever asks,
who then stores nothing of the content. A thread that does not come back is left behind; when too many are, nobody is
asked.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from otel_obs.errors import ConfigurationError, RedactionFailedError

WAIT_S = 1.0
"""How long all content of one span may take."""
MAX_STUCK = 8

_log = logging.getLogger(__name__)


class RedactionHook:
    """Asks *function*, which returns a text as it may be stored."""

    def __init__(self, function: Callable[[str], str]) -> None:
        self._function = function
        self._idle: deque[_Asked] = deque()
        self._stuck: list[_Asked] = []
        self._pid = os.getpid()

    def __call__(self, texts: Sequence[str]) -> Sequence[str]:
        """Return *texts* as they may be stored.

        Raises:
            RedactionFailedError: the function did not say.
        """
        asked = self._free()
        try:
            found = asked.ask(texts, WAIT_S)
        except Empty:
            self._stuck.append(asked)
            _log.warning("the redaction hook takes longer than %s s: content is dropped", WAIT_S)
            raise RedactionFailedError from None
        self._idle.append(asked)
        if found is None:
            raise RedactionFailedError
        return found

    def _free(self) -> _Asked:
        if self._pid != os.getpid():
            # Threads stay behind at a fork.
            self._idle.clear()
            self._stuck.clear()
            self._pid = os.getpid()
        self._stuck = [asked for asked in self._stuck if not asked.is_done]
        if len(self._stuck) >= MAX_STUCK:
            raise RedactionFailedError
        try:
            return self._idle.popleft()
        except IndexError:
            return _Asked(self._function)


class _Asked:
    """A thread that runs the function."""

    def __init__(self, function: Callable[[str], str]) -> None:
        self._function = function
        self._questions: SimpleQueue[Sequence[str]] = SimpleQueue()
        self._answers: SimpleQueue[list[str] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="otel-obs-redaction", daemon=True).start()

    @property
    def is_done(self) -> bool:
        return not self._answers.empty()

    def ask(self, texts: Sequence[str], wait_s: float) -> list[str] | None:
        self._questions.put(texts)
        return self._answers.get(timeout=wait_s)

    def _run(self) -> None:
        while True:
            self._answers.put(self._answer(self._questions.get()))

    def _answer(self, texts: Sequence[str]) -> list[str] | None:
        try:
            found: list[Any] = [self._function(text) for text in texts]
        except BaseException as error:  # noqa: BLE001  # whatever it is, the content is not to be stored
            # Its message may hold what was to be redacted.
            _log.warning("the redaction hook fails: %s: content is dropped", type(error).__name__)
            return None
        return found if all(isinstance(text, str) for text in found) else None


def hook_named(name: str) -> RedactionHook:
    """Return the hook that is called ``module:function``.

    Raises:
        ConfigurationError: there is none.
    """
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"OTEL_OBS_REDACT_HOOK={name!r}: module:function is expected: {error}") from None
    if not callable(function):
        raise ConfigurationError(f"OTEL_OBS_REDACT_HOOK={name!r} is not a function")
    return RedactionHook(function)
