"""A chromium on the tests' own web server, logged in; each picture it takes is kept under var/screenshots."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connections
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.accessibility import nameless
from tests.web import Web, session_of

SCREENSHOTS = Path(__file__).resolve().parent.parent / "var" / "screenshots"
DESKTOP: ViewportSize = {"width": 1400, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Return the path of the system's chromium, or else of playwright's own."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # playwright's loop runs in the thread of the tests
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            try:
                yield browser
            finally:
                connections.close_all()  # those of its loop, which nobody else would find
                browser.close()
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


class Visitor:
    """Somebody at a browser. `problems` are the errors that his pages had."""

    def __init__(self, browser: Browser, web: Web, user: Any, **options: Any) -> None:
        self.web = web
        self.problems: list[str] = []
        self._context = browser.new_context(**{"viewport": DESKTOP, "color_scheme": "light"} | options)
        self._context.add_cookies([{"name": "sessionid", "value": session_of(user), "url": web.site}])

    def open(self, path: str) -> Page:
        page = self._context.new_page()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda said: self._heard(said.type, said.text))
        page.goto(self.web.site + path)
        return page

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error" and "Failed to load resource" not in text and "net::" not in text:
            self.problems.append(text)

    def close(self) -> None:
        self._context.close()


def picture(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}.png")


def check_fit(page: Page) -> None:
    """Check that the page is not wider than its window, and that each control has a name."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert nameless(page) == []
