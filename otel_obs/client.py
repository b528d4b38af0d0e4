"""The platform's verbs in a program: what ran, what happened, and is this switched on?

``otel_obs.connect()`` makes it. Nothing here raises into the program but what changes flags and what reads reports.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

import psycopg
from opentelemetry import trace
from psycopg_pool import ConnectionPool
from typing_extensions import Self

from otel_obs.analytics.budgets import BudgetStatus, statuses
from otel_obs.analytics.errors import ErrorGroup, get_error_logs
from otel_obs.analytics.filters import MAX_LIMIT, Filters
from otel_obs.analytics.metrics import Step, SystemMetrics, get_system_metrics
from otel_obs.errors import InvalidQueryError, StorageUnavailableError
from otel_obs.flags.lookup import FlagLookup, attributes_of
from otel_obs.flags.model import Evaluation, Flag
from otel_obs.flags.snapshot import Snapshot
from otel_obs.flags.store import Change, FlagScope, delete_flag, load_flags, set_flag
from otel_obs.maintenance.cleaning import clean_up
from otel_obs.otlp import values
from otel_obs.pipeline.outbox import Outbox
from otel_obs.postgres.embedded import running_dsn
from otel_obs.postgres.pool import conninfo, open_pool, translated
from otel_obs.postgres.reading import Reader, read_as
from otel_obs.postgres.store import PostgresStore
from otel_obs.rows import EventRow
from otel_obs.rows import context as rows_context
from otel_obs.rows.batch import Batch
from otel_obs.rows.redaction import Redaction
from otel_obs.settings import Settings

if TYPE_CHECKING:
    from otel_obs.flags.provider import FlagProvider

_log = logging.getLogger(__name__)

_STATUSES = ("ok", "error", "unset")
_NO_DATABASE = "no database: set OTEL_OBS_DATABASE_URL, or run `otel-obs up`"
_WHO = frozenset({"workspace_id", "user_id", "environment", "agent_id", "flow_id", "conversation_id", "model"})
CLEAN_UP_TIMEOUT_S = 300.0


class Client(FlagLookup):
    """One organization's view of the platform; *workspace_id* is where calls belong that name no other workspace.

    The database is *database_url*, else ``OTEL_OBS_DATABASE_URL``, else the embedded server of the data folder if it
    runs. Nothing connects before it is needed. ``is_enabled``, ``evaluate`` and ``get_flags`` answer from memory.
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        organization_id: str = "default",
        workspace_id: str | None = None,
        record_evaluations: bool = False,
    ) -> None:
        """Make a client; *record_evaluations* writes each answer about a flag on the current span as an event."""
        self._settings = Settings.from_env(os.environ, {"DATABASE_URL": database_url})
        self._redaction = Redaction(self._settings.redact)
        snapshot = Snapshot(self._direct_url, organization_id=organization_id)
        super().__init__(
            snapshot, organization_id, workspace_id, evaluated=self._record if record_evaluations else None
        )
        self._outbox = Outbox(self._write)
        self._writer: tuple[int, ConnectionPool, PostgresStore] | None = None
        self._of_parents: list[object] = []

    def record_execution(
        self,
        name: str,
        *,
        status: str = "ok",
        latency_ms: float | None = None,
        error_type: str | None = None,
        user_id: str | None = None,
        workspace_id: str | None = None,
        agent_id: str | None = None,
        flow_id: str | None = None,
        run_id: str | None = None,
        conversation_id: str | None = None,
        started_at: datetime | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Record that a workflow ran: a ``workflow`` row of its own, outside any trace. Never raises.

        Returns the row's event id once it is on its way, None where it is dropped.
        """
        return self._put(
            "workflow", name, in_trace=False, at=started_at, status=status, latency_ms=latency_ms,
            error_type=error_type, user_id=user_id, workspace_id=workspace_id, agent_id=agent_id,
            flow_id=flow_id or name, run_id=run_id, conversation_id=conversation_id, context=context,
        )  # fmt: skip

    def log_event(
        self,
        event_type: str,
        name: str | None = None,
        *,
        status: str = "unset",
        latency_ms: float | None = None,
        error_type: str | None = None,
        user_id: str | None = None,
        workspace_id: str | None = None,
        agent_id: str | None = None,
        flow_id: str | None = None,
        run_id: str | None = None,
        conversation_id: str | None = None,
        at: datetime | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Record that something happened, in the current trace if there is one. Never raises.

        Returns the row's event id once it is on its way, None where it is dropped.
        """
        return self._put(
            event_type, name or event_type, in_trace=True, at=at, status=status, latency_ms=latency_ms,
            error_type=error_type, user_id=user_id, workspace_id=workspace_id, agent_id=agent_id, flow_id=flow_id,
            run_id=run_id, conversation_id=conversation_id, context=context,
        )  # fmt: skip

    @property
    def dropped(self) -> Mapping[str, int]:
        """Return how many executions and events are not stored, by reason."""
        return dict(self._outbox.dropped)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Return whether everything recorded is stored or counted as dropped within *timeout_s*."""
        return self._outbox.flush(timeout_s)

    def set_flag(
        self,
        flag_name: str,
        is_enabled: bool | None = None,
        user_id: str | None = None,
        workspace_id: str | None = None,
        *,
        for_everyone: bool = False,
        percent: float | None = None,
        variants: Mapping[str, Any] | None = None,
        rollout: Mapping[str, float] | None = None,
        prerequisites: Sequence[str] | None = None,
        starts_at: datetime | None = None,
        expires_at: datetime | None = None,
        killed: bool | None = None,
        description: str | None = None,
        owner: str | None = None,
        version: int | None = None,
        why: str | None = None,
        actor: str | None = None,
    ) -> Flag:
        """Set a flag for a user, a workspace, the organization, or (*for_everyone*) all organizations.

        This client's next question is answered by it.

        Raises:
            FlagConflictError: *version* is given, and somebody has changed the flag since it was that.
            ConfigurationError: the flag would make no sense.
            StorageUnavailableError: nothing was changed; try again later.
        """
        if percent is not None:
            rollout = {"on": percent, **(rollout or {})}
        change = Change(
            is_enabled=is_enabled, variants=variants, rollout=rollout, prerequisites=prerequisites,
            starts_at=starts_at, expires_at=expires_at, killed=killed, description=description, owner=owner,
        )  # fmt: skip
        scope = FlagScope() if for_everyone else self._scope(user_id, workspace_id)
        with self._connection() as connection:
            found = set_flag(connection, flag_name, scope, change, expected_version=version, why=why, actor=actor)
        self._refreshed()
        return found

    def delete_flag(
        self,
        flag_name: str,
        *,
        user_id: str | None = None,
        workspace_id: str | None = None,
        for_everyone: bool = False,
        version: int | None = None,
        why: str | None = None,
        actor: str | None = None,
    ) -> bool:
        """Delete a flag in one scope; return whether there was one.

        Raises:
            FlagConflictError: *version* is given, and somebody has changed the flag since it was that.
            StorageUnavailableError: nothing was changed; try again later.
        """
        scope = FlagScope() if for_everyone else self._scope(user_id, workspace_id)
        with self._connection() as connection:
            gone = delete_flag(connection, flag_name, scope, expected_version=version, why=why, actor=actor)
        self._refreshed()
        return bool(gone)

    def list_flags(self) -> list[Flag]:
        """Return the flags of this organization and those for everyone, as they are stored now, by name and scope.

        Raises:
            StorageUnavailableError: the database cannot be asked now.
        """
        with self._connection() as connection:
            found = load_flags(connection, self._organization_id)
        return sorted(found, key=lambda flag: (flag.flag_name, *(part or "" for part in flag.key)))

    def get_system_metrics(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        step: Step | None = None,
        **who: str | None,
    ) -> SystemMetrics:
        """Return executions, success and error rate, latency, tokens and cost, in total, per period, and before.

        The last seven days unless said otherwise; *who* are fields of ``Filters``, such as ``user_id="alice"``.

        Raises:
            InvalidQueryError: that makes no sense.
            StorageUnavailableError: the database cannot be asked now.
        """
        with self._reading() as connection:
            return get_system_metrics(connection, self._filters(since, until, who), step)

    def get_error_logs(
        self, since: datetime | None = None, until: datetime | None = None, *, limit: int = 100, **who: str | None
    ) -> Sequence[ErrorGroup]:
        """Return errors by type and node, the most frequent first, with the newest of each.

        Raises:
            InvalidQueryError: that makes no sense.
            StorageUnavailableError: the database cannot be asked now.
        """
        with self._reading() as connection:
            return get_error_logs(connection, self._filters(since, until, who), limit=limit).items

    def budget_status(self, **who: str | None) -> Sequence[BudgetStatus]:
        """Return the budgets (of *who*, such as ``user_id="alice"``), with what is spent of each right now.

        A program that wants to stop asks ``any(budget.state == "exceeded" for budget in platform.budget_status())``.

        Raises:
            StorageUnavailableError: the database cannot be asked now.
        """
        with self._reading() as connection:
            now = datetime.now(tz=timezone.utc)
            return statuses(connection, self._filters(None, None, who), now, limit=MAX_LIMIT).items

    def cleanup_old_events(self, *, now: datetime | None = None, dry_run: bool = False) -> Mapping[str, Any]:
        """Delete what the plans of all organizations no longer keep, as ``maintain --once retention`` does.

        Returns what went, by organization and table. Somebody else at work: ``{"leader": False, "rows": []}``.

        Raises:
            StorageUnavailableError: what went before is gone; doing it again goes on.
        """
        return self._clean_up(None, now, dry_run=dry_run)

    def cleanup_old_events_for_organization(
        self, organization_id: str | None = None, *, now: datetime | None = None, dry_run: bool = False
    ) -> Mapping[str, Any]:
        """Delete what the plan of one organization (this client's, unless named) no longer keeps; returns the same."""
        return self._clean_up(organization_id or self._organization_id, now, dry_run=dry_run)

    def _clean_up(self, organization_id: str | None, now: datetime | None, *, dry_run: bool) -> Mapping[str, Any]:
        url = self._url()
        if url is None:
            raise StorageUnavailableError(_NO_DATABASE)
        pool = open_pool(url, max_size=2, statement_timeout_s=CLEAN_UP_TIMEOUT_S)
        try:
            return clean_up(
                pool,
                only=organization_id,
                now=now,
                dry_run=dry_run,
                grace=timedelta(days=self._settings.retention_grace_days),
                rollup_days=self._settings.rollup_retention_days,
            )
        finally:
            pool.close(1.0)

    @contextmanager
    def _reading(self) -> Iterator[psycopg.Connection]:
        reader = Reader(organization_id=self._organization_id, workspace_id=self._workspace_id)
        with self._connection() as connection, read_as(connection, reader):
            yield connection

    def _filters(self, since: datetime | None, until: datetime | None, who: Mapping[str, str | None]) -> Filters:
        ends = until or datetime.now(tz=timezone.utc)
        unknown = sorted(set(who) - _WHO)
        if unknown:
            raise InvalidQueryError(f"{unknown[0]}: not one of {', '.join(sorted(_WHO))}")
        about: dict[str, Any] = {"workspace_id": self._workspace_id, **who}
        return Filters(
            organization_id=self._organization_id, since=since or ends - timedelta(days=7), until=ends, **about
        )

    def provider(self) -> FlagProvider:
        """Return a provider for ``openfeature.api.set_provider`` over these flags (needs ``otel-obs[openfeature]``)."""
        from otel_obs.flags.provider import FlagProvider  # noqa: PLC0415  # OpenFeature is an extra

        return FlagProvider(self, self._organization_id)

    def close(self) -> None:
        """Write what is on its way, and let go of the database."""
        self._outbox.close()
        super().close()
        self.snapshot.close()
        if self._writer is not None and self._writer[0] == os.getpid():
            self._writer[1].close(1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _direct_url(self) -> str | None:
        return self._settings.direct_database_url or self._url()

    def _url(self) -> str | None:
        return self._settings.database_url or running_dsn(self._settings.data_dir)

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        url = self._url()
        if url is None:
            raise StorageUnavailableError(_NO_DATABASE)
        with translated(), psycopg.connect(conninfo(url), prepare_threshold=None) as connection:
            yield connection

    def _scope(self, user_id: str | None, workspace_id: str | None) -> FlagScope:
        return FlagScope(
            organization_id=self._organization_id, workspace_id=workspace_id or self._workspace_id, user_id=user_id
        )

    def _refreshed(self) -> None:
        """Let this client see what it has just changed."""
        self.snapshot.refresh()

    @cached_property
    def _default_workspace(self) -> str:
        return self._workspace_id or self._settings.workspace_id

    def _put(self, event_type: str, name: str, *, in_trace: bool, at: datetime | None, **said: Any) -> str | None:
        try:
            row = self._row(event_type, name, in_trace=in_trace, at=at, **said)
            return row.event_id if self._outbox.put(row) else None
        except Exception as error:  # noqa: BLE001  # telemetry never breaks the application
            self._outbox.drop(type(error).__name__, 1)
            return None

    def _row(self, event_type: str, name: str, *, in_trace: bool, at: datetime | None, **said: Any) -> EventRow:
        now = datetime.now(tz=timezone.utc)
        trace_id, span_id = _current_span() if in_trace else ("", "")
        flags = values.Flags()

        def text(value: object) -> str:
            return values.text(str(value), flags)

        def identifier(part: str) -> str | None:
            return None if said[part] is None else rows_context.identifier(text(said[part]))

        attributes = self._redaction.of_values(_clean(dict(said["context"] or {}), flags))
        context = {"attributes": attributes, "flags": list(flags.all)}
        return EventRow(
            organization_id=self._organization_id,
            workspace_id=identifier("workspace_id") or self._default_workspace,
            user_id=identifier("user_id"),
            trace_id=trace_id,
            span_id=span_id,
            event_id=_uuid7(),
            timestamp=at if at is not None else now,
            received_at=now,
            event_type=rows_context.cut(text(event_type), 1024) or "log",
            name=rows_context.cut(self._redaction(text(name)), 1024),
            status=said["status"] if said["status"] in _STATUSES else "unset",
            error_type=None if said["error_type"] is None else rows_context.cut(text(said["error_type"]), 1024),
            latency_ms=None if said["latency_ms"] is None else float(said["latency_ms"]),
            parent_span_id=span_id or None,
            service_name=None,
            service_version=None,
            environment=None,
            agent_id=identifier("agent_id"),
            flow_id=identifier("flow_id"),
            run_id=identifier("run_id"),
            conversation_id=identifier("conversation_id"),
            cost_state=None,
            counted_trace_id=None,
            counted_span_id=None,
            node_name=None,
            inherited=0,
            resource_hash=None,
            context=rows_context.bounded({key: value for key, value in context.items() if value}),
        )

    def _write(self, rows: Sequence[EventRow]) -> None:
        """Store *rows*; after a fork the parent's connections must not be touched."""
        if self._writer is None or self._writer[0] != os.getpid():
            url = self._url()
            if url is None:
                raise StorageUnavailableError
            # Collected as garbage, the parent's pool would say goodbye on connections that are still in use.
            self._of_parents.append(self._writer)
            pool = open_pool(url, max_size=1)
            self._writer = (os.getpid(), pool, PostgresStore(pool))
        written = self._writer[2].write(Batch(events=rows))
        for reason in written.refused.values():
            self._outbox.drop(reason, 1)

    def _record(self, found: Evaluation, user_id: str | None) -> None:
        span = trace.get_current_span()
        if span.is_recording():
            span.add_event("feature_flag.evaluation", attributes_of(found, user_id, set_id=self._organization_id))


def _clean(value: Any, flags: values.Flags) -> Any:
    """Return *value* as JSON that PostgreSQL stores; what JSON does not have becomes text."""
    if isinstance(value, str):
        return values.text(value, flags)
    if isinstance(value, float):
        return values.number(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {values.text(str(key), flags): _clean(item, flags) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, flags) for item in value]
    return values.text(str(value), flags)


def _current_span() -> tuple[str, str]:
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return "", ""
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


def _uuid7() -> str:
    """Return an id that sorts by time, to a quarter of a microsecond (RFC 9562, version 7, method 3).

    Python has it from 3.14 on.
    """
    milliseconds, rest_ns = divmod(time.time_ns(), 1_000_000)
    fraction = rest_ns * 4096 // 1_000_000
    bits = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=bits))
