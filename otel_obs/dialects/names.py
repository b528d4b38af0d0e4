"""What do the names of attributes say, before any value is looked at?

Spans of one kind have the same names in the same order, and a program sends few kinds of spans: what is asked of names
is found out once for each kind.
"""

from __future__ import annotations

import re

from otel_obs.remembering import remembered

KIND = re.compile(r"(?:^|[._])(?:span[._](?:type|kind)|event_type|span_attributes)$")
"""How vendors call the attribute that tells the kind of a span; Braintrust's is JSON, with the kind as its ``type``."""
OF_MODELS = frozenset({"gen_ai", "llm", "ai", "openinference", "traceloop"})
"""What names of attributes begin with that only spans about models have, up to the first dot ..."""
VENDORS = frozenset(
    {"agentops", "braintrust", "confident", "fi", "honeyhive", "langwatch", "lmnr", "mastra", "monocle", "respan"}
)
"""... and, up to the first dot or underscore, those of vendors that only see such."""


class _Sent(dict[tuple[str, ...], tuple[str, ...]]):
    """Names that are asked for -> those of them that were sent, in the order in which they are asked for."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, asked: tuple[str, ...]) -> tuple[str, ...]:
        found = self[asked] = tuple(name for name in asked if name in self._names)
        return found


class _Starting(dict[tuple[str, ...], tuple[str, ...]]):
    """Beginnings -> the names that begin so, in the order in which they were sent."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, beginnings: tuple[str, ...]) -> tuple[str, ...]:
        found = self[beginnings] = tuple(name for name in self._names if name.startswith(beginnings))
        return found


class Names:
    """The names of one record's attributes. Only names that stand in code are asked for: what is kept has a bound."""

    __slots__ = ("all", "in_order", "namespaces", "sent", "starting")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.in_order = names
        self.all = frozenset(names)
        self.namespaces = frozenset([name.partition(".")[0] for name in names])
        """What they begin with, up to the first dot."""
        self.sent = _Sent(self.all)
        self.starting = _Starting(names)


@remembered(2048)
def names_of(names: tuple[str, ...]) -> Names:
    """Return what is known of *names*."""
    return Names(names)


def speak_of_models(names: tuple[str, ...]) -> bool:
    """Tell whether attributes with these *names* are those of a span about models, whoever's it is."""
    return speak_of_nothing_else(names) or any(KIND.search(name) is not None for name in names)


def speak_of_nothing_else(names: tuple[str, ...]) -> bool:
    """Tell whether some of these *names* only spans about models have; a kind may be that of a job or a car."""
    return any(
        name.partition(".")[0] in OF_MODELS or name.replace("_", ".").partition(".")[0] in VENDORS for name in names
    )
