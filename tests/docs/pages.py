"""The pages of the documentation, and the code in them, as the tests read it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


class Block(NamedTuple):
    """A block of code: its kind (the word behind the fence, empty if indented), text and line."""

    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, top to bottom."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(token.info.strip(), token.content, (token.map or [0])[0] + 1)
        for token in MarkdownIt().parse(text)
        if token.type in ("fence", "code_block")
    ]


def name_of(page: Path) -> str:
    """Return the page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def equations() -> list[str]:
    """Return the labels of all numbered equations."""
    return [
        label
        for page in PAGES
        for label in re.findall(r"^\$\$ \((.+)\)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
