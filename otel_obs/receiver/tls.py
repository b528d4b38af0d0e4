"""How do others know that they talk to this server, and it to whom it talks?

TLS 1.2 or newer, with the certificate of two files that are read again when they change: each new connection looks.
Where a file of authorities is given, only who has a certificate of theirs gets in. A change that cannot be used (half
written, a key that does not fit) leaves in force what was.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from otel_obs.errors import ConfigurationError

if TYPE_CHECKING:
    import grpc

    from otel_obs.settings import Settings

_log = logging.getLogger(__name__)

_State = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What the files held when they were last of use."""

    context: ssl.SSLContext
    chain: bytes
    key: bytes
    authorities: bytes | None


class Certificates:
    """The certificate of this server and the authorities of its clients, as the files have them now."""

    def __init__(self, chain: Path, key: Path, authorities: Path | None = None) -> None:
        """Read the files.

        Raises:
            ConfigurationError: they cannot be used; the message names them.
        """
        self._chain, self._key, self._authorities = chain, key, authorities
        self._lock = Lock()
        try:
            self._seen = self._state()
            self._loaded = self._load()
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"TLS needs a certificate and its key: {self._names()}: {error}") from None

    @property
    def asks_clients(self) -> bool:
        """Tell whether clients need a certificate."""
        return self._authorities is not None

    def context(self) -> ssl.SSLContext:
        """Return what HTTP listens with: each connection gets the certificate that is in the files by then."""
        context = self._empty()
        context.sni_callback = self._greet
        # Before the callback nothing is read of these, but a context without a certificate greets nobody.
        context.load_cert_chain(self._chain, self._key)
        return context

    def _greet(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current().context

    def credentials(self) -> grpc.ServerCredentials:
        """Return what gRPC listens with."""
        import grpc  # noqa: PLC0415  # `maintain` serves HTTP only, and may be without it

        given = [self._current()]

        def configuration(loaded: _Loaded) -> Any:
            return grpc.ssl_server_certificate_configuration([(loaded.key, loaded.chain)], loaded.authorities)

        def changed() -> Any:
            loaded = self._current()
            if loaded is given[0]:
                return None
            given[0] = loaded
            return configuration(loaded)

        return grpc.dynamic_ssl_server_credentials(
            configuration(given[0]), changed, require_client_authentication=self.asks_clients
        )

    def _current(self) -> _Loaded:
        with self._lock:
            try:
                state = self._state()
                if state != self._seen:
                    self._seen = state
                    self._loaded = self._load()
                    _log.info("the certificate was read again")
            except (OSError, ValueError) as error:
                _log.warning("the certificate stays as it was: %s: %s", self._names(), error)
            return self._loaded

    def _state(self) -> _State:
        found = (path.stat() for path in (self._chain, self._key, self._authorities) if path is not None)
        return tuple((item.st_mtime_ns, item.st_size, item.st_ino) for item in found)

    def _load(self) -> _Loaded:
        context = self._empty()
        context.load_cert_chain(self._chain, self._key)
        if self._authorities is not None:
            context.load_verify_locations(self._authorities)
        authorities = None if self._authorities is None else self._authorities.read_bytes()
        return _Loaded(context, self._chain.read_bytes(), self._key.read_bytes(), authorities)

    def _empty(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A resumed session is not asked for its certificate again, whichever authorities there are by then.
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        if self._authorities is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _names(self) -> str:
        return ", ".join(str(path) for path in (self._chain, self._key, self._authorities) if path is not None)


def certificates_of(settings: Settings) -> Certificates | None:
    """Return the certificates that *settings* name; None: connections are not encrypted.

    Raises:
        ConfigurationError: they cannot be used.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return Certificates(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
