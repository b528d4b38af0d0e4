"""``maintain``: the jobs that keep rows right and few, on a schedule or once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from functools import partial

import click
import psycopg
from prometheus_client import CollectorRegistry, generate_latest
from psycopg_pool import ConnectionPool
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from otel_obs.cli.options import database, database_options, json_option, rfc3339, settings_from, time_option
from otel_obs.cli.running import stop_signals, until_ready
from otel_obs.flags.store import Change, FlagScope, set_flag
from otel_obs.maintenance.jobs import JOBS, run
from otel_obs.maintenance.lease import Lease
from otel_obs.maintenance.metrics import MaintenanceMetrics
from otel_obs.maintenance.scheduler import Scheduler, clock
from otel_obs.maintenance.slots import Schedule
from otel_obs.maintenance.work import Actions, Done, Work
from otel_obs.postgres import schema
from otel_obs.postgres.budgets import Budget
from otel_obs.postgres.pool import conninfo, open_pool, translated
from otel_obs.postgres.prices import operator_prices
from otel_obs.postgres.vault import vault_of
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog
from otel_obs.receiver.tls import certificates_of
from otel_obs.settings import Settings
from otel_obs.web.health import health_routes
from otel_obs.web.listener import HttpListener
from otel_obs.web.lookups import FlagLookups, authenticator_of, may_measure

POOL_SIZE = 4
STATEMENT_TIMEOUT_S = 300.0
"""Batches take much less; what takes longer waits for somebody."""
WAIT_S = 15.0


@click.command()
@click.argument("jobs", nargs=-1, type=click.Choice([*JOBS]))
@click.option("--once", is_flag=True, help="Run the JOBS (all of them, if none is named), and end.")
@time_option("--now", help="Moment that ages are counted from, instead of the database's clock.")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be done.")
@click.option("--api", metavar="HOST:PORT", help="Where /healthz, /readyz and /metrics are; port 0: a free one.")
@database_options
@json_option
def maintain(
    jobs: tuple[str, ...], once: bool, now: datetime | None, dry_run: bool, as_json: bool, **options: str | None
) -> int:
    """Delete what plans no longer keep, roll up, settle, price again, make partitions: on a schedule, or once."""
    if not once and (jobs or dry_run or now):
        raise click.UsageError("JOBS, --now and --dry-run go with --once")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = settings_from(**options)
    with database(settings) as url:
        if not once:
            _until_told(settings, url)
            return 0
        return _once(jobs or tuple(JOBS), settings, url, now, dry_run=dry_run, as_json=as_json)


def _once(
    names: Sequence[str], settings: Settings, url: str, now: datetime | None, *, dry_run: bool, as_json: bool
) -> int:
    with translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        prices = operator_prices(connection)
    pool = maintenance_pool(url)
    try:
        work = Work(
            pool=pool,
            book=PriceBook(default_catalog()),
            now=now or clock(pool),
            now_is_given=now is not None,
            dry_run=dry_run,
            grace=timedelta(days=settings.retention_grace_days),
            rollup_days=settings.rollup_retention_days,
            actions=actions_of(settings),
            vault=vault_of(settings),
        )
        work.book.set_own(prices)
        found = _led(names, work)
    finally:
        pool.close(1.0)
    _tell(found, work, as_json=as_json)
    return 1 if any(done.status == "failed" for done in found or ()) else 0


def _led(names: Sequence[str], work: Work) -> list[Done] | None:
    """Run the jobs, unless another runner has them: then None."""
    with _progress() as progress:
        if work.dry_run:
            return run(names, replace(work, progress=progress))
        lease = Lease(work.pool)
        if not lease.take_from_the_dead():
            click.echo("not leader: another runner has it", err=True)
            return None
        with lease:
            return run(names, replace(work, progress=progress, fence=lease.fence))


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Give what draws how far each job is, on a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda *_: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as drawn:
        tasks: dict[str, TaskID] = {}

        def progress(job: str, done: int, total: int) -> None:
            if job not in tasks:
                tasks[job] = drawn.add_task(job, total=total)
            drawn.update(tasks[job], completed=done, total=total)

        yield progress


def _tell(found: list[Done] | None, work: Work, *, as_json: bool) -> None:
    if as_json:
        answer = {
            "now": rfc3339(work.now),
            "dry_run": work.dry_run,
            "leader": found is not None,
            "jobs": [asdict(done) for done in found or ()],
        }
        click.echo(json.dumps(answer))
        return
    for done in found or ():
        click.echo(f"{done.job}: {done.status} in {done.duration_ms:,.0f} ms ({_said(done)})")


def _said(done: Done) -> str:
    if done.error:
        return done.error
    result = dict(done.result or {})
    rows = result.pop("rows", None)
    if rows is not None:
        disk = sum(item["bytes"] for item in result.pop("disk", ()))
        gone = [f"{row['organization_id']} {row['table']} {row['rows']:,}" for row in rows if row["rows"]]
        return f"{', '.join(gone) or 'nothing is too old'}; {disk:,} bytes of disk came back"
    return ", ".join(f"{name} {value}" for name, value in result.items())


def scheduler_of(settings: Settings, pool: ConnectionPool, *, settles: bool = True) -> Scheduler:
    """Return the scheduler that *settings* ask for; it waits for ``start()``."""
    return Scheduler(
        pool,
        PriceBook(default_catalog()),
        Schedule(settings.retention_schedule),
        grace=timedelta(days=settings.retention_grace_days),
        rollup_days=settings.rollup_retention_days,
        settles=settles,
        actions=actions_of(settings),
        vault=vault_of(settings),
    )


def actions_of(settings: Settings) -> Actions:
    """Return what alerts of budgets may do."""
    return Actions(set_flag=_set_flag, private_webhooks=settings.webhook_private)


def _set_flag(connection: psycopg.Connection, budget: Budget, why: str) -> None:
    """Set the flag of a budget for whom the budget is about."""
    scope = FlagScope(organization_id=budget.organization_id, workspace_id=budget.workspace_id, user_id=budget.user_id)
    change = Change(is_enabled=budget.flag_enabled)
    set_flag(connection, str(budget.flag_name), scope, change, why=why, actor=f"budget:{budget.id}")


def maintenance_pool(url: str) -> ConnectionPool:
    """Return connections for jobs, for which nobody waits: they may take longer than those of writers."""
    return open_pool(url, max_size=POOL_SIZE, statement_timeout_s=STATEMENT_TIMEOUT_S, wait_s=WAIT_S)


def _until_told(settings: Settings, url: str) -> None:
    """Run each job at its time until a signal comes."""
    pool = maintenance_pool(url)
    scheduler = scheduler_of(settings, pool)
    registry = CollectorRegistry()
    registry.register(MaintenanceMetrics(pool))
    settings.check_listener(settings.api_endpoint)
    authenticator = authenticator_of(settings, pool)
    lookups = FlagLookups(settings, url, authenticator)
    started = False
    health = health_routes(
        lambda: _check(pool, goes_on=started), lambda: generate_latest(registry), may_measure(settings, authenticator)
    )
    routes = [*health, *lookups.routes]
    listener = HttpListener(routes, settings.api_endpoint, certificates_of(settings), settings.trusted_proxies)
    with stop_signals() as stop:
        try:
            if authenticator is not None:
                authenticator.start()
            lookups.start()
            where = listener.start()
            if until_ready(partial(_check, pool), stop):
                scheduler.start()
                started = True
                click.echo(f"ready api={where}")
                stop.wait()
        finally:
            if started:
                scheduler.stop()
            lookups.close()
            listener.stop()
            if authenticator is not None:
                authenticator.close()
            pool.close(1.0)


def _check(pool: ConnectionPool, *, goes_on: bool = False) -> None:
    with translated(), pool.connection(timeout=1.0) as connection:
        schema.check(connection, goes_on=goes_on)
