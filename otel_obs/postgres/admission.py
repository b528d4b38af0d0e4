"""What is said and asked of a batch before its rows are stored: whose it is, which traces and days it touches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import psycopg

from otel_obs.postgres.arrays import arrays, recordset
from otel_obs.postgres.queries import load
from otel_obs.postgres.rollups import past_days
from otel_obs.postgres.tenants import tenants_of
from otel_obs.rows.batch import Batch

_WRITE = load("write")
_Pair = tuple[str, str]


class Answer(NamedTuple):
    """What the database knew of a batch."""

    operator_prices: int
    """How many prices operators have set."""
    is_admitted: bool
    """All of it may be stored: tenants are held, users registered, traces and days marked.  Else nothing was done."""


def ask(connection: psycopg.Connection, batch: Batch, users: Iterable[_Pair]) -> Answer:
    """Ask in one statement for *batch*, and for its *users* to be registered."""
    row = connection.execute(_WRITE["admit_batch"], _asked(batch, users)).fetchone()
    assert row is not None  # noqa: S101  # a function with OUT parameters gives a row
    return Answer(*row)


def store(connection: psycopg.Connection, batch: Batch, users: Iterable[_Pair], operator_prices: int | None) -> bool:
    """Store the few rows of *batch* in the same statement; return whether that was done, else nothing was.

    *operator_prices* is how many prices of operators its calls were priced by; None if it has none.

    Raises:
        psycopg.Error: for one, because a row is stored already.
    """
    rows = {
        "events": recordset(batch.events),
        "calls": recordset(batch.calls),
        "runs": recordset(batch.runs),
        "checks": recordset(batch.checks),
        "contents": recordset(batch.contents),
    }
    asked = {**_asked(batch, users), "known_prices": operator_prices, **rows}
    return connection.execute(_WRITE["store_batch"], asked).fetchone() == (True,)


def mark(connection: psycopg.Connection, batch: Batch, users: Iterable[_Pair]) -> None:
    """Register *users*, and note the traces and days of *batch*, whose tenants were looked at one by one."""
    connection.execute(_WRITE["mark_batch"], _marks(batch, users))


def _asked(batch: Batch, users: Iterable[_Pair]) -> dict[str, object]:
    organizations, workspaces = tenants_of(batch)
    return {
        "organization_ids": organizations,
        **arrays(("workspace_organization_ids", "workspace_ids"), workspaces),
        **_marks(batch, users),
    }


def _marks(batch: Batch, users: Iterable[_Pair]) -> dict[str, object]:
    return {
        **arrays(("user_organization_ids", "user_ids"), users),
        **arrays(("trace_organization_ids", "trace_ids", "trace_events", "trace_resource_hashes"), _traces(batch)),
        **arrays(("day_organization_ids", "days"), past_days(batch.events)),
    }


def _traces(batch: Batch) -> Sequence[tuple[str, str, int | None, str | None]]:
    # Without a trace only reports of calls have anything to be settled; all else there would be read again and again.
    traces = sorted(
        {(event.organization_id, event.trace_id) for event in batch.events if event.trace_id or event.cost_state}
    )
    return [(*trace, *batch.whole.get(trace, (None, None))) for trace in traces]


def mark_in_parts(connection: psycopg.Connection, traces: Iterable[_Pair]) -> None:
    """Have *traces* (organization, trace) settled although the batch that they came in has settled them."""
    connection.execute(_WRITE["not_whole"], arrays(("organization_ids", "trace_ids"), sorted(traces)))
