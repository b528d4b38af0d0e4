"""Calls that have something in common, as recommendations look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from otel_obs.model import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Some calls: sums are those of calls with reported tokens and a known price."""

    provider: str | None
    model_name: str | None
    agent_id: str | None
    prompt_name: str | None
    flow_id: str | None
    reason: str | None
    price_id: str | None
    """The price that most of them were priced with."""
    calls: int
    cost_cents: Decimal | None
    unpriced_calls: int
    estimated_calls: int
    input_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_write_1h_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    amount: float | None
    """What the statement counts beside: tokens of an answer, prompts, conversations, a share."""
    evidence: Sequence[str] | None
    """``TRACE/EVENT`` of some calls that show it."""

    @classmethod
    def of(
        cls,
        provider: str | None,
        model_name: str | None,
        agent_id: str | None,
        calls: int,
        cost_cents: Decimal,
        evidence: Sequence[str],
    ) -> Group:
        """Return a group of which only so much is known."""
        nothing = dict.fromkeys(cls.__dataclass_fields__)
        known = {
            "provider": provider, "model_name": model_name, "agent_id": agent_id, "calls": calls,
            "cost_cents": cost_cents, "evidence": evidence, "unpriced_calls": 0, "estimated_calls": 0,
        }  # fmt: skip
        return cls(**{**nothing, **known})  # type: ignore[arg-type]  # what is not known may be None

    @property
    def subject(self) -> Mapping[str, str]:
        """Return what it is about, by name."""
        named = {
            "provider": self.provider, "model": self.model_name, "agent": self.agent_id, "prompt": self.prompt_name,
            "flow": self.flow_id,
        }  # fmt: skip
        return {name: value for name, value in named.items() if value is not None}

    @property
    def average(self) -> Usage:
        """Return the usage of a call of middling size."""

        def each(total: int | None) -> int | None:
            return None if total is None else round(total / max(self.calls, 1))

        return Usage(
            input_tokens=each(self.input_tokens),
            cache_read_tokens=each(self.cache_read_tokens),
            cache_write_tokens=each(self.cache_write_tokens),
            cache_write_1h_tokens=each(self.cache_write_1h_tokens),
            output_tokens=each(self.output_tokens),
            reasoning_tokens=each(self.reasoning_tokens),
        )
