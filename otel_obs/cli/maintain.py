"""``maintain``: the jobs that keep rows right."""

from __future__ import annotations

import json
import signal
import threading
from dataclasses import asdict
from datetime import datetime, timezone

import click
import psycopg

from otel_obs.cli.options import database, database_options, json_option, rfc3339, settings_from
from otel_obs.maintenance.jobs import JOBS, Done, Work, run
from otel_obs.postgres import schema
from otel_obs.postgres.pool import conninfo, open_pool, translated
from otel_obs.postgres.prices import operator_prices
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog

SETTLE_EVERY_S = 1.0
REPRICE_EVERY_S = 3600.0


@click.command()
@click.argument("jobs", nargs=-1, type=click.Choice([*JOBS]))
@click.option("--once", is_flag=True, help="Run the JOBS (all of them, if none is named), and end.")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be done.")
@database_options
@json_option
def maintain(jobs: tuple[str, ...], once: bool, dry_run: bool, as_json: bool, **options: str | None) -> int:
    """Settle traces, and price calls whose price has become known; until Ctrl-C, or once."""
    if not once and (jobs or dry_run):
        raise click.UsageError("JOBS and --dry-run go with --once")
    with database(settings_from(**options)) as url:
        with translated(), psycopg.connect(conninfo(url)) as connection:
            schema.check(connection)
            prices = operator_prices(connection)
        pool = open_pool(url, max_size=2, statement_timeout_s=60)
        work = Work(pool=pool, book=PriceBook(default_catalog()), dry_run=dry_run)
        work.book.set_own(prices)
        try:
            if not once:
                _until_told(work)
                return 0
            now = datetime.now(tz=timezone.utc)
            found = run(jobs or tuple(JOBS), work)
        finally:
            pool.close(1.0)
    _tell(found, now, dry_run=dry_run, as_json=as_json)
    return 1 if any(done.status == "failed" for done in found) else 0


def _tell(found: list[Done], now: datetime, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        answer = {"now": rfc3339(now), "dry_run": dry_run, "leader": True, "jobs": [asdict(done) for done in found]}
        click.echo(json.dumps(answer))
        return
    for done in found:
        said = done.error or ", ".join(f"{name} {value}" for name, value in (done.result or {}).items())
        click.echo(f"{done.job}: {done.status} in {done.duration_ms:,.0f} ms ({said})")


def _until_told(work: Work) -> None:
    """Run each job at its time until a signal comes."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    click.echo("ready")
    rounds = 0
    while not stop.is_set():
        due = ("settle", "reprice") if rounds % int(REPRICE_EVERY_S / SETTLE_EVERY_S) == 0 else ("settle",)
        for done in run(due, work):
            if done.error:
                click.echo(f"{done.job}: {done.error}", err=True)
        rounds += 1
        stop.wait(SETTLE_EVERY_S)
