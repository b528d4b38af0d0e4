"""What OpenAPI says of the API is true, whatever is asked (https://schemathesis.readthedocs.io)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from otel_obs.postgres.pool import open_pool
from otel_obs.postgres.store import PostgresStore
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer
from tests.builders import agent, chat, make_span
from tests.rows import batch


@pytest.fixture(scope="module")
def api(module_database: str) -> Iterator[str]:
    pool = open_pool(module_database)
    run = make_span(agent("writer"))
    PostgresStore(pool).write(batch([run, make_span(chat(), parent=run)]))
    pool.close()
    server = ApiServer(Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0"}), module_database)
    try:
        yield server.start()
    finally:
        server.stop()


# Times and cursors are texts of which OpenAPI cannot say which make sense: such a 400 is right.
def test_answers_are_as_described_whatever_is_asked(api: str) -> None:
    schema = schemathesis.openapi.from_url(f"http://{api}/api/v1/openapi.json").exclude(path="/api/v1/stream")
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]

    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def check(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(timeout=30, excluded_checks=[positive_data_acceptance])

        check()
    assert len(operations) >= 10
