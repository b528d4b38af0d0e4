"""How is what was accepted kept from whoever reads the disk?

A record's body is encrypted with AES-256-GCM, under a key derived (HKDF, SHA-256) from one of the operator's: the first
writes, any of them reads. The header stays readable and is authenticated with the body, so that neither can be put
under the other's name. A sealed body is a nonce (12 bytes), then the ciphertext with its tag.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from otel_obs.errors import ConfigurationError
from otel_obs.pipeline.segment import Header, Record
from otel_obs.sealing import NONCE_BYTES, SealedError, derived

KEY_ID = "kid"
"""Field of a header: the name of the key that sealed the body."""
_PURPOSE = b"otel_obs spool v1"


class Sealer:
    """Keeps bodies as they are: there is no key."""

    def seal(self, record: Record) -> Record:
        """Return *record* as it may lie on disk."""
        return record

    def open(self, record: Record) -> Record:
        """Return *record* as it was before it was sealed.

        Raises:
            SealedError: nobody can read it here.
        """
        name = record.header.get(KEY_ID)
        if name is not None:
            message = f"it was sealed with the key {name!r}, which is not in OTEL_OBS_ENCRYPTION_KEYS"
            raise SealedError("locked", message)
        return record


class KeyedSealer(Sealer):
    """Seals bodies with the first of *keys*, and opens them with any."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        # Installed with the gateway; an application that never seals does without.
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        self._wrong: tuple[type[Exception], ...] = (InvalidTag, ValueError)
        self._ciphers = {name: AESGCM(derived(key, _PURPOSE)) for name, key in keys}
        self._writes_with = keys[0][0]

    def seal(self, record: Record) -> Record:
        """Return *record* with its body encrypted."""
        header = {**record.header, KEY_ID: self._writes_with}
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._ciphers[self._writes_with].encrypt(nonce, record.body, _canonical(header))
        return Record(header, nonce + sealed)

    def open(self, record: Record) -> Record:
        """Return *record* as it was before it was sealed; one that was not sealed is returned as it is.

        Raises:
            SealedError: nobody can read it here.
        """
        cipher = self._ciphers.get(str(record.header.get(KEY_ID)))
        if cipher is None:
            return super().open(record)
        nonce, sealed = record.body[:NONCE_BYTES], record.body[NONCE_BYTES:]
        try:
            body = cipher.decrypt(nonce, sealed, _canonical(record.header))
        except self._wrong:
            raise SealedError("undecryptable", f"it is not what the key {record.header[KEY_ID]!r} sealed") from None
        return Record({key: value for key, value in record.header.items() if key != KEY_ID}, body)


def sealer_of(keys: Sequence[tuple[str, bytes]]) -> Sealer:
    """Return what seals with *keys*.

    Raises:
        ConfigurationError: there are keys, and nothing to encrypt with.
    """
    if not keys:
        return Sealer()
    try:
        return KeyedSealer(keys)
    except ImportError:
        raise ConfigurationError("OTEL_OBS_ENCRYPTION_KEYS needs otel-obs[encryption]") from None


def _canonical(header: Header) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
