"""The gateway, put together: receivers in front, one writer, one settler and a spool behind them."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

from psycopg_pool import ConnectionPool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from otel_obs.errors import ObsError, StorageUnavailableError
from otel_obs.pipeline.committing import Committer
from otel_obs.pipeline.drain import Drain
from otel_obs.pipeline.ingest import reprice
from otel_obs.pipeline.intake import COMMIT_WITHIN_S, Intake
from otel_obs.pipeline.mapping import mapping_of
from otel_obs.pipeline.queue import CommitQueue, Settler
from otel_obs.pipeline.sealing import sealer_of
from otel_obs.pipeline.spool import Spool
from otel_obs.pipeline.standing import Standing
from otel_obs.pipeline.stored import settling
from otel_obs.pipeline.watch import Watch
from otel_obs.postgres import schema
from otel_obs.postgres.incidents import Incident, Incidents
from otel_obs.postgres.keys import PostgresKeys
from otel_obs.postgres.policies import add_usage, read_policies, read_usage
from otel_obs.postgres.pool import fingerprint, open_pool, translated
from otel_obs.postgres.prices import Current
from otel_obs.postgres.roles import check_reader
from otel_obs.postgres.store import PostgresStore
from otel_obs.postgres.vault import vault_of
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog
from otel_obs.receiver.auth import ADMIN, READ, Authenticator, authenticator_by
from otel_obs.receiver.grpc import GrpcReceiver
from otel_obs.receiver.http import HttpReceiver, address_of, refusal
from otel_obs.receiver.limits import RateLimits
from otel_obs.receiver.memory import Memory
from otel_obs.receiver.metrics import GatewayMetrics
from otel_obs.receiver.service import ExportService
from otel_obs.receiver.status import answer_to
from otel_obs.receiver.tls import certificates_of
from otel_obs.rows.policy import rule_of
from otel_obs.rows.usage import Added, Used
from otel_obs.settings import Settings, is_loopback
from otel_obs.tenancy import limits_of

_log = logging.getLogger(__name__)

SETTLE_AT_ONCE = 500
"""Traces in one settling transaction."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the gateway can be reached."""

    grpc: str
    http: str
    api: str | None = None


class Gateway:
    """OTLP in, rows out."""

    def __init__(self, settings: Settings, database_url: str, *, share_ports: bool = False) -> None:
        for endpoint in (settings.grpc_endpoint, settings.http_endpoint):
            settings.check_listener(endpoint)
        certificates = certificates_of(settings)
        self._settings = settings
        self._prices = PriceBook(default_catalog())
        self._standing = Standing(
            rule_of(settings.content),
            limits_of(settings),
            settings.data_dir / f"tenants-{fingerprint(database_url)}.json",
        )
        self._mapping = mapping_of(settings, self._prices, self._standing.rules)
        self._pool: ConnectionPool = open_pool(database_url, writes=True)
        repriced = partial(reprice, price=self._mapping.price)
        self._store = PostgresStore(
            self._pool, self._prices.row, current=Current(self._prices, repriced), vault=vault_of(settings)
        )
        self._incidents = Incidents(self._pool)
        self.metrics = GatewayMetrics()
        self.exposition: Callable[[], bytes] = self.metrics.exposition
        """What ``/metrics`` shows."""
        self._is_walled = False
        self._watch = Watch(self._ask_database)
        price, committed = self._mapping.price, self.metrics.committed
        # A process alone writes by two connections: rows are made while others are committed. Of several, each by one.
        writers = 2 if (settings.workers or 1) == 1 else 1
        self._queue = CommitQueue(
            self._store, price, answer_within_s=COMMIT_WITHIN_S, committed=committed, writers=writers
        )
        self._drain = self._drain_of(settings, database_url)
        self._intake = Intake(self._queue, self._watch, self._drain)
        self._memory = Memory(settings.max_memory_bytes)
        self._settling = settling(repriced)
        self._settler = Settler(self._settle_some)
        self._stopping = False
        # A pool of its own: who guesses keys takes no connection from writers.
        self._key_pool = open_pool(database_url, max_size=1) if settings.auth == "keys" else None
        self.authenticator = None if self._key_pool is None else _authenticator(self._key_pool, self.metrics)
        limit = settings.max_request_bytes
        self._limits = RateLimits(
            self._standing.limits, settings.organization_id, settings.workers or 1, refused=self.metrics.failed
        )
        self.export = ExportService(
            self._intake, self._mapping, self._standing, self._limits, self.metrics, self._incidents, self._watch.check
        ).export
        """Stores what was decoded (`ExportService.export`)."""
        self._grpc = GrpcReceiver(
            self.export,
            settings.grpc_endpoint,
            max_request_bytes=limit,
            authenticator=self.authenticator,
            memory=self._memory,
            limits=self._limits,
            share_port=share_ports,
            certificates=certificates,
            trusted_proxies=settings.trusted_proxies,
        )
        self._http = HttpReceiver(
            self.export,
            settings.http_endpoint,
            max_request_bytes=limit,
            authenticator=self.authenticator,
            memory=self._memory,
            limits=self._limits,
            share_port=share_ports,
            certificates=certificates,
            trusted_proxies=settings.trusted_proxies,
            extra_routes=self._routes(),
        )
        self._report()

    def _drain_of(self, settings: Settings, database_url: str) -> Drain | None:
        """Return what keeps requests on disk; None where the operator gives no room for it."""
        if not settings.spool_max_bytes:
            return None
        folder = settings.data_dir / "spool" / f"gateway-{fingerprint(database_url)}"
        spool = self._spool = Spool(folder, max_bytes=settings.spool_max_bytes)
        committer = Committer(self._store, self._mapping.price, self.metrics.committed, from_spool=True)
        return Drain(spool, sealer_of(settings.encryption_keys), self._mapping, committer, lambda: self._watch.is_fit)

    def _report(self) -> None:
        """Tell what others count."""
        metrics, drain = self.metrics, self._drain
        metrics.watch_queue(lambda: self._queue.size_bytes)
        metrics.watch("otel_obs_database_up", "1 while rows can be written, else 0.", lambda: self._watch.is_fit)
        metrics.watch("otel_obs_memory_bytes", "What the process holds.", lambda: self._memory.held_bytes)
        metrics.watch(
            "otel_obs_memory_limit_bytes", "At four fifths of it requests are refused.",
            lambda: self._memory.limit_bytes,
        )  # fmt: skip
        if drain is None:
            return
        spooled, drained = self._spool.counts, drain.counts
        metrics.watch("otel_obs_spool_bytes", "What is on disk.", lambda: drain.size_bytes)
        metrics.watch(
            "otel_obs_spool_max_bytes", "How much may be on disk.", lambda: self._settings.spool_max_bytes
        )  # fmt: skip
        metrics.watch("otel_obs_lag_seconds", "How long the oldest request on disk has waited.", lambda: drain.lag_s)
        metrics.watch_total(
            "otel_obs_spool_records", "Records that left the disk: all of them, and those of deleted tenants.",
            {"drained": lambda: drained.drained, "deleted": lambda: drained.deleted},
        )  # fmt: skip
        metrics.watch_total(
            "otel_obs_spool_damaged", "Places of the spool that could not be read.",
            {
                "torn": lambda: spooled.torn,
                "corrupt": lambda: spooled.corrupt,
                "unreadable": lambda: drained.unreadable,
            },
        )  # fmt: skip

    def start(self) -> Listening:
        """Listen, and return where.

        Raises:
            ConfigurationError: an address cannot be listened on.
        """
        if self.authenticator is not None:
            self.authenticator.start()
        self._watch.start()
        grpc = _with_port(self._settings.grpc_endpoint, self._grpc.start())
        http = _with_port(self._settings.http_endpoint, self._http.start())
        if self._drain is not None:
            self._drain.start()
        self._settler.start()
        return Listening(grpc, http)

    def check(self) -> None:
        """See to it that rows can be written.

        Raises:
            ObsError: they cannot; the message says why.
        """
        self._watch.check()

    def can_take(self) -> None:
        """See to it that requests can be taken: rows can be written, or kept on disk until they can.

        Raises:
            ObsError: they cannot; the message says why.
        """
        try:
            self._watch.check()
        except StorageUnavailableError:
            if self._drain is None:
                raise

    def _ask_database(self) -> None:
        """See to it that this program fits the database."""
        with translated(), self._pool.connection() as connection:
            schema.check(connection)
            if not self._is_walled:
                check_reader(connection)
                self._is_walled = True
            self._standing.learn(read_policies(connection))
        try:
            self._standing.exchange(self._exchange)
        except ObsError as error:
            # Whether rows can be written is not told by what is counted beside them.
            _log.debug("usage is written later: %s", error)

    def _exchange(self, added: Collection[Added], asked: Collection[str], today: date) -> Mapping[str, Used]:
        """Write how much tenants used, and return what all gateways know of those that have quotas."""
        if not added and not asked:
            return {}
        with translated(), self._pool.connection() as connection:
            add_usage(connection, added)
            return read_usage(connection, asked, today)

    def settle_all(self) -> None:
        """Bring every trace into its final form now."""
        while self._store.settle(self._settling, limit=SETTLE_AT_ONCE, all_now=True):
            pass

    def _settle_some(self) -> int:
        if not self._watch.is_fit:
            return 0
        if self._drain is not None and self._spool.counts.corrupt:
            self._incidents.note(Incident(action="spool.damaged", subject=socket.gethostname(), actor="gateway"))
        self._incidents.write()
        count = self._store.settle(self._settling, limit=SETTLE_AT_ONCE)
        self.metrics.settled.inc(count)
        return count

    def stop(self, grace_s: float = 10.0) -> None:
        """Accept nothing more, commit what was accepted, settle it, and let go of the database."""
        self._stopping = True
        receivers = [threading.Thread(target=receiver.stop, args=(grace_s,)) for receiver in (self._grpc, self._http)]
        for thread in receivers:
            thread.start()
        for thread in receivers:
            thread.join()
        self._queue.close(grace_s)
        if self._drain is not None:
            self._drain.close()
        self._settler.close()
        if self._watch.is_fit:
            try:
                self.settle_all()
            except ObsError as error:
                _log.warning("traces remain to be settled: %s", error)
            with suppress(ObsError):
                self._standing.exchange(self._exchange)
        self._watch.close()
        self._pool.close(1.0)
        if self.authenticator is not None and self._key_pool is not None:
            self.authenticator.close()
            self._key_pool.close(1.0)

    def _routes(self) -> list[Route]:
        return [
            Route("/healthz", self._healthz, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
        ]

    def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    def _readyz(self, _: Request) -> Response:
        if self._stopping:
            return JSONResponse({"ready": False, "reason": "stopping"}, status_code=503)
        try:
            self.check()
        except ObsError as error:
            return JSONResponse({"ready": False, "reason": str(error)}, status_code=503)
        return JSONResponse({"ready": True})

    def _metrics(self, request: Request) -> Response:
        if self.authenticator is not None and not is_loopback(self._settings.http_endpoint):
            try:
                self.authenticator.authenticate(request.headers.items(), READ, ADMIN, address=address_of(request))
            except ObsError as error:
                return refusal(answer_to(error), json=True)
        return Response(self.exposition(), media_type="text/plain; version=0.0.4")


def _authenticator(pool: ConnectionPool, metrics: GatewayMetrics) -> Authenticator:
    return authenticator_by(PostgresKeys(pool), metrics.failed)


def _with_port(endpoint: str, port: int) -> str:
    return f"{endpoint.rpartition(':')[0]}:{port}"


def write_run_file(path: Path, listening: Listening, database_url: str) -> None:
    """Tell other processes of this data folder where everything is."""
    content = {
        "pid": os.getpid(),
        "grpc": listening.grpc,
        "http": listening.http,
        "api": listening.api,
        "database_url": database_url,
    }
    half = path.with_suffix(".tmp")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
    half.replace(path)
