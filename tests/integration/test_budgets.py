"""Budgets: what is spent of them, who is told, and who may set them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import psycopg
import pytest
from psycopg_pool import ConnectionPool
from standardwebhooks.webhooks import Webhook

import otel_obs
from otel_obs.cli.maintain import actions_of
from otel_obs.errors import BudgetConflictError, ConfigurationError, NotFoundError
from otel_obs.maintenance import budgets as job
from otel_obs.maintenance.jobs import JOBS, run
from otel_obs.maintenance.rollups import roll_up
from otel_obs.maintenance.scheduler import BUDGETS, BUDGETS_EVERY_S, Scheduler
from otel_obs.maintenance.slots import Schedule
from otel_obs.maintenance.webhooks import check_url
from otel_obs.maintenance.work import Actions, Work
from otel_obs.postgres import keys
from otel_obs.postgres.budgets import Budget, Period, Wanted, budgets, delete_budget, set_budget, spending
from otel_obs.postgres.pool import open_pool
from otel_obs.pricing.book import PriceBook
from otel_obs.pricing.catalog import default_catalog
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer
from tests.command import inside
from tests.maintenance import cover, fill

NOW = datetime.now(tz=timezone.utc)
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def pool(database: str) -> Iterator[ConnectionPool]:
    found = open_pool(database)
    try:
        yield found
    finally:
        found.close(2.0)


def wanted(amount: float = 10, period: Period = "day", **more: Any) -> Wanted:
    """Return a budget of some cents; a call of ``calls`` costs half a cent."""
    outside = {name: more.pop(name) for name in ("webhook_url", "expected_version") if name in more}
    about = {"organization_id": "acme", "id": "b", "period": period, "amount_cents": Decimal(str(amount)), **more}
    return Wanted(budget=Budget(**about), **outside)


def calls(connection: psycopg.Connection, count: int, at: datetime = NOW, **more: Any) -> None:
    """Store calls of half a cent each."""
    cover(connection, [at], NOW)
    fill(connection, [("acme", at)] * count, **more)


def done(pool: ConnectionPool, now: datetime = NOW, **more: Any) -> dict[str, Any]:
    work = Work(pool=pool, book=PriceBook(default_catalog()), now=now, now_is_given=True, **more)
    (found,) = run(["budgets"], work)
    assert found.error is None
    return dict(found.result or {})


def test_the_period_is_that_of_the_calendar_in_utc() -> None:
    at = datetime(2026, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-2)))

    day, week, month = (wanted(period=period).budget for period in ("day", "week", "month"))

    assert (day.starts(at).isoformat(), day.ends(at).day) == ("2027-01-01T00:00:00+00:00", 2)
    assert (week.starts(at).isoformat(), week.ends(at).day) == ("2026-12-28T00:00:00+00:00", 4)
    assert (month.starts(at).isoformat(), month.ends(at).month) == ("2027-01-01T00:00:00+00:00", 2)


@pytest.mark.parametrize(
    ("spent", "state", "reached"),
    [(0, "ok", ()), (79.99, "ok", ()), (80, "warning", (80,)), (99.99, "warning", (80,)), (100, "exceeded", (80, 100))],
)
def test_a_budget_is_exceeded_from_its_amount_on(spent: float, state: str, reached: tuple[int, ...]) -> None:
    budget = wanted(100).budget

    assert budget.state(Decimal(str(spent))) == state
    assert budget.reached(Decimal(str(spent))) == reached


def test_spending_is_that_of_the_rows_whether_days_are_rolled_up_or_not(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    at = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
    for days in range(20):
        calls(connection, 2, at - timedelta(days=days), workspace="blue", user="u1")
        calls(connection, 1, at - timedelta(days=days), workspace="green", user="u2")
    subjects: list[dict[str, Any]] = [
        {}, {"workspace_id": "blue"}, {"user_id": "u2"}, {"model_name": "m"}, {"model_name": "none"},
        {"workspace_id": "green", "user_id": "u1"}, {"agent_id": "none", "model_name": "m"},
        {"workspace_id": "blue", "model_name": "m"},
    ]  # fmt: skip
    asked = [wanted(period=period, **about).budget for period in ("day", "week", "month") for about in subjects]

    before = spending(connection, asked, at)
    roll_up(pool, at)
    after = spending(connection, asked, at)
    calls(connection, 2, at - timedelta(days=3), workspace="blue")
    connection.execute("INSERT INTO touched_days VALUES ('acme', %s)", ((at - timedelta(days=3)).date(),))
    touched = spending(connection, asked, at)

    assert [float(row.spent_cents) for row in before[:8]] == [1.5, 1, 0.5, 1.5, 0, 0, 0, 1]
    assert [float(row.spent_cents) for row in before[16:]] == [30, 20, 10, 30, 0, 0, 0, 20]
    assert after == before
    assert [float(row.spent_cents) for row in touched[16:]] == [31, 21, 10, 31, 0, 0, 0, 21]


def test_each_threshold_is_told_once_a_period_as_an_event_and_again_in_the_next(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    set_budget(connection, wanted(10, workspace_id="blue"))
    calls(connection, 17, workspace="blue")

    first = done(pool)
    calls(connection, 10, workspace="blue")
    second, third = done(pool), done(pool)
    tomorrow = NOW + timedelta(days=1)
    calls(connection, 20, tomorrow, workspace="blue")
    fourth = done(pool, tomorrow)

    assert [found["alerts"] for found in (first, second, third, fourth)] == [1, 1, 0, 2]
    assert (first["warning"], second["exceeded"]) == (1, 1)
    events = connection.execute(
        "SELECT name, workspace_id, context -> 'attributes' ->> 'otel_obs.budget.state', "
        "context -> 'attributes' -> 'otel_obs.budget.spent_cents' FROM event_logs WHERE event_type = 'budget' "
        'ORDER BY "timestamp", 4'
    ).fetchall()
    assert events[:2] == [("b", "blue", "warning", 8.5), ("b", "blue", "exceeded", 13.5)]
    assert len(events) == 4


def test_a_budget_of_a_whole_organization_does_not_tell_a_workspace_what_others_spend(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    set_budget(connection, wanted(1))
    calls(connection, 4)

    done(pool)

    row = connection.execute("SELECT context::text FROM event_logs WHERE event_type = 'budget' LIMIT 1").fetchone()
    assert row is not None
    assert "cents" not in row[0]


def test_a_dry_run_tells_nobody(connection: psycopg.Connection, pool: ConnectionPool) -> None:
    set_budget(connection, wanted(1))
    calls(connection, 4)

    assert done(pool, dry_run=True) == {"budgets": 1, "ok": 0, "warning": 0, "exceeded": 1}
    assert connection.execute("SELECT count(*) FROM budget_alerts").fetchone() == (0,)


class Receiver:
    """Takes webhooks; answers what is next in ``answers``, else 204."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?x=1"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        thread.join()
        found.server.server_close()


PRIVATE = Actions(private_webhooks=True)


def test_an_alert_is_posted_signed_so_that_a_library_verifies_it(
    connection: psycopg.Connection, pool: ConnectionPool, receiver: Receiver
) -> None:
    secret = set_budget(connection, wanted(10, user_id="u1", webhook_url=receiver.url)).webhook_secret
    calls(connection, 18, user="u1")

    found = done(pool, actions=PRIVATE)

    assert (found["delivered"], found["undelivered"]) == (1, 0)
    ((path, headers, body),) = receiver.got
    assert path == "/hook?x=1"
    assert secret is not None
    message = Webhook(secret).verify(body, headers)
    assert message["type"] == "budget.warning"
    assert message["data"]["spent_cents"] == 9
    assert (message["data"]["user_id"], message["data"]["percent"]) == ("u1", 80)
    assert headers["webhook-id"] == message["data"]["id"]


def test_a_receiver_that_fails_is_tried_again_and_one_that_refuses_is_not(
    connection: psycopg.Connection, pool: ConnectionPool, receiver: Receiver
) -> None:
    set_budget(connection, wanted(10, webhook_url=receiver.url))
    calls(connection, 18)
    receiver.answers = [503] * 3

    first = done(pool, actions=PRIVATE)
    early = done(pool, NOW + timedelta(seconds=10), actions=PRIVATE)
    receiver.answers = [500, 204]
    later = done(pool, NOW + timedelta(seconds=40), actions=PRIVATE)

    assert [found["delivered"] for found in (first, early, later)] == [0, 0, 1]
    assert len(receiver.got) == 5
    assert len({headers["webhook-id"] for _, headers, _ in receiver.got}) == 1
    calls(connection, 10)
    receiver.answers = [302]
    assert done(pool, actions=PRIVATE)["undelivered"] == 1
    assert len(receiver.got) == 6, "a redirect is not followed, nor tried again"
    row = connection.execute("SELECT last_error, next_attempt_at FROM budget_alerts WHERE percent = 100").fetchone()
    assert row == ("the receiver answers 302", None)


def test_private_addresses_are_not_called_unless_the_operator_allows_it(
    connection: psycopg.Connection, pool: ConnectionPool, receiver: Receiver
) -> None:
    set_budget(
        connection, wanted(1, webhook_url=receiver.url.replace("http:", "https:").replace("127.0.0.1", "localhost"))
    )
    calls(connection, 4)

    assert done(pool)["undelivered"] == 2
    assert receiver.got == []
    row = connection.execute("SELECT last_error FROM budget_alerts LIMIT 1").fetchone()
    assert row is not None
    assert "private network" in row[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "ftp://example.com/", "https://", "https://u:p@example.com/", "https://10.0.0.1/",
        "https://[::1]/", "https://169.254.169.254/latest", "https://example.com/a b", "https://[::ffff:127.0.0.1]/",
        "https://example.com:99999/", "https://0.0.0.0/", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_an_address_that_may_not_be_called_is_not_taken(url: str) -> None:
    with pytest.raises(ConfigurationError, match="webhook"):
        check_url(url, private=False)


def test_a_flag_is_set_when_the_amount_is_reached_and_left_alone_afterwards(
    connection: psycopg.Connection, pool: ConnectionPool, database: str
) -> None:
    actions = actions_of(Settings.from_env({}))
    set_budget(connection, wanted(10, workspace_id="blue", flag_name="use-models", flag_enabled=False))
    with otel_obs.connect(database, organization_id="acme", workspace_id="blue") as client:
        client.set_flag("use-models", True)
        calls(connection, 18, workspace="blue")
        done(pool, actions=actions)
        before = client.is_enabled("use-models")
        calls(connection, 4, workspace="blue")
        done(pool, actions=actions)
        client.snapshot.refresh()
        after = client.is_enabled("use-models")
        client.set_flag("use-models", True)
        done(pool, actions=actions)
        client.snapshot.refresh()

        assert (before, after, client.is_enabled("use-models")) == (True, False, True)
    audited = connection.execute("SELECT actor, why FROM audit_log WHERE action = 'flags.set' ORDER BY id").fetchall()
    assert audited[1] == ("budget:b", "budget b is exceeded")


def test_a_flag_that_cannot_be_set_keeps_nobody_from_being_told(
    connection: psycopg.Connection, pool: ConnectionPool
) -> None:
    def refuse(*_: object) -> None:
        raise ConfigurationError("no such luck")

    set_budget(connection, wanted(1, flag_name="f", flag_enabled=True))
    calls(connection, 4)

    assert done(pool, actions=Actions(set_flag=refuse))["alerts"] == 2
    row = connection.execute("SELECT action_error FROM budget_alerts WHERE percent = 100").fetchone()
    assert row == ("no such luck",)


def test_a_budget_goes_with_whom_it_is_about(connection: psycopg.Connection, pool: ConnectionPool) -> None:
    set_budget(connection, wanted(1, id="w", workspace_id="blue"))
    set_budget(connection, wanted(1, id="u", user_id="u1"))
    set_budget(connection, wanted(1, id="o"))
    calls(connection, 4)
    done(pool)

    connection.execute("DELETE FROM workspaces WHERE id = 'blue'")
    connection.execute("DELETE FROM users WHERE id = 'u1'")
    left = [budget.id for budget in budgets(connection, limit=10)]
    connection.execute("DELETE FROM organizations WHERE id = 'acme'")

    assert left == ["o"]
    assert budgets(connection, limit=10) == []
    assert connection.execute("SELECT count(*) FROM budget_alerts").fetchone() == (0,)
    with pytest.raises(ConfigurationError, match="deleted"):
        set_budget(connection, wanted(1))


def test_a_budget_that_somebody_else_changed_is_not_overwritten(connection: psycopg.Connection) -> None:
    first = set_budget(connection, wanted(1, expected_version=0)).budget
    set_budget(connection, wanted(2, expected_version=first.version))

    with pytest.raises(BudgetConflictError):
        set_budget(connection, wanted(3, expected_version=first.version))
    with pytest.raises(BudgetConflictError):
        delete_budget(connection, "acme", "b", expected_version=first.version)
    with pytest.raises(NotFoundError):
        delete_budget(connection, "umbrella", "b")
    assert connection.execute("SELECT count(*) FROM audit_log WHERE action = 'budget.set'").fetchone() == (2,)


def test_the_scheduler_looks_at_budgets_by_itself_within_a_minute_also_while_other_jobs_run(
    connection: psycopg.Connection, database: str
) -> None:
    set_budget(connection, wanted(1))
    calls(connection, 4, datetime.now(tz=timezone.utc))
    connection.execute(
        "INSERT INTO maintenance_leases VALUES "
        "('maintain', 1, 'retention at work', clock_timestamp() + interval '1 hour')"
    )
    pool = open_pool(database)
    looked = threading.Event()

    def look(work: Work) -> Any:
        try:
            return job.evaluate(work)
        finally:
            looked.set()

    scheduler = Scheduler(
        pool, PriceBook(default_catalog()), Schedule("0 2 * * *"), settles=False, jobs={**JOBS, BUDGETS: look}
    )
    try:
        scheduler.start()
        assert looked.wait(60)
    finally:
        scheduler.stop()
        pool.close(2.0)

    assert BUDGETS_EVERY_S < 30
    row = connection.execute("SELECT count(*) FROM budget_alerts WHERE event_at IS NOT NULL").fetchone()
    assert row == (2,)


@contextmanager
def served(database: str, **more: str) -> Iterator[httpx.Client]:
    server = ApiServer(Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0", **more}), database)
    try:
        with httpx.Client(base_url=f"http://{server.start()}/api/v1/", timeout=30) as client:
            yield client
    finally:
        server.stop()


def _key(connection: psycopg.Connection, *scopes: str, organization: str = "acme", workspace: str | None = None) -> Any:
    made = keys.create(connection, organization_id=organization, workspace_id=workspace, scopes=list(scopes), now=NOW)
    return {"headers": {"authorization": f"Bearer {made}"}}


def test_budgets_are_set_by_administrators_and_read_by_readers(connection: psycopg.Connection, database: str) -> None:
    admin, reader = _key(connection, "admin", "read"), _key(connection, "read")
    other = _key(connection, "admin", "read", organization="umbrella")
    blue = _key(connection, "admin", "read", workspace="blue")
    calls(connection, 18, workspace="blue")
    body = {"amount_cents": 10, "period": "day", "webhook_url": "https://example.com/hook", "thresholds": [50]}
    with served(database, AUTH="keys") as client:
        assert client.put("budgets/all", json=body, **reader).status_code == 403
        made = client.put("budgets/all", json={**body, "version": 0}, **admin).json()
        listed = client.get("budgets", **reader).json()["items"]

        assert made["webhook_secret"].startswith("whsec_")
        assert (made["budget"]["state"], made["budget"]["spent_cents"], made["budget"]["percent"]) == ("warning", 9, 90)
        assert [(item["id"], item["thresholds"]) for item in listed] == [("all", [50, 100])]
        assert client.put("budgets/all", json={**body, "version": 7}, **admin).status_code == 409
        assert client.put("budgets/all", json=body, **admin).json()["webhook_secret"] is None, "told once"
        private = {**body, "webhook_url": "http://127.0.0.1/"}
        assert client.put("budgets/all", json=private, **admin).status_code == 400
        assert client.put("budgets/x", json={**body, "flag_name": "f"}, **admin).status_code == 400

        unknown = client.get("budgets/none", **other)
        for path, key in (("budgets/all", other), ("budgets/all", blue)):
            for method in ("GET", "DELETE"):
                found = client.request(method, path, **key)
                assert (found.status_code, found.json()) == (404, unknown.json())
        assert client.put("budgets/all", json=body, **blue).status_code == 404
        assert client.put("budgets/mine", json=body, **blue).json()["budget"]["workspace_id"] == "blue"
        elsewhere = {**body, "workspace_id": "green"}
        assert client.put("budgets/mine", json=elsewhere, **blue).status_code == 400
        assert [item["id"] for item in client.get("budgets", **blue).json()["items"]] == ["mine"]
        assert client.get("budgets", **other).json()["items"] == []
        assert client.get("budgets?limit=1", **admin).json()["next_cursor"] is not None
        assert client.delete("budgets/all", **admin).status_code == 204
        assert client.delete("budgets/all", **admin).status_code == 404
    audited = connection.execute("SELECT action, after::text FROM audit_log WHERE action LIKE 'budget%%'").fetchall()
    assert [row[0] for row in audited].count("budget.set") == 3
    assert "example.com" not in str(audited)


def test_alerts_are_listed_the_newest_first(
    connection: psycopg.Connection, pool: ConnectionPool, database: str
) -> None:
    set_budget(connection, wanted(10))
    calls(connection, 30)
    done(pool)
    asked = f"organization_id=acme&since=1d&until={NOW + timedelta(days=2):%Y-%m-%d}"
    with served(database) as client:
        first = client.get(f"budget-alerts?{asked}&limit=1").json()
        rest = client.get(f"budget-alerts?{asked}&cursor={first['next_cursor']}").json()

    assert {item["percent"] for item in [*first["items"], *rest["items"]]} == {80, 100}


def test_a_program_asks_for_its_budgets(connection: psycopg.Connection, database: str) -> None:
    set_budget(connection, wanted(10, user_id="u1"))
    calls(connection, 20, user="u1")
    with otel_obs.connect(database, organization_id="acme") as client:
        (found,) = client.budget_status()

        assert (found.id, found.state) == ("b", "exceeded")
        assert not found.left_cents
        assert client.budget_status(user_id="u2") == []


def test_the_command_sets_lists_and_deletes(connection: psycopg.Connection, database: str) -> None:
    calls(connection, 18)
    asked = ("--database-url", database, "--org", "acme", "--json")

    made = inside(
        "budgets", "set", "all", "--amount", "0.10", "--per", "day", "--warn", "50", "--flag", "f=off", *asked
    )
    listed = inside("budgets", "list", *asked)
    gone = inside("budgets", "delete", "all", *asked)
    absent = inside("budgets", "delete", "all", *asked)

    budget = json.loads(made.stdout)["budget"]
    assert (budget["amount_cents"], budget["state"], budget["flag_enabled"]) == (10, "warning", False)
    assert json.loads(listed.stdout) == {"items": [budget], "next_cursor": None}
    assert (gone.returncode, absent.returncode) == (0, 1)
    assert inside("budgets", "set", "x", "--amount", "-1", "--per", "day", *asked).returncode == 2
