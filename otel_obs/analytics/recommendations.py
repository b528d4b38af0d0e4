"""What would cost less?  Findings with rows that show them, money, how sure they are, and how to check them.

Money is what the calls of the window would have cost less, counted from calls whose tokens the provider reported and
whose price is known; others are counted beside it, never in it. Where nothing is to be found nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import psycopg

from otel_obs.analytics.cheaper import batch_saving, cents_of_input, cents_of_reasoning, smaller_model, write_waste
from otel_obs.analytics.filters import Filters
from otel_obs.analytics.groups import Group
from otel_obs.analytics.prompt_caching import SHORT, Arrival, simulate
from otel_obs.postgres.prices import operator_prices, price_of
from otel_obs.postgres.queries import load
from otel_obs.postgres.reading import rows
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog
from otel_obs.pricing.rows import PriceRow

_RECOMMENDATIONS = load("recommendations")

Confidence = Literal["high", "medium", "low"]
MIN_SAVING_CENTS = Decimal(1)
"""What would save less in the window is not told."""
MIN_CALLS = 20
SHORT_TOKENS = 150
"""An answer up to so long is short."""
MAX_GROUPS = 200
MAX_ARRIVALS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A call that shows it."""

    trace_id: str
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that may cost less."""

    kind: str
    subject: Mapping[str, str]
    """What it is about: provider, model, agent, prompt, flow."""
    finding: str
    fix: str
    saving_cents: Decimal | None
    """Less in the window, had it been so; None where nobody can tell."""
    cost_cents: Decimal | None
    """What the calls in question cost."""
    calls: int
    confidence: Confidence
    check: str
    """How to find out whether it is so."""
    evidence: Sequence[Evidence]
    unpriced_calls: int
    """Calls of the same kind without a cost: no money of theirs is in it."""
    estimated_calls: int
    """Calls of the same kind whose tokens or cost are guessed: no money of theirs is in it."""
    caveats: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendations:
    """An answer."""

    since: datetime
    until: datetime
    calls: int
    unpriced_calls: int
    estimated_calls: int
    cost_cents: Decimal | None
    findings: Sequence[Finding]
    """The largest saving first. The same call may be in several: savings do not add up."""
    caveats: Sequence[str]


def recommendations(
    connection: psycopg.Connection, filters: Filters, *, min_saving_cents: Decimal = MIN_SAVING_CENTS
) -> Recommendations:
    """Return what would have cost less from ``filters.since`` to before ``filters.until``."""
    book = PriceBook(default_catalog())
    book.set_own(operator_prices(connection))
    asked = {
        **filters.parameters,
        "min_calls": MIN_CALLS,
        "short_tokens": SHORT_TOKENS,
        "limit": MAX_GROUPS,
        "arrivals": MAX_ARRIVALS,
    }
    row = connection.execute(_RECOMMENDATIONS["examined"], asked).fetchone()
    calls, unpriced, estimated, cost = row or (0, 0, 0, None)
    found = [finding for find in _FINDERS for finding in find(connection, asked, book, filters)]
    worth = [one for one in found if one.saving_cents is None or one.saving_cents >= min_saving_cents]
    return Recommendations(
        since=filters.since,
        until=filters.until,
        calls=calls,
        unpriced_calls=unpriced,
        estimated_calls=estimated,
        cost_cents=cost,
        findings=sorted(worth, key=lambda one: (one.saving_cents is None, -(one.saving_cents or 0), one.kind)),
        caveats=_shares(calls, unpriced, estimated),
    )


def _shares(calls: int, unpriced: int, estimated: int) -> list[str]:
    told = []
    if unpriced:
        told.append(f"{unpriced} of {calls} calls have no cost: what they cost is in no figure here.")
    if estimated:
        told.append(f"{estimated} of {calls} calls have guessed tokens: no saving is counted from them.")
    return told


def _groups(connection: psycopg.Connection, statement: str, asked: Mapping[str, Any]) -> list[Group]:
    return rows(connection, _RECOMMENDATIONS[statement], asked, Group)


def _prices(connection: psycopg.Connection, ids: set[str]) -> dict[str, PriceRow]:
    found = connection.execute(_RECOMMENDATIONS["prices_of"], {"ids": sorted(ids)}).fetchall()
    return {row[0]: price_of(row) for row in found}


def _prices_of(connection: psycopg.Connection, groups: Sequence[Group]) -> dict[str, PriceRow]:
    return _prices(connection, {group.price_id for group in groups if group.price_id is not None})


def _finding(group: Group, kind: str, *, saving: Decimal | None, confidence: Confidence, **said: Any) -> Finding:
    caveats = list(said.pop("caveats", ()))
    if kind != "unpriced_model":
        if group.unpriced_calls:
            caveats.append(f"{group.unpriced_calls} more such calls have no cost and are not in the saving.")
        if group.estimated_calls:
            caveats.append(f"{group.estimated_calls} more such calls have guessed tokens and are not in the saving.")
    return Finding(
        kind=kind,
        subject=group.subject,
        saving_cents=saving,
        cost_cents=group.cost_cents,
        calls=group.calls,
        confidence=confidence,
        evidence=[_evidence(item) for item in group.evidence or ()],
        unpriced_calls=group.unpriced_calls,
        estimated_calls=group.estimated_calls,
        caveats=caveats,
        **said,
    )


def _evidence(item: str) -> Evidence:
    trace_id, _, event_id = item.partition("/")
    return Evidence(trace_id=trace_id, event_id=event_id)


def _cheaper(
    connection: psycopg.Connection, asked: Mapping[str, Any], book: PriceBook, filters: Filters
) -> Iterator[Finding]:
    groups = _groups(connection, "short_answers", asked)
    prices = _prices_of(connection, groups)
    for group in groups:
        found = smaller_model(group, prices.get(group.price_id or ""), book, filters)
        if found is None:
            continue
        model, saving = found
        yield _finding(
            group, "cheaper_model", saving=saving, confidence="medium" if group.prompt_name else "low",
            finding=f"95 of 100 answers have at most {group.amount:,.0f} tokens: {model} may do.",
            fix=f"Ask {model} instead.",
            check=f"Send the prompts of the evidence to {model} and compare the answers; then move a tenth of the "
                  "calls with a feature flag, and compare `costs --by flag_variant` and evaluation scores.",
            caveats=["Short answers may need a large model all the same: quality is not looked at here."],
        )  # fmt: skip


def _caching(connection: psycopg.Connection, asked: Mapping[str, Any], _: PriceBook, __: Filters) -> Iterator[Finding]:
    arrivals = rows(connection, _RECOMMENDATIONS["arrivals"], asked, Arrival)
    prices = _prices(connection, {arrival.price_id for arrival in arrivals})
    for found in simulate(arrivals, prices):
        group = Group.of(
            found.provider, found.model_name, found.agent_id, found.calls, found.cost_cents, found.evidence
        )
        lasts = "five minutes" if found.lasts == SHORT else "an hour"
        caveats = ["Tokens of a beginning are told by its share of the prompt's bytes, at the least."]
        if len(arrivals) == MAX_ARRIVALS:
            caveats.append(f"Only the newest {MAX_ARRIVALS:,} calls were played through.")
        yield _finding(
            group, "prompt_caching", saving=found.saving_cents, confidence="high" if found.hits >= 100 else "medium",
            finding=f"{found.hits:,} of {found.calls:,} calls would have found the beginning of their prompt in a "
                    f"cache that lives for {lasts}, at the times at which they came.",
            fix=f"Put what stays the same first, and mark its end for a cache of {lasts}.",
            check="Switch it on for one agent: cache_read_tokens must rise within the hour, and "
                  "`costs --by agent,day` must fall.",
            caveats=caveats,
        )  # fmt: skip


def _repeats(connection: psycopg.Connection, asked: Mapping[str, Any], _: PriceBook, __: Filters) -> Iterator[Finding]:
    for group in _groups(connection, "repeats", asked):
        sure = group.reason == "embeddings"
        yield _finding(
            group, "exact_repeats", saving=group.cost_cents, confidence="high" if sure else "medium",
            finding=f"{group.amount:,.0f} prompts were sent again word for word, {group.calls:,} times.",
            fix="Keep answers by a hash of the prompt, and ask the model only for new ones.",
            check="Compare the answers of the evidence with those to the same prompt_hash before: if they may differ "
                  "(time, chance, tools), do not keep them.",
            caveats=[] if sure else ["Repeats that are wanted, such as evaluations or samples, are not told apart."],
        )  # fmt: skip


def _growth(connection: psycopg.Connection, asked: Mapping[str, Any], _: PriceBook, __: Filters) -> Iterator[Finding]:
    groups = _groups(connection, "growth", asked)
    prices = _prices_of(connection, groups)
    for group in groups:
        saving = cents_of_input(group, prices.get(group.price_id or ""))
        if saving is not None:
            yield _finding(
                group, "context_growth", saving=saving, confidence="low",
                finding=f"In {group.amount:,.0f} conversations the input grew to four times that of the first call.",
                fix="Sum up or drop old messages and tool results, so that a call carries at most twice the first one.",
                check="Look at the largest call of a conversation: which messages does the answer not need? Compare "
                      "evaluation scores with a shorter history.",
                caveats=["Counted are tokens beyond twice those of the first call that no cache served."],
            )  # fmt: skip


def _failed(connection: psycopg.Connection, asked: Mapping[str, Any], _: PriceBook, __: Filters) -> Iterator[Finding]:
    for group in _groups(connection, "failed", asked):
        what = "failed and were billed" if group.reason == "failed" else "were broken off and were billed"
        yield _finding(
            group, "failed_calls", saving=group.cost_cents, confidence="high",
            finding=f"{group.calls:,} calls {what}.",
            fix="Mend what fails; validate before asking; do not ask again for what will fail again.",
            check="Open the evidence: error_type of its events says why.",
        )  # fmt: skip
    for group in _groups(connection, "retried", asked):
        yield _finding(
            group, "retried_calls", saving=None, confidence="low",
            finding=f"{group.calls:,} calls needed {group.amount:,.0f} more attempts.",
            fix="Spread the load or ask for a higher limit; a time-out that is too short pays twice.",
            check="Compare with the provider's invoice: what it bills for earlier attempts no telemetry tells.",
        )  # fmt: skip


def _batches(
    connection: psycopg.Connection, asked: Mapping[str, Any], book: PriceBook, filters: Filters
) -> Iterator[Finding]:
    groups = _groups(connection, "batchable", asked)
    prices = _prices_of(connection, groups)
    for group in groups:
        saving = batch_saving(group, prices.get(group.price_id or ""), book, filters)
        if saving is not None:
            yield _finding(
                group, "batch_eligible", saving=saving, confidence="low",
                finding="Nobody seems to wait for this workflow: none of its calls has a user, a conversation, or a "
                        "stream.",
                fix="Send its calls through the provider's batch interface.",
                check="Ask whoever reads the result whether it may come within a day, and whether a call needs the "
                      "answer of the one before.",
            )  # fmt: skip


def _reasoning(
    connection: psycopg.Connection, asked: Mapping[str, Any], _: PriceBook, __: Filters
) -> Iterator[Finding]:
    groups = _groups(connection, "reasoning", asked)
    prices = _prices_of(connection, groups)
    for group in groups:
        cents = cents_of_reasoning(group, prices.get(group.price_id or ""))
        if cents is not None:
            yield _finding(
                group, "reasoning_share", saving=cents / 2, confidence="low",
                finding=f"{group.amount or 0:.0%} of the output is reasoning.",
                fix="Ask for less effort where the task is simple.",
                check="Send the prompts of the evidence with the next lower effort and compare the answers.",
                caveats=["The saving is half of what the reasoning cost: how much less is needed only trying tells."],
            )  # fmt: skip


def _writes(connection: psycopg.Connection, asked: Mapping[str, Any], _: PriceBook, __: Filters) -> Iterator[Finding]:
    groups = _groups(connection, "cache_writes", asked)
    prices = _prices_of(connection, groups)
    for group in groups:
        waste = write_waste(group, prices.get(group.price_id or ""))
        if waste is not None:
            yield _finding(
                group, "cache_write_waste", saving=waste, confidence="high",
                finding=f"{group.cache_write_tokens or 0:,} tokens were written to the cache and "
                        f"{group.cache_read_tokens or 0:,} read: writing cost more than reading saved.",
                fix="Mark only what comes back within the cache's life; put what changes behind it.",
                check="Compare the first messages of two calls of the evidence: where they differ the cache ends.",
            )  # fmt: skip


def _unpriced(connection: psycopg.Connection, asked: Mapping[str, Any], _: PriceBook, __: Filters) -> Iterator[Finding]:
    for group in _groups(connection, "unpriced", asked):
        no_usage = group.reason == "no_usage"
        calls = "1 call has" if group.calls == 1 else f"{group.calls:,} calls have"
        yield _finding(
            group, "unpriced_model", saving=None, confidence="high",
            finding=f"{calls} no cost ({group.reason}): every sum leaves them out.",
            fix="Ask for usage in the stream (include_usage), or set OTEL_OBS_ESTIMATE_TOKENS=on." if no_usage
            else "Set the price: otel-obs prices set MODEL --input DOLLARS --output DOLLARS, then prices reprice.",
            check="otel-obs prices unpriced lists them.",
        )  # fmt: skip


_Finder = Callable[[psycopg.Connection, Mapping[str, Any], PriceBook, Filters], Iterator[Finding]]
_FINDERS: tuple[_Finder, ...] = (
    _cheaper, _caching, _repeats, _growth, _failed, _batches, _reasoning, _writes, _unpriced,
)  # fmt: skip
