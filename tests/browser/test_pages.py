"""The dashboard in a real browser: with data, without, with hostile names; in light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe

from otel_obs.flags.store import Change, FlagScope, set_flag
from otel_obs.model import Span
from otel_obs.postgres import audit, keys
from otel_obs.postgres.budgets import Budget, Wanted, set_budget
from otel_obs.postgres.pool import conninfo
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer
from tests import showroom
from tests.builders import agent, chat, make_span, tool
from tests.fix_browser import Watched, watched

LONG = "abc00000000000000000000000000123"
HOSTILE = "2" * 32
PAYLOADS = (
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    "javascript:window.hit=1",
    "<svg onload=window.hit=1>",
    "</script><script>window.hit=1</script>",
    "</title><script>window.hit=1</script>",
    '"><script>window.hit=1</script>',
    "' onmouseover='window.hit=1",
    '" autofocus onfocus="window.hit=1',
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<a href=javascript:window.hit=1>click</a>",
    "[click](javascript:window.hit=1)",
    '![x](x"onerror="window.hit=1)',
    "{{constructor.constructor('window.hit=1')()}}",
    "{{ 7 * 7 }}{% raw %}",
    "<math><mi xlink:href='javascript:window.hit=1'>x</mi></math>",
    "<style>@import '//evil.example/x.css';</style>",
    "<base href='//evil.example/'>",
    "<form action='//evil.example/'><button autofocus>",
    "<!--<script>window.hit=1</script>-->&lt;script&gt;",
)
EVIL = 'evil"><script>window.hit=1</script>'


@dataclass(frozen=True)
class Site:
    url: str
    base: str
    base_with_keys: str
    key: str


@pytest.fixture(scope="module")
def site(module_database: str) -> Iterator[Site]:
    showroom.furnish(module_database)
    showroom.write(module_database, hostile(), EVIL)
    with psycopg.connect(conninfo(module_database), autocommit=True) as connection:
        for payload in PAYLOADS:
            names: dict[str, Any] = {
                "workspace_id": payload,
                "user_id": payload,
                "agent_id": payload,
                "model_name": payload,
            }
            budget = Budget(organization_id=EVIL, id=payload, period="day", amount_cents=Decimal("0.01"), **names)
            set_budget(connection, Wanted(budget=budget))
            change = Change(is_enabled=True, description=payload, owner=payload)
            set_flag(connection, payload, FlagScope(organization_id=EVIL), change, why=payload, actor=payload)
            told = {payload: payload, "n": {payload: [payload]}}
            audit.append(
                connection,
                action=payload,
                subject=payload,
                organization_id=EVIL,
                before=told,
                why=payload,
                actor=payload,
            )
        key = keys.create(
            connection,
            organization_id="acme",
            workspace_id=None,
            scopes=["read", "admin"],
            now=datetime.now(tz=timezone.utc),
        )
    servers = [
        ApiServer(Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0", "AUTH": auth}), module_database)
        for auth in ("off", "keys")
    ]
    try:
        bases = [f"http://{server.start()}" for server in servers]
        yield Site(module_database, bases[0], bases[1], key)
    finally:
        for server in servers:
            server.stop()


def hostile() -> list[Span]:
    """Return a trace in which every name is an attack."""
    at = showroom.now_ms() - 60_000
    spans: list[Span] = []
    for index, payload in enumerate(PAYLOADS):
        who = {
            "user.id": payload,
            "session.id": payload,
            "otel_obs.workspace.id": payload,
            "otel_obs.workflow.id": payload,
        }
        said = {
            "gen_ai.input.messages": f'[{{"role":{_json(payload)},"content":{_json(payload)}}}]',
            "gen_ai.output.messages": payload,
        }
        resource = {"service.name": payload, "deployment.environment.name": payload}
        place: dict[str, Any] = {"trace_id": HOSTILE if index < 10 else f"{index:032x}", "resource": resource}
        run = make_span({**agent(payload), **who}, name=payload, start_ms=at + index, duration_ms=500, **place)
        spans.append(run)
        spans.append(
            make_span(
                {**chat(10, 5, response_id=payload, model=payload, more=said), **who},
                name=payload,
                parent=run,
                start_ms=at + index,
                **place,
            )
        )
        spans.append(
            make_span(
                {**tool(payload), **who, "error.type": payload, "custom": payload},
                name=payload,
                parent=run,
                start_ms=at + index,
                status_code=2,
                **place,
            )
        )
    return spans


def _json(text: str) -> str:
    import json  # noqa: PLC0415

    return json.dumps(text)


def follow(locator: Any) -> None:
    """Click what leads to another page, and return once that is loaded: a click returns when its first bytes come."""
    with locator.page.expect_navigation():
        locator.click()


def pages(organization: str) -> list[str]:
    """Return every page; of one that shows a thing by its name, some."""
    asked = urlencode({"organization_id": organization})
    found = [
        "/",
        "/costs",
        "/costs?group_by=day,model",
        "/traces",
        "/conversations",
        "/agents",
        "/errors",
        "/live",
        "/flags",
        "/retention",
        "/quarantine",
        "/settings",
        "/budgets",
        "/recommendations",
        "/audit",
        "/?since=24h",
        "/costs?since=90d&group_by=hour",
    ]
    if organization == "acme":
        found += [
            f"/traces/{LONG}",
            "/agents/runs?agent_id=writer",
            f"/flags/flag?name={showroom.FLAG}",
            f"/costs?group_by=flag_variant&flag={showroom.FLAG}",
            "/traces?status=error&q=support",
            "/costs?since=13d",
            f"/traces/{LONG}?event={showroom.LONG_ROOT}",
        ]
    if organization == EVIL:
        for payload in PAYLOADS[:6]:
            name = quote(payload)
            found += [
                f"/agents/runs?agent_id={name}",
                f"/flags/flag?name={name}",
                f"/conversations/one?content=1&conversation_id={name}",
            ]
        name = quote(PAYLOADS[4])
        found += [
            f"/traces/{HOSTILE}",
            f"/traces?q={name}&model={name}",
            f"/costs?group_by=workspace,user&model={name}",
            f"/audit?action={name}&actor={name}",
        ]
    return [f"{path}{'&' if '?' in path else '?'}{asked}" for path in found]


def a_trace(seen: Watched, organization: str = "acme") -> str:
    """Return the address of a support ticket that failed."""
    seen.open(f"/traces?flow_id=support_ticket&status=error&organization_id={organization}")
    return str(seen.page.locator("tbody a").first.get_attribute("href"))


def fits(seen: Watched) -> bool:
    return bool(seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def open_page_is_in_sight(seen: Watched) -> bool:
    return bool(
        seen.page.evaluate(
            """[...document.querySelectorAll('nav [aria-current]')].map(link => link.getBoundingClientRect())
                .every(box => box.left >= 0 && box.right <= innerWidth)"""
        )
    )


@pytest.mark.parametrize("organization", ["acme", "nobody yet", EVIL], ids=["data", "empty", "hostile"])
@pytest.mark.parametrize("width", [1400, 390])
def test_every_page_shows_what_there_is_without_a_word_from_the_console(
    organization: str, width: int, chromium: Any, site: Site
) -> None:
    with watched(chromium, site.base, viewport={"width": width, "height": 844}) as seen:
        for path in pages(organization):
            seen.open(path)

            assert seen.page.locator("h1").count() == 1, path
            assert seen.page.evaluate("window.hit") is None, path
            assert (
                seen.page.locator("main script, main iframe, main object, main [onerror], main [onload], base").count()
                == 0
            ), path
            assert fits(seen), f"{path} is wider than the window"
            assert open_page_is_in_sight(seen), path
            assert seen.complaints == [], path


def test_links_lead_nowhere_but_to_pages_whatever_things_are_called(chromium: Any, site: Site) -> None:
    with watched(chromium, site.base) as seen:
        for path in pages(EVIL):
            seen.open(path)
            kinds = seen.page.evaluate(
                """[...new Set([...document.querySelectorAll('a, form')]
                    .map(found => new URL(found.href?.baseVal ?? found.href ?? found.action, location).origin))]"""
            )
            assert kinds == [site.base], path


def test_what_was_said_is_shown_as_it_was_said_and_only_when_asked_for(chromium: Any, site: Site) -> None:
    asked = urlencode({"organization_id": EVIL})
    with watched(chromium, site.base) as seen:
        seen.open(f"/traces/{HOSTILE}?{asked}")
        href = seen.page.locator("details.as-table tbody a", has_text=PAYLOADS[0]).nth(1).get_attribute("href")
        seen.open(str(href))
        assert PAYLOADS[0] not in seen.page.locator("#detail .body > .facts + p").inner_text()
        follow(seen.page.get_by_role("link", name="Show what was said"))

        texts = seen.page.locator(".message .text").all_inner_texts()
        assert texts == [PAYLOADS[0], PAYLOADS[0]]
        assert seen.page.evaluate("window.hit") is None
        assert seen.complaints == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_serious_keeps_anybody_from_reading_it(theme: str, chromium: Any, site: Site) -> None:
    axe = Axe()
    # A theme has other colours, and nothing else.
    options = {"resultTypes": ["violations"]} | ({} if theme == "light" else {"runOnly": ["color-contrast"]})
    with watched(chromium, site.base, color_scheme=theme, bypass_csp=True) as seen:
        paths = [*pages("acme"), *pages("nobody yet")[:9]] if theme == "light" else pages("acme")[:15]
        ticket = a_trace(seen)
        seen.open(ticket)
        paths += [ticket, str(seen.page.locator("details.as-table tbody a").nth(3).get_attribute("href"))]
        found: dict[str, set[str]] = {}
        for path in paths:
            seen.open(path)
            for violation in axe.run(seen.page, options=options).response["violations"]:
                if violation["impact"] in ("serious", "critical"):
                    where = violation["nodes"][0]
                    found.setdefault(f"{violation['id']}: {where['html'][:140]} {where['any'][:1]}", set()).add(path)
    assert found == {}


def test_a_trace_of_three_thousand_events_has_some_dozens_of_rows_in_the_document(chromium: Any, site: Site) -> None:
    with watched(chromium, site.base) as seen:
        seen.open(f"/traces/{LONG}?organization_id=acme")
        grid = seen.page.get_by_role("treegrid")
        grid.locator(".row").first.wait_for()
        assert grid.get_attribute("aria-rowcount") == "3000"
        assert grid.locator(".row").count() < 80

        grid.evaluate("element => element.scrollTo(0, element.scrollHeight)")
        seen.page.locator("#row-2999").wait_for()
        assert grid.locator(".row").count() < 80
        assert seen.complaints == []


def test_a_waterfall_is_collapsed_zoomed_and_walked_through_and_its_address_remembers(
    chromium: Any, site: Site
) -> None:
    with watched(chromium, site.base) as seen:
        seen.open(a_trace(seen))
        page, grid = seen.page, seen.page.get_by_role("treegrid")
        grid.locator(".row").first.wait_for()
        count = int(str(grid.get_attribute("aria-rowcount")))

        grid.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowLeft")
        assert grid.get_attribute("aria-rowcount") == "1", "the root is shut"
        page.keyboard.press("ArrowRight")
        assert grid.get_attribute("aria-rowcount") == str(count)
        page.get_by_role("button", name="Collapse").click()
        page.get_by_role("button", name="Zoom in").click()
        shut = int(str(grid.get_attribute("aria-rowcount")))
        assert 1 < shut < count
        marks = page.locator(".marks span").all_inner_texts()
        assert marks[0] != "0 ms"

        page.reload()
        grid.locator(".row").first.wait_for()
        assert page.locator(".marks span").all_inner_texts() == marks
        assert grid.get_attribute("aria-rowcount") == str(shut)
        page.get_by_role("button", name="Expand").click()
        grid.focus()
        page.keyboard.press("End")
        page.keyboard.press("Enter")
        page.locator("#detail").wait_for()
        assert "event=" in page.url
        assert seen.complaints == []


def test_a_bar_of_a_chart_tells_its_figures_and_leads_to_its_period(chromium: Any, site: Site) -> None:
    with watched(chromium, site.base) as seen:
        seen.open("/costs?organization_id=acme")
        bar = seen.page.locator(".spot").nth(3)
        bar.hover()
        assert "total: $" in seen.page.locator(".tip").inner_text()
        bar.click()
        seen.page.wait_for_url("**until=**")
        assert seen.page.locator(".spot").count() == 24, "a day in hours"

        box = seen.page.locator(".plot svg").bounding_box()
        seen.page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 50)
        seen.page.mouse.down()
        seen.page.mouse.move(box["x"] + box["width"] * 0.48, box["y"] + 60, steps=5)
        seen.page.mouse.up()
        seen.page.wait_for_function("() => document.querySelectorAll('.spot').length < 24")
        assert seen.page.locator(".spot").count() == 6
        assert seen.complaints == []


def test_the_theme_stays_as_it_was_chosen(chromium: Any, site: Site) -> None:
    with watched(chromium, site.base, color_scheme="light") as seen:
        seen.open("/?organization_id=acme")
        light = seen.page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
        seen.page.get_by_role("button", name="Dark or light").click()
        seen.open("/agents?organization_id=acme")
        assert seen.page.locator("html").get_attribute("data-theme") == "dark"
        assert seen.page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor") != light


def test_somebody_looks_for_who_did_what(chromium: Any, site: Site) -> None:
    with watched(chromium, site.base_with_keys) as seen:
        page = seen.page
        page.goto(f"{site.base_with_keys}/audit")
        page.get_by_label("API key").fill(site.key)
        follow(page.get_by_role("button", name="Sign in"))
        assert page.locator("h1").inner_text() == "Audit log"
        assert "as they were written" in page.get_by_role("status").inner_text()
        page.locator("select[name=action]").select_option("keys.create")
        page.wait_for_url("**action=keys.create**")
        assert set(page.locator("tbody td:nth-child(3)").all_inner_texts()) == {"keys.create"}
        page.get_by_label("Day (UTC)").fill("2020-01-01")
        follow(page.get_by_role("button", name="Show"))
        assert page.get_by_role("heading", name="Nothing like that was done").count() == 1
        follow(page.get_by_role("link", name="Show everything"))
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        assert download.value.path().read_text().startswith("id,at,actor")
        seen.open("/audit?action=data.export")
        assert page.locator("tbody tr").count() == 1, "and that is in the log"
        assert [text for text in seen.complaints if "401" not in text] == []


def test_what_happens_appears_on_the_live_page(chromium: Any, site: Site) -> None:
    with watched(chromium, site.base) as seen:
        seen.open("/live?organization_id=live")
        seen.page.get_by_text("Listening").wait_for()
        seen.page.wait_for_function("() => document.querySelector('[data-figure=calls]').textContent !== '–'")
        at = showroom.now_ms() - 1000
        run = make_span(agent("just now"), name="just now", trace_id="9" * 32, start_ms=at)
        call = make_span(chat(), name="chat", trace_id="9" * 32, parent=run, start_ms=at)
        showroom.write(site.url, [run, call], "live", settle=False)

        seen.page.locator(".live li", has_text="gpt-4o-mini").wait_for()
        assert seen.page.locator(".live li").count() == 2
        assert seen.complaints == []


def test_somebody_signs_in_changes_a_flag_and_signs_out(chromium: Any, site: Site) -> None:
    with watched(chromium, site.base_with_keys) as seen:
        page = seen.page
        page.goto(f"{site.base_with_keys}/agents?since=30d")
        assert page.locator("h1").inner_text() == "Sign in"
        page.get_by_label("API key").fill("oo_not a key")
        follow(page.get_by_role("button", name="Sign in"))
        assert "no valid API key" in page.get_by_role("alert").inner_text()
        page.get_by_label("API key").fill(site.key)
        follow(page.get_by_role("button", name="Sign in"))
        assert page.url == f"{site.base_with_keys}/agents?since=30d"
        assert page.get_by_role("cell", name="researcher").count() == 1
        assert page.evaluate("document.cookie") == "", "no script sees the session"
        assert len(page.context.cookies()) >= 1

        seen.open("/flags/flag?name=new-research-agent")
        page.get_by_role("checkbox", name="On", exact=True).first.check()
        page.get_by_label("Why is it changed?").fill("it is ready")
        follow(page.get_by_role("button", name="Save"))
        assert "Saved" in page.get_by_role("status").inner_text()
        assert page.get_by_role("cell", name="it is ready").count() == 1

        with watched(chromium, site.base_with_keys) as stranger:
            stranger.page.context.add_cookies(page.context.cookies())
            stranger.open("/agents")
            follow(page.get_by_role("button", name="Sign out"))
            assert page.locator("h1").inner_text() == "Sign in"
            stranger.page.goto(f"{site.base_with_keys}/agents")
            assert stranger.page.locator("h1").inner_text() == "Sign in", "a copied cookie is worth nothing then"
    assert [text for text in seen.complaints if "401" not in text] == []
