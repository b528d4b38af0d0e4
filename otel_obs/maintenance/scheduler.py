"""Jobs at their times, until it is told to stop.

APScheduler keeps the intervals; when the schedule is due, and who serves it, is asked of the database, so that several
schedulers serve each time once, and one that was missed as soon as one of them is up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import psycopg
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from psycopg_pool import ConnectionPool

from otel_obs.errors import LeaseLostError, ObsError
from otel_obs.maintenance import slots
from otel_obs.maintenance.jobs import JOBS, Job, run, settle_overdue
from otel_obs.maintenance.lease import Lease
from otel_obs.maintenance.policy import time_of
from otel_obs.maintenance.slots import Schedule
from otel_obs.maintenance.work import Actions, Done, Work
from otel_obs.postgres.pool import translated
from otel_obs.postgres.prices import operator_prices
from otel_obs.postgres.vault import Vault
from otel_obs.pricing.book import PriceBook

_log = logging.getLogger(__name__)

SETTLE_EVERY_S = 1.0
LOOK_EVERY_S = 10.0
"""How often the database is asked whether the schedule is due."""
BUDGETS = "budgets"
HOURLY = ("rollups", "reprice")
"""Jobs that run between the times of the schedule too."""
CLOCK_EVERY_S = 1.0
CLOCK_JUMP_S = 2.0
"""More than a clock is slewed by in that time."""
PRICES_FOR_S = 10.0
"""How long the operators' prices are believed."""
BUDGETS_EVERY_S = 20.0
"""How often budgets are looked at; they have a lease of their own, for retention may take hours."""
SAY_AGAIN_S = 600.0
"""How often the same failure is logged."""


class Scheduler:
    """Runs the jobs in threads of its own."""

    def __init__(
        self,
        pool: ConnectionPool,
        book: PriceBook,
        schedule: Schedule,
        *,
        grace: timedelta = timedelta(days=7),
        rollup_days: int | None = None,
        settles: bool = True,
        actions: Actions | None = None,
        vault: Vault | None = None,
        jobs: Mapping[str, Job] = JOBS,
    ) -> None:
        self._pool = pool
        self._book = book
        self._schedule = schedule
        self._grace = grace
        self._rollup_days = rollup_days
        self._actions = actions or Actions()
        self._vault = vault
        self._jobs = jobs
        self._stopping = threading.Event()
        self._said: dict[str, float] = {}
        self._clock_thread = threading.Thread(target=self._mind_the_clock, name="otel-obs-clock", daemon=True)
        self._prices_until = 0.0
        self._scheduler = BackgroundScheduler(
            timezone=timezone.utc,
            executors={"default": ThreadPoolExecutor(4)},
            # A round that comes late is not made up for: the next one does all there is to do.
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        now = datetime.now(tz=timezone.utc)
        every = self._scheduler.add_job
        every(self._serve_slot, "interval", seconds=LOOK_EVERY_S, next_run_time=now)
        every(self._hourly, "interval", hours=1)
        every(self._budgets, "interval", seconds=BUDGETS_EVERY_S, next_run_time=now)
        if settles:
            every(self._settle, "interval", seconds=SETTLE_EVERY_S, next_run_time=now)

    def start(self) -> None:
        """Begin; what was missed is caught up at once."""
        # Its own log tells of each round.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler.start()
        self._clock_thread.start()

    def stop(self) -> None:
        """End; a job that is under way stops after its transaction, and is gone on with by whoever comes next."""
        self._stopping.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
            self._clock_thread.join()

    def _mind_the_clock(self) -> None:
        """Begin all rounds anew when somebody set the clock: one set back would let them wait for it to catch up."""
        known = time.time() - time.monotonic()
        while not self._stopping.wait(CLOCK_EVERY_S):
            found = time.time() - time.monotonic()
            if abs(found - known) > CLOCK_JUMP_S:
                _log.warning("the clock of this host was set by %+.0f s", found - known)
                for job in self._scheduler.get_jobs():
                    job.modify(next_run_time=datetime.now(tz=timezone.utc))
            known = found

    def _settle(self) -> None:
        with self._tolerant("settle"):
            self._refresh_prices()
            settle_overdue(self._pool, self._book, vault=self._vault)

    def _refresh_prices(self) -> None:
        """Price what settling finds with what operators have set meanwhile."""
        if time.monotonic() >= self._prices_until:
            with translated(), self._pool.connection() as connection:
                self._book.set_own(operator_prices(connection))
            self._prices_until = time.monotonic() + PRICES_FOR_S

    def _hourly(self) -> None:
        with self._tolerant("jobs"):
            self._run([name for name in HOURLY if name in self._jobs])

    def _budgets(self) -> None:
        if BUDGETS in self._jobs:
            with self._tolerant(BUDGETS):
                self._run([BUDGETS], lease=Lease(self._pool, name=BUDGETS))

    def _serve_slot(self) -> None:
        with self._tolerant("schedule"):
            with translated(), self._pool.connection() as connection:
                slot = slots.due(connection, self._schedule)
            if slot is not None:
                self._run([name for name in self._jobs if name != BUDGETS], slot)

    def _run(self, names: Sequence[str], slot: datetime | None = None, lease: Lease | None = None) -> None:
        lease = lease or Lease(self._pool)
        if not lease.take():
            _log.info("another runner has it: not leader")
            return
        with lease:
            if slot is not None and not self._begin(lease, slot):
                return
            work = replace(self._work(), fence=lambda connection: self._fence(lease, connection))
            found = run(names, work, self._jobs)
            for done in found:
                if done.error and not self._stopping.is_set():
                    _log.error("%s: %s", done.job, done.error)
            broken_off = self._stopping.is_set() and any(done.error for done in found)
            if slot is not None and not broken_off:
                self._end(lease, slot, found)

    def _begin(self, lease: Lease, slot: datetime) -> bool:
        with translated(), self._pool.connection() as connection, connection.transaction():
            lease.fence(connection)
            return slots.begin(connection, slot)

    def _end(self, lease: Lease, slot: datetime, found: Sequence[Done]) -> None:
        with translated(), self._pool.connection() as connection, connection.transaction():
            lease.fence(connection)
            slots.end(connection, slot, found)

    def _fence(self, lease: Lease, connection: psycopg.Connection) -> None:
        if self._stopping.is_set():
            raise LeaseLostError("stopping")
        lease.fence(connection)

    def _work(self) -> Work:
        return Work(
            pool=self._pool,
            book=self._book,
            now=clock(self._pool),
            grace=self._grace,
            rollup_days=self._rollup_days,
            actions=self._actions,
            vault=self._vault,
        )

    def _tolerant(self, what: str) -> _Tolerant:
        return _Tolerant(lambda error: self._tell(what, error))

    def _tell(self, what: str, error: Exception) -> None:
        """Log a failure, the same one not over and over again."""
        key = f"{what}: {error}"
        now = time.monotonic()
        if now - self._said.get(key, -SAY_AGAIN_S) >= SAY_AGAIN_S and not self._stopping.is_set():
            self._said[key] = now
            _log.error("%s", key)


class _Tolerant:
    """Lets a round fail and the next one begin."""

    def __init__(self, tell: Callable[[Exception], None]) -> None:
        self._tell = tell

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if isinstance(error, ObsError | psycopg.Error):
            self._tell(error)
            return True
        return False


def clock(pool: ConnectionPool) -> datetime:
    """Return what time it is, by the database's clock.

    Raises:
        StorageUnavailableError: it does not answer.
    """
    with translated(), pool.connection() as connection:
        return time_of(connection)
