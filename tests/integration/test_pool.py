"""What pools of connections say of a server that is away."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest
from psycopg_pool import ConnectionPool, PoolTimeout

from otel_obs.postgres.pool import _seldom_said, open_pool
from tests.waiting import until

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def failures(pool: ConnectionPool) -> int:
    # A pool that has given up tries again when somebody asks.
    with suppress(PoolTimeout):
        pool.getconn(0.05)
    return pool.get_stats().get("connections_errors", 0)


def test_an_outage_is_told_once_in_a_while_and_of_other_pools_each_time(caplog: pytest.LogCaptureFixture) -> None:
    other = ConnectionPool(NOWHERE, min_size=1, open=False, name="theirs")
    # Another test of this process may have heard it just now.
    _seldom_said._said_at.clear()

    with caplog.at_level(logging.WARNING, "psycopg.pool"), open_pool(NOWHERE) as ours:
        other.open(wait=False)
        until(lambda: failures(ours) >= 3 and failures(other) >= 3)
        other.close()

    said = [record.getMessage() for record in caplog.records if "error connecting" in record.message]
    assert len([message for message in said if "'otel-obs'" in message]) == 1
    assert len([message for message in said if "'theirs'" in message]) >= 3
