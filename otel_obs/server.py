"""The gateway, put together: receivers in front, one writer and one settler behind them."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from psycopg_pool import ConnectionPool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from otel_obs.errors import ObsError
from otel_obs.model import Decoded
from otel_obs.pipeline.ingest import Received, receive, reprice
from otel_obs.pipeline.mapping import mapping_of
from otel_obs.pipeline.queue import CommitQueue, Settler
from otel_obs.pipeline.stored import settling
from otel_obs.postgres import schema
from otel_obs.postgres.keys import PostgresKeys
from otel_obs.postgres.pool import open_pool, translated
from otel_obs.postgres.prices import operator_prices
from otel_obs.postgres.store import PostgresStore
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog
from otel_obs.receiver.auth import ADMIN, READ, Authenticator
from otel_obs.receiver.export import Outcome
from otel_obs.receiver.grpc import GrpcReceiver
from otel_obs.receiver.http import HttpReceiver, refusal
from otel_obs.receiver.known_keys import KnownKeys
from otel_obs.receiver.metrics import GatewayMetrics
from otel_obs.receiver.status import answer_to
from otel_obs.rows.batch import Written
from otel_obs.settings import Settings, is_loopback
from otel_obs.tenancy import Sender

_log = logging.getLogger(__name__)

SETTLE_AT_ONCE = 500
"""Traces in one settling transaction."""
_FITS_FOR_S = 5.0
"""How long a check of the schema, and the operators' prices, are believed."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the gateway can be reached."""

    grpc: str
    http: str
    api: str | None = None


class Gateway:
    """OTLP in, rows out."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        for endpoint in (settings.grpc_endpoint, settings.http_endpoint):
            settings.check_listener(endpoint)
        self._settings = settings
        self._prices = PriceBook(default_catalog())
        self._mapping = mapping_of(settings, self._prices)
        self._pool: ConnectionPool = open_pool(database_url)
        self._store = PostgresStore(self._pool, self._prices.row)
        self.metrics = GatewayMetrics()
        self._queue = CommitQueue(self._store, self._mapping.price, committed=self.metrics.committed)
        self.metrics.watch_queue(lambda: self._queue.size_bytes)
        self._settling = settling(partial(reprice, price=self._mapping.price))
        self._settler = Settler(self._settle_some)
        self._fits_until = 0.0
        self._stopping = False
        # A pool of its own: who guesses keys takes no connection from writers.
        self._key_pool = open_pool(database_url, max_size=1) if settings.auth == "keys" else None
        self.authenticator = None if self._key_pool is None else _authenticator(self._key_pool, self.metrics)
        limit = settings.max_request_bytes
        self._grpc = GrpcReceiver(
            self.export, settings.grpc_endpoint, max_request_bytes=limit, authenticator=self.authenticator
        )
        self._http = HttpReceiver(
            self.export,
            settings.http_endpoint,
            max_request_bytes=limit,
            authenticator=self.authenticator,
            extra_routes=self._routes(),
        )

    def start(self) -> Listening:
        """Listen, and return where.

        Raises:
            ConfigurationError: an address cannot be listened on.
        """
        if self.authenticator is not None:
            self.authenticator.start()
        grpc = _with_port(self._settings.grpc_endpoint, self._grpc.start())
        http = _with_port(self._settings.http_endpoint, self._http.start())
        self._settler.start()
        return Listening(grpc, http)

    def check(self) -> None:
        """See to it that rows can be written, at the prices that operators have set.

        Raises:
            ObsError: they cannot; the message says why.
        """
        if time.monotonic() < self._fits_until:
            return
        with translated(), self._pool.connection() as connection:
            schema.check(connection)
            self._prices.set_own(operator_prices(connection))
        self._fits_until = time.monotonic() + _FITS_FOR_S

    def export(self, decoded: Decoded, sender: Sender) -> Outcome:
        """Store what was decoded; return once it is committed.

        Raises:
            ObsError: nothing was stored.
        """
        signals = Counter(item.signal for item in decoded.rejected)
        self.metrics.received.labels("traces").inc(len(decoded.spans) + signals["traces"])
        self.metrics.received.labels("logs").inc(len(decoded.logs) + signals["logs"])
        try:
            self.check()
            received = receive(decoded, sender, datetime.now(tz=timezone.utc), self._mapping)
            self.metrics.received.labels("span_events").inc(sum(len(found.extra_events) for found in received.records))
            if received.dropped:
                self.metrics.dropped.labels("not_genai").inc(received.dropped)
            if not received.records and not received.quarantined:
                return Outcome(0, decoded.warning)
            with self.metrics.request_seconds.time():
                written = self._queue.submit(received)
        except ObsError as error:
            self.metrics.failed(error)
            raise
        for item in received.quarantined:
            self.metrics.rejected.labels(item.reason).inc()
        return _outcome(received, written, decoded.warning)

    def settle_all(self) -> None:
        """Bring every trace into its final form now."""
        while self._store.settle(self._settling, limit=SETTLE_AT_ONCE, all_now=True):
            pass

    def _settle_some(self) -> int:
        self.check()
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
        self._settler.close()
        try:
            self.settle_all()
        except ObsError as error:
            _log.warning("traces remain to be settled: %s", error)
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
        try:
            self.check()
        except ObsError as error:
            return JSONResponse({"ready": False, "reason": str(error)}, status_code=503)
        if self._stopping:
            return JSONResponse({"ready": False, "reason": "stopping"}, status_code=503)
        return JSONResponse({"ready": True})

    def _metrics(self, request: Request) -> Response:
        if self.authenticator is not None and not is_loopback(self._settings.http_endpoint):
            try:
                self.authenticator.authenticate(request.headers.items(), READ, ADMIN)
            except ObsError as error:
                return refusal(answer_to(error), json=True)
        return Response(self.metrics.exposition(), media_type="text/plain; version=0.0.4")


def _authenticator(pool: ConnectionPool, metrics: GatewayMetrics) -> Authenticator:
    return Authenticator(KnownKeys(PostgresKeys(pool)), refused=metrics.failed)


def _outcome(received: Received, written: Written, warning: str) -> Outcome:
    """Return what is told to the sender of *received*, which was written together with others' requests."""
    keys = {record.key for record in received.records}
    reasons = Counter(item.reason for item in received.quarantined)
    reasons.update(reason for key, reason in written.refused.items() if key in keys)
    told = ", ".join(f"{count} x {reason}" for reason, count in sorted(reasons.items()))
    message = f"rejected, kept in quarantine: {told}" if told else warning
    return Outcome(reasons.total(), message)


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
