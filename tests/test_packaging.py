"""What gets installed, what importing costs, and what the files around the code promise."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "spikeprop": "spikeprop",
    "spikeprop.neurons": "neurons",
    "spikeprop.datasets": "datasets",
    "spikeprop.experiments": "experiments",
}


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def lines(config: configparser.ConfigParser, section: str, key: str) -> list[str]:
    return config[section][key].strip().splitlines()


def run_python(
    *arguments: str, cwd: Path = ROOT, check: bool = True
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    if check:
        assert result.returncode == 0, result.stderr
    return result


def modules_after(code: str, *names: str) -> set[str]:
    """Which of the ``names`` are imported in a fresh interpreter after it ran ``code``."""
    report = f"import sys; print('modules:', *(n for n in {names!r} if n in sys.modules))"
    output = run_python("-c", f"{code}\n{report}").stdout
    return set(output.rpartition("modules:")[2].split())


def test_package_list_equals_the_folders() -> None:
    found = set()
    for package, folder in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            inner = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((package, *inner)))
    listed = lines(setup_cfg(), "options", "packages")
    assert len(listed) == len(set(listed))
    assert set(listed) == found


def test_package_folders_are_mapped() -> None:
    mapping = dict(
        (part.strip() for part in line.split("="))
        for line in lines(setup_cfg(), "options", "package_dir")
    )
    assert mapping == FOLDERS


def test_every_requirement_has_a_tested_pin() -> None:
    config = setup_cfg()
    required = lines(config, "options", "install_requires")
    for extra in ("test", "docs", "bench"):
        required += lines(config, "options.extras_require", extra)
    names = {re.split(r"[<>=! ]", requirement)[0] for requirement in required}
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = {line.split("==")[0] for line in text.splitlines() if "==" in line}
    assert names <= pins
    assert "--" not in text, "constraints.txt must not name an index"


@pytest.mark.slow
def test_wheel_holds_one_package(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, source)
    for folder in FOLDERS.values():
        shutil.copytree(
            ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    build = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    run_python("-c", build, cwd=source)
    (wheel,) = source.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    modules = {
        f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder).as_posix()}"
        for package, folder in FOLDERS.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    inside = {name for name in names if ".dist-info/" not in name}
    templates = {f"spikeprop/report/templates/page.{kind}" for kind in ("html", "css", "js")}
    assert inside == modules | templates | {"spikeprop/py.typed"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    entry = next(name for name in names if name.endswith("entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        assert "spikeprop = spikeprop.cli:main" in archive.read(entry).decode()


def test_import_is_light() -> None:
    heavy = ("torch", "numpy", "snntorch", "tonic", "matplotlib", "tyro", "rich", "sklearn")
    assert modules_after("import spikeprop", *heavy) == set()


def test_help_is_light() -> None:
    code = "from spikeprop.cli import main\nassert main(['--help']) == 0"
    assert modules_after(code, "torch", "snntorch", "tonic", "matplotlib", "sklearn") == set()


def test_training_and_datasets_leave_tonic_alone() -> None:
    code = "import spikeprop.datasets, spikeprop.runs\nfrom spikeprop.datasets import SaccadeDigits"
    assert modules_after(code, "tonic") == set()


@pytest.mark.parametrize("where", ["clone", "elsewhere"])
def test_module_runs_from(where: str, tmp_path: Path) -> None:
    cwd = ROOT if where == "clone" else tmp_path
    result = run_python("-m", "spikeprop", "--help", cwd=cwd)
    for command in ("train", "evaluate", "predict", "data"):
        assert re.search(rf"^\W*{command}\b", result.stdout, re.MULTILINE), result.stdout


def test_subpackages_import_from_the_clone() -> None:
    code = "import spikeprop.neurons, spikeprop.datasets, spikeprop.experiments as e; print(e)"
    assert "experiments" in run_python("-c", code).stdout


def test_unknown_attribute_is_named() -> None:
    import spikeprop

    with pytest.raises(AttributeError, match="no attribute 'BackwardLearner'"):
        _ = spikeprop.BackwardLearner
    assert "ForwardLearner" in dir(spikeprop)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_refuses_an_old_python(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("setup.cfg", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    (tmp_path / "spikeprop").mkdir()
    (tmp_path / "spikeprop" / "_version.py").touch()
    old = tmp_path / "old-python"
    # Answers as Python 3.9 would: the version check fails, --version says which it is.
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1" && exit 0\nexit 1\n')
    old.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    for python, message in ((str(old), "Python 3.9.1"), ("no-such-python", "there is no")):
        result = subprocess.run(
            ["make", "train", f"PYTHON={python}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment,
        )
        assert result.returncode != 0
        assert message in result.stderr
        assert "3.10 or later" in result.stderr
        assert not (tmp_path / ".venv").exists()


def test_ci_calls_the_readme_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"make test$", script, re.MULTILINE)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert "run: .ci/run" in workflow
    for version in ("3.10", "3.11", "3.12", "3.13"):
        assert f'"{version}"' in workflow


def test_the_citation_is_one_and_versions_agree() -> None:
    yaml = pytest.importorskip("yaml")
    from spikeprop import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["license"] == setup_cfg()["metadata"]["license"]
    assert {"message", "title", "authors"} <= set(citation), "what the format requires"
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= set(paper)
    assert "2204.01723" in paper["url"]
