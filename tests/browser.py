"""A real browser for the tests of HTML pages: headless Chromium, driven by Playwright.

Two fixtures, imported by ``conftest.py``. ``page(width, theme)`` opens a tab that fails its test if
the page logs an error or asks for anything that does not lie on disk; ``axe(tab)`` says which of
axe's rules of level A and AA a page breaks. Both skip where there is no Chromium.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Theme = Literal["light", "dark"]


def chromium_path() -> str:
    """The browser, ``$SPIKEPROP_CHROMIUM`` or Debian's; skips the test where there is none."""
    found = os.environ.get("SPIKEPROP_CHROMIUM") or shutil.which("chromium")
    if found is None:
        pytest.skip("no Chromium here (apt-get install chromium, or name it: SPIKEPROP_CHROMIUM)")
    return found


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A running browser (a Playwright ``Browser``), one for the whole session."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium_path()
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Give tabs: ``page(width=1280, theme="light")``, a Playwright ``Page``.

    At the end of the test it fails if a page logged an error or a warning, threw, or asked for
    anything but ``file:``, ``data:`` and ``blob:`` addresses (such a request never leaves).
    """
    contexts: list[Any] = []
    wrong: list[str] = []

    def keep_here(route: Any) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            wrong.append(f"asked for {route.request.url}")
            route.abort()

    def open_tab(width: int = 1280, theme: Theme = "light", height: int = 900) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,
            reduced_motion="reduce",
        )
        contexts.append(context)
        context.route("**/*", keep_here)
        tab = context.new_page()
        tab.on("pageerror", lambda error: wrong.append(f"threw {error}"))
        tab.on("requestfailed", lambda request: wrong.append(f"did not get {request.url}"))
        tab.on(
            "console",
            lambda said: (
                wrong.append(f"logged {said.text}") if said.type in ("error", "warning") else None
            ),
        )
        return tab

    yield open_tab
    for context in contexts:
        context.close()
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="session")
def axe() -> Callable[[Any], list[str]]:
    """Say what a tab breaks, one line an element and a rule; nothing if the page is sound."""
    module = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    runner = module.Axe()

    def check(tab: Any) -> list[str]:
        options = {"preload": False, "runOnly": {"type": "tag", "values": LEVELS}}
        found = runner.run(tab, options=options).response
        assert found["passes"], "axe found nothing to check: is the page empty?"
        return [
            f"{broken['id']}: {broken['help']}: {node['target']}: {node['html'][:120]}"
            for broken in found["violations"]
            for node in broken["nodes"]
        ]

    return check
