"""What pages take from the code itself: the table of the rules and the options of the commands."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from sphinx.application import Sphinx


def help_of(arguments: list[str]) -> str:
    """Return the help of a command, its lines as long as they have to be.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    from spikeprop.cli import main

    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "2000"
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # a terminal that can draw boxes
    try:
        with contextlib.redirect_stdout(out):
            code = main([*arguments, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    if code:
        raise RuntimeError(f"spikeprop {' '.join(arguments)} --help ended with {code}")
    out.seek(0)
    return out.read()


def options_of(text: str) -> Iterator[tuple[str, str]]:
    """Yield the options in a help text, ``(how it is written, what it does)``."""
    term, meaning = "", ""
    for line in text.splitlines():
        inside = line.strip()
        if not inside.startswith("│"):
            continue
        inside = inside.strip("│").rstrip()[1:]
        if not inside.startswith(" "):
            if term:
                yield term, meaning.strip()
            term, _, meaning = inside.partition("  ")
        else:
            meaning = f"{meaning} {inside.strip()}"
    if term:
        yield term, meaning.strip()


class Options(Directive):
    """What ``spikeprop COMMAND --help`` says, as paragraphs and a list of the options."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return them."""
        text = help_of(self.arguments[0].split())
        head = text[: text.index("╭")].strip()
        usage, _, what = head.partition("\n")
        out: list[nodes.Node] = [nodes.literal_block(usage, usage, language="text")]
        out += [nodes.paragraph(text=part) for part in what.split("\n\n") if part.strip()]
        listed = nodes.definition_list()
        for term, meaning in options_of(text):
            if term.startswith("-h"):
                continue
            item = nodes.definition_list_item()
            item += nodes.term("", "", nodes.literal(text=term))
            item += nodes.definition("", nodes.paragraph(text=meaning))
            listed += item
        return [*out, listed] if len(listed) else out


class RulesTable(Directive):
    """The table that ``spikeprop rules`` prints; with arguments, of these columns alone."""

    optional_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[dict[str, Any]] = {"rules": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        from spikeprop.rules_cli import HEADINGS, table

        wanted = self.arguments[0].split(", ") if self.arguments else list(HEADINGS)
        places = [HEADINGS.index(name) for name in wanted]
        rows = {row[0]: row for row in table()}
        names = self.options["rules"].split() if "rules" in self.options else list(rows)
        group = nodes.tgroup(cols=len(places))
        group += [nodes.colspec(colwidth=1) for _ in places]
        head, body = nodes.thead(), nodes.tbody()
        for section, lines in ((head, [HEADINGS]), (body, [rows[name] for name in names])):
            for line in lines:
                row = nodes.row()
                for place in places:
                    row += nodes.entry("", nodes.paragraph(text=str(line[place])))
                section += row
        group += [head, body]
        return [nodes.table("", group)]


def skip_overrides(
    app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Leave a method out where a class of ours above it has it: it is explained there."""
    function = getattr(member, "fget", None) or getattr(member, "__func__", member)
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    owner, _, rest = getattr(function, "__qualname__", "").partition(".")
    kind = getattr(module, owner, None)
    if rest != name or not isinstance(kind, type):
        return None
    above = [base for base in kind.__mro__[1:] if base.__module__.startswith("spikeprop")]
    return True if any(name in vars(base) for base in above) else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives, and draw the figures before the pages are read."""
    import figures

    app.add_directive("options", Options)
    app.add_directive("rules-table", RulesTable)
    app.connect("autodoc-skip-member", skip_overrides)
    app.connect("builder-inited", lambda app: figures.draw_all(app.srcdir / "figures"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
