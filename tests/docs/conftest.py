"""The documentation as built: warnings are errors, and code cells run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the HTML pages: ``$SPIKEPROP_DOCS`` (``make docs`` made it), or built here."""
    made = os.environ.get("SPIKEPROP_DOCS")
    if made is not None:
        assert (Path(made) / "index.html").is_file(), f"SPIKEPROP_DOCS={made} has no index.html"
        return Path(made).resolve()
    for name in ("sphinx", "furo", "myst_nb", "latex2mathml"):
        pytest.importorskip(name, reason=f"the documentation needs {name} (extra docs)")
    out = tmp_path_factory.mktemp("docs") / "html"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out
