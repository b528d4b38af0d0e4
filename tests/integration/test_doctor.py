"""``otel-obs doctor`` finds what is wrong, says it to people and to scripts, and changes nothing."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from otel_obs.postgres.pool import conninfo
from tests.command import NO_SERVER, PORTS, run
from tests.fix_postgres import short_folder

CHECKS = ["configuration", "database", "schema", "roles", "partitions", "clocks", "maintenance", "plans", "content"]


def examined(database: str, **more: str) -> tuple[int, dict[str, Any]]:
    done = run("doctor", "--json", "--database-url", database, **more)
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer.keys() == {"ok", "checks"}
    assert all(check.keys() == {"name", "ok", "detail"} for check in answer["checks"])
    return done.returncode, answer


def detail_of(answer: dict[str, Any], name: str) -> tuple[bool, str]:
    return next((check["ok"], check["detail"]) for check in answer["checks"] if check["name"] == name)


def execute(database: str, *statements: str) -> None:
    with psycopg.connect(conninfo(database), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_healthy_database_passes_every_check(database: str) -> None:
    code, answer = examined(database)

    assert (code, answer["ok"]) == (0, True)
    assert [check["name"] for check in answer["checks"]] == CHECKS
    assert "configuration" in run("doctor", "--database-url", database).stdout


@pytest.mark.parametrize(
    ("statement", "check", "said"),
    [
        ("GRANT SELECT ON event_logs_late TO otel_obs_reader", "roles", "event_logs_late"),
        ("ALTER TABLE users DISABLE ROW LEVEL SECURITY", "roles", "users is off"),
        ("ALTER TABLE event_logs_early DISABLE ROW LEVEL SECURITY", "partitions", "event_logs_early"),
        (
            "INSERT INTO unsettled_traces VALUES ('o', 't', now() - interval '1 hour', now() - interval '1 hour')",
            "maintenance",
            "1 traces wait",
        ),
    ],
    ids=["a partition may be read", "a wall is off", "a partition is open", "nobody settles"],
)
def test_what_is_wrong_is_found(database: str, statement: str, check: str, said: str) -> None:
    execute(database, statement)

    code, answer = examined(database)

    ok, detail = detail_of(answer, check)
    assert (code, answer["ok"], ok) == (1, False, False)
    assert said in detail


def test_weeks_that_are_missing_ahead_are_found(database: str) -> None:
    with psycopg.connect(conninfo(database), autocommit=True) as connection:
        weeks = connection.execute(
            r"SELECT relname FROM pg_class WHERE relname ~ '^event_logs_\d{8}$' ORDER BY relname DESC LIMIT 4"
        ).fetchall()
    execute(database, *(f"DROP TABLE {name}" for (name,) in weeks))

    code, answer = examined(database)

    assert code == 1
    assert detail_of(answer, "partitions")[0] is False


def test_organizations_without_a_plan_and_settings_that_are_none_are_warnings(database: str) -> None:
    execute(database, "INSERT INTO organizations (id) VALUES ('acme')")

    code, answer = examined(database, OTEL_OBS_GRPC_ENDPONT="127.0.0.1:1")

    assert (code, answer["ok"]) == (0, True)
    assert detail_of(answer, "plans")[1].startswith("warning: ")
    assert "acme" in detail_of(answer, "plans")[1]
    assert "OTEL_OBS_GRPC_ENDPONT" in detail_of(answer, "configuration")[1]


def test_what_makes_other_checks_idle_has_its_own_exit_code(empty_database: str) -> None:
    assert examined(empty_database)[0] == 4
    assert examined(NO_SERVER)[0] == 3
    assert examined(empty_database, OTEL_OBS_CONTENT="perhaps")[0] == 2


def test_a_gateway_refuses_a_database_in_which_one_tenant_could_read_anothers_rows(database: str) -> None:
    execute(database, "GRANT SELECT ON event_logs_late TO otel_obs_reader")

    with short_folder() as folder:
        done = run("gateway", "--data-dir", str(folder), "--database-url", database, *PORTS)

    assert done.returncode == 1
    assert "event_logs_late" in done.stderr
    assert "ready" not in done.stdout
