"""Debian's Chromium for tests that need a real browser; without it they are skipped (`make browser` installs it)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


@dataclass
class Watched:
    """A page, and what should never happen on it."""

    page: Any
    base: str
    complaints: list[str] = field(default_factory=list)
    """Errors of the console (violations of the policy among them), of scripts, dialogs, requests to elsewhere."""

    def open(self, path: str) -> Any:
        answer = self.page.goto(f"{self.base}{path}")
        assert answer is not None
        assert answer.status == 200, f"{path}: {answer.status}"
        return answer


# Not of the session: its event loop would be there for all tests of the thread.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed here: `make browser` installs it")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # not needed by other tests

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def watched(chromium: Any, base: str, **options: Any) -> Iterator[Watched]:
    """Give a page of a fresh browser that knows no cookies."""
    context = chromium.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
    page = context.new_page()
    found = Watched(page, base)

    def console(message: Any) -> None:
        if message.type == "error":
            found.complaints.append(f"console: {message.text}")

    def requested(request: Any) -> None:
        if not request.url.startswith((base, "data:", "blob:")):
            found.complaints.append(f"request to {request.url}")

    def dialog(opened: Any) -> None:
        found.complaints.append(f"dialog: {opened.message}")
        opened.dismiss()

    page.on("console", console)
    page.on("pageerror", lambda error: found.complaints.append(f"script: {error}"))
    page.on("request", requested)
    page.on("dialog", dialog)
    try:
        yield found
    finally:
        context.close()
