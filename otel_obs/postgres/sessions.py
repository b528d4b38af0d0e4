"""Who is signed in to the dashboard?  A random token in a cookie, and here its hash beside the key it stands for."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

import psycopg

from otel_obs.postgres import audit
from otel_obs.postgres.queries import load

LASTS = timedelta(hours=12)
"""However much it is used."""
NOTED = timedelta(minutes=1)
"""So often at most it is written down that a session is used: pages that are read stay reads."""

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


def key_of_session(
    connection: psycopg.Connection, token: str, now: datetime, *, idle: timedelta | None = None, is_use: bool = True
) -> str | None:
    """Return the id of the key that *token* stands for; None if it is no session, or one that ended.

    One that was not used for *idle*, or up to a minute less, ends here; None: none does. *is_use* says whether somebody
    uses it now: what a page asks for by itself is no use (OWASP ASVS 7.3.1).
    """
    asked = {"token_hash": _hash(token), "now": now}
    row = connection.execute(_SESSIONS["session"], asked).fetchone()
    if row is None:
        return None
    key_id, used_at = row
    if idle is not None and used_at <= now - idle:
        close_session(connection, token, "dashboard.timed_out")
        return None
    if is_use and used_at <= now - NOTED:
        connection.execute(_SESSIONS["use_session"], asked)
    return str(key_id)


def close_session(connection: psycopg.Connection, token: str, action: str = "dashboard.sign_out") -> None:
    """End the session of *token*, wherever it is used; the audit log calls it *action*."""
    with connection.transaction():
        row = connection.execute(_SESSIONS["close_session"], {"token_hash": _hash(token)}).fetchone()
        if row is not None:
            key_id, organization_id = row
            audit.append(
                connection,
                action=action,
                subject=key_id,
                organization_id=organization_id,
                actor=f"key:{key_id}",
            )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
