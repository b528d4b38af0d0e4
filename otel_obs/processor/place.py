"""Which exporter, and which folder belongs to its destination?"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace.export import SpanExporter

from otel_obs.errors import ConfigurationError
from otel_obs.pipeline.sealing import Sealer, sealer_of
from otel_obs.settings import Settings

_log = logging.getLogger("otel_obs.processor")

_CONFIGURATION = ("OTEL_EXPORTER_OTLP_", "OTEL_OBS_DATABASE_URL", "OTEL_OBS_ORGANIZATION_ID", "OTEL_OBS_WORKSPACE_ID")
_OWN_CONNECTIONS = ("grpc.use_local_subchannel_pool", 1)
_ADDRESS = ("_endpoint", "_headers", "_database_url", "endpoint")


class ExporterPlace:
    """Holds the exporter of this process; one that a callable makes is made when it is needed."""

    def __init__(self, exporter: SpanExporter | Callable[[], SpanExporter]) -> None:
        self._given = exporter
        self._current: SpanExporter | None = None
        self._inherited = False

    def current(self) -> SpanExporter:
        """Return the exporter of this process."""
        if self._current is None:
            made = self._given if isinstance(self._given, SpanExporter) else self._given()
            if self._inherited and made is self._given:
                _close_connections(made)
            self._current = made
        return self._current

    def forget(self) -> None:
        """Let go of what the parent process uses, after a fork."""
        self._inherited = True
        self._current = None

    def force_flush(self, timeout_s: float) -> bool:
        """Let the exporter write what it holds back; return False if it says that it did not."""
        try:
            return self._current is None or self._current.force_flush(max(1, int(timeout_s * 1000))) is not False
        except BaseException as error:  # noqa: BLE001  # exporters are strangers
            _log.warning("the exporter cannot be flushed: %s", type(error).__name__)
            return False

    def shutdown(self) -> None:
        """Let go of the exporter."""
        try:
            if self._current is not None or isinstance(self._given, SpanExporter):
                self.current().shutdown()
        except BaseException as error:  # noqa: BLE001  # exporters are strangers
            _log.warning("the exporter cannot be shut down: %s", type(error).__name__)


def spool_folder(exporter: object, destination: str | None) -> Path | None:
    """Return the folder of a destination in ``OTEL_OBS_DATA_DIR``; None if there is none to be had.

    What one application could not send must not come under another's credential, so that the name holds a
    digest of address and headers.
    """
    try:
        data_dir = Settings.from_env(os.environ).data_dir
    except (ConfigurationError, RuntimeError, OSError) as error:
        _log.warning("spans are not kept on disk: %s", error)
        return None
    return data_dir / "spool" / (destination or _named(exporter))


def spool_sealer() -> Sealer | None:
    """Return what seals spans on disk; None if ``OTEL_OBS_ENCRYPTION_KEYS`` cannot be used: then none go there."""
    if not os.environ.get("OTEL_OBS_ENCRYPTION_KEYS"):
        return Sealer()
    try:
        return sealer_of(Settings.from_env(os.environ).encryption_keys)
    except ConfigurationError as error:
        _log.warning("spans are not kept on disk: %s", error)
        return None


def _named(exporter: object) -> str:
    kind = exporter.__name__ if isinstance(exporter, type) else type(exporter).__name__
    holders = (exporter, getattr(exporter, "_client", None))
    parts = [repr(getattr(holder, name, None)) for holder in holders for name in _ADDRESS]
    parts += [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(_CONFIGURATION)]
    return f"{kind}-{hashlib.sha256('|'.join(parts).encode(errors='replace')).hexdigest()[:12]}"


def _close_connections(exporter: Any) -> None:
    """Let go of what an exporter of OTLP inherited: two processes must not speak on one connection.

    Over gRPC that is a channel, which must not even be closed in a child (https://grpc.io/docs/guides/fork-support).
    Its successor shares no connection with it: inside of gRPC channels do, and with it the parent's waiting for a
    server that was away when the child was made.
    """
    connect = getattr(exporter, "_initialize_channel_and_stub", None)
    if connect is not None:
        options = getattr(exporter, "_channel_options", None)
        if isinstance(options, tuple):
            exporter._channel_options = (*options, _OWN_CONNECTIONS)  # noqa: SLF001  # there is no other way in
        connect()
    for holder in (exporter, getattr(exporter, "_client", None)):
        for name in ("_session", "_transport"):
            close = getattr(getattr(holder, name, None), "close", None)
            if close is not None:
                close()
