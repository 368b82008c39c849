"""Sphinx's configuration: ``make docs`` builds the documentation, warnings are errors.

Nothing in the pages comes from elsewhere: mathematics is MathML (``_ext/mathml.py``), fonts are the
reader's own. Code cells run in the build; figures are drawn by ``figures.py``.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
sys.path.insert(0, str(HERE))

from spikeprop import __version__  # noqa: E402

project = "spikeprop"
author = "The spikeprop developers"
project_copyright = author
version = release = __version__

logging.getLogger("traitlets").setLevel(logging.WARNING)  # a line for each notebook

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "mathml",
    "generated",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
myst_dmath_double_inline = False
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True
# ref.python: words such as "label" in types of docstrings, which name attributes of two classes.
suppress_warnings = ["ref.python"]

autodoc_member_order = "groupwise"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_ivar = True
math_numfig = False

html_theme = "furo"
html_title = "spikeprop"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["keyboard.js"]
html_copy_source = False
html_show_sourcelink = False
# Summaries are fetched, which a browser does not do for pages on disk.
html_show_search_summary = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
