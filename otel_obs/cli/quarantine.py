"""``quarantine``: what was refused, and taking it in after all."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import click
import psycopg
from psycopg_pool import ConnectionPool
from rich.box import SIMPLE_HEAD
from rich.table import Table

from otel_obs.cli.options import console_for_people, database, database_options, json_option, rfc3339, settings_from
from otel_obs.errors import StorageRejectedError
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import Mapping, Received
from otel_obs.pipeline.mapping import mapping_of
from otel_obs.pipeline.replay import NotReplayableError, replayable
from otel_obs.postgres import quarantine as kept
from otel_obs.postgres import schema
from otel_obs.postgres.contents import place_of_payload
from otel_obs.postgres.policies import read_policies
from otel_obs.postgres.pool import conninfo, open_pool, translated
from otel_obs.postgres.prices import operator_prices
from otel_obs.postgres.quarantine import Chosen, Entry
from otel_obs.postgres.store import PostgresStore
from otel_obs.postgres.vault import Vault, vault_of
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog
from otel_obs.rows.batch import Quarantined
from otel_obs.rows.policy import Rules, rule_of
from otel_obs.sealing import SealedError

REPLAYED, REFUSED, NOTHING_KEPT = "replayed", "refused", "not_replayable"


@click.group()
def quarantine() -> None:
    """Show what was refused, with the reason, and take it in after all."""


@quarantine.command("list")
@click.option("--org", metavar="ID", help="One organization.")
@click.option("--reason", metavar="CODE", help="One reason, such as trace_id:absent.")
@click.option("--pending", is_flag=True, help="Only what was not taken in yet.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--cursor", metavar="TEXT", help="next_cursor of the page before.")
@database_options
@json_option
def list_entries(
    org: str | None,
    reason: str | None,
    pending: bool,
    limit: int,
    cursor: str | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Show what was refused, oldest first; contents are not shown."""
    chosen = Chosen(organization_id=org, reason=reason)
    with (
        database(settings_from(**options)) as url,
        translated(),
        psycopg.connect(conninfo(url)) as connection,
    ):
        schema.check(connection)
        found = kept.page(connection, chosen, pending=pending, after=_position(cursor), limit=limit + 1)
    shown, more = found[:limit], len(found) > limit
    if as_json:
        items = [_object(entry) for entry in shown]
        click.echo(json.dumps({"items": items, "next_cursor": str(shown[-1].id) if more else None}))
        return
    table = Table(title="Quarantine", title_justify="left", box=SIMPLE_HEAD)
    for column in ("id", "received", "organization", "workspace", "signal", "reason", "detail", "bytes", "taken in"):
        table.add_column(column, overflow="fold")
    for entry in shown:
        table.add_row(
            str(entry.id),
            f"{entry.received_at:%Y-%m-%d %H:%M:%S}",
            entry.organization_id,
            entry.workspace_id,
            entry.signal,
            entry.reason,
            entry.detail,
            f"{entry.bytes:,}",
            "-" if entry.replayed_at is None else f"{entry.replayed_at:%Y-%m-%d %H:%M:%S}",
        )
    console_for_people().print(table)
    if more:
        click.echo(f"more: --cursor {shown[-1].id}", err=True)


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isdecimal() or len(cursor) > 18:
        raise click.BadParameter("that is no cursor", param_hint="--cursor")
    return int(cursor)


def _object(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "organization_id": entry.organization_id,
        "workspace_id": entry.workspace_id,
        "received_at": rfc3339(entry.received_at),
        "signal": entry.signal,
        "reason": entry.reason,
        "detail": entry.detail,
        "format": entry.format,
        "bytes": entry.bytes,
        "sha256": entry.sha256,
        "replayed_at": rfc3339(entry.replayed_at),
    }


@quarantine.command()
@click.argument("ids", nargs=-1, type=click.IntRange(min=1))
@click.option("--org", metavar="ID", help="One organization.")
@click.option("--reason", metavar="CODE", help="One reason, such as storage_rejected.")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be taken in.")
@database_options
@json_option
def replay(
    ids: tuple[int, ...], org: str | None, reason: str | None, dry_run: bool, as_json: bool, **options: str | None
) -> None:
    """Try again to take in what was refused (IDS, or all of it); once taken in, it is not tried again."""
    settings = settings_from(**options)
    chosen = Chosen(organization_id=org, reason=reason, ids=ids or None)
    book = PriceBook(default_catalog())
    with database(settings) as url, translated(), psycopg.connect(conninfo(url), autocommit=True) as connection:
        schema.check(connection)
        book.set_own(operator_prices(connection))
        rules = Rules(read_policies(connection), rule_of(settings.content))
        pool = open_pool(url, max_size=1, statement_timeout_s=60)
        try:
            mapping = mapping_of(settings, book, lambda: rules)
            tried = _Replay(connection, pool, mapping, book, vault_of(settings), dry_run=dry_run).all(chosen)
        finally:
            pool.close(1.0)
    counts = Counter(outcome["outcome"] for outcome in tried)
    answer = {name: counts[name] for name in (REPLAYED, REFUSED, NOTHING_KEPT)}
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **answer, "items": tried}))
        return
    for outcome in tried:
        click.echo(f"{outcome['id']}: {outcome['outcome']}" + (f" ({outcome['why']})" if outcome["why"] else ""))
    click.echo(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in answer.items()))


class _Replay:
    """Tries entries one by one: each is its own transaction, so an interrupted replay is continued."""

    def __init__(
        self,
        connection: psycopg.Connection,
        pool: ConnectionPool,
        mapping: Mapping,
        book: PriceBook,
        vault: Vault | None,
        *,
        dry_run: bool,
    ) -> None:
        self._connection = connection
        self._store = PostgresStore(pool, book.row, vault=vault)
        self._vault = vault
        self._mapping = mapping
        self._dry_run = dry_run

    def all(self, chosen: Chosen) -> list[dict[str, Any]]:
        """Return what became of each entry."""
        found, after = [], 0
        while entries := kept.pending(self._connection, chosen, after=after):
            for number, item in entries:
                outcome, why = self._one(number, item)
                found.append({"id": number, "outcome": outcome, "why": why})
            after = entries[-1][0]
        return found

    def _one(self, number: int, item: Quarantined) -> tuple[str, str | None]:
        try:
            received = replayable(self._readable(item), self._mapping)
        except (NotReplayableError, SealedError) as error:
            return NOTHING_KEPT, str(error)
        if not received.records:
            return REFUSED, ", ".join(sorted({refused.reason for refused in received.quarantined})) or "empty"
        if self._dry_run:
            return REPLAYED, None
        return self._write(number, received)

    def _readable(self, item: Quarantined) -> Quarantined:
        if item.payload_encrypted is None:
            return item
        if self._vault is None:
            raise SealedError("locked", "it is encrypted, and OTEL_OBS_ENCRYPTION_KEYS is not set")
        sealed, where = bytes(item.payload_encrypted), place_of_payload(item)
        return replace(item, payload=self._vault.opened(self._connection, item.organization_id, sealed, where))

    def _write(self, number: int, received: Received) -> tuple[str, str | None]:
        # Nothing is noted a second time of what is still refused.
        batch = batch_of([received], self._mapping.price, from_spool=True)
        try:
            written = self._store.write(batch)
        except StorageRejectedError as error:
            return REFUSED, str(error)
        if written.refused:
            return REFUSED, ", ".join(sorted(set(written.refused.values())))
        kept.replayed(self._connection, number, datetime.now(tz=timezone.utc))
        return REPLAYED, None
