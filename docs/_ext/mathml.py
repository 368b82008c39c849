"""Mathematics as MathML: browsers draw it, screen readers read it, nothing has to be loaded.

Takes the place of ``sphinx.ext.mathjax``. LaTeX is translated when the pages are built
(latex2mathml); what it cannot read fails the build.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.math import get_node_equation_number


def to_mathml(latex: str, *, display: bool) -> str:
    """Return the MathML of a formula, its source beside it for those who copy it."""
    latex = latex.strip()
    if display and "\\\\" in latex and "\\begin" not in latex:
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    found: str = convert(latex, display="block" if display else "inline")
    # A letter in \mathbf or \mathrm is one mi; browsers slant single letters unless told not to.
    return re.sub(r"<mi>(\w{2,})</mi>", r'<mi mathvariant="normal">\1</mi>', found)


def visit_math(self: Any, node: nodes.math) -> None:
    """Write a formula in a line of text."""
    self.body.append(to_mathml(node.astext(), display=False))
    raise nodes.SkipNode


def visit_math_block(self: Any, node: nodes.math_block) -> None:
    """Write a formula of its own line, its number and the link to it behind it."""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(f'<div class="formula">{to_mathml(node.astext(), display=True)}</div>')
    if node["number"]:
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})</span>')
    self.body.append("</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("config-inited", lambda _, config: setattr(config, "html_math_renderer", "mathml"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
