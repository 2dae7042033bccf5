"""A real browser for the tests of pages: Debian's chromium, driven by playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

NEEDED = "INFOGAN_NEEDS_BROWSER"  # set, as in CI: no browser is a failure, not a reason to skip
SCREENSHOTS = "INFOGAN_SCREENSHOTS"  # the folder for them; else the folder of the test
_PATIENCE = 60_000  # milliseconds, of a busy machine; what comes sooner is not waited for


@contextmanager
def chromium() -> Iterator["Browser"]:
    """The browser, as long as the block lasts; without one, the test is skipped or fails."""
    path = shutil.which("chromium")
    if path is None:
        _do_without("chromium is not installed: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _do_without("playwright is not installed: pip install playwright")
    # Chromium has no sandbox for root, which CI may be; the pages it opens are our own.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


def _do_without(reason: str) -> None:
    if os.environ.get(NEEDED):
        pytest.fail(f"{reason} ({NEEDED} is set)")
    pytest.skip(reason)


@dataclass
class Tab:
    """A page, what it complained of, and whom it wanted to ask.

    Only this machine is reachable from it.
    """

    page: "Page"
    complaints: list[str] = field(default_factory=list)  # errors of its console and its scripts
    outside: list[str] = field(default_factory=list)  # other addresses; none was let through


def open_tab(
    browser: "Browser", *, width: int = 1280, height: int = 900, dark: bool = False
) -> Tab:
    """A tab with nothing stored; its size is that of the page, in CSS pixels."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(_PATIENCE)
    tab = Tab(context.new_page())

    def guard(route: "Route") -> None:
        if urlsplit(route.request.url).hostname in ("127.0.0.1", "localhost"):
            route.continue_()
        else:
            tab.outside.append(route.request.url)
            route.abort()

    context.route("**/*", guard)
    tab.page.on(
        "console",
        lambda message: tab.complaints.append(message.text) if message.type == "error" else None,
    )
    tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    return tab
