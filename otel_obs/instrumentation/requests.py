"""How many requests did a model node make, and which were they?

An instrumentation of a client library that runs inside a model node makes no span of its own: it tells the node
(``opentelemetry-util-genai`` suppresses it), and what it told last is what the node knows. A node that asked
twice would lose its first request, so here each is kept.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.util.genai.invocation import EmbeddingData, InferenceData
from opentelemetry.util.types import AttributeValue

_AMENDS = "otel_obs_amends"
"""Set on data that tells more of the request that was told before it."""


@dataclass(frozen=True, slots=True)
class Told:
    """What an instrumentation below said of one request."""

    data: InferenceData
    began_ns: int
    """When the one before it ended, or the node began: nobody says when it really began."""
    ended_ns: int

    @property
    def was_served(self) -> bool:
        """True if a provider answered."""
        data = self.data
        return (data.response_id, data.usage_input_tokens, data.usage_output_tokens) != (None, None, None)


class Requests(InferenceData):
    """What was told by the instrumentations below one model node, each request by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Told] = []
        self.late: Callable[[Told], None] | None = None
        """Who is told of requests that end after the node has ended."""
        self._last_ns = time.time_ns()

    def merge(self, other: Any, *, overwrite: bool = True) -> None:
        """Take note of *other*, as a suppressed invocation does when it ends."""
        now = time.time_ns()
        if self.late is not None:
            self.late(Told(_copied(other), self._last_ns, now))
            self._last_ns = now
            return
        if getattr(other, _AMENDS, False) and self.told:
            self.told[-1].data.merge(other, overwrite=False)
        else:
            self.told.append(Told(_copied(other), self._last_ns, now))
        self._last_ns = now
        super().merge(other, overwrite=overwrite)

    @property
    def served(self) -> list[Told]:
        """Return the requests that were served, each once; a failed try has neither id nor tokens."""
        found: dict[object, Told] = {}
        for told in self.told:
            if not told.was_served:
                continue
            response_id = told.data.response_id
            key = response_id or id(told)
            if key in found:
                found[key].data.merge(told.data, overwrite=True)
            else:
                found[key] = told
        return list(found.values())


class Embeddings(EmbeddingData):
    """What was told by the instrumentations below one embedding node, added up."""

    def merge(self, other: Any, *, overwrite: bool = True) -> None:
        """Take note of *other*; its tokens are added to those of the requests before it."""
        before = self.usage_input_tokens
        super().merge(other, overwrite=overwrite)
        if before is not None and other.usage_input_tokens is not None:
            self.usage_input_tokens = before + other.usage_input_tokens


def amends(data: InferenceData) -> None:
    """Say that *data*, soon to be told, tells more of the last request and is none of its own."""
    setattr(data, _AMENDS, True)


def _copied(data: InferenceData) -> InferenceData:
    found = copy.copy(data)
    found.attributes = dict(data.attributes)
    return found


def attributes_of(data: InferenceData) -> dict[str, AttributeValue]:
    """Return what *data* says of a request, in the names of the GenAI convention; content is left out."""
    named: Mapping[str, AttributeValue | None] = {
        "gen_ai.operation.name": data.operation_name or "chat",
        "gen_ai.provider.name": data.provider_name,
        "gen_ai.request.model": data.request_model,
        "gen_ai.request.stream": data.request_stream,
        "gen_ai.response.model": data.response_model,
        "gen_ai.response.id": data.response_id,
        "gen_ai.response.finish_reasons": data.response_finish_reasons,
        "gen_ai.response.time_to_first_chunk": data.response_time_to_first_chunk,
        "gen_ai.usage.input_tokens": data.usage_input_tokens,
        "gen_ai.usage.output_tokens": data.usage_output_tokens,
        "gen_ai.usage.cache_read.input_tokens": data.usage_cache_read_input_tokens,
        "gen_ai.usage.cache_write.input_tokens": data.usage_cache_write_input_tokens,
        "gen_ai.usage.reasoning.output_tokens": data.usage_reasoning_output_tokens,
        "gen_ai.usage.audio.input_tokens": data.usage_audio_input_tokens,
        "gen_ai.usage.audio.output_tokens": data.usage_audio_output_tokens,
        "server.address": data.server_address,
        "server.port": data.server_port,
        **data.attributes,
    }
    return {name: value for name, value in named.items() if value is not None}
