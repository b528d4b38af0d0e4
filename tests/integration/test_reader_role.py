"""The second wall between tenants: what the role under which they are answered can see, and what it cannot do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from otel_obs.model import Decoded, Rejected, Span
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import receive
from otel_obs.postgres import partitions
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.roles import reader_faults
from otel_obs.postgres.store import PostgresStore
from otel_obs.tenancy import Sender
from tests.builders import agent, chat, make_span
from tests.fix_postgres import new_database
from tests.rows import MAPPING, RECEIVED_AT, SETTLING, price

ROLE = "otel_obs_reader"
ORGANIZATIONS = ("acme", "umbrella")
WORKSPACES = ("sales", "support")

READABLE = """
    SELECT c.oid::regclass::text, c.relkind::text, c.relrowsecurity
    FROM pg_class AS c
    WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND (has_table_privilege('otel_obs_reader', c.oid, 'SELECT')
             OR has_any_column_privilege('otel_obs_reader', c.oid, 'SELECT'))
    ORDER BY 1
"""


@dataclass(frozen=True)
class Tenants:
    """A database with the same spans in two workspaces of each of two organizations."""

    connection: psycopg.Connection

    @contextmanager
    def reader(self, **settings: str) -> Iterator[psycopg.Connection]:
        """Become the reader, as the settings of this transaction name it; all is rolled back afterwards."""
        with self.connection.transaction(force_rollback=True):
            for name, value in settings.items():
                self.connection.execute("SELECT set_config(%s, %s, true)", (f"otel_obs.{name}", value))
            self.connection.execute("SET LOCAL ROLE otel_obs_reader")
            yield self.connection

    def rows(self, table: str, **settings: str) -> list[dict[str, Any]]:
        """Return the rows of *table* that the reader sees."""
        with self.reader(**settings) as connection:
            return _rows(connection, table)

    def all_rows(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of *table* that there are."""
        return _rows(self.connection, table)

    def readable(self) -> list[str]:
        return [row[0] for row in self.connection.execute(READABLE).fetchall()]


def _rows(connection: psycopg.Connection, table: str) -> list[dict[str, Any]]:
    cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def spans_of(workspace: str) -> list[Span]:
    """Return spans that leave a row in each hot table; ids are the same in every organization."""
    number = WORKSPACES.index(workspace) + 1
    named = {"otel_obs.workspace.id": workspace, "user.id": f"user of {workspace}"}
    said = {"gen_ai.input.messages": "asked", "gen_ai.output.messages": "answered"}
    trace_id = f"{number:032x}"
    run = make_span(agent("writer", **named, **said), trace_id=trace_id, span_id=f"{number:016x}")
    call = make_span(chat(response_id=f"r{number}", more={**named, **said}), trace_id=trace_id, parent=run, start_ms=1)
    twice = make_span(
        chat(response_id=f"r{number}", more=named), trace_id=trace_id, parent=run, scope="another", start_ms=1
    )
    check = {
        "gen_ai.operation.name": "apply_guardrail",
        "otel_obs.guardrail.name": "injection",
        "otel_obs.guardrail.similarity_score": 0.9,
        "otel_obs.guardrail.action_taken": "blocked",
    }
    return [run, call, twice, make_span({**check, **named}, trace_id=trace_id, parent=run, start_ms=2)]


def fill(store: PostgresStore, organization: str) -> None:
    for workspace in WORKSPACES:
        refused = [Rejected("trace_id:absent", "traces", b"what was refused")]
        received = receive(
            Decoded(spans=spans_of(workspace), rejected=refused),
            Sender(organization_id=organization, workspace_id=workspace),
            RECEIVED_AT,
            MAPPING,
        )
        store.write(batch_of([received], price))
    while store.settle(SETTLING, limit=100, all_now=True):
        pass


def set_by_hand(connection: psycopg.Connection) -> None:
    """Fill the tables that spans do not fill."""
    flag = "INSERT INTO feature_flags (flag_name, organization_id, workspace_id, is_enabled) VALUES (%s, %s, %s, true)"
    cost = (
        "INSERT INTO model_prices (id, organization_id, provider, model_name, valid_from, source, unit_prices) "
        "VALUES (%s, %s, 'openai', 'gpt-4o-mini', '2026-01-01', 'test', '{}')"
    )
    run = (
        "INSERT INTO retention_runs (run_id, ran_at, organization_id, table_name, rows, bytes, duration_ms, action) "
        "VALUES ('r', now(), %s, 'event_logs', 1, 1, 1, 'delete')"
    )
    data_key = (
        "INSERT INTO data_keys (organization_id, id, purpose, wrapped_by, wrapped) VALUES (%s, 'a', 'index', '', '')"
    )
    rollup = (
        "INSERT INTO usage_rollups (organization_id, workspace_id, day, calls, calls_with_usage, failed_calls, "
        "unpriced_calls, estimated_calls) VALUES (%s, %s, '2026-11-18', 1, 1, 0, 0, 0)"
    )
    budget = (
        "INSERT INTO budgets (organization_id, id, workspace_id, period, amount_cents, thresholds) "
        "VALUES (%s, %s, %s, 'day', 1, '{100}')"
    )
    alert = (
        "INSERT INTO budget_alerts (organization_id, id, budget_id, workspace_id, budget_version, period_starts, "
        "percent, state, amount_cents, spent_cents, unpriced_calls, estimated_calls, at) "
        "SELECT organization_id, id, id, workspace_id, 1, now(), 100, 'exceeded', 1, 1, 0, 0, now() FROM budgets "
        "WHERE organization_id = %s AND id = %s"
    )
    connection.execute(flag, ("of everybody", None, None))
    connection.execute(cost, ("of everybody", None))
    for organization in ORGANIZATIONS:
        connection.execute(flag, ("of the organization", organization, None))
        connection.execute(cost, (organization, organization))
        connection.execute(run, (organization,))
        connection.execute(data_key, (organization,))
        connection.execute("UPDATE organizations SET plan = 'free' WHERE id = %s", (organization,))
        connection.execute(budget, (organization, organization, None))
        connection.execute(alert, (organization, organization))
        connection.execute("INSERT INTO unsettled_traces VALUES (%s, 'late', now(), now())", (organization,))
        connection.execute("INSERT INTO touched_days VALUES (%s, '2026-11-18')", (organization,))
        for workspace in WORKSPACES:
            connection.execute(flag, ("of the workspace", organization, workspace))
            connection.execute(budget, (organization, workspace, workspace))
            connection.execute(alert, (organization, workspace))
            connection.execute(rollup, (organization, workspace))
            connection.execute("INSERT INTO tenant_usage VALUES (%s, now(), %s, 1, 1, 0)", (organization, workspace))
            connection.execute(
                "INSERT INTO workflows (organization_id, id, workspace_id) VALUES (%s, %s, %s)",
                (organization, f"flow of {workspace}", workspace),
            )


@pytest.fixture(scope="module")
def tenants(server_dsn: str, template_database: str) -> Iterator[Tenants]:
    with new_database(server_dsn, template_database) as uri:
        pool = open_pool(uri)
        try:
            for organization in ORGANIZATIONS:
                fill(PostgresStore(pool), organization)
        finally:
            pool.close(2.0)
        with psycopg.connect(conninfo(uri), autocommit=True) as connection:
            set_by_hand(connection)
            yield Tenants(connection)


def column(rows: Sequence[Mapping[str, Any]], table: str, name: str) -> set[Any]:
    """Return the values of column *name*, which in the tables of tenants themselves is called ``id``."""
    its_own = {("organizations", "organization_id"), ("workspaces", "workspace_id")}
    return {row["id" if (table, name) in its_own else name] for row in rows}


READ = (
    "agent_trace_history", "audit_log", "budget_alerts", "budgets", "data_keys", "event_logs", "feature_flags",
    "model_cost_logs", "model_costs", "model_prices", "organizations", "plan_changes", "prompt_similarity_logs",
    "quarantine", "resources", "retention_runs", "span_contents", "tenant_usage", "touched_days", "unsettled_traces",
    "usage_rollups", "users", "workflows", "workspaces",
)  # fmt: skip
"""What a tenant is answered from."""
OF_ORGANIZATIONS = (
    "audit_log", "data_keys", "model_prices", "organizations", "plan_changes", "resources", "retention_runs",
    "touched_days",
    "unsettled_traces", "users",
)  # fmt: skip
OF_WORKSPACES = tuple(name for name in READ if name not in OF_ORGANIZATIONS)


def test_the_tables_that_are_tried_here_are_all_that_the_reader_may_read(tenants: Tenants) -> None:
    assert [name for name in tenants.readable() if name not in READ] == []
    assert [name for name in READ if name not in tenants.readable()] == []


@pytest.mark.parametrize("table", READ)
def test_both_organizations_have_rows(table: str, tenants: Tenants) -> None:
    assert column(tenants.all_rows(table), table, "organization_id") >= set(ORGANIZATIONS)


def test_a_workspace_sees_nothing_of_the_audit_log(tenants: Tenants) -> None:
    assert tenants.rows("audit_log", organization_id="acme", workspace_id="sales") == []


@pytest.mark.parametrize("table", READ)
@pytest.mark.parametrize("organization", ORGANIZATIONS)
def test_an_organization_sees_all_its_rows_and_none_of_another(table: str, organization: str, tenants: Tenants) -> None:
    everything = tenants.all_rows(table)

    seen = tenants.rows(table, organization_id=organization)

    name = "id" if table == "organizations" else "organization_id"
    ours = (organization,) if table == "audit_log" else (organization, None)
    assert seen
    assert sorted(map(str, seen)) == sorted(str(row) for row in everything if row[name] in ours)


@pytest.mark.parametrize("table", OF_WORKSPACES)
def test_a_workspace_sees_its_rows_and_none_of_another(table: str, tenants: Tenants) -> None:
    seen = tenants.rows(table, organization_id="acme", workspace_id="sales")

    assert column(seen, table, "organization_id") - {None} == {"acme"}
    assert column(seen, table, "workspace_id") - {None} == {"sales"}


@pytest.mark.parametrize("table", READ)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"organization_id": ""},
        {"workspace_id": "sales"},
        {"organization_id": "", "workspace_id": "sales"},
    ],
    ids=["nothing", "an empty organization", "only a workspace", "an empty organization and a workspace"],
)
def test_without_an_organization_there_are_no_rows(table: str, settings: dict[str, str], tenants: Tenants) -> None:
    assert tenants.rows(table, **settings) == []


@pytest.mark.parametrize("table", [name for name in READ if name not in ("feature_flags", "model_prices")])
@pytest.mark.parametrize("organization", ["acm", "acme ", "ACME", "%", "acme' OR 'a'='a", "umbrella,acme"])
def test_an_organization_that_is_not_there_has_no_rows(table: str, organization: str, tenants: Tenants) -> None:
    assert tenants.rows(table, organization_id=organization) == []


def test_the_next_transaction_of_the_connection_knows_nothing_of_the_settings_before(tenants: Tenants) -> None:
    with tenants.connection.transaction():
        tenants.connection.execute("SET LOCAL otel_obs.organization_id = 'acme'")
        tenants.connection.execute("SET LOCAL otel_obs.workspace_id = 'sales'")

    assert tenants.connection.execute("SELECT current_setting('otel_obs.organization_id', true)").fetchone() == ("",)
    assert tenants.rows("event_logs") == []
    assert column(tenants.rows("event_logs", organization_id="acme"), "event_logs", "workspace_id") == set(WORKSPACES)


def test_a_view_shows_only_what_its_table_shows(tenants: Tenants) -> None:
    """Without security_invoker a view reads with the rights of its owner."""
    views = tenants.connection.execute(
        """
        SELECT relname, coalesce('security_invoker=true' = ANY (reloptions), false) FROM pg_class
        WHERE relnamespace = 'otel_obs'::regnamespace AND relkind IN ('v', 'm')
        """
    ).fetchall()

    assert ("model_costs", True) in views
    assert [name for name, invoker in views if not invoker] == []


def test_row_security_cannot_be_switched_off(tenants: Tenants) -> None:
    with tenants.reader(organization_id="acme") as connection:
        connection.execute("SET LOCAL row_security = off")
        with pytest.raises(InsufficientPrivilege):
            connection.execute("SELECT count(*) FROM event_logs")


def test_a_condition_of_the_reader_is_not_asked_about_rows_of_others(tenants: Tenants) -> None:
    """A function that is not leakproof may not run before the policy has let a row pass."""
    with tenants.reader(organization_id="acme") as connection:
        found = connection.execute(
            "SELECT count(*) FROM event_logs WHERE 1 / (CASE WHEN organization_id = 'acme' THEN 1 ELSE 0 END) = 1"
        ).fetchone()

    assert found is not None
    assert found[0] > 0


def partition_names(connection: psycopg.Connection) -> list[str]:
    return [
        row[0]
        for row in connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class AS c ON c.oid = inhparent "
            "WHERE c.relkind = 'p' AND c.relnamespace = 'otel_obs'::regnamespace ORDER BY 1"
        ).fetchall()
    ]


def test_no_partition_can_be_read_by_its_name(tenants: Tenants) -> None:
    names = partition_names(tenants.connection)

    assert len(names) > 5 * len(partitions.HOT_TABLES)
    for name in names:
        with tenants.reader(organization_id="acme") as connection, pytest.raises(InsufficientPrivilege):
            connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(name)))


WITHOUT_SECURITY = """
    SELECT c.relname FROM pg_class AS c
    WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
        AND (c.relispartition OR c.relname = 'organizations' OR EXISTS (
            SELECT FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attname = 'organization_id' AND NOT a.attisdropped))
    ORDER BY 1
"""


def test_every_partition_has_row_security_also_those_made_later(connection: psycopg.Connection) -> None:
    now = datetime.now(tz=timezone.utc)
    before = partition_names(connection)

    partitions.ensure(connection, [now - timedelta(weeks=3)], now)
    partitions.ensure(connection, [], now + timedelta(weeks=9))

    assert len(partition_names(connection)) > len(before)
    unprotected = {row[0] for row in connection.execute(WITHOUT_SECURITY).fetchall()}
    assert unprotected & set(partition_names(connection)) == set()


def test_even_with_a_grant_a_partition_shows_nothing(tenants: Tenants) -> None:
    name = next(
        name for name in partition_names(tenants.connection)
        if name.startswith("event_logs_") and _rows(tenants.connection, name)
    )  # fmt: skip

    with tenants.connection.transaction(force_rollback=True):
        tenants.connection.execute(sql.SQL("GRANT SELECT ON {} TO otel_obs_reader").format(sql.Identifier(name)))
        assert tenants.rows(name, organization_id="acme") == []


def test_every_table_of_the_schema_has_row_security_but_what_tells_of_no_tenant(tenants: Tenants) -> None:
    """A table that is added without it is found here, whether or not it names an organization."""
    found = tenants.connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'otel_obs'::regnamespace AND relkind IN ('r', 'p') "
        "AND NOT relrowsecurity ORDER BY 1"
    ).fetchall()

    assert [row[0] for row in found] == ["schema_migrations"]


def test_every_table_that_knows_an_organization_has_row_security(tenants: Tenants) -> None:
    """Also those that the reader has no grant on: a grant too many then shows nothing."""
    assert [row[0] for row in tenants.connection.execute(WITHOUT_SECURITY).fetchall()] == []


def test_every_table_that_the_reader_may_read_has_a_policy_that_asks_for_the_organization(tenants: Tenants) -> None:
    tables = [row[0] for row in tenants.connection.execute(READABLE).fetchall() if row[1] in ("r", "p") and row[2]]
    policies = tenants.connection.execute(
        """
        SELECT polrelid::regclass::text, pg_get_expr(polqual, polrelid), polcmd::text, polpermissive,
               polroles = ARRAY['otel_obs_reader'::regrole::oid]
        FROM pg_policy JOIN pg_class AS c ON c.oid = polrelid
        WHERE c.relnamespace = 'otel_obs'::regnamespace
        """
    ).fetchall()

    assert {table for table, *_ in policies} == set(tables)
    for table, condition, command, permissive, only_for_the_reader in policies:
        assert "otel_obs.organization_id" in condition, table
        assert (command, permissive, only_for_the_reader) == ("r", True, True), table


def test_whoever_owns_the_schema_is_not_bound_by_it(tenants: Tenants) -> None:
    """FORCE would make COPY fail for the owner, who writes."""
    forced = tenants.connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'otel_obs'::regnamespace AND relforcerowsecurity"
    ).fetchall()

    assert forced == []


def test_every_table_view_column_and_function_is_explained(tenants: Tenants) -> None:
    silent = tenants.connection.execute(
        """
        SELECT c.relname, a.attname
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL)
        UNION ALL
        SELECT c.relname, NULL FROM pg_class AS c
        WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relkind IN ('v', 'm')
            AND obj_description(c.oid, 'pg_class') IS NULL
        UNION ALL
        SELECT p.proname, NULL FROM pg_proc AS p
        WHERE p.pronamespace = 'otel_obs'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL
        """
    ).fetchall()

    assert silent == []


def test_the_role_cannot_log_in_nor_bypass_anything_and_belongs_to_no_other(tenants: Tenants) -> None:
    role = tenants.connection.execute(
        "SELECT rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication "
        "FROM pg_roles WHERE rolname = %s",
        (ROLE,),
    ).fetchone()
    member_of = tenants.connection.execute(
        "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = %s::regrole", (ROLE,)
    ).fetchall()

    assert role == (False,) * 6
    assert member_of == []


def test_the_role_owns_nothing(tenants: Tenants) -> None:
    owned = tenants.connection.execute(
        "SELECT classid::regclass::text, objid FROM pg_shdepend "
        "WHERE refclassid = 'pg_authid'::regclass AND refobjid = %s::regrole AND deptype = 'o'",
        (ROLE,),
    ).fetchall()

    assert owned == []


def test_the_role_has_no_right_but_to_read(tenants: Tenants) -> None:
    rights = tenants.connection.execute(
        """
        SELECT c.relname, wanted.name
        FROM pg_class AS c
        CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS wanted (name)
        WHERE c.relnamespace = 'otel_obs'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
            AND has_table_privilege('otel_obs_reader', c.oid, wanted.name)
        UNION ALL
        SELECT sequencename, 'USAGE' FROM pg_sequences
        WHERE schemaname = 'otel_obs'
            AND has_sequence_privilege('otel_obs_reader', format('otel_obs.%I', sequencename), 'USAGE, SELECT, UPDATE')
        UNION ALL
        SELECT 'otel_obs', 'CREATE' WHERE has_schema_privilege('otel_obs_reader', 'otel_obs', 'CREATE')
        """
    ).fetchall()

    assert rights == []


def test_no_function_runs_with_the_rights_of_its_owner(tenants: Tenants) -> None:
    functions = tenants.connection.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'otel_obs'::regnamespace AND prosecdef"
    ).fetchall()

    assert functions == []


def test_functions_look_for_names_in_our_schema_only(tenants: Tenants) -> None:
    functions = tenants.connection.execute(
        """
        SELECT proname FROM pg_proc
        WHERE pronamespace = 'otel_obs'::regnamespace
          AND NOT EXISTS (SELECT FROM unnest(proconfig) AS c WHERE c LIKE 'search_path=%')
          AND prolang IN (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')
        """
    ).fetchall()

    assert functions == []


def test_there_is_no_materialized_view_which_would_know_no_policies(tenants: Tenants) -> None:
    assert _views(tenants.connection, "m") == []


@pytest.mark.parametrize("kind", ["MATERIALIZED VIEW", "VIEW"])
def test_a_view_that_looks_past_the_policies_keeps_the_server_from_answering(kind: str, tenants: Tenants) -> None:
    with tenants.connection.transaction(force_rollback=True):
        tenants.connection.execute(b"CREATE " + kind.encode() + b" leaks AS SELECT * FROM users")
        assert reader_faults(tenants.connection) == []
        tenants.connection.execute("GRANT SELECT ON leaks TO otel_obs_reader")
        (fault,) = reader_faults(tenants.connection)
    assert "leaks" in fault


def _views(connection: psycopg.Connection, kind: str) -> list[str]:
    asked = "SELECT relname FROM pg_class WHERE relnamespace = 'otel_obs'::regnamespace AND relkind = %s"
    return [row[0] for row in connection.execute(asked, (kind,)).fetchall()]


NOT_BY_ORGANIZATION = {
    "api_keys_pkey": "64 random bits that nobody chooses",
    "model_prices_pkey": "a hash of the content, organization among it",
    "audit_log_pkey": "numbered by the database",
    "quarantine_pkey": "numbered by the database",
    "retention_runs_pkey": "numbered by the database",
    "plan_changes_pkey": "numbered by the database",
}
"""Unique keys whose values no sender can choose, so that a refusal tells nothing of others."""


def test_no_unique_key_tells_one_organization_what_another_has(tenants: Tenants) -> None:
    # Policies do not bind checks of uniqueness: a key that does not begin with the organization would be an oracle.
    found = tenants.connection.execute(
        """
        SELECT i.relname
        FROM pg_index AS x
        JOIN pg_class AS i ON i.oid = x.indexrelid
        JOIN pg_class AS t ON t.oid = x.indrelid
        WHERE t.relnamespace = 'otel_obs'::regnamespace AND x.indisunique AND NOT t.relispartition
          AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = t.oid AND a.attname = 'organization_id')
          AND NOT EXISTS (
              SELECT FROM pg_attribute AS a
              WHERE a.attrelid = t.oid AND a.attname IN ('organization_id', 'chain') AND a.attnum = ANY (x.indkey)
          )
        ORDER BY i.relname
        """
    ).fetchall()

    assert {name for (name,) in found} == set(NOT_BY_ORGANIZATION)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO organizations (id) VALUES ('mine')",
        "INSERT INTO feature_flags (flag_name, organization_id) VALUES ('mine', 'acme')",
        "UPDATE model_cost_logs SET cost_usd = 0",
        "UPDATE organizations SET retention_days = 1",
        "DELETE FROM event_logs",
        "DELETE FROM workspaces",
        "TRUNCATE span_contents",
        "COPY users (organization_id, id) FROM STDIN",
        "ALTER TABLE event_logs DISABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON event_logs USING (true)",
        "CREATE TABLE otel_obs.mine (id text)",
        "SELECT * FROM event_logs FOR UPDATE",
        "SELECT * FROM call_reports",
        "SELECT * FROM call_registry",
        "SELECT * FROM deleted_tenants",
        "SELECT * FROM budget_webhooks",
        "SELECT * FROM api_keys",
        "SELECT * FROM dashboard_sessions",
        "DELETE FROM audit_log",
        "INSERT INTO audit_log (id) VALUES (1)",
        "SELECT audit_append('me', 'acme', 'a', 's', NULL, NULL, NULL)",
        "GRANT otel_obs_reader TO CURRENT_USER",
        "ALTER ROLE otel_obs_reader BYPASSRLS",
    ],
)
def test_the_reader_can_change_nothing_and_read_nothing_else(statement: str, tenants: Tenants) -> None:
    with tenants.reader(organization_id="acme") as connection, pytest.raises(InsufficientPrivilege):
        connection.execute(statement.encode())
