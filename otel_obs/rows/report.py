"""A report of a call, as it is compared with others and kept while there is more than one."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from otel_obs.rows.tables import CallRow, EventRow

EventKey = tuple[str, ...]
"""(trace_id, event_id); compiled, a ``tuple[str, str]`` would be made anew whenever it is looked up."""

_DECIMALS = ("rate_per_1k", "cost_usd", "reported_cost_cents")
_TIMES = ("timestamp", "received_at")


class Report(NamedTuple):
    """One span's or log record's claim that a provider served a call."""

    row: CallRow
    """As its own span tells it, with the attribution of its own trace."""
    scope: str = ""
    """The instrumentation scope that made it."""
    is_log: bool = False
    is_root: bool = False
    """Its span has no parent: perhaps because its instrumentation lost the context."""
    resource: str = ""
    """Hash of the resource that sent it."""
    workspace_known: bool = True
    """False where the workspace is only a default."""
    group: str | None = None
    """The id of the call that settling found it to speak of, if it names none itself."""
    estimate: tuple[int | None, int | None] | None = None
    """Input and output tokens as counted here; they are believed only if no report of the call says any."""

    @property
    def key(self) -> EventKey:
        """Name the event that made this report."""
        return (self.row.trace_id, self.row.event_id)

    @property
    def call_id(self) -> str | None:
        """Return the id under which it is compared with other reports."""
        return self.row.response_id or self.group

    @property
    def started(self) -> datetime:
        """Return when the call began, as far as the report tells."""
        return self.row.timestamp

    @property
    def ended(self) -> datetime:
        """Return when the call ended; its start where that is not known."""
        return self.row.timestamp + timedelta(milliseconds=self.row.latency_ms or 0)

    @property
    def has_usage(self) -> bool:
        """Tell whether input or output tokens are known."""
        return self.row.input_tokens is not None or self.row.output_tokens is not None


def report_of(call: CallRow, event: EventRow) -> Report:
    """Return the report that the counted row *call* is, made by *event*."""
    estimate = event.estimate
    return Report(
        row=call if estimate is None else without_estimate(call),
        estimate=estimate,
        scope=event.scope,
        is_log=event.event_id != event.span_id,
        is_root=event.parent_span_id is None,
        resource=event.resource_hash or "",
        workspace_known=event.workspace_is_known,
    )


def without_estimate(call: CallRow) -> CallRow:
    """Return *call* as its span told it, without the tokens that were counted here."""
    if call.usage_source != "estimated":
        return call
    return call._replace(input_tokens=None, output_tokens=None, usage_source=None)


def to_json(report: Report) -> dict[str, Any]:
    """Return *report* as JSON; money as text, so that nothing is rounded."""
    row: dict[str, Any] = report.row._asdict()
    row.update({name: None if row[name] is None else str(row[name]) for name in _DECIMALS})
    row.update({name: row[name].isoformat() for name in _TIMES})
    return {
        "row": row,
        "scope": report.scope,
        "is_root": report.is_root,
        "resource": report.resource,
        "workspace_known": report.workspace_known,
        **({} if report.estimate is None else {"estimate": list(report.estimate)}),
    }


def from_json(stored: dict[str, Any], *, group: str | None, is_log: bool) -> Report:
    """Return the report that ``to_json`` stored, also that of a release that knows more, or fewer, of a call."""
    row = {name: stored["row"].get(name) for name in CallRow._fields}
    row.update({name: None if row[name] is None else Decimal(row[name]) for name in _DECIMALS})
    row.update({name: datetime.fromisoformat(row[name]) for name in _TIMES})
    return Report(
        row=CallRow(**row),
        scope=stored["scope"],
        is_log=is_log,
        is_root=stored["is_root"],
        resource=stored["resource"],
        workspace_known=stored["workspace_known"],
        group=group,
        estimate=None if "estimate" not in stored else (stored["estimate"][0], stored["estimate"][1]),
    )
