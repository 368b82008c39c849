"""The built documentation: whole, reachable, readable, and at home without a network."""

from __future__ import annotations

import importlib
import os
import re
import sys
import zlib
from collections import defaultdict
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import pytest
from pages import DOCS, PAGES, ROOT, blocks, name_of

pytestmark = pytest.mark.slow

#: Modules whose every public name the reference has to hold.
PUBLIC = sorted(
    {
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in re.findall(
            r"automodule:: (\S+)\n(?!   :no-members:)", page.read_text(encoding="utf-8")
        )
    }
)
#: Axe looks at this many elements of a page at most: beyond, entries of the reference are alike.
MANY = 500


class Page(HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value is not None:
                self.links.append(value)
            if name in ("id", "name") and value:
                self.anchors.add(value)


def html(site: Path) -> list[Path]:
    return sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)


def test_every_internal_link_resolves(site: Path) -> None:
    pages = {path: Page(path) for path in html(site)}
    assert len(pages) > 30
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = target in pages or target.is_file()
            anchor = unquote(parts.fragment)
            if there and anchor and target in pages:
                there = anchor in pages[target].anchors
            if not there:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken, "\n".join(broken)


def test_links_of_the_repository_s_own_pages_resolve() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)]+)\)", text):
            if "://" not in link and not link.startswith("#"):
                assert (ROOT / link.partition("#")[0]).is_file(), f"{page.name}: {link}"


def test_the_reference_has_every_public_name(site: Path) -> None:
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    documented = {line.split(" ")[0] for line in zlib.decompress(inventory).decode().splitlines()}
    objects = {}
    for name in documented:
        module, _, attribute = name.rpartition(".")
        if module in sys.modules or module in PUBLIC:
            objects[id(getattr(importlib.import_module(module), attribute, None))] = name
    missing = []
    for module_name in PUBLIC:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            known = f"{module_name}.{name}" in documented
            if not known and id(getattr(module, name)) not in objects:
                missing.append(f"{module_name}.{name}")
    assert not missing, "\n".join(missing)


def test_the_reference_has_every_command() -> None:
    from spikeprop.cli import COMMANDS, GROUPS

    text = (DOCS / "reference" / "command_line.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^```\{options\} (.+)$", text, re.MULTILINE))
    inner = {f"{group} {name}" for group, names in GROUPS.items() for name in names}
    assert listed == set(COMMANDS) | inner


def test_what_the_pages_import_is_public() -> None:
    for page in PAGES:
        for block in blocks(page):
            found = re.findall(r"^from (spikeprop\S*) import (.+)$", block.text, re.MULTILINE)
            for module, names in found:
                if "experiments" in module:
                    continue
                assert module in PUBLIC, f"{name_of(page)}: {module} is not in the reference"
                public = importlib.import_module(module).__all__
                for name in re.findall(r"\w+", names):
                    assert name in public, f"{name_of(page)}: {module}.{name}"


def test_figures_are_drawn_by_commands() -> None:
    """By ``docs/figures.py``, by the neurons' gallery, or by the code cells of the page."""
    sys.path.insert(0, str(DOCS))
    try:
        figures = importlib.import_module("figures").FIGURES
    finally:
        sys.path.remove(str(DOCS))
    from spikeprop.neuron_gallery import write_gallery

    assert callable(write_gallery)
    for page in PAGES:
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            path = (page.parent / target).resolve()
            drawn = path.parent == DOCS / "figures" and path.stem in figures
            gallery = path.parent == DOCS / "neurons" and page.name == "neurons.md"
            assert drawn or gallery, f"{name_of(page)}: what draws {target}?"


def test_no_page_repeats_another() -> None:
    """No paragraph of some length, and no longer run of code, stands on two pages."""
    seen: dict[str, set[str]] = defaultdict(set)
    for page in PAGES:
        if page.parent == DOCS / "reference" or page == DOCS / "get_started.md":
            continue
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for paragraph in text.split("\n\n"):
            if len(paragraph) > 160:
                seen[" ".join(paragraph.split())].add(name_of(page))
        for block in blocks(page):
            lines = [line.strip() for line in block.text.splitlines() if line.strip()]
            for start in range(len(lines) - 11):
                seen["\n".join(lines[start : start + 12])].add(name_of(page))
    twice = [(names, text) for text, names in seen.items() if len(names) > 1]
    assert not twice


def test_no_formula_has_come_apart(site: Path) -> None:
    """A dollar sign that is left in the text, or words between two that were meant for others."""
    for path in html(site):
        text = path.read_text(encoding="utf-8")
        article = text[text.find("<article") : text.find("</article>")]
        article = re.sub(r"<(pre|code|script)\b.*?</\1>", "", article, flags=re.DOTALL)
        if path.stem != "command_line":  # which names shells' variables
            assert "$" not in re.sub(r"<math.*?</math>", "", article, flags=re.DOTALL), path
        assert not re.search(r"(<mi>[a-z]</mi>){12}", article), path


def test_headings_do_not_skip_a_level(site: Path) -> None:
    for path in html(site):
        text = path.read_text(encoding="utf-8")
        article = text[text.find("<article") : text.find("</article>")]
        levels = [int(level) for level in re.findall(r"<h([1-6])", article)]
        assert all(after <= before + 1 for before, after in pairwise(levels)), path


def test_get_started_fits_one_screen(site: Path, page: Any) -> None:
    tab = page(1280, height=800)
    tab.goto((site / "get_started.html").as_uri())
    end = tab.evaluate("document.querySelector('article').getBoundingClientRect().bottom")
    assert 300 < end <= 800


def test_the_search_works_from_disk(site: Path, page: Any) -> None:
    tab = page()
    tab.goto((site / "search.html").as_uri() + "?q=homeostasis")
    tab.wait_for_selector("ul.search li a", timeout=20_000)
    assert tab.locator("ul.search li a").count() >= 3


def test_notebooks_are_executed(site: Path) -> None:
    import nbformat

    written = sorted((site.parent / "jupyter_execute" / "tutorial").glob("*.ipynb"))
    assert len(written) >= 6
    for path in written:
        cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        assert cells
        assert all(cell.execution_count for cell in cells), path
        assert any(cell.outputs for cell in cells), path


VIEWS: list[tuple[int, Literal["light", "dark"]]] = [(1280, "light"), (390, "dark")]
ALL_VIEWS: list[tuple[int, Literal["light", "dark"]]] = [*VIEWS, (1280, "dark"), (390, "light")]
#: One page of each kind, looked at in every view; the others in one of the two views in turn, or in
#: every view too if ``SPIKEPROP_ALL_VIEWS`` is set (minutes).
KINDS = ("index", "tutorial/spiking", "tutorial/constraints")


def thin_out(tab: Any) -> None:
    """Leave so much of a long reference page as axe can look at in seconds: every n-th entry."""
    tab.evaluate(
        """many => {
            const count = document.querySelectorAll("*").length;
            const entries = [...document.querySelectorAll("dl.py dl.py, article section > dl.py")];
            const every = Math.ceil(count / many);
            entries.forEach((entry, i) => { if (i % every) entry.remove(); });
        }""",
        MANY,
    )


def test_pages_are_sound(site: Path, page: Any, axe: Any) -> None:
    """No errors, no requests, nothing wider than the screen, and axe's rules of level A and AA."""
    tabs = {view: page(*view) for view in ALL_VIEWS}
    wrong = []
    for number, path in enumerate(html(site)):
        name = path.relative_to(site).with_suffix("").as_posix()
        whole = name in KINDS or "SPIKEPROP_ALL_VIEWS" in os.environ
        looked = ALL_VIEWS if whole else [VIEWS[number % 2]]
        for view, tab in tabs.items():
            if view not in looked and view not in VIEWS:
                continue
            tab.goto(path.as_uri())
            too_wide = tab.evaluate("document.documentElement.scrollWidth - innerWidth")
            if too_wide > 0:
                wrong.append(f"{name} at {view}: {too_wide} pixels too wide")
            if view in looked:
                thin_out(tab)
                wrong += [f"{name} at {view}: {line}" for line in axe(tab)]
    assert not wrong, "\n".join(wrong)
