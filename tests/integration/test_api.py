"""The JSON API over rows of two organizations: right answers, to whom they belong."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import psycopg
import pytest

from otel_obs.errors import UnsafeReaderError
from otel_obs.maintenance.rollups import roll_up
from otel_obs.postgres import keys
from otel_obs.postgres.pool import conninfo, open_pool
from otel_obs.postgres.reading import Reader, reading
from otel_obs.postgres.roles import check_reader
from otel_obs.postgres.store import PostgresStore
from otel_obs.rows.batch import Batch
from otel_obs.settings import Settings
from otel_obs.web import stream
from otel_obs.web.server import ApiServer
from tests.builders import START_NS, agent, chat, make_span, tool
from tests.rows import SETTLING, batch

DAY_MS = 24 * 3600 * 1000.0
START = datetime.fromtimestamp(START_NS / 1e9, tz=timezone.utc)
SINCE, UNTIL = START - timedelta(days=2), START + timedelta(days=2)
PERIOD = f"since={SINCE:%Y-%m-%dT%H:%M:%SZ}&until={UNTIL:%Y-%m-%dT%H:%M:%SZ}"
TRACES = {"mine": "1" * 32, "other workspace": "2" * 32, "yesterday": "3" * 32, "orphan": "4" * 32, "theirs": "5" * 32}


@dataclass(frozen=True)
class World:
    url: str
    client: httpx.Client
    organization_key: str
    workspace_key: str
    other_key: str

    def get(self, path: str, key: str | None = None, **parameters: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self.organization_key}"}
        return self.client.get(f"/api/v1/{path}", headers=headers, params=parameters or None)

    def items(self, path: str, key: str | None = None) -> list[dict[str, Any]]:
        found = self.get(path, key)
        assert found.status_code == 200, found.text
        items: list[dict[str, Any]] = found.json()["items"]
        return items


def _spans(trace: str, workspace: str, *, start_ms: float = 0, failed: bool = False) -> list[Any]:
    trace_id = TRACES[trace]
    who = {"otel_obs.workspace.id": workspace, "user.id": f"user of {workspace}", "session.id": f"talk {workspace}"}
    flow = make_span(
        {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "nightly", **who},
        name="invoke_workflow nightly", trace_id=trace_id, start_ms=start_ms, duration_ms=1000,
    )  # fmt: skip
    run = make_span(agent("writer"), trace_id=trace_id, parent=flow, start_ms=start_ms + 10, duration_ms=900)
    said = {"gen_ai.input.messages": f'[{{"content":"secret of {trace}"}}]'}
    ask = make_span(
        chat(100, 20, response_id=f"resp {trace}", more=said),
        trace_id=trace_id, parent=run, start_ms=start_ms + 20, duration_ms=500,
    )  # fmt: skip
    look = make_span(
        {**tool("search"), **({"error.type": "timeout"} if failed else {})},
        trace_id=trace_id, parent=run, start_ms=start_ms + 600, duration_ms=200, status_code=2 if failed else 0,
    )  # fmt: skip
    return [flow, run, ask, look]


def _write(url: str) -> None:
    pool = open_pool(url)
    try:
        store = PostgresStore(pool)
        store.write(batch(_spans("mine", "blue", failed=True), organization="acme"))
        store.write(batch(_spans("other workspace", "green"), organization="acme"))
        store.write(batch(_spans("yesterday", "blue", start_ms=-DAY_MS), organization="acme"))
        store.write(batch(_spans("orphan", "blue", start_ms=DAY_MS)[1:], organization="acme"))
        store.write(batch(_spans("theirs", "blue"), organization="others"))
        while store.settle(SETTLING, limit=100, all_now=True):
            pass
    finally:
        pool.close()


def _key(url: str, organization: str, workspace: str | None = None, scope: str = "read") -> str:
    with psycopg.connect(conninfo(url)) as connection:
        return keys.create(
            connection,
            organization_id=organization,
            workspace_id=workspace,
            scopes=[scope],
            now=datetime.now(tz=timezone.utc),
        )


@pytest.fixture(scope="module")
def world(module_database: str) -> Iterator[World]:
    _write(module_database)
    made = (_key(module_database, "acme"), _key(module_database, "acme", "blue"), _key(module_database, "others"))
    settings = Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0", "AUTH": "keys"})
    server = ApiServer(settings, module_database)
    try:
        server.check()
        with httpx.Client(base_url=f"http://{server.start()}", timeout=30) as client:
            yield World(module_database, client, *made)
    finally:
        server.stop()


def test_executions_are_workflows_and_agents_that_nobody_called(world: World) -> None:
    found = world.get(f"metrics?{PERIOD}&step=day").json()

    assert found["total"]["executions"] == 4, "three workflows, and an agent whose workflow never came"
    assert found["total"]["error_rate"] == 0
    assert found["total"]["calls"] == 4
    assert found["total"]["cost_cents"] == 480
    assert found["before"]["executions"] == 0
    assert [period["executions"] for period in found["periods"]] == [0, 1, 2, 1, 0]
    assert found["total"]["latency_p50_ms"] == 1000


def test_errors_are_grouped_by_type_and_node_and_name_the_newest_trace(world: World) -> None:
    (found,) = world.items(f"errors?{PERIOD}")

    assert (found["error_type"], found["event_type"], found["node"], found["count"]) == ("timeout", "tool", "search", 1)
    assert found["last_trace_id"] == TRACES["mine"]


def test_traces_are_listed_once_each_the_newest_first_also_without_a_root(world: World) -> None:
    found = world.items(f"traces?{PERIOD}")

    assert [row["trace_id"] for row in found] == [
        TRACES["orphan"], TRACES["other workspace"], TRACES["mine"], TRACES["yesterday"],
    ]  # fmt: skip
    assert [row["is_incomplete"] for row in found] == [True, False, False, False]
    mine = found[2]
    assert (mine["name"], mine["status"], mine["spans"], mine["errors"]) == ("nightly", "error", 4, 1)
    assert (mine["calls"], mine["cost_cents"], mine["models"]) == (1, 120, ["gpt-4o-mini"])


@pytest.mark.parametrize(
    ("asked", "traces"),
    [
        ("status=error", ["mine"]),
        ("workspace_id=green", ["other workspace"]),
        ("q=SECRET of yesterday", ["yesterday"]),
        ("q=100%", []),
        ("model=gpt-4o-mini&agent_id=writer&flow_id=nightly&min_cost_cents=1&workspace_id=green", ["other workspace"]),
        ("user_id=user of green", ["other workspace"]),
        ("conversation_id=talk green", ["other workspace"]),
        ("model=gpt-5", []),
        ("min_cost_cents=121", []),
        ("min_latency_ms=1000.5", []),
        ("error_type=timeout", ["mine"]),
    ],
)
def test_traces_are_found_by_what_happened_in_them(asked: str, traces: list[str], world: World) -> None:
    found = world.items(f"traces?{PERIOD}&{asked}")

    assert [row["trace_id"] for row in found] == [TRACES[name] for name in traces]


@pytest.mark.parametrize("path", ["traces", "events", "errors", "agents", "conversations"])
def test_pages_follow_each_other_without_gap_or_repetition(path: str, world: World) -> None:
    whole = world.items(f"{path}?{PERIOD}&limit=500")
    pages: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = world.get(f"{path}?{PERIOD}&limit=1" + (f"&cursor={cursor['next']}" if cursor else "")).json()
        pages.extend(page["items"])
        if page["next_cursor"] is None:
            break
        cursor = {"next": page["next_cursor"]}

    assert pages == whole
    assert whole


def test_a_trace_is_a_tree_with_cost_place_in_time_and_critical_path(world: World) -> None:
    found = world.get(f"traces/{TRACES['mine']}").json()

    nodes = {node["name"]: node for node in found["nodes"]["items"]}
    assert (found["spans"], found["errors"], found["cost_cents"], found["duration_ms"]) == (4, 1, 120, 1000)
    assert nodes["search"]["parent_span_id"] == nodes["writer"]["span_id"]
    assert [node["offset_ms"] for node in found["nodes"]["items"]] == [0, 10, 20, 600]
    assert all(node["on_critical_path"] for node in nodes.values())
    assert nodes["a span"]["has_content"]
    assert not nodes["search"]["has_content"]


def test_what_was_said_is_told_for_one_event_only_when_it_is_asked_for(world: World) -> None:
    tree = world.get(f"traces/{TRACES['mine']}")
    event_id = next(node["event_id"] for node in tree.json()["nodes"]["items"] if node["has_content"])

    found = world.get(f"traces/{TRACES['mine']}/events/{event_id}").json()

    assert "secret of" not in tree.text
    assert [part["body"] for part in found["contents"]] == ['[{"content":"secret of mine"}]']


def test_agents_their_runs_and_conversations_add_up(world: World) -> None:
    (writer,) = world.items(f"agents?{PERIOD}")
    runs = world.items(f"agents/writer/runs?{PERIOD}")
    talks = world.items(f"conversations?{PERIOD}")

    assert (writer["runs"], writer["cost_cents"]) == (4, 480)
    assert sum(run["cost_cents"] for run in runs) == 480
    assert {talk["conversation_id"]: talk["cost_cents"] for talk in talks} == {"talk blue": 240, "talk green": 120}


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("model", {("gpt-4o-mini",): 480}),
        ("workspace", {("blue",): 240, ("green",): 120, ("default",): 120}),
        ("workspace,agent", {("blue", "writer"): 240, ("green", "writer"): 120, ("default", "writer"): 120}),
        ("user", {("user of blue",): 240, ("user of green",): 120, (None,): 120}),
        ("flow", {("nightly",): 360, (None,): 120}),
    ],
)
def test_costs_are_grouped_by_any_keys_and_sum_to_the_total(
    by: str, expected: dict[tuple[str | None, ...], float], world: World
) -> None:
    found = world.get(f"costs?{PERIOD}&group_by={by}").json()

    keys = found["by"]
    assert {tuple(row[key] for key in keys): row["cost_cents"] for row in found["rows"]} == expected
    assert found["total"]["cost_cents"] == 480


def test_costs_from_roll_ups_equal_those_from_rows(world: World) -> None:
    asked = f"costs?{PERIOD}&group_by=day,model,agent,workspace,flow"
    from_rows = world.get(asked + ",operation").json()
    before = world.get(asked).json()
    pool = open_pool(world.url)
    try:
        roll_up(pool, now=datetime.now(tz=timezone.utc))
        rolled = world.get(asked).json()
        with pool.connection() as connection:
            rows = connection.execute("SELECT count(*) FROM usage_rollups WHERE organization_id = 'acme'").fetchone()
    finally:
        pool.close()

    for row in from_rows["rows"]:
        row.pop("operation")
    assert rows is not None
    assert rows[0] > 0
    assert before["rows"] == from_rows["rows"] == rolled["rows"]
    assert before["total"] == from_rows["total"] == rolled["total"]


def test_an_answer_sees_one_state_of_the_database(world: World) -> None:
    pool = open_pool(world.url)
    try:
        with reading(pool, Reader(organization_id="acme")) as connection:
            before = connection.execute("SELECT count(*) FROM workspaces").fetchone()
            with psycopg.connect(conninfo(world.url)) as other:
                other.execute("INSERT INTO workspaces (organization_id, id) VALUES ('acme', 'meanwhile')")
            after = connection.execute("SELECT count(*) FROM workspaces").fetchone()
        with reading(pool, Reader(organization_id="acme")) as connection:
            later = connection.execute("SELECT count(*) FROM workspaces").fetchone()
    finally:
        pool.close()

    assert before is not None
    assert after == before
    assert later == (before[0] + 1,)


def test_a_key_of_a_workspace_opens_that_workspace_only(world: World) -> None:
    found = world.items(f"traces?{PERIOD}", world.workspace_key)
    asked = world.items(f"traces?{PERIOD}&workspace_id=green", world.workspace_key)

    assert [row["trace_id"] for row in found] == [TRACES["mine"], TRACES["yesterday"]]
    assert {row["workspace_id"] for row in asked} <= {"blue"}
    assert world.get(f"costs?{PERIOD}&group_by=workspace", world.workspace_key).json()["total"]["cost_cents"] == 240


@pytest.mark.parametrize("path", ["traces/{}", "traces/{}/events/x", "traces/{}?limit=1"])
def test_what_belongs_to_somebody_else_is_answered_like_what_does_not_exist(path: str, world: World) -> None:
    theirs = world.get(path.format(TRACES["theirs"]))
    nobodys = world.get(path.format("f" * 32))

    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.content == nobodys.content
    assert world.get(f"traces/{TRACES['theirs']}", world.other_key).status_code == 200


def test_the_organization_is_the_keys_whatever_is_asked(world: World) -> None:
    found = world.get(f"traces?{PERIOD}&organization_id=others")

    assert TRACES["theirs"] not in found.text


@pytest.mark.parametrize(
    ("asked", "detail"),
    [
        ("traces?limit=0", "limit"),
        ("traces?limit=-1", "limit"),
        ("traces?limit=501", "limit"),
        ("traces?cursor=abc", "cursor"),
        ("traces?cursor=WyJ4Il0", "cursor"),
        ("agents?cursor=WyJcdWQ4MDAiXQ", "cursor"),
        ("traces?since=yesterday", "since"),
        ("traces?since=0001-01-01T00:00:00Z", "since"),
        ("traces?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "since"),
        ("traces?user_id=%00", "user_id"),
        ("traces?min_cost_cents=nan", "min_cost_cents"),
        ("costs?group_by=secret", "group_by"),
        ("costs?group_by=flag_variant", "flag"),
        ("metrics?step=second", "step"),
        ("metrics?step=hour&since=500w", "step"),
        ("events?format=xml", "format"),
    ],
)
def test_what_makes_no_sense_is_told_so(asked: str, detail: str, world: World) -> None:
    found = world.get(asked)

    assert found.status_code == 400
    assert found.headers["content-type"] == "application/problem+json"
    assert detail in found.json()["detail"]


@pytest.mark.parametrize("key", [None, "Bearer nonsense", "Basic eDp5"])
def test_without_a_key_nothing_is_answered(key: str | None, world: World) -> None:
    found = world.client.get("/api/v1/traces", headers={} if key is None else {"authorization": key})

    assert found.status_code == 401
    assert found.headers["www-authenticate"] == "Bearer"


def test_a_key_without_the_scope_may_not_read(world: World) -> None:
    found = world.get("traces", _key(world.url, "acme", scope="ingest"))

    assert found.status_code == 403


def test_lists_come_as_json_lines_and_as_csv_without_formulas(world: World) -> None:
    lines = world.get(f"events?{PERIOD}&format=jsonl")
    text = world.get(f"events?{PERIOD}&format=csv").text

    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(lines.text.splitlines()) == len(rows) == 15
    assert rows[0]["trace_id"] == TRACES["orphan"]


def test_nobody_is_answered_by_a_role_that_looks_past_the_policies(world: World) -> None:
    with psycopg.connect(conninfo(world.url)) as connection:
        connection.execute("CREATE ROLE otel_obs_test_looker BYPASSRLS NOLOGIN")
        connection.execute("GRANT otel_obs_test_looker TO otel_obs_reader")
        with pytest.raises(UnsafeReaderError, match="otel_obs_test_looker"):
            check_reader(connection)
        connection.rollback()


class Listener:
    """Somebody who listens to the stream."""

    def __init__(self, world: World, query: str = "", headers: dict[str, str] | None = None, key: str = "") -> None:
        self._response = world.client.stream(
            "GET",
            f"/api/v1/stream?{query}",
            headers={"authorization": f"Bearer {key or world.organization_key}", **(headers or {})},
            timeout=60,
        )

    def __enter__(self) -> Iterator[dict[str, str]]:
        return self._frames(self._response.__enter__())

    def __exit__(self, *error: object) -> None:
        self._response.__exit__(None, None, None)

    @staticmethod
    def _frames(response: httpx.Response) -> Iterator[dict[str, str]]:
        frame: dict[str, str] = {}
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                frame[name] = value
            elif frame:
                yield frame
                frame = {}


def _names(frames: Iterator[dict[str, str]], count: int) -> list[str]:
    found = []
    for frame in frames:
        if frame.get("event") == "event":
            found.append(json.loads(frame["data"])["name"])
        if len(found) == count:
            break
    return found


def _until_watching(frames: Iterator[dict[str, str]]) -> None:
    """Return once the first figures came, with which the first question was answered."""
    assert next(frame for frame in frames if frame.get("event") == "metrics")


def _send(url: str, name: str, workspace: str = "blue", organization: str = "acme") -> None:
    pool = open_pool(url)
    now_ms = (datetime.now(tz=timezone.utc) - START).total_seconds() * 1000
    attributes = {**tool(name), "otel_obs.workspace.id": workspace}
    span = make_span(attributes, trace_id=secrets.token_hex(16), start_ms=now_ms)
    try:
        PostgresStore(pool).write(replace_received(batch([span], organization=organization)))
    finally:
        pool.close()


def replace_received(found: Batch) -> Batch:
    """Return *found* as it is received now."""
    now = datetime.now(tz=timezone.utc)
    return replace(found, events=[event._replace(received_at=now) for event in found.events])


def test_the_stream_tells_what_is_new_to_whom_it_belongs(world: World) -> None:
    with (
        Listener(world) as everything,
        Listener(world, "event_type=tool&q=second") as some,
        Listener(world, key=world.workspace_key) as blue,
        Listener(world, key=world.other_key) as theirs,
    ):
        for frames in (everything, some, blue, theirs):
            _until_watching(frames)
        _send(world.url, "first", "green")
        _send(world.url, "second")
        _send(world.url, "third", organization="others")

        assert set(_names(everything, 2)) == {"first", "second"}
        assert _names(some, 1) == _names(blue, 1) == ["second"]
        assert _names(theirs, 1) == ["third"]


def test_the_stream_ends_with_its_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.3)
    key = _key(world.url, "acme")
    with psycopg.connect(conninfo(world.url), autocommit=True) as connection, Listener(world, key=key) as frames:
        assert next(frames)["retry"]
        keys.revoke(connection, key.split("_")[1], now=datetime.now(tz=timezone.utc))
        # It ends; with a key that holds it would go on for ever.
        assert all(frame.get("event") in ("metrics", "event", None) for frame in frames)


def test_who_comes_back_is_told_what_came_meanwhile(world: World) -> None:
    with Listener(world) as frames:
        _until_watching(frames)
        _send(world.url, "before")
        last = next(frame for frame in frames if frame.get("event") == "event")
    _send(world.url, "meanwhile")

    with Listener(world, headers={"last-event-id": last["id"]}) as frames:
        assert _names(frames, 1) == ["meanwhile"]


def test_tail_shows_the_stream_in_the_terminal(world: World) -> None:
    environment = {**os.environ, "OTEL_OBS_API_KEY": world.organization_key}
    where = world.client.base_url.netloc.decode()
    with subprocess.Popen(
        [sys.executable, "-m", "otel_obs", "tail", "--api", where, "--count", "1", "--type", "tool"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert process.stdout is not None
        while "ready" not in process.stderr.readline():
            pass
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            _send(world.url, "watched")
            time.sleep(1)  # the watcher may not have asked its first question yet
        assert "watched" in process.stdout.read()
        assert process.returncode == 0


def test_flags_are_looked_up_beside_the_api(world: World) -> None:
    context = {"context": {"targetingKey": "somebody"}}

    refused = world.client.post("/ofrep/v1/evaluate/flags/a-flag", json=context)
    found = world.client.post(
        "/ofrep/v1/evaluate/flags/a-flag", json=context, headers={"x-api-key": _key(world.url, "acme", scope="flags")}
    )

    assert refused.status_code == 401
    assert (found.status_code, found.json()["errorCode"]) == (404, "FLAG_NOT_FOUND")
