"""``prices``: what calls are priced with."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import click
import psycopg
from rich.box import SIMPLE_HEAD
from rich.table import Table

from otel_obs.analytics.prices import Period, disagreements, shares
from otel_obs.analytics.prices import prices as prices_of
from otel_obs.analytics.prices import unpriced as unpriced_of
from otel_obs.cli.costs import money, number, share
from otel_obs.cli.options import (
    amount,
    console_for_people,
    database,
    database_options,
    json_option,
    period_options,
    rfc3339,
    settings_from,
    time_option,
)
from otel_obs.cli.reprice import reprice
from otel_obs.postgres import audit, schema
from otel_obs.postgres.pool import conninfo, translated
from otel_obs.postgres.prices import operator_prices, store_prices
from otel_obs.pricing.catalog import EPOCH
from otel_obs.pricing.models import provider_id
from otel_obs.pricing.rows import OPERATOR, PriceRow, UnitPrice, as_json, dollars, price_row

_UNITS = {
    "input": ("input_mtok", "a million input tokens"),
    "output": ("output_mtok", "a million output tokens"),
    "cache_read": ("cache_read_mtok", "a million tokens read from the prompt cache"),
    "cache_write": ("cache_write_mtok", "a million tokens written to the prompt cache"),
    "cache_write_1h": ("cache_write_1h_mtok", "a million tokens written to the cache for an hour"),
    "reasoning": ("output_reasoning_mtok", "a million reasoning tokens, where they cost something of their own"),
    "request": ("requests_kcount", "a thousand requests"),
}


@click.group()
def prices() -> None:
    """Show, set and check prices; price past calls again."""


@contextmanager
def _connected(**options: str | None) -> Iterator[psycopg.Connection]:
    with database(settings_from(**options)) as url, translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        yield connection


@prices.command("list")
@click.option("--model", metavar="NAME", help="One model.")
@click.option("--org", metavar="ID", help="What is set for one organization.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--cursor", metavar="TEXT", help="next_cursor of the page before.")
@database_options
@json_option
def list_prices(
    model: str | None, org: str | None, limit: int, cursor: str | None, as_json: bool, **options: str | None
) -> None:
    """Show the prices that calls were priced with, and those set here (US dollars)."""
    with _connected(**options) as connection:
        found = prices_of(connection, model=model, organization_id=org, after=_position(cursor), limit=limit + 1)
    page, more = found[:limit], len(found) > limit
    if as_json:
        items = [{**_price_object(item.price), "created_at": rfc3339(item.created_at)} for item in page]
        click.echo(json.dumps({"items": items, "next_cursor": _cursor(page[-1].price) if more else None}))
        return
    table = Table(title="Prices", title_justify="left", box=SIMPLE_HEAD)
    for column in ("model", "provider", "for", "valid from", "until", "US dollars", "source"):
        table.add_column(column, overflow="fold")
    for item in page:
        price = item.price
        holds_for = [*([price.organization_id] if price.organization_id else []), *price.conditions.values()]
        table.add_row(
            price.model_name,
            price.provider or "any",
            ", ".join(holds_for) or "-",
            "always" if price.valid_from <= EPOCH else f"{price.valid_from:%Y-%m-%d}",
            "-" if price.valid_to is None else f"{price.valid_to:%Y-%m-%d}",
            ", ".join(f"{key} {unit.base}" + ("+" if unit.tiers else "") for key, unit in price.unit_prices.items())
            or "withdrawn",
            price.source,
        )
    console_for_people().print(table)
    if more:
        click.echo(f"more: --cursor {_cursor(page[-1].price)}", err=True)


def _price_object(price: PriceRow) -> dict[str, Any]:
    return {
        "id": price.id,
        "organization_id": price.organization_id,
        "provider": price.provider or None,
        "model_name": price.model_name,
        "valid_from": rfc3339(price.valid_from),
        "valid_to": rfc3339(price.valid_to),
        "source": price.source,
        "currency": "USD",
        "unit_prices": as_json(price.unit_prices),
        "conditions": dict(price.conditions),
    }


def _cursor(price: PriceRow) -> str:
    key = [price.model_name, price.provider, price.valid_from.isoformat(), price.id]
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _position(cursor: str | None) -> list[str] | None:
    if cursor is None:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor))
        datetime.fromisoformat(found[2])
    except (binascii.Error, ValueError, TypeError, IndexError, KeyError):
        found = None
    if not isinstance(found, list) or len(found) != len(("model", "provider", "valid_from", "id")):
        raise click.BadParameter("that is no cursor", param_hint="--cursor")
    return found


def _unit_options(function: Any) -> Any:
    for name, (_, unit) in reversed(_UNITS.items()):
        function = click.option(
            f"--{name.replace('_', '-')}", name, callback=amount, metavar="USD", help=f"Dollars for {unit}."
        )(function)
    return function


@prices.command("set")
@click.argument("model")
@click.option("--provider", metavar="NAME", help="Only where this provider serves it; without it any.")
@_unit_options
@click.option("--unit", "units", multiple=True, metavar="KEY=USD", help="Another unit, by genai-prices' key.")
@click.option(
    "--tier", "tiers", multiple=True, metavar="KEY@TOKENS=USD", help="Another price above so many input tokens."
)
@click.option("--batch", is_flag=True, help="Only for batches. A price without it holds for them as well.")
@click.option("--service-tier", metavar="NAME", help="Only for this tier: priority, flex ...")
@click.option("--org", metavar="ID", help="Only for this organization.")
@time_option("--from", "valid_from", help="Since when. Default: always, if this is the first price set; else now.")
@time_option("--until", "valid_to", help="First moment when it holds no longer.")
@click.option("--withdraw", is_flag=True, help="Let genai-prices' price hold again, from --from.")
@click.option("--why", metavar="TEXT", help="Reason, for the audit log.")
@database_options
@json_option
def set_price(
    model: str,
    provider: str | None,
    units: tuple[str, ...],
    tiers: tuple[str, ...],
    batch: bool,
    service_tier: str | None,
    org: str | None,
    valid_from: datetime | None,
    valid_to: datetime | None,
    withdraw: bool,
    why: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Set the price of MODEL in US dollars, as price lists spell them.

    Nothing is overwritten: prices set before stay, and hold where this one does not. Calls that are stored already
    keep their cost until `otel-obs prices reprice`.
    """
    given = {key: options.pop(name) for name, (key, _) in _UNITS.items()}
    prices = {key: value for key, value in given.items() if value is not None}
    prices.update(_pairs(units, "--unit"))
    if bool(prices) == withdraw:
        raise click.UsageError("give prices, such as --input 2.50 --output 10, or --withdraw")
    unit_prices = _with_tiers(prices, tiers)
    conditions = {"processing": "batch"} if batch else {}
    if service_tier is not None:
        conditions["service_tier"] = service_tier.lower()
    now = datetime.now(tz=timezone.utc)
    with _connected(**options) as connection, connection.transaction():
        before = [
            row
            for row in operator_prices(connection)
            if (row.model_name, row.organization_id) == (model.lower(), org)
            and (row.provider, row.conditions) == (provider_id(provider) or "", conditions)
        ]
        row = price_row(
            provider=provider_id(provider) or "",
            model_name=model.lower(),
            valid_from=valid_from or (now if before else EPOCH),
            valid_to=valid_to,
            source=OPERATOR,
            unit_prices=unit_prices,
            conditions=conditions,
            organization_id=org,
            salt=now.isoformat(),
        )
        if row.valid_to is not None and row.valid_to <= row.valid_from:
            raise click.UsageError("--until is not after --from")
        store_prices(connection, [row])
        audit.append(
            connection,
            action="prices.set",
            subject=row.model_name,
            organization_id=org,
            before=_price_object(before[-1]) if before else None,
            after=_price_object(row),
            why=why,
        )
    if as_json:
        click.echo(json.dumps(_price_object(row)))
    else:
        since = "always" if row.valid_from <= EPOCH else f"{row.valid_from:%Y-%m-%d %H:%M} UTC"
        click.echo(f"{row.model_name}: {'withdrawn' if withdraw else 'set'}, since {since}")
        click.echo(
            "calls that are written from now on have it; those stored before: otel-obs prices reprice "
            f"--model {row.model_name} --dry-run",
            err=True,
        )


def _pairs(units: tuple[str, ...], option: str) -> dict[str, Decimal]:
    found = {}
    for text in units:
        key, equals, value = text.partition("=")
        try:
            found[key.strip()] = dollars(value.strip())
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=option) from None
        if not equals or not key.strip():
            raise click.BadParameter(f"{text!r} is not KEY=USD", param_hint=option)
    return found


def _with_tiers(prices: dict[str, Decimal], tiers: tuple[str, ...]) -> dict[str, UnitPrice]:
    names = {name: key for name, (key, _) in _UNITS.items()}
    found: dict[str, list[tuple[int, Decimal]]] = {}
    for text, price in _pairs(tiers, "--tier").items():
        name, _, above = text.partition("@")
        key = names.get(name.replace("-", "_"), name)
        if key not in prices or not above.isdigit():
            raise click.BadParameter(f"{text!r}: such as output@200000=15, beside --output", param_hint="--tier")
        found.setdefault(key, []).append((int(above), price))
    return {key: UnitPrice(base, tuple(sorted(found.get(key, ())))) for key, base in prices.items()}


@prices.command()
@period_options
@database_options
@json_option
def unpriced(
    since: datetime | None, until: datetime | None, org: str | None, as_json: bool, **options: str | None
) -> None:
    """Show the calls whose cost nobody knows, and why."""
    with _connected(**options) as connection:
        found = unpriced_of(connection, Period(since, until, org))
        of = shares(connection, Period(since, until, org))
    if as_json:
        items = [{**row._asdict(), "first_at": rfc3339(row.first_at), "last_at": rfc3339(row.last_at)} for row in found]
        click.echo(json.dumps({"items": items, "next_cursor": None, **of._asdict()}))
        return
    if not found:
        click.echo(f"each of {of.calls:,} calls has a cost, {of.estimated_calls:,} of them an estimated one")
        return
    table = Table(title="Calls without a cost", title_justify="left", box=SIMPLE_HEAD)
    for column in ("provider", "model", "reason"):
        table.add_column(column, overflow="fold")
    for column in ("calls", "input", "output", "last"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in found:
        table.add_row(
            row.provider or "-", row.model_name or "-", row.reason, f"{row.calls:,}", number(row.input_tokens),
            number(row.output_tokens), f"{row.last_at:%Y-%m-%d %H:%M}",
        )  # fmt: skip
    console_for_people().print(table)
    click.echo(
        f"of {of.calls:,} calls {share(of.unpriced_calls, of.calls)} have no cost, "
        f"{share(of.estimated_calls, of.calls) or 'none'} an estimated one"
    )
    if any(row.reason != "no_usage" for row in found):
        click.echo(
            "set a price: otel-obs prices set MODEL --input USD --output USD, then otel-obs prices reprice", err=True
        )


@prices.command("audit")
@period_options
@database_options
@json_option
def audit_prices(
    since: datetime | None, until: datetime | None, org: str | None, as_json: bool, **options: str | None
) -> int:
    """Compare our costs with those that emitters report; exit 1 if some differ by more than 5 %."""
    with _connected(**options) as connection:
        compared, found = disagreements(connection, Period(since, until, org))
    if as_json:
        items = [
            {name: float(value) if isinstance(value, Decimal) else value for name, value in row._asdict().items()}
            for row in found
        ]
        click.echo(json.dumps({"compared": compared, "items": items, "next_cursor": None}))
        return 1 if found else 0
    if found:
        table = Table(title="Other costs than ours", title_justify="left", box=SIMPLE_HEAD)
        for column in ("organization", "provider", "model"):
            table.add_column(column, overflow="fold")
        for column in ("calls", "ours", "reported", "largest", "for instance"):
            table.add_column(column, justify="right", no_wrap=True)
        for row in found:
            table.add_row(
                row.organization_id, row.provider or "-", row.model_name or "-", f"{row.calls:,}",
                money(row.cost_cents), money(row.reported_cents), f"{row.largest_share:.0%}",
                f"trace {row.trace_id}",
            )  # fmt: skip
        console_for_people().print(table)
    click.echo(
        f"{compared:,} calls with a reported cost compared, {sum(row.calls for row in found):,} differ", err=True
    )
    return 1 if found else 0


prices.add_command(reprice)
