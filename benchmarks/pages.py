# ruff: noqa: INP001, T201 -- a program that prints
"""How long until a page is painted, and until the waterfall has answered a key or a wheel?

``make bench-pages`` shows the dashboard of two weeks of runs, and a trace of 3,000 events, in Debian's Chromium without
a screen. Painted: from the click to the first contentful paint, the server's part included. Answered: from a key or a
click to the next paint, as the browser tells it (https://www.w3.org/TR/event-timing, in steps of 8 ms). Frames: the
time between two of them while the trace is scrolled with the wheel.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from benchmarks.gateway import replace_between
from otel_obs.postgres import schema
from otel_obs.postgres.embedded import EmbeddedPostgres
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer
from tests import showroom
from tests.fix_browser import ARGUMENTS, CHROMIUM

REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- make bench-pages -->", "<!-- end of make bench-pages -->"
LONG = "/traces/abc00000000000000000000000000123"
PAGES = {
    "overview": "/?since=14d", "costs": "/costs?since=14d", "traces": "/traces?since=14d",
    "agents": "/agents?since=14d", "errors": "/errors?since=14d", "trace of 3,000 events": LONG,
}  # fmt: skip
VISITS, KEYS = 20, 60
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
ANSWERED = "performance.getEntriesByType('navigation')[0].responseEnd"
WATCH = """() => {
    window.answers = []; window.frames = []; let last = null;
    const told = list => list.getEntries().filter(one => one.interactionId).forEach(one => answers.push(one.duration));
    new PerformanceObserver(told).observe({type: 'event', durationThreshold: 16, buffered: false});
    const frame = now => { if (last !== null) frames.push(now - last); last = now; requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
}"""


@contextmanager
def dashboard() -> Iterator[str]:
    """Give the address of a dashboard with something to show."""
    with tempfile.TemporaryDirectory(prefix="oo", dir="/tmp", ignore_cleanup_errors=True) as made:
        folder = Path(made)  # sockets want short paths
        folder.chmod(0o711)
        with EmbeddedPostgres(folder, durable=False) as url:
            schema.migrate(url)
            showroom.furnish(url)
            server = ApiServer(Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0"}), url)
            try:
                yield f"http://{server.start()}"
            finally:
                server.stop()


def painted(page: Page, address: str) -> tuple[list[float], list[float]]:
    """Return when the page was there and when it was painted, in milliseconds after the click, of each visit."""
    there, seen = list[float](), list[float]()
    for visit in range(VISITS + 2):
        page.goto(address)
        while page.evaluate(PAINTED) is None:
            page.wait_for_timeout(10)
        if visit >= 2:
            there.append(float(page.evaluate(ANSWERED)))
            seen.append(float(page.evaluate(PAINTED)))
    return there, seen


def worked(page: Page, address: str) -> dict[str, Sequence[float]]:
    """Return how long answers to keys and clicks took, and frames of scrolling, in milliseconds."""
    page.goto(address)
    grid = page.get_by_role("treegrid")
    grid.locator(".row").first.wait_for()
    page.evaluate(WATCH)
    found: dict[str, Sequence[float]] = {}

    def taken(name: str, what: str, count: int | None = None) -> None:
        page.wait_for_timeout(300)
        times: list[float] = page.evaluate(f"window.{what}.splice(0)")
        # Answers within 16 ms are not told one by one.
        found[name] = times if count is None else [*times, *[16.0] * max(0, count - len(times))]

    grid.focus()
    for key in ("ArrowDown", "PageDown") * (KEYS // 2):
        page.keyboard.press(key)
    taken("a key that moves", "answers", KEYS)
    for _ in range(10):
        page.get_by_role("button", name="Collapse").click()
        page.get_by_role("button", name="Expand").click()
    taken("all collapsed, all expanded", "answers", 20)
    for _ in range(10):
        page.get_by_role("button", name="Zoom in").click()
        page.get_by_role("button", name="Later").click()
    taken("zoomed, moved", "answers", 20)
    grid.hover()
    page.evaluate("window.frames.splice(0)")
    for _ in range(120):
        page.mouse.wheel(0, 180)
        page.wait_for_timeout(16)
    taken("a frame while scrolling", "frames")
    return found


def line(name: str, times: Sequence[float], *more: str) -> str:
    """Return a line of a table."""
    return f"| {name} | {statistics.median(times):,.0f} | {statistics.quantiles(times, n=20)[-1]:,.0f} |{''.join(more)}"


def measured() -> str:
    """Return the tables."""
    with dashboard() as base, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        page: Any = browser.new_page(viewport={"width": 1400, "height": 900})
        lines = []
        for name, path in PAGES.items():
            there, seen = painted(page, base + path)
            lines.append(line(name, seen, f" {statistics.median(there):,.0f} |"))
        answers = [line(name, times) for name, times in worked(page, base + LONG).items()]
        where = (
            f"{datetime.now(tz=timezone.utc):%Y-%m-%d}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
            f"Chromium {browser.version}; {VISITS} visits of each page."
        )
        browser.close()
    return "\n".join(
        [
            where, "", "| page | painted, median ms | p95 | of that until it was there, median |", "|---|--:|--:|--:|",
            *lines, "", "| in the trace of 3,000 events | median ms | p95 |", "|---|--:|--:|", *answers,
        ]
    )  # fmt: skip


def main() -> None:
    """Measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    asked = parser.parse_args()
    found = measured()
    print(found)
    if asked.write:
        replace_between(REPORT, found, BEGIN, END)


if __name__ == "__main__":
    main()
