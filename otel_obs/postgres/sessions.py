"""Who is signed in to the dashboard?  A random token in a cookie, and here its hash beside the key it stands for."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

import psycopg

from otel_obs.postgres import audit
from otel_obs.postgres.queries import load

LASTS = timedelta(hours=12)

_SESSIONS = load("sessions")


def open_session(
    connection: psycopg.Connection, *, key_id: str, organization_id: str, now: datetime, replaces: str | None = None
) -> str:
    """Begin a session for the holder of a key and return its token, which nobody can know later.

    The session *replaces* ends with it, so that a token that somebody planted is worth nothing after a sign-in.
    """
    token = secrets.token_urlsafe(32)
    with connection.transaction():
        connection.execute(_SESSIONS["forget_sessions"], {"now": now})
        if replaces is not None:
            close_session(connection, replaces)
        asked = {"token_hash": _hash(token), "key_id": key_id, "now": now, "expires_at": now + LASTS}
        connection.execute(_SESSIONS["open_session"], asked)
        audit.append(
            connection,
            action="dashboard.sign_in",
            subject=key_id,
            organization_id=organization_id,
            actor=f"key:{key_id}",
        )
    return token


def key_of_session(connection: psycopg.Connection, token: str, now: datetime) -> str | None:
    """Return the id of the key that *token* stands for; None if it is no session, or one that ended."""
    row = connection.execute(_SESSIONS["key_of_session"], {"token_hash": _hash(token), "now": now}).fetchone()
    return None if row is None else str(row[0])


def close_session(connection: psycopg.Connection, token: str) -> None:
    """End the session of *token*, wherever it is used."""
    with connection.transaction():
        row = connection.execute(_SESSIONS["close_session"], {"token_hash": _hash(token)}).fetchone()
        if row is not None:
            key_id, organization_id = row
            audit.append(
                connection,
                action="dashboard.sign_out",
                subject=key_id,
                organization_id=organization_id,
                actor=f"key:{key_id}",
            )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
