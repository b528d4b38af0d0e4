"""Reports of calls that are told more than once, kept for settling."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.queries import load
from otel_obs.rows.report import EventKey, Report, from_json, to_json

_WRITE = load("write")
_NAMES = (
    "organization_ids", "trace_ids", "event_ids", "timestamps", "response_ids", "group_keys", "counted", "is_log",
    "reports",
)  # fmt: skip


def keep_reports(
    connection: psycopg.Connection, reports: Mapping[EventKey, Report], counted: AbstractSet[EventKey]
) -> None:
    """Keep *reports*; *counted* says which of them are counted."""
    if not reports:
        return
    rows = [
        (
            report.row.organization_id,
            report.row.trace_id,
            report.row.event_id,
            report.row.timestamp,
            report.row.response_id,
            report.group,
            key in counted,
            report.is_log,
            Jsonb(to_json(report)),
        )
        for key, report in reports.items()
    ]
    connection.execute(_WRITE["keep_reports"], arrays(_NAMES, rows))


def kept_report(row: tuple[Any, ...]) -> Report:
    """Return the report of a row of ``reports_of_traces`` or ``reports_of_calls``."""
    _, _, _, _, group_key, _, is_log, report = row
    return from_json(report, group=group_key, is_log=is_log)
