"""``recommend``: what would have cost less, with the rows that show it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import click
import psycopg
from rich.console import Console

from otel_obs.analytics.filters import Filters
from otel_obs.analytics.recommendations import MIN_SAVING_CENTS, Finding, Recommendations, recommendations
from otel_obs.cli.costs import money
from otel_obs.cli.options import (
    amount,
    console_for_people,
    database,
    database_options,
    json_option,
    rfc3339,
    settings_from,
    time_option,
)
from otel_obs.postgres import schema
from otel_obs.postgres.pool import conninfo, translated


@click.command()
@click.option("--org", metavar="ID", help="Organization; default: that of the settings.")
@click.option("--workspace", metavar="ID", help="Only calls of this workspace.")
@click.option("--agent", metavar="ID", help="Only calls of this agent.")
@click.option("--model", metavar="NAME", help="Only calls to this model.")
@time_option("--since", help="First moment that is looked at; default: 30 days before the end.")
@time_option("--until", help="First moment no longer looked at; default: now.")
@click.option("--min-saving", callback=amount, metavar="DOLLARS", help="Least saving that is told; default: 0.01.")
@database_options
@json_option
def recommend(
    org: str | None,
    workspace: str | None,
    agent: str | None,
    model: str | None,
    since: datetime | None,
    until: datetime | None,
    min_saving: Decimal | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Show what would have cost less: evidence, saving, how sure it is, how to check it."""
    settings = settings_from(**options)
    ends = until or datetime.now(tz=timezone.utc)
    asked = Filters(
        organization_id=org or settings.organization_id,
        since=since or ends - timedelta(days=30),
        until=ends,
        workspace_id=workspace,
        agent_id=agent,
        model=model,
    )
    least = MIN_SAVING_CENTS if min_saving is None else min_saving * 100
    with database(settings) as url, translated(), psycopg.connect(conninfo(url)) as connection:
        schema.check(connection)
        found = recommendations(connection, asked, min_saving_cents=least)
    if as_json:
        click.echo(json.dumps(as_object(found)))
    else:
        _show(console_for_people(), found)


def as_object(found: Recommendations) -> dict[str, Any]:
    """Return *found* as scripts get it."""
    told = {name: _sayable(getattr(found, name)) for name in Recommendations.__dataclass_fields__}
    return {**told, "findings": [_finding(one) for one in found.findings]}


def _finding(one: Finding) -> dict[str, Any]:
    told = {name: _sayable(getattr(one, name)) for name in Finding.__dataclass_fields__}
    return {**told, "evidence": [{"trace_id": item.trace_id, "event_id": item.event_id} for item in one.evidence]}


def _sayable(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return rfc3339(value) if isinstance(value, datetime) else value


def _show(console: Console, found: Recommendations) -> None:
    def say(text: str, style: str | None = None) -> None:
        console.print(text, markup=False, highlight=False, style=style)

    say(f"{found.calls:,} calls, {money(found.cost_cents)}, {rfc3339(found.since)} to {rfc3339(found.until)}")
    for caveat in found.caveats:
        say(f"  {caveat}")
    if not found.findings:
        say("Nothing was found that would have cost less.")
    for one in found.findings:
        saving = "unknown" if one.saving_cents is None else money(one.saving_cents)
        subject = ", ".join(f"{name} {value}" for name, value in one.subject.items())
        say("")
        say(f"{one.kind}: saves {saving} of {money(one.cost_cents)} ({one.confidence} confidence)", "bold")
        say(f"  {subject}, {one.calls:,} calls")
        say(f"  {one.finding} {one.fix}")
        say(f"  check: {one.check}")
        for caveat in one.caveats:
            say(f"  note: {caveat}")
        for item in one.evidence:
            say(f"  evidence: trace {item.trace_id} event {item.event_id}")
