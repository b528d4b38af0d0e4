"""``tail``: what is new, in the terminal, as the API's stream tells it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import click
import requests

from otel_obs.cli.costs import money, number
from otel_obs.cli.options import console_for_people, database_options, settings_from
from otel_obs.errors import StorageUnavailableError

FILTERS = ("workspace", "user", "agent", "flow", "model", "status", "type")
_PARAMETERS = {
    "workspace": "workspace_id",
    "user": "user_id",
    "agent": "agent_id",
    "flow": "flow_id",
    "type": "event_type",
}


@click.command()
@click.option("--api", metavar="HOST:PORT", help="Where the API is; without it that of the running `otel-obs up`.")
@click.option("--org", metavar="ID", help="Organization; only where no keys are asked for.")
@click.option("--workspace", metavar="ID")
@click.option("--user", metavar="ID")
@click.option("--agent", metavar="ID")
@click.option("--flow", metavar="ID")
@click.option("--model", metavar="NAME")
@click.option("--status", type=click.Choice(["ok", "error", "unset"]))
@click.option("--type", "type", metavar="TYPE", help="Such as llm, tool, agent, workflow.")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each event.")
@database_options
def tail(api: str | None, org: str | None, count: int | None, as_json: bool, **options: str | None) -> None:
    """Show events as they are stored, until Ctrl-C. A key is taken from OTEL_OBS_API_KEY."""
    settings = settings_from(database_url=options["database_url"], data_dir=options["data_dir"])
    where = api or _running(settings.data_dir / "run.json") or settings.api_endpoint
    where = where if "://" in where else f"{settings.scheme}://{where}"
    asked = {_PARAMETERS.get(name, name): options[name] for name in FILTERS if options[name]}
    if org is not None:
        asked["organization_id"] = org
    console = console_for_people()
    for shown, event in enumerate(_events(where, asked), 1):
        if as_json:
            click.echo(json.dumps(event))
        else:
            console.print(_line(event), markup=False, highlight=False)
        if shown == count:
            return


def _running(path: Any) -> str | None:
    try:
        found = json.loads(path.read_text())["api"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _events(where: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the stream tells.

    Raises:
        StorageUnavailableError: nobody answers there.
        click.ClickException: the API refuses.
    """
    key = os.environ.get("OTEL_OBS_API_KEY")
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    url = f"{where}/api/v1/stream"
    try:
        with requests.get(url, params=asked, headers=headers, stream=True, timeout=(5, 60)) as answer:
            if answer.status_code != requests.codes.ok:
                raise click.ClickException(_refusal(answer))
            click.echo("ready", err=True)
            kind = ""
            for line in answer.iter_lines(chunk_size=1):
                name, _, value = line.decode().partition(": ")
                kind = value if name == "event" else kind
                if name == "data" and kind == "event":
                    yield json.loads(value)
    except requests.RequestException as error:
        raise StorageUnavailableError(f"no API answers at {where}: {type(error).__name__}") from error


def _refusal(answer: requests.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the API answers {answer.status_code}"


def _line(event: dict[str, Any]) -> str:
    tokens = (
        "" if event["input_tokens"] is None else f"{number(event['input_tokens'])}+{number(event['output_tokens'])}"
    )
    cost = "" if event["cost_cents"] is None else money(event["cost_cents"])
    latency = "" if event["latency_ms"] is None else f"{event['latency_ms']:,.0f} ms"
    parts = (
        event["timestamp"][11:23],
        f"{event['event_type']:<10}",
        "error" if event["status"] == "error" else "     ",
        event["name"],
        latency,
        event["model_name"] or "",
        tokens,
        cost,
        event["error_type"] or "",
    )
    return "  ".join(part for part in parts if part)
