"""Retention: each organization's rows go when they are older than its plan keeps them, and not a moment earlier.

Every transaction is small, reads the policy that it applies while nobody can change it, and adds what it deleted to
``retention_runs``: killed anywhere, nothing is half done, and the next run goes on. Partitions of which nothing is kept
are emptied at once; what rows leave inside cold partitions is given back to the disk once it is worth it.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import tenacity
from psycopg import errors

from otel_obs.maintenance import expiry, rewriting, sweeping
from otel_obs.maintenance.policy import audit_changes, check_clocks, cutoffs, policies, time_of
from otel_obs.maintenance.work import Work
from otel_obs.postgres import audit, partitions
from otel_obs.postgres.arrays import arrays
from otel_obs.postgres.partitions import HOT_TABLES, Partition
from otel_obs.postgres.pool import translated
from otel_obs.postgres.queries import load

_RETENTION = load("retention")
_log = logging.getLogger(__name__)

BATCH = 10_000
"""Rows in one transaction."""
TABLES = (*HOT_TABLES, "quarantine", "usage_rollups")
"""What runs tell of."""
_BESIDE = {"quarantine": "quarantine", "usage_rollups": "rollups"}
"""Tables that are not partitioned, and what their statements are called after."""

Cutoffs = Mapping[str, datetime]


@dataclass(slots=True)
class Gone:
    """What was deleted of an organization from a table, or would be."""

    cutoff: datetime
    rows: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Report:
    """What a run did, or would do."""

    rows: dict[tuple[str, str], Gone] = field(default_factory=dict)
    """By organization and table."""
    disk: list[dict[str, Any]] = field(default_factory=list)
    """Partitions that were dropped or rewritten, with the bytes that came back."""

    def add(self, organization_id: str, table: str, cutoff: datetime, rows: int, size: float) -> None:
        """Count what went."""
        gone = self.rows.setdefault((organization_id, table), Gone(cutoff))
        gone.rows += rows
        gone.bytes += round(size)

    def as_json(self) -> dict[str, Any]:
        """Return it as ``maintain --once`` tells it."""
        rows = [
            {
                "organization_id": organization_id,
                "table": table,
                "cutoff": gone.cutoff.astimezone(timezone.utc).isoformat().replace("+00:00", "Z"),
                "rows": gone.rows,
                "bytes": gone.bytes,
            }
            for (organization_id, table), gone in sorted(self.rows.items())
        ]
        return {"rows": rows, "disk": self.disk}


class Retention:
    """One run."""

    def __init__(
        self,
        work: Work,
        *,
        batch: int = BATCH,
        rewrite: rewriting.Worth | None = None,
        only: str | None = None,
    ) -> None:
        """Make a run; *only* names the one organization whose rows go."""
        self._work = work
        self._only = None if only is None else [only]
        self._batch = batch
        self._worth = rewrite or rewriting.Worth()
        self._run_id = secrets.token_hex(8)
        self.report = Report()

    def run(self) -> Report:
        """Delete what is too old, or count it.

        Raises:
            ClockDisagreesError: nothing was deleted.
            StorageUnavailableError, LeaseLostError: batches before are committed; another run goes on from there.
        """
        with translated():
            self._check()
            with self._work.pool.connection() as connection:
                found = policies(connection, self._work.now, self._work.grace, ids=self._only)
            wanted = {name: cutoff for name, policy in found.items() if (cutoff := policy.cutoff(self._work.now))}
            for name, cutoff in wanted.items():
                for table in TABLES:
                    self.report.rows[name, table] = Gone(self._cutoff_of(table, cutoff) or cutoff)
            if self._work.dry_run:
                self._count(wanted)
            else:
                self._delete(wanted)
        return self.report

    def _check(self) -> None:
        if self._work.now_is_given:
            return
        with self._work.pool.connection() as connection:
            check_clocks(connection, datetime.now(tz=timezone.utc))

    def _cutoff_of(self, table: str, cutoff: datetime) -> datetime | None:
        """Return the cut-off of *table*: roll-ups may be kept for longer."""
        if table != "usage_rollups" or self._work.rollup_days is None:
            return cutoff
        return min(cutoff, self._work.now - timedelta(days=self._work.rollup_days))

    def _count(self, wanted: Cutoffs) -> None:
        with self._work.pool.connection() as connection:
            for table in HOT_TABLES:
                for partition in partitions.listed(connection, table):
                    due = {name: cutoff for name, cutoff in wanted.items() if expiry.is_due(partition, cutoff)}
                    found = expiry.count_expired(connection, partition, due) if due else {}
                    size = expiry.size_of(connection, partition) if found else expiry.Size(0, 0.0)
                    for name, rows in found.items():
                        self.report.add(name, table, wanted[name], rows, rows * size.row_bytes)
            for table, what in _BESIDE.items():
                for name, cutoff in wanted.items():
                    asked = {"organization_id": name, "cutoff": self._cutoff_of(table, cutoff)}
                    row = connection.execute(_RETENTION[f"count_{what}"], asked).fetchone()
                    if row is not None and row[0]:
                        self.report.add(name, table, cutoff, row[0], row[1])

    def _delete(self, wanted: Cutoffs) -> None:
        self._in_transaction(lambda connection: audit_changes(connection, self._work.grace))
        self._announce()
        with self._work.pool.connection() as connection:
            everything = [found for table in HOT_TABLES for found in partitions.listed(connection, table)]
            due = [x for x in everything if any(expiry.is_due(x, cutoff) for cutoff in wanted.values())]
            present = expiry.organizations_in(connection, due)
        todo = [partition for partition in due if partition.name in present]
        for done, partition in enumerate(todo):
            self._work.progress("retention", done, len(todo))
            self._expire(partition, present[partition.name], wanted)
        for table in _BESIDE:
            for name in wanted:
                self._expire_beside(table, name)
        if wanted:
            self._forget_ids(wanted)
        self._sweep()
        self._give_back(everything, wanted)
        self._in_transaction(self._tell)
        self._in_transaction(lambda connection: connection.execute(_RETENTION["forget_runs"], {"now": self._work.now}))
        self._work.progress("retention", len(todo), max(len(todo), 1))

    def _tell(self, connection: psycopg.Connection) -> None:
        """Write into the audit log that it ran, and for each organization what went of it."""
        gone: dict[str, dict[str, int]] = {}
        for (name, table), one in self.report.rows.items():
            if one.rows:
                gone.setdefault(name, {})[table] = one.rows
        total = sum(sum(tables.values()) for tables in gone.values())
        said = {"now": self._work.now.astimezone(timezone.utc).isoformat(), "organizations": len(gone), "rows": total}
        audit.append(connection, action="retention.run", subject=self._run_id, after=said)
        # In one order: two who write into several chains do not wait for each other in a circle.
        for name in sorted(gone):
            audit.append(
                connection, action="retention.delete", subject=self._run_id, organization_id=name, after=gone[name]
            )

    def _announce(self) -> None:
        """Leave a row for each organization and table, also where nothing will go."""

        def write(connection: psycopg.Connection) -> None:
            for (name, table), gone in self.report.rows.items():
                self._add(connection, name, table, gone.cutoff, rows=0, size=0, took_s=0)

        self._in_transaction(write)

    def _expire(self, partition: Partition, present: list[str], wanted: Cutoffs) -> None:
        due = [name for name in present if name in wanted and expiry.is_due(partition, wanted[name])]
        if not due:
            return
        with self._work.pool.connection() as connection:
            size = expiry.size_of(connection, partition)
        if expiry.is_expired(partition, [wanted.get(name) for name in present]) and self._empty(partition, size):
            return
        for name in due:
            self._expire_rows(partition, name, size)

    def _empty(self, partition: Partition, size: expiry.Size) -> bool:
        """Empty a partition of which nothing is kept; return whether that could be done."""
        began = time.monotonic()

        def work(connection: psycopg.Connection) -> dict[str, tuple[datetime, int]] | None:
            present = expiry.organizations_in(connection, [partition]).get(partition.name, [])
            found = cutoffs(connection, self._work.now, self._work.grace, present)
            limits = {name: limit for name in present if (limit := found.get(name)) is not None}
            counts = expiry.count_expired(connection, partition, limits)
            expiry.lock_whole(connection, partition)
            # Who came meanwhile may be one that keeps its rows.
            still = expiry.organizations_in(connection, [partition]).get(partition.name, [])
            if not expiry.is_expired(partition, [limits.get(name) for name in still]):
                return None
            expiry.empty(connection, partition)
            gone = {name: (limits[name], rows) for name, rows in counts.items()}
            for name, (cutoff, rows) in gone.items():
                took_s = (time.monotonic() - began) / max(len(gone), 1)
                self._note(connection, name, partition.table, cutoff, rows, rows * size.row_bytes, took_s)
            self._note_disk(connection, partition, "drop", size.bytes, began)
            return gone

        try:
            gone = self._in_transaction(work)
        except errors.LockNotAvailable:
            return False
        if gone is None:
            return False
        for name, (cutoff, rows) in gone.items():
            self.report.add(name, partition.table, cutoff, rows, rows * size.row_bytes)
        return True

    def _expire_rows(self, partition: Partition, name: str, size: expiry.Size) -> None:
        """Delete an organization's rows in batches."""
        more = True
        while more:
            began = time.monotonic()

            def work(connection: psycopg.Connection, began: float = began) -> tuple[datetime, int] | None:
                cutoff = cutoffs(connection, self._work.now, self._work.grace, [name]).get(name)
                if cutoff is None:
                    return None
                rows = expiry.delete_expired(connection, partition, name, cutoff, self._batch)
                if rows:
                    share = rows * size.row_bytes
                    self._note(connection, name, partition.table, cutoff, rows, share, time.monotonic() - began)
                    connection.execute(
                        _RETENTION["left_space"], {"partition": partition.name, "rows": rows, "bytes": round(share)}
                    )
                return cutoff, rows

            done = self._in_transaction(work)
            if done is not None and done[1]:
                self.report.add(name, partition.table, done[0], done[1], done[1] * size.row_bytes)
            more = done is not None and done[1] == self._batch

    def _expire_beside(self, table: str, name: str) -> None:
        more = True
        while more:
            began = time.monotonic()

            def work(connection: psycopg.Connection, began: float = began) -> tuple[datetime, int, int] | None:
                cutoff = cutoffs(connection, self._work.now, self._work.grace, [name]).get(name)
                cutoff = None if cutoff is None else self._cutoff_of(table, cutoff)
                if cutoff is None:
                    return None
                asked = {"organization_id": name, "cutoff": cutoff, "limit": self._batch}
                sizes = connection.execute(_RETENTION[f"expire_{_BESIDE[table]}"], asked).fetchall()
                total = sum(row[0] or 0 for row in sizes)
                if sizes:
                    self._add(
                        connection, name, table, cutoff, rows=len(sizes), size=total, took_s=time.monotonic() - began
                    )
                return cutoff, len(sizes), total

            done = self._in_transaction(work)
            if done is not None and done[1]:
                self.report.add(name, table, done[0], done[1], done[2])
            more = done is not None and done[1] == self._batch

    def _forget_ids(self, wanted: Cutoffs) -> None:
        """Forget response ids and reports of calls that are gone."""
        asked = {**arrays(("ids", "cutoffs"), wanted.items()), "latest": max(wanted.values()), "limit": self._batch}
        for statement in ("expire_registry", "expire_reports"):
            while (
                self._in_transaction(lambda c, s=statement: c.execute(_RETENTION[s], asked).rowcount)  # type: ignore[misc]
                == self._batch
            ):
                pass

    def _sweep(self) -> None:
        """Delete what writers left of tenants that were deleted meanwhile."""
        for gone in sweeping.unswept(self._work.pool):
            rows = sweeping.sweep(gone, self._in_transaction, self._batch)
            self._in_transaction(lambda connection, gone=gone: sweeping.swept(connection, gone))  # type: ignore[misc]
            if rows:
                _log.warning("%d rows of deleted tenants were left and are gone now", rows)
        self._in_transaction(lambda connection: connection.execute(_RETENTION["quarantine_of_nobody"]).rowcount)

    def _give_back(self, everything: list[Partition], wanted: Cutoffs) -> None:
        """Rewrite cold partitions that are mostly empty, and drop the oldest weeks that are."""
        for partition in rewriting.worth_it(self._work.pool, everything, wanted.values(), self._work.now, self._worth):
            self._rewrite(partition)
        try:
            self._in_transaction(self._drop_weeks)
        except errors.LockNotAvailable:
            _log.info("empty weeks stay until nobody reads them")

    def _drop_weeks(self, connection: psycopg.Connection) -> None:
        # Writers live in the present, whatever moment the run is given.
        now = min(self._work.now, time_of(connection))
        partitions.drop_empty(connection, partitions.week_of(now) - 4 * partitions.WEEK)

    def _rewrite(self, partition: Partition) -> None:
        began = time.monotonic()

        def work(connection: psycopg.Connection) -> None:
            given = rewriting.rewrite(connection, partition)
            self._note_disk(connection, partition, "rewrite", given, began)

        try:
            self._in_transaction(work)
        except errors.LockNotAvailable:
            _log.info("%s is rewritten once nobody uses it", partition.name)

    def _note(
        self,
        connection: psycopg.Connection,
        name: str,
        table: str,
        cutoff: datetime,
        rows: int,
        size: float,
        took_s: float,
    ) -> None:
        self._add(connection, name, table, cutoff, rows=rows, size=size, took_s=took_s)
        connection.execute(_RETENTION["expired"], {"ids": [name], "cutoffs": [cutoff]})

    def _note_disk(
        self, connection: psycopg.Connection, partition: Partition, action: str, given: int, began: float
    ) -> None:
        connection.execute(_RETENTION["no_space_left"], {"partition": partition.name})
        self._add(
            connection, None, partition.table, None, rows=0, size=given, took_s=time.monotonic() - began,
            partition_name=partition.name, action=action,
        )  # fmt: skip
        self.report.disk.append(
            {"table": partition.table, "partition": partition.name, "action": action, "bytes": given}
        )

    def _add(
        self,
        connection: psycopg.Connection,
        name: str | None,
        table: str,
        cutoff: datetime | None,
        *,
        rows: int,
        size: float,
        took_s: float,
        partition_name: str | None = None,
        action: str = "delete",
    ) -> None:
        connection.execute(
            _RETENTION["add_to_run"],
            {
                "run_id": self._run_id,
                "ran_at": self._work.now,
                "organization_id": name,
                "table_name": table,
                "cutoff": cutoff,
                "rows": rows,
                "bytes": round(size),
                "duration_ms": took_s * 1000,
                "partition_name": partition_name,
                "action": action,
            },
        )

    def _in_transaction(self, work: Callable[[psycopg.Connection], Any]) -> Any:
        """Return what *work* returns, done in a transaction of whoever holds the lease."""
        return _patiently(self._once, work)

    def _once(self, work: Callable[[psycopg.Connection], Any]) -> Any:
        with self._work.pool.connection() as connection, connection.transaction():
            self._work.fence(connection)
            return work(connection)


_patiently = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(
        (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable)
    ),
    stop=tenacity.stop_after_attempt(4),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=1.0),
    reraise=True,
)
"""Whoever waits in a circle gives way, and whoever finds a partition in use comes again."""


def dry(work: Work) -> Report:
    """Return what a run would delete."""
    return Retention(replace(work, dry_run=True)).run()
