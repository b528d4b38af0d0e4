"""``import``: history, from files of OTLP JSON lines as the Collector's file exporter writes them."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import click
import psycopg
from rich.console import Console
from rich.progress import Progress

from otel_obs.cli.options import database, database_options, json_option, settings_from
from otel_obs.cli.tenants import identifier
from otel_obs.errors import DecodeError
from otel_obs.model import Decoded
from otel_obs.otlp.decode_json import decode_logs_json, decode_traces_json
from otel_obs.pipeline.ingest import Mapping, receive, reprice
from otel_obs.pipeline.mapping import mapping_of
from otel_obs.pipeline.queue import CommitQueue
from otel_obs.pipeline.stored import settling
from otel_obs.postgres import schema
from otel_obs.postgres.policies import read_policies
from otel_obs.postgres.pool import conninfo, open_pool, translated
from otel_obs.postgres.prices import operator_prices
from otel_obs.postgres.store import PostgresStore
from otel_obs.postgres.vault import vault_of
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog
from otel_obs.rows.policy import Rules, rule_of
from otel_obs.tenancy import Sender

SETTLE_AT_ONCE = 500
MAX_TOLD = 10
"""Lines that cannot be read and are named."""


@dataclass(slots=True)
class Counts:
    """What became of a file."""

    lines: int = 0
    records: int = 0
    stored: int = 0
    duplicates: int = 0
    replaced: int = 0
    rejected: int = 0
    dropped: int = 0
    unreadable_lines: int = 0


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--org", metavar="ID", callback=identifier, help="Organization it goes to, whatever the spans say.")
@click.option("--workspace", metavar="ID", callback=identifier, help="Workspace of spans that name none.")
@database_options
@json_option
def import_file(file: str, org: str | None, workspace: str | None, as_json: bool, **options: str | None) -> int:
    """Bring history in from FILE (- for standard input, .gz is unpacked): traces and logs, each stored once.

    What is stored already changes nothing, so an import that was interrupted is simply done again. Lines that cannot be
    read are counted and named; the others are stored all the same, and the exit code is 1.
    """
    settings = settings_from(**options)
    counts = Counts()
    with database(settings) as url:
        prices = PriceBook(default_catalog())
        with translated(), psycopg.connect(conninfo(url)) as connection:
            schema.check(connection)
            prices.set_own(operator_prices(connection))
            rules = Rules(read_policies(connection), rule_of(settings.content))
        pool = open_pool(url, max_size=2, statement_timeout_s=60, wait_s=15)
        mapping = mapping_of(settings, prices, lambda: rules)
        store = PostgresStore(pool, prices.row, vault=vault_of(settings))
        queue = CommitQueue(store, mapping.price)
        try:
            sender = Sender(organization_id=org, workspace_id=workspace)
            with _opened(file) as lines:
                for number, line in enumerate(lines, 1):
                    _bring_in(line, number, sender, mapping, queue, counts)
            queue.close()
            how = settling(partial(reprice, price=mapping.price))
            while store.settle(how, limit=SETTLE_AT_ONCE, all_now=True):
                pass
        finally:
            queue.close()
            pool.close(1.0)
    _tell(counts, as_json=as_json)
    return 1 if counts.unreadable_lines or counts.rejected else 0


@contextmanager
def _opened(file: str) -> Iterator[Iterator[bytes]]:
    if file == "-":
        yield iter(sys.stdin.buffer)
        return
    path = Path(file)
    console = Console(stderr=True)
    with path.open("rb") as raw, Progress(console=console, disable=not console.is_terminal) as drawn:
        task = drawn.add_task(path.name, total=path.stat().st_size)
        found = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw

        def lines() -> Iterator[bytes]:
            while line := found.readline():
                yield line
                drawn.update(task, completed=raw.tell())

        yield lines()


def _bring_in(line: bytes, number: int, sender: Sender, mapping: Mapping, queue: CommitQueue, counts: Counts) -> None:
    if not line.strip():
        return
    counts.lines += 1
    try:
        found = _decoded(line)
    except DecodeError as error:
        counts.unreadable_lines += 1
        if counts.unreadable_lines <= MAX_TOLD:
            click.echo(f"line {number}: {error}", err=True)
        return
    received = receive(found, sender, datetime.now(tz=timezone.utc), mapping)
    counts.records += len(found.spans) + len(found.logs) + len(found.rejected)
    counts.dropped += received.dropped
    if not received.records and not received.quarantined:
        return
    written = queue.submit(received)
    counts.stored += written.stored
    counts.duplicates += written.duplicates
    counts.replaced += written.replaced
    counts.rejected += len(received.quarantined) + len(written.refused)


def _decoded(line: bytes) -> Decoded:
    """Return what a line holds: a request of traces or of logs.

    Raises:
        DecodeError: it is neither, or cannot be read.
    """
    start = line[:200]
    if b"resourceLogs" in start or b"resource_logs" in start:
        return decode_logs_json(line)
    if b"resourceSpans" in start or b"resource_spans" in start:
        return decode_traces_json(line)
    raise DecodeError("neither resourceSpans nor resourceLogs: only traces and logs are stored")


def _tell(counts: Counts, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(counts)))
    else:
        click.echo(", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in asdict(counts).items()))
