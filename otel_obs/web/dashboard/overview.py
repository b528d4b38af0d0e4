"""``/``: how things are, at first sight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import psycopg
from starlette.responses import Response

from otel_obs.analytics import agents, errors, traces
from otel_obs.analytics.costs import CostRow
from otel_obs.analytics.metrics import Figures, SystemMetrics, get_system_metrics
from otel_obs.analytics.spend import spend
from otel_obs.web.dashboard import figures
from otel_obs.web.dashboard.budgets import spent_budgets
from otel_obs.web.dashboard.charts import Chart, Series, lines, sparkline
from otel_obs.web.dashboard.page import Page, Shown, pages
from otel_obs.web.dashboard.quotas import quota_of
from otel_obs.web.dashboard.trends import links, movers, spending

router = pages()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A figure that is shown large."""

    label: str
    value: str
    note: str
    change: str | None = None
    is_worse: bool | None = None
    """What the change means; None: neither good nor bad."""
    spark: str = ""
    href: str


@router.get("/")
def overview(page: Shown) -> Response:
    """Show spend, runs, errors and latency, what moved, and what is newest."""
    with page.read() as connection:
        metrics = get_system_metrics(connection, page.filters)
        newest = traces.search(connection, replace(page.filters), limit=6).items
        context: dict[str, Any] = {
            "metrics": metrics,
            "tiles": [_today(page, connection), *_tiles(page, metrics)],
            "spending": spending(page, connection, "model"),
            "latency": _latency(page, metrics),
            "movers": movers(connection, page.filters, ["model", "agent"]),
            "errors": errors.get_error_logs(connection, page.filters, limit=5).items,
            "agents": agents.foremost(connection, page.filters, limit=5),
            "newest": newest,
            "budgets": spent_budgets(page, connection),
            "quota": quota_of(page),
        }
    return page.render("overview.html", **context)


def _today(page: Page, connection: psycopg.Connection) -> Tile:
    """Return what today came to so far, compared with yesterday until this time of the day."""
    midnight = page.now.replace(hour=0, minute=0, second=0, microsecond=0)
    hours = spend(connection, replace(page.filters, since=midnight, until=page.now), ["hour"])
    today = hours.total
    by_hour = {str(row.keys[0])[11:13]: float(row.cost_cents or 0) for row in hours.rows}
    yesterday = spend(connection, replace(page.filters, since=midnight, until=page.now).before, []).total
    return Tile(
        label="Spent today",
        value=_spent(today),
        note="since midnight UTC",
        change=figures.change(today.cost_cents, yesterday.cost_cents),
        spark=sparkline([by_hour.get(f"{hour:02d}", 0) for hour in range(page.now.hour + 1)]),
        href=page.link("/costs", since=f"{midnight:%Y-%m-%dT%H:%M:%SZ}", until=None),
    )


def _spent(total: CostRow) -> str:
    return figures.money(0 if not total.calls else total.cost_cents)


def _tiles(page: Page, metrics: SystemMetrics) -> list[Tile]:
    total, before = metrics.total, metrics.before

    def spark(name: str) -> str:
        return sparkline([_number(period, name) for period in metrics.periods])

    unpriced = (
        f"{figures.short(total.unpriced_calls)} {'call' if total.unpriced_calls == 1 else 'calls'} without a price"
    )
    return [
        Tile(
            label="Cost",
            value=figures.money(total.cost_cents if total.calls else 0),
            note=unpriced if total.unpriced_calls else f"{figures.short(total.calls)} calls, all priced",
            change=figures.change(total.cost_cents, before.cost_cents),
            spark=spark("cost_cents"),
            href=page.link("/costs"),
        ),
        Tile(
            label="Runs",
            value=figures.short(total.executions),
            note="workflows and agents",
            change=figures.change(total.executions, before.executions),
            spark=spark("executions"),
            href=page.link("/traces"),
        ),
        Tile(
            label="Failed runs",
            value=figures.share(total.error_rate) if total.executions else figures.UNKNOWN,
            note=f"{total.failed:,} of {figures.short(total.executions)}",
            change=figures.change(total.error_rate, before.error_rate),
            is_worse=(total.error_rate or 0) > (before.error_rate or 0),
            spark=spark("failed"),
            href=page.link("/errors"),
        ),
        Tile(
            label="Latency p95",
            value=figures.duration(total.latency_p95_ms),
            note=f"median {figures.duration(total.latency_p50_ms)}",
            change=figures.change(total.latency_p95_ms, before.latency_p95_ms),
            is_worse=(total.latency_p95_ms or 0) > (before.latency_p95_ms or 0),
            spark=spark("latency_p95_ms"),
            href=page.link("/traces"),
        ),
        Tile(
            label="Tokens",
            value=figures.short((total.input_tokens or 0) + (total.output_tokens or 0)),
            note=f"{figures.share(total.cache_read_tokens or 0, total.input_tokens)} of input cached"
            if total.input_tokens
            else "none reported",
            change=figures.change(total.input_tokens, before.input_tokens),
            spark=spark("input_tokens"),
            href=page.link("/costs"),
        ),
    ]


def _number(period: Figures, name: str) -> float | None:
    value = getattr(period, name)
    return None if value is None else float(value)


def _latency(page: Page, metrics: SystemMetrics) -> Chart:
    starts = [period.starts for period in metrics.periods if period.starts is not None]
    return lines(
        "Latency of runs",
        [figures.period_name(at, metrics.step) for at in starts],
        [
            Series(name="median", values=[period.latency_p50_ms for period in metrics.periods], color=0),
            Series(name="p95", values=[period.latency_p95_ms for period in metrics.periods], color=2),
        ],
        figures.duration,
        links(page, starts),
    )
