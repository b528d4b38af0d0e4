"""How far did the audit log reach when it was last found right?  A file outside of the database that remembers it.

With ``OTEL_OBS_ENCRYPTION_KEYS`` the file carries an HMAC, so that who may write the data folder, but has no key, can
forge neither it nor, with the database, a whole chain.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from otel_obs.errors import ConfigurationError
from otel_obs.postgres.audit import Head

Keys = Sequence[tuple[str, bytes]]
_PURPOSE = b"otel_obs audit head v1"


def remembered(path: Path, keys: Keys) -> dict[str, Head]:
    """Return the last entries of the chains by organization; none where nothing is remembered.

    Raises:
        ConfigurationError: the file is unreadable, or not what was written.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise _unreadable(path) from None
    try:
        if "seal" in said:  # as versions before had it: one chain, whose numbers were places
            return {"": Head(int(said["rows"]), int(said["rows"]), str(said["seal"]))}
        _check(path, said, dict(keys))
        return {chain: Head(int(p), int(i), str(seal)) for chain, (p, i, seal) in said["heads"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _unreadable(path) from None


def _check(path: Path, said: Mapping[str, Any], keys: Mapping[str, bytes]) -> None:
    if not keys:
        return
    kid = said.get("kid")
    if kid is None:
        raise ConfigurationError(
            f"{path} was written without a key: look at who could write it, then delete it to begin anew"
        )
    if kid not in keys:
        raise ConfigurationError(f"{path} was signed with the key {kid!r}, which is not in OTEL_OBS_ENCRYPTION_KEYS")
    if not hmac.compare_digest(str(said.get("hmac")), _signature(keys[kid], said["heads"])):
        raise ConfigurationError(f"{path} is not what was written: its signature is wrong")


def remember(path: Path, heads: Mapping[str, Head], keys: Keys) -> None:
    """Write how far the chains reach now, signed with the first key."""
    said: dict[str, Any] = {"heads": {chain: list(head) for chain, head in heads.items()}}
    if keys:
        kid, key = keys[0]
        said = {**said, "kid": kid, "hmac": _signature(key, said["heads"])}
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".tmp")
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(said, file)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)


def _signature(key: bytes, heads: Mapping[str, Any]) -> str:
    own = hmac.new(key, _PURPOSE, hashlib.sha256).digest()
    return hmac.new(own, json.dumps(heads, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _unreadable(path: Path) -> ConfigurationError:
    return ConfigurationError(f"{path} is unreadable: it says how far the audit log reached; delete it to forget")
