"""The browser of the tests sees what it has to: errors, requests, and unreadable pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

HEAD = "<!doctype html><html lang=en><title>A page</title><main><h1>A page</h1>"


def written(folder: Path, body: str) -> str:
    path = folder / "page.html"
    path.write_text(HEAD + body + "</main></html>", encoding="utf-8")
    return path.as_uri()


def test_a_sound_page_passes(page: Any, axe: Any, tmp_path: Path) -> None:
    tab = page(390, "dark")
    tab.goto(written(tmp_path, "<p>Hello</p>"))
    assert tab.evaluate("window.innerWidth") == 390
    assert tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert axe(tab) == []


def test_axe_sees_what_cannot_be_read(page: Any, axe: Any, tmp_path: Path) -> None:
    tab = page()
    tab.goto(written(tmp_path, "<p style='color:#bbb;background:#fff'>Faint</p><img src='data:,'>"))
    broken = {line.split(":")[0] for line in axe(tab)}
    assert {"color-contrast", "image-alt"} <= broken


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<script>console.error('broken here')</script>", "logged broken here"),
        ("<script>undefinedName()</script>", "undefinedName is not defined"),
        ("<img alt='' src='http://192.0.2.1/x.png'>", "asked for http://192.0.2.1/x.png"),
        ("<img alt='' src='not-there.png'>", "not-there.png"),
    ],
)
def test_a_page_in_trouble_fails(request: Any, tmp_path: Path, body: str, said: str) -> None:
    import browser

    opened = browser.page.__wrapped__(request.getfixturevalue("chromium"))
    tab = next(opened)()
    tab.goto(written(tmp_path, body))
    tab.wait_for_load_state("networkidle")
    with pytest.raises(AssertionError, match=said):
        next(opened)
