"""Who is asking?  A request's API key, and what it allows.

``Authorization: Bearer KEY`` (RFC 6750) or ``x-api-key: KEY``, as an HTTP header or as gRPC metadata.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from otel_obs.errors import ObsError, PermissionDeniedError, UnauthenticatedError
from otel_obs.postgres.keys import PostgresKeys, PresentedKey, StoredKey, presented
from otel_obs.receiver.attempts import Attempts
from otel_obs.receiver.known_keys import Known, KnownKeys

INGEST, READ, FLAGS, ADMIN = "ingest", "read", "flags", "admin"
_NO_HASH = bytes(32)
_CREDENTIALS = frozenset(("authorization", "x-api-key"))

Headers = Iterable[tuple[str, str | bytes]]
"""Names in lower case, and values; a name may come more than once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whose data the holder of a key may write or read, and how."""

    key_id: str
    organization_id: str
    workspace_id: str | None = None
    """The only workspace; None: all of the organization."""
    scopes: frozenset[str]
    is_operator: bool = False
    """It may name another organization than this one."""


def key_in(headers: Headers) -> PresentedKey:
    """Return the key that *headers* carry. What is no Bearer token is left to whoever else reads the header.

    Raises:
        UnauthenticatedError: there is none, or none that can exist, or more than one.
    """
    texts = set()
    for name, value in headers:
        if not isinstance(value, str):
            continue
        # An empty one says nothing: a Collector that hands headers on sends those that it was not given empty.
        if name == "x-api-key" and value.strip():
            texts.add(value.strip())
        elif name == "authorization":
            scheme, _, token = value.strip().partition(" ")
            if scheme.lower() == "bearer":
                texts.add(token.strip())
    key = presented(texts.pop()) if len(texts) == 1 else None
    if key is None:
        raise UnauthenticatedError
    return key


def principal_of(key: StoredKey, *, now: datetime) -> Principal:
    """Return what *key* allows at *now*.

    Raises:
        UnauthenticatedError: it was revoked, or has expired.
        PermissionDeniedError: its organization, or the workspace that it is bound to, was deleted.
    """
    if key.organization_id is None:
        raise PermissionDeniedError("the organization of this API key was deleted")
    if key.revoked_at is not None:
        raise UnauthenticatedError("this API key was revoked")
    if key.expires_at is not None and key.expires_at <= now:
        raise UnauthenticatedError("this API key has expired")
    if key.is_bound and key.workspace_id is None:
        raise PermissionDeniedError("the workspace of this API key was deleted")
    return Principal(
        key_id=key.id,
        organization_id=key.organization_id,
        workspace_id=key.workspace_id,
        scopes=key.scopes,
        is_operator=key.is_operator,
    )


def _utc_now() -> datetime:
    return datetime.now(tz=timezone.utc)


class Authenticator:
    """Tells for each request whose it is: receivers ask it before they read a body, an HTTP API before it answers."""

    def __init__(
        self,
        keys: KnownKeys,
        *,
        attempts: Attempts | None = None,
        refused: Callable[[ObsError], None] = lambda _: None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._keys = keys
        self._attempts = attempts or Attempts()
        self._refused = refused
        self._now = now

    def start(self) -> None:
        """Begin to look keys up."""
        self._keys.start()

    def close(self) -> None:
        """Stop looking keys up."""
        self._keys.close()

    def at_once(self, headers: Headers, *scopes: str, address: str = "") -> Principal | None:
        """Return who is asking, without waiting for anything; None if only ``authenticate`` can tell.

        Raises:
            UnauthenticatedError: there is no valid key.
            TooManyAttemptsError: neither, as often before from *address* or with this key's id.
            PermissionDeniedError: the key allows none of *scopes*, or nothing at all any more.
        """
        with self._counted():
            key = self._key_in(headers, address)
            known = self._keys.remembered(key.id)
            return None if known is None else self._principal(key, known, scopes, address)

    def authenticate(self, headers: Headers, *scopes: str, address: str = "") -> Principal:
        """Return who is asking; blocks while the keys are looked up, for about a second at most.

        Raises:
            UnauthenticatedError: there is no valid key.
            TooManyAttemptsError: neither, as often before from *address* or with this key's id.
            PermissionDeniedError: the key allows none of *scopes*, or nothing at all any more.
            KeyStoreUnavailableError: nobody can tell now.
        """
        with self._counted():
            key = self._key_in(headers, address)
            return self._principal(key, self._keys.look_up(key.id), scopes, address)

    def holder(self, key_id: str, *scopes: str) -> Principal:
        """Return what the key *key_id* allows whoever has shown it before, such as when signing in.

        Raises:
            UnauthenticatedError: it is no valid key any more.
            PermissionDeniedError: the key allows none of *scopes*, or nothing at all any more.
            KeyStoreUnavailableError: nobody can tell now.
        """
        with self._counted():
            known = self._keys.look_up(key_id)
            if known.key is None:
                raise UnauthenticatedError
            return self._allowed(known.key, scopes)

    def _key_in(self, headers: Headers, address: str) -> PresentedKey:
        headers = list(headers)
        try:
            return key_in(headers)
        except UnauthenticatedError:
            # Who shows none guesses none.
            if any(name in _CREDENTIALS for name, _ in headers):
                self._attempts.failed(address)
            raise

    def _principal(self, key: PresentedKey, known: Known, scopes: tuple[str, ...], address: str) -> Principal:
        # An unknown id is compared too, and told the same as a wrong secret.
        is_right = hmac.compare_digest(_NO_HASH if known.key is None else known.key.hash, key.hash)
        if known.key is None or not is_right:
            self._attempts.failed(address, key.id, None if known.key is None else known.key.organization_id)
            raise UnauthenticatedError
        return self._allowed(known.key, scopes)

    def _allowed(self, key: StoredKey, scopes: tuple[str, ...]) -> Principal:
        now = self._now()
        principal = principal_of(key, now=now)
        if principal.scopes.isdisjoint(scopes):
            raise PermissionDeniedError(f"this API key lacks the scope {' or '.join(scopes)}")
        self._keys.used(key.id, now)
        return principal

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except ObsError as error:
            self._refused(error)
            raise


def is_still_allowed(ask: Callable[[], object]) -> bool:
    """Tell whether *ask*, which was allowed once, still is; where nobody can tell now it stays so."""
    try:
        ask()
    except (UnauthenticatedError, PermissionDeniedError):
        return False
    except ObsError:  # nobody can tell now
        return True
    return True


def authenticator_by(store: PostgresKeys, refused: Callable[[ObsError], None] = lambda _: None) -> Authenticator:
    """Return what tells by the keys of *store* who is asking, and notes there who guesses."""
    attempts = Attempts()
    return Authenticator(
        KnownKeys(store, beside=lambda: attempts.write(store.note)), attempts=attempts, refused=refused
    )  # fmt: skip
