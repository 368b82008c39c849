"""Every code block in the README and the documentation runs as printed.

Python runs for real, a page's blocks one after the other in an empty folder. Commands would train
for minutes or download gigabytes: of those every argument goes through the parser of the command
that it names, and every file, target and extra has to exist. Code of another library runs where
that library is installed, and has to be Python all the same.
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import importlib.util
import io
import itertools
import os
import re
import runpy
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import DOCS, PAGES, ROOT, Block, blocks, name_of

from spikeprop.cli import parse

PYTHON = ("python", "{code-cell} python")
OF_OTHERS = "{code-block} python"
SHELL = ("sh", "console")
#: Blocks that are neither: what Sphinx is told, files, and equations.
OTHER = re.compile(r"\{(toctree|eval-rst|options|rules-table|glossary)\}.*|text")
#: What a line of commands may begin with, besides what is checked below.
PLAIN = ("cd", "git clone", ".", "sphinx-build", ".ci/run")


COMMANDS = (
    *("spikeprop ", "torchrun ", "python", "make", "pip "),
    *("git ", "tensorboard ", ".venv/", ".ci/"),
)


def is_command(text: str) -> bool:
    lines = [line for line in text.strip().splitlines() if not line.startswith("#")]
    return bool(lines) and lines[0].startswith(COMMANDS)


def commands() -> Iterator[Any]:
    """Every line of every block of commands, indented ones among them."""
    for page in PAGES:
        for block in blocks(page):
            if block.kind in SHELL or (not block.kind and is_command(block.text)):
                joined = block.text.replace("\\\n", " ")
                for number, line in enumerate(joined.strip().splitlines()):
                    if shlex.split(line, comments=True):
                        yield pytest.param(line, id=f"{name_of(page)}:{block.line + number}")


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    for page in PAGES:
        for block in blocks(page):
            known = (*PYTHON, OF_OTHERS, *SHELL, "")
            assert block.kind in known or OTHER.fullmatch(block.kind), (page, block)


def python_of(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.kind in PYTHON]


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if python_of(p)], ids=name_of)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "SPIKEPROP_DOCS" in os.environ and "{code-cell}" in page.read_text(encoding="utf-8"):
        pytest.skip("has run in the build of the documentation that SPIKEPROP_DOCS names")
    if any("spikeprop.nir" in block.text for block in python_of(page)):
        pytest.importorskip("nir")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    threads = torch.get_num_threads()
    names: dict[str, Any] = {"__name__": "__main__"}
    out = io.StringIO()
    try:
        for block in python_of(page):
            code = compile("\n" * block.line + block.text, str(page), "exec")
            with contextlib.redirect_stdout(out):
                exec(code, names)
    finally:
        torch.set_num_threads(threads)
    if page.name == "README.md":
        assert float(out.getvalue().splitlines()[0]) > 0.85


def of_others(page: Path) -> list[Block]:
    found = [block for block in blocks(page) if block.kind == OF_OTHERS]
    return [block for block in found if "several processes" not in block.text]


def test_what_needs_processes_says_so_and_is_python() -> None:
    """``tests/parallel`` runs the like of it."""
    for page in PAGES:
        for block in blocks(page):
            if block.kind == OF_OTHERS and block not in of_others(page):
                ast.parse(block.text.partition("\n\n")[2])


@pytest.mark.parametrize("page", [p for p in PAGES if of_others(p)], ids=name_of)
def test_code_of_other_libraries_says_so_and_runs_where_they_are(page: Path) -> None:
    names: dict[str, Any] = {}
    for block in python_of(page):  # what the page calls x and label
        exec(compile(block.text, str(page), "exec"), names)
    for block in of_others(page):
        head, _, code = block.text.partition("\n\n")
        assert "needs" in head, (page, block.line)
        for line in ast.parse(code).body:
            if isinstance(line, ast.Import | ast.ImportFrom):
                module = line.module if isinstance(line, ast.ImportFrom) else line.names[0].name
                pytest.importorskip(str(module))
        exec(compile(code, str(page), "exec"), names)


@pytest.mark.parametrize("line", list(commands()))
def test_a_command_is_one(line: str) -> None:
    words = shlex.split(line, comments=True)
    words[0] = words[0].removeprefix(".venv/bin/")
    if re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if words[-1] == "…":  # "and what else you need"
        words = words[:-1]
    if words[0] == "torchrun":  # what it starts, as if by Python
        words = ["python", *words[words.index("-m") :]]
    if words[0] == "spikeprop":
        check_ours(words[1:])
    elif words[0] == "make":
        check_target(words[1:])
    elif (
        words[:3] == ["python", "-m", "pytest"]
        or words[0] == "pytest"
        or words[:3] == ["python3", "-m", "venv"]
        or words[:2] == ["pre-commit", "install"]
    ):
        pass
    elif words[0] == "pip" or words[1:3] == ["-m", "pip"]:
        check_pip(words)
    elif words[:3] == ["python", "-m", "spikeprop"]:
        check_ours(words[3:])
    elif words[:2] == ["python", "-m"]:
        check_module(words[2], words[3:])
    elif words[0] == "tensorboard":
        assert words[1] == "--logdir"
    else:
        assert line.strip().startswith(PLAIN), f"what is {line!r}?"
        if words[0] == ".ci/run":
            assert (ROOT / ".ci" / "run").is_file()


def check_ours(arguments: list[str]) -> None:
    """The command's own parser takes the arguments."""
    try:
        assert parse(arguments) is not None
    except SystemExit:
        assert "--help" in arguments


def check_target(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        if "=" not in word:
            assert f"\n{word}:" in makefile, f"make has no {word!r}"


def check_pip(words: list[str]) -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    named = re.findall(r"\[([\w,]+)\]", " ".join(words))
    for extra in ",".join(named).split(",") if named else []:
        assert extra in config["options.extras_require"], f"there is no extra {extra!r}"
    for flag, file in itertools.pairwise(words):
        if flag in ("-c", "-r"):
            assert (ROOT / file).is_file(), file


def check_module(name: str, arguments: list[str]) -> None:
    """The module is there, and its help knows every option that the line gives."""
    if not name.startswith("spikeprop"):
        assert importlib.util.find_spec(name) or name in ("build", "coverage"), name
        return
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it may have been imported before
        patch.setattr("sys.argv", [name, "--help"])
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            runpy.run_module(name, run_name="__main__", alter_sys=True)
    options = [word for word in arguments if word.startswith("--")]
    for option in options:
        assert option in said.getvalue(), f"{name} has no {option}"


def test_the_pages_of_the_documentation_are_listed() -> None:
    """No page that nothing leads to; Sphinx fails the build for one, but only where it is."""
    listed = {DOCS / "index.md"}
    for page in [DOCS / "index.md", *DOCS.rglob("index.md")]:
        for block in blocks(page):
            if block.kind == "{toctree}":
                for line in block.text.splitlines():
                    if line and not line.startswith(":"):
                        listed.add((page.parent / f"{line}.md").resolve())
    assert listed == set(DOCS.rglob("*.md"))
