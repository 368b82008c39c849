"""The README keeps its word: its example is short, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_first_example_is_short() -> None:
    """``tests/docs/test_code_blocks.py`` runs it."""
    code = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[0]
    lines = [line for line in code.splitlines() if not line.startswith(" ")]
    assert len(lines) <= 10, "the README promises ten lines"


def test_the_commands_that_it_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test" in ci


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README
