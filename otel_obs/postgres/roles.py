"""The wall between tenants inside the database: does it stand?"""

from __future__ import annotations

import psycopg

from otel_obs.errors import UnsafeReaderError
from otel_obs.postgres.queries import load

_HEALTH = load("health")


def reader_faults(connection: psycopg.Connection) -> list[str]:
    """Return what would let the role that tenants' reads run as see rows of others; nothing, if all is well."""
    return [fault for (fault,) in connection.execute(_HEALTH["reader_faults"]).fetchall()]


def check_reader(connection: psycopg.Connection) -> None:
    """See to it that row-level security binds the role that tenants' reads run as.

    Raises:
        UnsafeReaderError: it does not.
    """
    faults = reader_faults(connection)
    if faults:
        raise UnsafeReaderError("one tenant could read another's rows: " + "; ".join(faults))
