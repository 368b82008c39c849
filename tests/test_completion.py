"""``spikeprop completion``: scripts that shells can load, and what bash then completes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from spikeprop import cli


@pytest.fixture
def bash() -> str:
    found = shutil.which("bash")
    if found is None:
        pytest.skip("bash is not here")
    return found


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["completion", shell]) == 0
    return capsys.readouterr().out


def test_bash_completes(bash: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spikeprop"
    path.write_text(script("bash", capsys), encoding="utf-8")
    subprocess.run([bash, "-n", str(path)], check=True, timeout=30)
    lines = {
        "re": {"report"},
        "": {*cli.COMMANDS, *cli.GROUPS, "-h", "--help"},
        "data d": {"download"},
        "data ": {*cli.GROUPS["data"], "-h", "--help"},
        "train --data": {"--dataset", "--data-dir"},
        "train --dataset sac": {"saccade-digits", "saccade-mnist"},
    }
    commands = [f"source {path}"]
    for line in lines:
        *before, last = line.split(" ")
        words = " ".join(["spikeprop", *before, f"'{last}'"])
        commands += [
            f"COMP_WORDS=({words}); COMP_CWORD={len(before) + 1}; COMPREPLY=(); _tyro_spikeprop",
            'echo "${COMPREPLY[@]}"',
        ]
    done = subprocess.run(
        [bash, "-c", "\n".join(commands)], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    answers = [set(line.split()) for line in done.stdout.splitlines()]
    assert answers == list(lines.values())


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells(shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Loaded where the shell is here; everywhere, the script knows every command."""
    text = script(shell, capsys)
    for name in (*cli.COMMANDS, *cli.GROUPS["data"]):
        assert name in text
    found = shutil.which(shell)
    if found is not None:
        path = tmp_path / "script"
        path.write_text(text, encoding="utf-8")
        subprocess.run([found, "-n", str(path)], check=True, timeout=30)


def test_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "tcsh"]) == cli.BAD_INPUT
    assert "bash" in capsys.readouterr().err
