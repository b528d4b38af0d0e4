"""A workflow that is bound to a workspace in the database is told as that workspace's."""

from __future__ import annotations

import psycopg
import pytest

from otel_obs import exporter
from otel_obs.instrumentation import current_run, workflow, workspaces
from tests.fix_spans import Spans


@workflow("w", id="args.which")
def run(which: str, organization_id: str | None = None) -> str | None:
    del which, organization_id
    return current_run().workspace_id


def test_the_table_is_read_by_what_is_installed(
    spans: Spans, connection: psycopg.Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_OBS_DATABASE_URL", database)
    monkeypatch.setattr(workspaces._Host, "table", workspaces.Table(workspaces._installed))
    monkeypatch.setattr(workspaces, "WAIT_S", 30)
    connection.execute("INSERT INTO organizations (id) VALUES ('default'), ('acme')")
    connection.execute("INSERT INTO workspaces (organization_id, id) VALUES ('default', 'billing'), ('acme', 'ops')")
    connection.execute(
        "INSERT INTO workflows (organization_id, id, workspace_id) "
        "VALUES ('default', 'wf-1', 'billing'), ('acme', 'wf-1', 'ops')"
    )

    assert [run("wf-1"), run("wf-1", "acme"), run("wf-2"), run("wf-1", "other")] == ["billing", "ops", None, None]
    assert spans.all[0].attributes
    assert spans.all[0].attributes["otel_obs.workspace.id"] == "billing"


def test_without_a_database_nothing_is_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delenv("OTEL_OBS_DATABASE_URL", raising=False)
    monkeypatch.setenv("OTEL_OBS_DATA_DIR", str(tmp_path))

    assert exporter.bound_workflows() is None
