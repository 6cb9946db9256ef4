"""Chromium for tests of pages: what its console complains of fails the test.

The fixture `browser` is a run's Chromium; `visitor` is a test's own window in it. Playwright is in
the project's group `browser`, and Chromium the system's: `make browser` says what is missing.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from reliable.testing.system import System

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

_COMMANDS = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

#: Pixels: a desk, and the narrowest telephone that is still sold.
WIDE, NARROW = (1280, 900), (360, 740)

# Milliseconds that a page may take for anything.
_PATIENCE = 15_000

_ACCESSIBILITY = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Chromium, started once a run."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.fail("Playwright is missing: make browser")
    command = next(filter(None, map(shutil.which, _COMMANDS)), None)
    if command is None:
        pytest.fail("Chromium is missing: apt-get install chromium")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright's own loop runs in this thread, and Django takes the test for a part of it.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        started = playwright.chromium.launch(executable_path=command, args=list(_OPTIONS))
        yield started
        started.close()


class Visitor:
    """A person before a browser: one window at a time, and all that its console said."""

    def __init__(self, browser: "Browser", system: System, pictures: Path | None) -> None:
        self.browser = browser
        self.system = system
        self.pictures = pictures
        self.complaints: list[str] = []
        self._contexts: list[BrowserContext] = []

    def window(
        self,
        user: Any = None,
        *,
        size: tuple[int, int] = WIDE,
        scheme: Literal["light", "dark"] = "light",
        javascript: bool = True,
    ) -> "Page":
        """A new window, in which somebody is logged in."""
        context = self.browser.new_context(
            base_url=self.system.url,
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            java_script_enabled=javascript,
            locale="en-US",
        )
        self._contexts.append(context)
        if user is not None:
            name, value = _session(user)
            context.add_cookies([{"name": name, "value": value, "url": self.system.url}])
        page = context.new_page()
        page.set_default_timeout(_PATIENCE)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("requestfailed", self._missed)
        return page

    def picture(self, page: "Page", name: str, *, whole: bool = False) -> None:
        """Keep a picture of the window, if a folder was given: PICTURES=folder make browser."""
        if self.pictures is not None:
            page.screenshot(path=self.pictures / f"{name}.png", full_page=whole)

    def check_accessibility(self, page: "Page", within: str = "#content-main") -> None:
        """Fail on what axe-core finds in a part of the page, with the rule and where.

        Around it stands the frame of Django's admin, which is Django's.
        """
        from axe_playwright_python.sync_playwright import Axe

        # It is told to the page by the debugger's protocol, which no policy of the page forbids.
        found = Axe().run(page, within, options={"runOnly": _ACCESSIBILITY}).response["violations"]
        told = [
            f"{each['id']}: {each['help']}: {node['html'][:200]} {node.get('failureSummary', '')}"
            for each in found
            for node in each["nodes"]
        ]
        assert not told, "\n".join(told)

    def check_width(self, page: "Page") -> None:
        """Fail if the page is wider than its window."""
        width = page.evaluate("document.documentElement.scrollWidth")
        shown = page.evaluate("document.documentElement.clientWidth")
        assert width <= shown, f"{page.url} is {width} pixels wide in a window of {shown}"

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _missed(self, request: "Request") -> None:
        # What a script still waits for goes with the page that it stands in.
        left = request.resource_type == "fetch" and request.failure == "net::ERR_ABORTED"
        if not left:
            self.complaints.append(f"not loaded: {request.url} {request.failure}")

    def _heard(self, said: "ConsoleMessage") -> None:
        # Browsers ask for the icon by themselves, and a project need not have one.
        wanted = said.type in {"error", "warning"} and "/favicon.ico" not in said.location["url"]
        if wanted:
            self.complaints.append(f"{said.type}: {said.text} ({said.location['url']})")


@pytest.fixture
def visitor(browser: "Browser", system: System, pytestconfig: pytest.Config) -> Iterator[Visitor]:
    """A visitor of the site that `system.web()` has started."""
    folder = pytestconfig.getoption("--pictures")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    person = Visitor(browser, system, Path(folder) if folder else None)
    yield person
    person.close()
    assert not person.complaints, "\n".join(person.complaints)


def _session(user: Any) -> tuple[str, str]:
    """The cookie of a login that has been: its name and value."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    assert session.session_key
    return settings.SESSION_COOKIE_NAME, session.session_key
