"""Who may look at the dashboard and change something: sessions, forms, and whose rows they open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from html import unescape

import httpx
import psycopg
import pytest

from otel_obs.errors import ConfigurationError
from otel_obs.flags.store import Change, FlagScope, listed, set_flag
from otel_obs.postgres import keys, sessions
from otel_obs.postgres.pool import conninfo
from otel_obs.receiver.known_keys import REFRESH_S
from otel_obs.settings import Settings
from otel_obs.web.app import POLICY
from otel_obs.web.dashboard import figures
from otel_obs.web.server import ApiServer
from tests import showroom
from tests.builders import agent, chat, make_span

PAGES = (
    "/", "/costs", "/traces", "/conversations", "/agents", "/errors", "/live", "/flags", "/retention", "/quarantine",
    "/settings",
    "/budgets",
    "/recommendations",
    "/audit",
)  # fmt: skip
TRACES = {"acme": "a" * 32, "others": "b" * 32, "blue": "c" * 32}


@dataclass(frozen=True)
class World:
    url: str
    base: str
    keys: dict[str, str]

    def browser(self) -> httpx.Client:
        return httpx.Client(base_url=self.base, timeout=30)

    @contextmanager
    def signed_in(self, name: str) -> Iterator[httpx.Client]:
        with self.browser() as client:
            assert sign_in(client, self.keys[name]).status_code == 303
            yield client


def token_in(page: httpx.Response) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', page.text)
    assert found is not None
    return found[1]


def post(client: httpx.Client, path: str, fields: dict[str, str], page: str, **headers: str) -> httpx.Response:
    """Send a form as a browser does that has loaded *page*."""
    token = token_in(client.get(page))
    origin = str(client.base_url).rstrip("/")
    return client.post(path, data={"form_token": token, **fields}, headers={"origin": origin, **headers})


def sign_in(client: httpx.Client, key: str, **more: str) -> httpx.Response:
    return post(client, "/sign-in", {"key": key, **more}, "/sign-in")


@pytest.fixture(scope="module")
def world(module_database: str) -> Iterator[World]:
    at = showroom.now_ms() - 60_000
    for organization, workspace, trace in (
        ("acme", "red", "acme"),
        ("acme", "blue", "blue"),
        ("others", "red", "others"),
    ):
        run = make_span(
            {**agent(f"agent of {trace}"), "otel_obs.workspace.id": workspace}, trace_id=TRACES[trace], start_ms=at
        )
        call = make_span(chat(response_id=trace), trace_id=TRACES[trace], parent=run, start_ms=at)
        showroom.write(module_database, [run, call], organization)
    now = datetime.now(tz=timezone.utc)
    with psycopg.connect(conninfo(module_database), autocommit=True) as connection:
        made = {
            name: keys.create(
                connection, organization_id=organization, workspace_id=workspace, scopes=scopes, now=now, name=name
            )
            for name, organization, workspace, scopes in (
                ("reader", "acme", None, ["read"]),
                ("admin", "acme", None, ["read", "admin"]),
                ("bound", "acme", "blue", ["read", "admin"]),
                ("theirs", "others", None, ["read", "admin"]),
                ("sender", "acme", None, ["ingest"]),
                ("revoked", "acme", None, ["read"]),
            )
        }
        made["operator"] = keys.create(
            connection, organization_id="acme", workspace_id=None, scopes=["read", "admin"], now=now, is_operator=True
        )
        set_flag(connection, "ours", FlagScope(organization_id="acme"), Change(is_enabled=True))
        set_flag(connection, "theirs", FlagScope(organization_id="others"), Change(is_enabled=True))
        set_flag(connection, "everyone's", FlagScope(), Change(is_enabled=True))
    server = ApiServer(Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0", "AUTH": "keys"}), module_database)
    try:
        yield World(module_database, f"http://{server.start()}", made)
    finally:
        server.stop()


@pytest.mark.parametrize("path", PAGES)
def test_whoever_is_not_signed_in_is_sent_to_where_that_is_done(path: str, world: World) -> None:
    with world.browser() as client:
        found = client.get(path, params={"since": "24h"})

    assert found.status_code == 303
    assert found.headers["location"].startswith("/sign-in?next=")
    assert "24h" in found.headers["location"]


@pytest.mark.parametrize("path", PAGES)
def test_each_page_is_held_to_the_policy_and_kept_nowhere(path: str, world: World) -> None:
    with world.signed_in("admin") as client:
        found = client.get(path)

    assert found.status_code == 200, found.text
    assert found.headers["content-security-policy"] == POLICY
    assert found.headers["cache-control"] == "no-store"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert "style=" not in found.text
    assert not re.search(r"<script(?![^>]*src=)", found.text)
    assert not re.search(r"\son\w+=", found.text)


@pytest.mark.parametrize(
    ("headers", "is_held"),
    [
        ({"host": "obs.example", "x-forwarded-proto": "https"}, True),
        ({"host": "obs.example"}, False),
        ({"x-forwarded-proto": "https"}, False),
    ],
    ids=["https", "http", "loopback"],
)
def test_a_browser_that_came_over_https_is_to_do_so_from_now_on(
    headers: dict[str, str], is_held: bool, world: World
) -> None:
    with world.browser() as client:
        found = client.get("/sign-in", headers=headers)

    assert found.status_code == 200
    assert ("strict-transport-security" in found.headers) == is_held


def test_a_session_is_a_cookie_that_no_script_and_no_other_site_can_use(world: World) -> None:
    with world.browser() as client:
        cookie = sign_in(client, world.keys["reader"]).headers["set-cookie"]

        assert "httponly" in cookie.lower()
        assert "samesite=strict" in cookie.lower()
        assert "secure" not in cookie.lower(), "this server is not asked over https"
        client.get("/sign-in")
    with world.browser() as client:
        secure = post(client, "/sign-in", {"key": world.keys["reader"]}, "/sign-in", **{"x-forwarded-proto": "https"})
    assert secure.headers["set-cookie"].startswith("__Host-otel_obs_session=")
    assert "secure" in secure.headers["set-cookie"].lower()


def test_the_database_does_not_know_what_the_browser_holds(world: World) -> None:
    with world.signed_in("reader") as client, psycopg.connect(conninfo(world.url)) as connection:
        token = client.cookies["otel_obs_session"]
        rows = connection.execute("SELECT s::text FROM dashboard_sessions AS s").fetchall()

    assert rows
    assert not any(token in row[0] for row in rows)


def test_signing_in_makes_a_new_session_and_ends_the_one_before(world: World) -> None:
    with world.signed_in("reader") as client, world.browser() as planted:
        before = client.cookies["otel_obs_session"]
        planted.cookies.set("otel_obs_session", before)
        assert planted.get("/").status_code == 200

        assert sign_in(client, world.keys["admin"]).status_code == 303
        assert client.cookies["otel_obs_session"] != before
        assert planted.get("/").status_code == 303


def test_a_session_that_somebody_made_up_opens_nothing(world: World) -> None:
    with world.browser() as client:
        client.cookies.set("otel_obs_session", "x" * 43, domain="127.0.0.1")
        assert client.get("/").status_code == 303

        assert sign_in(client, world.keys["reader"]).status_code == 303
        assert client.cookies["otel_obs_session"] != "x" * 43


def test_signing_out_ends_the_session_everywhere(world: World) -> None:
    with world.signed_in("reader") as client, world.browser() as copied:
        copied.cookies.set("otel_obs_session", client.cookies["otel_obs_session"])
        assert post(client, "/sign-out", {}, "/").status_code == 303

        assert client.get("/").status_code == 303
        assert copied.get("/").status_code == 303
        assert copied.get("/api/v1/traces").status_code == 401


def test_a_session_ends_with_its_key_and_with_its_time(world: World) -> None:
    now = datetime.now(tz=timezone.utc)
    with world.signed_in("revoked") as client, psycopg.connect(conninfo(world.url), autocommit=True) as connection:
        assert client.get("/").status_code == 200
        key_id = world.keys["revoked"].split("_")[1]
        keys.revoke(connection, key_id, now=now)
        deadline = datetime.now(tz=timezone.utc) + timedelta(seconds=REFRESH_S * 4)
        while client.get("/").status_code == 200:
            assert datetime.now(tz=timezone.utc) < deadline

        token = sessions.open_session(
            connection, key_id=world.keys["reader"].split("_")[1], organization_id="acme", now=now - sessions.LASTS
        )
        assert sessions.key_of_session(connection, token, now - timedelta(seconds=1)) is not None
        assert sessions.key_of_session(connection, token, now) is None


def unused(connection: psycopg.Connection, client: httpx.Client, for_: timedelta) -> None:
    """Have the session of *client* be one that nobody has used *for_* so long."""
    found = connection.execute(
        "UPDATE dashboard_sessions SET created_at = now() - interval '6 hours', used_at = now() - %s "
        "WHERE token_hash = sha256(%s)",
        (for_, client.cookies["otel_obs_session"].encode()),
    )
    assert found.rowcount == 1


def timed_out(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT count(*) FROM audit_log WHERE action = 'dashboard.timed_out' AND organization_id = 'acme' "
        "AND actor = 'key:' || subject"
    ).fetchone()
    return 0 if row is None else int(row[0])


def test_a_session_that_nobody_uses_ends_with_the_way_back_kept(world: World) -> None:
    with world.signed_in("reader") as client, psycopg.connect(conninfo(world.url), autocommit=True) as connection:
        before = timed_out(connection)
        unused(connection, client, timedelta(minutes=59))
        assert client.get("/costs").status_code == 200
        assert client.get("/costs").status_code == 200

        unused(connection, client, timedelta(minutes=60))
        found = client.get("/costs", params={"since": "24h"})

        assert (found.status_code, found.headers["location"]) == (303, "/sign-in?next=%2Fcosts%3Fsince%3D24h")
        assert client.get("/api/v1/traces").status_code == 401
        assert timed_out(connection) == before + 1
        again = post(client, "/sign-in", {"key": world.keys["reader"], "next": "/costs?since=24h"}, "/sign-in")
        assert (again.status_code, again.headers["location"]) == (303, "/costs?since=24h")
        assert client.get("/costs").status_code == 200


def test_use_of_a_session_is_noted_once_a_minute(world: World) -> None:
    start = datetime.now(tz=timezone.utc)
    idle = timedelta(minutes=5)
    with psycopg.connect(conninfo(world.url), autocommit=True) as connection:
        token = sessions.open_session(
            connection, key_id=world.keys["reader"].split("_")[1], organization_id="acme", now=start
        )

        def used_at(seconds: float, *, is_use: bool = True) -> float | None:
            """Return when it was used last, as is known after it is asked for; in seconds since it began."""
            now = start + timedelta(seconds=seconds)
            if sessions.key_of_session(connection, token, now, idle=idle, is_use=is_use) is None:
                return None
            row = connection.execute(
                "SELECT used_at FROM dashboard_sessions WHERE key_id = %s AND created_at = %s",
                (world.keys["reader"].split("_")[1], start),
            ).fetchone()
            assert row is not None
            return 0.0 if row[0] is None else (row[0] - start).total_seconds()

        assert [used_at(seconds) for seconds in (0, 59, 60, 61, 119, 120, 300)] == [0, 0, 60, 60, 60, 120, 300]
        assert [used_at(seconds, is_use=False) for seconds in (400, 599)] == [300, 300]
        assert used_at(600) is None
        assert used_at(301) is None


def test_without_a_timeout_a_session_lasts_as_long_as_any_may(world: World) -> None:
    start = datetime.now(tz=timezone.utc)
    with psycopg.connect(conninfo(world.url), autocommit=True) as connection:
        token = sessions.open_session(
            connection, key_id=world.keys["reader"].split("_")[1], organization_id="acme", now=start
        )

        last = start + sessions.LASTS
        assert sessions.key_of_session(connection, token, last - timedelta(seconds=1)) is not None
        assert sessions.key_of_session(connection, token, last, idle=timedelta(minutes=60)) is None


def test_a_live_stream_keeps_no_session_alive(world: World) -> None:
    """It is opened again by itself; what is looked at on the page is."""
    with world.signed_in("reader") as client, psycopg.connect(conninfo(world.url), autocommit=True) as connection:
        hashed = "SELECT now() - used_at > interval '30 minutes' FROM dashboard_sessions WHERE token_hash = sha256(%s)"
        token = client.cookies["otel_obs_session"].encode()
        unused(connection, client, timedelta(minutes=40))

        with client.stream("GET", "/api/v1/stream") as stream:
            assert stream.status_code == 200
        assert connection.execute(hashed, (token,)).fetchone() == (True,)
        assert client.get("/live").status_code == 200
        assert connection.execute(hashed, (token,)).fetchone() == (False,)

        unused(connection, client, timedelta(minutes=61))
        assert client.get("/api/v1/stream").status_code == 401


@pytest.mark.parametrize(("name", "status"), [("sender", 403), ("", 401)])
def test_only_a_key_that_may_read_signs_anybody_in(name: str, status: int, world: World) -> None:
    with world.browser() as client:
        found = sign_in(client, world.keys.get(name, "oo_nonsense"))

        assert found.status_code == status
        assert "otel_obs_session" not in client.cookies
    with psycopg.connect(conninfo(world.url)) as connection:
        row = connection.execute(
            "SELECT subject FROM audit_log WHERE action = 'dashboard.sign_in_failed' ORDER BY id DESC LIMIT 1"
        ).fetchone()
    assert row == (world.keys[name].split("_")[1] if name else "no key of ours",)


@pytest.mark.parametrize(
    "target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/\t/evil.example"]
)
def test_signing_in_leads_to_pages_of_ours_only(target: str, world: World) -> None:
    with world.browser() as client:
        assert sign_in(client, world.keys["reader"], next=target).headers["location"] == "/"
        assert "evil" not in client.get("/sign-in", params={"next": target}).text


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"origin": "https://evil.example"}, True),
        ({"origin": "null"}, True),
        ({}, True),
        ({"origin": "ours"}, False),
    ],
    ids=["another site", "no site", "unsaid", "without the token"],
)
def test_a_form_of_another_site_changes_nothing(headers: dict[str, str], token: bool, world: World) -> None:
    fields = {"name": "ours", "scope": "organization", "version": "1"}
    headers = {name: world.base if value == "ours" else value for name, value in headers.items()}
    with world.signed_in("admin") as client:
        sent = {**fields, **({"form_token": token_in(client.get("/flags"))} if token else {})}
        found = client.post("/flags", data=sent, headers=headers)
        shown = client.get("/flags/flag", params={"name": "ours"})

    assert found.status_code == 403
    assert "version 1" in shown.text


def test_a_token_of_one_session_is_worth_nothing_in_another(world: World) -> None:
    with world.signed_in("admin") as client, world.signed_in("admin") as other:
        stolen = token_in(other.get("/flags"))
        found = client.post("/flags", data={"name": "ours", "form_token": stolen}, headers={"origin": world.base})

    assert found.status_code == 403


def test_a_session_reads_the_api_but_changes_nothing_there(world: World) -> None:
    with world.signed_in("admin") as client:
        assert client.get("/api/v1/traces").json()["items"]
        assert client.post("/api/v1/traces").status_code in (403, 404, 405)


def test_a_reader_changes_nothing(world: World) -> None:
    with world.signed_in("reader") as client:
        assert 'value="delete"' not in client.get("/flags/flag", params={"name": "ours"}).text
        found = post(client, "/flags", {"name": "ours", "scope": "organization"}, "/")

    assert found.status_code == 403


def test_the_second_of_two_who_change_a_flag_is_told(world: World) -> None:
    fields = {"name": "shared", "scope": "organization", "version": "0", "is_enabled": "on", "why": "first"}
    with world.signed_in("admin") as client:
        assert post(client, "/flags", fields, "/flags").status_code == 303
        again = post(client, "/flags", {**fields, "why": "second"}, "/flags")
        shown = client.get("/flags/flag", params={"name": "shared"})

    assert again.status_code == 409
    assert "somebody else has changed it" in again.text
    assert "first" in shown.text
    assert "second" not in shown.text
    assert f"key:{world.keys['admin'].split('_')[1]}" in shown.text


def test_a_budget_is_set_and_deleted_by_whoever_may(world: World) -> None:
    fields = {"id": "all", "amount": "$250", "period": "month", "version": "0", "why": "a start"}
    with world.signed_in("reader") as reader:
        assert post(reader, "/budgets", fields, "/").status_code == 403
    with world.signed_in("admin") as client:
        assert post(client, "/budgets", fields, "/budgets").status_code == 303
        assert post(client, "/budgets", fields, "/budgets").status_code == 409
        assert post(client, "/budgets", {**fields, "amount": "much"}, "/budgets").status_code == 400
        assert "$250.00" in client.get("/budgets").text
        with world.signed_in("theirs") as others:
            assert "$250.00" not in others.get("/budgets").text
        assert post(client, "/budgets", {"id": "all", "do": "delete", "version": "1"}, "/budgets").status_code == 303
        assert "$250.00" not in client.get("/budgets").text


def test_a_budget_is_set_with_thresholds_a_webhook_and_a_flag(world: World) -> None:
    fields = {
        "id": "told", "amount": "10", "period": "day", "version": "0", "thresholds": "25, 50 %",
        "webhook_url": "https://example.com/hook", "flag_name": "ours", "flag_enabled": "off",
    }  # fmt: skip
    with world.signed_in("reader") as reader:
        assert post(reader, "/budgets", fields, "/").status_code == 403
    with world.signed_in("admin") as client:
        for wrong in (
            {"webhook_url": "http://169.254.169.254/latest/meta-data"},
            {"webhook_url": "https://127.0.0.1/hook"},
            {"webhook_url": "https://[::1]/hook"},
            {"webhook_url": "javascript:alert(1)"},
            {"thresholds": "many"},
            {"thresholds": "0"},
        ):
            assert post(client, "/budgets", {**fields, **wrong}, "/budgets").status_code == 400, wrong
        done = post(client, "/budgets", fields, "/budgets")
        again = client.get("/budgets").text
        api = client.get("/api/v1/budgets/told").json()

    assert done.status_code == 200
    secret = re.search(r"whsec_[A-Za-z0-9+/=]+", unescape(done.text))
    assert secret is not None
    assert secret[0] not in again
    assert (api["thresholds"], api["flag_name"], api["flag_enabled"]) == ([25, 50, 100], "ours", False)
    with psycopg.connect(conninfo(world.url)) as connection:
        row = connection.execute("SELECT url, secret FROM budget_webhooks WHERE budget_id = 'told'").fetchone()
        told = connection.execute("SELECT after::text FROM audit_log WHERE subject = 'told'").fetchall()
    assert row is not None
    assert row[0] == "https://example.com/hook"
    assert secret[0] not in str(told)


def test_a_flag_for_everyone_is_not_for_one_organization_to_change(world: World) -> None:
    with world.signed_in("admin") as client:
        found = post(client, "/flags", {"name": "everyone's", "scope": "global", "version": "1"}, "/flags")

    assert found.status_code == 403
    with psycopg.connect(conninfo(world.url)) as connection:
        (flag,) = listed(connection, limit=5, flag_name="everyone's")
    assert flag.is_enabled


@pytest.mark.parametrize("fields", [{"scope": "organization"}, {"scope": "workspace", "workspace_id": "red"}])
def test_a_key_of_one_workspace_changes_flags_of_that_one_only(fields: dict[str, str], world: World) -> None:
    with world.signed_in("bound") as client:
        assert post(client, "/flags", {"name": "ours", **fields}, "/flags").status_code == 403
        assert post(client, "/flags", {"name": "bound", "scope": "workspace"}, "/flags").status_code == 303
    with psycopg.connect(conninfo(world.url)) as connection:
        (flag,) = listed(connection, limit=5, flag_name="bound")
    assert flag.key == ("acme", "blue", None)


def test_what_belongs_to_others_looks_like_what_is_not_there(world: World) -> None:
    unknown = "d" * 32
    with world.signed_in("theirs") as client:
        for path, theirs, nobodys in (
            (f"/traces/{TRACES['acme']}", TRACES["acme"], unknown),
            ("/agents/runs?agent_id=agent of acme", "agent of acme", "agent of nobody"),
            ("/flags/flag?name=ours", "ours", "nobody's"),
            ("/conversations/one?conversation_id=x", "x", "y"),
        ):
            found, none = client.get(path), client.get(path.replace(theirs, nobodys))
            assert (found.status_code, none.status_code) == (404, 404), path
            assert _said(found, client) == _said(none, client), path
        for path in PAGES:
            text = unescape(client.get(path, params={"organization_id": "acme"}).text)
            assert "agent of acme" not in text, path
            assert "oo_" + world.keys["admin"].split("_")[1] not in text, path


def _said(answer: httpx.Response, client: httpx.Client) -> str:
    del client
    return re.sub(r'value="[0-9a-f]{64}"', "", answer.text)


def test_a_key_of_one_workspace_sees_that_one(world: World) -> None:
    with world.signed_in("bound") as client:
        agents = unescape(client.get("/agents", params={"workspace_id": "red"}).text)
        settings = client.get("/settings").text

    assert "agent of blue" in agents
    assert "agent of acme" not in agents
    assert world.keys["admin"].split("_")[1] not in settings


def test_sign_ins_are_in_the_audit_log(world: World) -> None:
    with world.signed_in("theirs"), psycopg.connect(conninfo(world.url)) as connection:
        row = connection.execute(
            "SELECT actor, organization_id FROM audit_log WHERE action = 'dashboard.sign_in' ORDER BY id DESC LIMIT 1"
        ).fetchone()

    assert row == (f"key:{world.keys['theirs'].split('_')[1]}", "others")


def test_signing_out_is_in_the_audit_log_and_happens_once(world: World) -> None:
    with world.signed_in("theirs") as client, psycopg.connect(conninfo(world.url), autocommit=True) as connection:
        asked = "SELECT count(*) FROM audit_log WHERE action = 'dashboard.sign_out' AND organization_id = 'others'"
        before = connection.execute(asked).fetchone()
        for _ in range(2):
            post(client, "/sign-out", {}, "/sign-in")
        after = connection.execute(asked).fetchone()

    assert before is not None
    assert after == (before[0] + 1,)


def test_the_log_is_for_administrators_of_the_whole_organization(world: World) -> None:
    for name, status in (("admin", 200), ("reader", 403), ("bound", 403)):
        with world.signed_in(name) as client:
            assert client.get("/audit").status_code == status, name
            assert ('href="/audit"' in client.get("/").text) == (status == 200), name


def test_failures_are_pages_too(world: World) -> None:
    with world.signed_in("reader") as client:
        for path, status in (
            ("/traces?since=yesterday", 400),
            ("/costs?group_by=nonsense", 400),
            ("/agents?sort=x", 400),
        ):
            found = client.get(path)
            assert found.status_code == status
            assert found.headers["content-type"].startswith("text/html")
            assert "To the overview" in found.text
        assert client.get("/static/../page.py").status_code == 404
        assert client.get("/static/nothing.js").status_code == 404
        assert client.get("/traces?q=%00").status_code == 400


def test_costs_say_so_where_sampling_makes_them_partial(world: World) -> None:
    at = showroom.now_ms() - 3_600_000
    gone = make_span(agent("gone"), trace_id="5" * 32, start_ms=at)
    call = make_span(chat(response_id="left"), trace_id="5" * 32, parent=gone, start_ms=at)
    with world.signed_in("theirs") as client:
        before = client.get("/costs").text
        showroom.write(world.url, [call], "others")

        assert "never came here" not in before
        assert "1 of the newest 1 traces begin with a span that never came here" in client.get("/costs").text


def test_costs_and_spans_say_what_share_a_sampler_kept(world: World) -> None:
    at = showroom.now_ms() - 3_600_000
    sampled = replace(
        make_span(chat(response_id="kept"), trace_id="6" * 32, start_ms=at),
        trace_state="ot=th:c", dropped_attributes_count=3, dropped_events_count=1,
    )  # fmt: skip
    with world.signed_in("reader") as client:
        before = client.get("/costs").text
        showroom.write(world.url, [sampled], "acme")
        after = client.get("/costs").text
        span = client.get(f"/traces/{sampled.trace_id}", params={"event": sampled.span_id}).text

    assert "were sampled" not in before
    told = re.search(
        r"1 of the newest (\d+) traces were sampled.* about (\S+ %) of all .* about ([0-9.]+) times", after
    )
    assert told is not None, after
    traces, kept = int(told[1]), int(told[1]) / (int(told[1]) + 3)
    assert (told[2], told[3]) == (figures.share(kept), f"{1 / kept:.3g}")
    assert traces >= 1
    assert "stands for about 4 like it" in span
    assert "3 attributes, 1 event" in span


def test_an_operator_looks_at_any_organization_and_switches_between_them(world: World) -> None:
    with world.signed_in("operator") as client:
        own = client.get("/traces", params={"since": "30d"})
        other = client.get("/traces", params={"since": "30d", "organization_id": "others"})
        api = client.get("/api/v1/traces", params={"since": "30d", "organization_id": "others"})

    assert TRACES["acme"] in own.text
    assert TRACES["others"] not in own.text
    assert TRACES["others"] in other.text
    assert TRACES["acme"] not in other.text
    assert {row["trace_id"] for row in api.json()["items"]} >= {TRACES["others"]}
    assert TRACES["acme"] not in api.text
    switch = re.findall(r"<option( selected)?>(acme|others)</option>", other.text)
    assert sorted(switch) == [("", "acme"), (" selected", "others")]
    assert "organization_id=others" in other.text, "links stay with that organization"


def test_an_operator_changes_what_he_looks_at_under_his_own_name(world: World) -> None:
    with world.signed_in("operator") as client:
        page = "/flags?organization_id=others"
        sent = post(client, page, {"name": "by operator", "scope": "organization", "is_enabled": "on"}, page)

    assert sent.status_code == 303
    with psycopg.connect(conninfo(world.url)) as connection:
        flags = connection.execute(
            "SELECT organization_id FROM feature_flags WHERE flag_name = 'by operator'"
        ).fetchall()
        written = "SELECT organization_id, actor FROM audit_log WHERE action = 'flags.set' ORDER BY id DESC LIMIT 1"
        who = connection.execute(written).fetchone()
    assert flags == [("others",)]
    assert who == ("others", f"key:{world.keys['operator'].split('_')[1]}")


@pytest.mark.parametrize("name", ["reader", "admin", "bound"])
def test_who_is_no_operator_names_another_organization_in_vain(name: str, world: World) -> None:
    with world.signed_in(name) as client:
        page = client.get("/traces", params={"since": "30d", "organization_id": "others"})
    api = httpx.get(
        f"{world.base}/api/v1/traces", params={"since": "30d", "organization_id": "others"},
        headers={"x-api-key": world.keys[name]}, timeout=30,
    )  # fmt: skip

    assert TRACES["others"] not in page.text
    assert "others</option>" not in page.text
    assert TRACES["others"] not in api.text
    assert TRACES["blue"] in api.text


@pytest.mark.parametrize("named", ["\x00", "x" * 201, "a\nb"])
def test_an_operator_names_what_no_organization_can_be_called(named: str, world: World) -> None:
    found = httpx.get(
        f"{world.base}/api/v1/traces", params={"organization_id": named},
        headers={"x-api-key": world.keys["operator"]}, timeout=30,
    )  # fmt: skip

    assert found.status_code == 400


def test_an_operators_key_sends_nothing_and_is_bound_to_nothing(world: World) -> None:
    now = datetime.now(tz=timezone.utc)
    with psycopg.connect(conninfo(world.url), autocommit=True) as connection:
        for scopes, workspace in ((["ingest"], None), (["flags"], None), (["read"], "blue")):
            with pytest.raises(ConfigurationError):
                keys.create(
                    connection, organization_id="acme", workspace_id=workspace, scopes=scopes, now=now, is_operator=True
                )
            with pytest.raises(psycopg.errors.CheckViolation):
                connection.execute(
                    "INSERT INTO api_keys (id, hash, organization_id, workspace_id, is_bound, scopes, created_by, "
                    "is_operator) VALUES (repeat('a', 16), decode(repeat('00', 32), 'hex'), 'acme', %s, %s, %s, 'me', "
                    "true)",
                    [workspace, workspace is not None, scopes],
                )
