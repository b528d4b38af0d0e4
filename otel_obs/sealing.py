"""How is content made unreadable for whoever gets at what is stored?

AES-256-GCM of ``cryptography`` under a data key of the organization, which rests only wrapped: by one of the operator's
keys, or by a key service of theirs. Sealed bytes are ``v1|``, the data key's name, ``|``, a random nonce (12 bytes),
and the ciphertext with its tag (16). They are bound to their place: put under another row, column or organization they
do not open (https://csrc.nist.gov/pubs/sp/800/38/d/final).
"""

from __future__ import annotations

import hmac
import importlib
import os
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from otel_obs.errors import ConfigurationError, KeysUnavailableError

VERSION = b"v1"
MAX_HEAD_BYTES = 256
NONCE_BYTES = 12
KEY_BYTES = 32
MAX_MESSAGES = 2**31
"""Sealed with one key; half of what random nonces bear, for counts are kept a million at a time."""


class SealedError(Exception):
    """It cannot be opened here; ``reason`` is ``locked`` (no key for it) or ``undecryptable`` (not what was sealed)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class DataKey:
    """A key that content is sealed with, and its name."""

    def __init__(self, name: str, key: bytes) -> None:
        # Installed with the gateway; an application that never seals does without.
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        self.name = name
        self._cipher = AESGCM(key)
        self._wrong: tuple[type[Exception], ...] = (InvalidTag, ValueError)
        self.head = head_of(name)
        """What everything sealed with it begins with."""

    def seal(self, plain: bytes, place: bytes) -> bytes:
        """Return *plain* sealed, to be opened at *place* only."""
        nonce = os.urandom(NONCE_BYTES)
        return self.head + nonce + self._cipher.encrypt(nonce, plain, self.head + place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Return what ``seal`` was given.

        Raises:
            SealedError: it is something else, or was sealed for another place.
        """
        start = len(self.head) + NONCE_BYTES
        try:
            return self._cipher.decrypt(sealed[len(self.head) : start], sealed[start:], self.head + place)
        except self._wrong:
            raise SealedError("undecryptable", f"it is not what the data key {self.name!r} sealed here") from None


def head_of(name: str) -> bytes:
    """Return what everything begins with that is sealed by the data key *name*."""
    return VERSION + b"|" + name.encode() + b"|"


def key_name_of(sealed: bytes) -> str:
    """Return the name of the data key that *sealed* needs.

    Raises:
        SealedError: it was not sealed in this format.
    """
    version, _, rest = sealed[:MAX_HEAD_BYTES].partition(b"|")
    name, separator, _ = rest.partition(b"|")
    if version != VERSION or not name or not separator:
        raise SealedError("undecryptable", "it is in no format that this version knows")
    return name.decode(errors="replace")


def place_of(organization_id: str, table: str, column: str, *key: str) -> bytes:
    """Return the name of one value; no id has control characters, so that no two values share one."""
    return "\x1f".join((organization_id, table, column, *key)).encode()


def blinded(index_key: bytes, digest: str) -> str:
    """Return *digest*, a hash of content, as only who has *index_key* can make it: as long, and known by its ``k``.

    Equal contents stay equal; a guess at a content cannot be checked.
    """
    return "k" + hmac.digest(index_key, digest.encode(), "sha256").hex()[: len(digest) - 1]


def is_blinded(digest: str) -> bool:
    """Tell whether ``blinded`` made *digest*."""
    return digest.startswith("k")


def derived(key: bytes, purpose: bytes) -> bytes:
    """Return the key of 32 bytes that *key* gives for *purpose* (HKDF with SHA-256, RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(key)


class KeyWrapper(Protocol):
    """Keeps data keys unreadable: what ``OTEL_OBS_KMS_HOOK`` makes."""

    @property
    def name(self) -> str:
        """Name of the key that wraps now; stored beside what it wrapped."""

    def wrap(self, key: bytes, place: bytes) -> bytes:
        """Return *key* wrapped, bound to *place* where the service can do that (additional authenticated data)."""

    def unwrap(self, name: str, wrapped: bytes, place: bytes) -> bytes:
        """Return the key that ``wrap`` was given when *name* was the name; ``KeyError`` if that one is not here."""


class ConfiguredKeys:
    """Wraps with the first of the operator's keys, and unwraps with any."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        self._keys = {name: DataKey(name, derived(key, b"otel_obs data keys v1")) for name, key in keys}
        self.name = keys[0][0]
        self.names = frozenset(self._keys)

    def wrap(self, key: bytes, place: bytes) -> bytes:
        """Return *key*, sealed."""
        return self._keys[self.name].seal(key, place)

    def unwrap(self, name: str, wrapped: bytes, place: bytes) -> bytes:
        """Return the key that was sealed."""
        return self._keys[name].open(wrapped, place)


SERVICE_WITHIN_S = 1.5
"""How long a key service may take: a sender waits, and a transaction is open."""
MAX_HANGING = 8
"""Questions that may hang at the same time; while there are so many, none is asked."""


class KeyService:
    """A key service of the operator's: whatever it raises, or no answer in time, means that it cannot be reached now.

    What *configured* keys wrapped before there was a service is still unwrapped with them.
    """

    def __init__(self, service: KeyWrapper, configured: ConfiguredKeys | None = None) -> None:
        self._service = service
        self._configured = configured
        self._hanging = threading.BoundedSemaphore(MAX_HANGING)

    @property
    def name(self) -> str:
        """Name of the key that wraps now."""
        return str(self._service.name)

    def wrap(self, key: bytes, place: bytes) -> bytes:
        """Return *key* wrapped.

        Raises:
            KeysUnavailableError: the service did not.
        """
        return self._asked(lambda: self._service.wrap(key, place))

    def unwrap(self, name: str, wrapped: bytes, place: bytes) -> bytes:
        """Return the key that was wrapped.

        Raises:
            KeysUnavailableError: the service did not say.
            KeyError: it knows of no such key.
        """
        if self._configured is not None and name != self.name and name in self._configured.names:
            return self._configured.unwrap(name, wrapped, place)
        return self._asked(lambda: self._service.unwrap(name, wrapped, place))

    def _asked(self, question: Callable[[], bytes]) -> bytes:
        """Return the answer to *question*; a thread of its own asks, for it may hang, and is left behind then."""
        if not self._hanging.acquire(blocking=False):
            raise KeysUnavailableError("the key service does not answer")
        answers: SimpleQueue[Any] = SimpleQueue()

        def ask() -> None:
            try:
                answers.put(bytes(question()))
            except Exception as error:  # noqa: BLE001  # whatever it is, there is no key
                answers.put(error)
            finally:
                self._hanging.release()

        threading.Thread(target=ask, name="otel-obs-key-service", daemon=True).start()
        try:
            found = answers.get(timeout=SERVICE_WITHIN_S)
        except Empty:
            raise KeysUnavailableError("the key service does not answer") from None
        if isinstance(found, KeyError):
            raise found
        if isinstance(found, Exception):
            # Without its message, which may hold what nobody should read in a log.
            raise KeysUnavailableError(f"the key service fails: {type(found).__name__}") from None
        return bytes(found)


def wrapper_of(keys: Sequence[tuple[str, bytes]], hook: str | None = None) -> KeyWrapper | None:
    """Return what wraps data keys: the service that *hook* (``module:factory``) makes, else *keys*; None: nothing does.

    Raises:
        ConfigurationError: there is nothing to encrypt with, or no such hook.
    """
    if hook is None and not keys:
        return None
    try:
        configured = ConfiguredKeys(keys) if keys else None
        return configured if hook is None else KeyService(_made_by(hook), configured)
    except ImportError:
        raise ConfigurationError("OTEL_OBS_ENCRYPTION_KEYS needs otel-obs[encryption]") from None


def _made_by(hook: str) -> Any:
    module, _, attribute = hook.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        raise ConfigurationError(f"OTEL_OBS_KMS_HOOK={hook!r}: module:factory is expected: {error}") from error
