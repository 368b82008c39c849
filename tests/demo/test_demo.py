"""``spikeprop demo``: in a pipe, in terminals wide, narrow, without colour, and interrupted."""

from __future__ import annotations

import io
import re
import shlex

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from spikeprop import ForwardLearner, cli
from spikeprop.demo import DemoConfig, show
from spikeprop.demo.drawing import bar, blocks, braille, evidence_lines, letters

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def terminal(**options: object) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, highlight=False, **options)  # type: ignore[arg-type]


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--quick", "--threads", "1"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert re.search(r"epoch 1 of 1: layer 1 \d+\.\d %, layer 2 \d+\.\d %", text)
    found = re.search(r"now\s+recognises\s+(\d+\.\d)\s+%.*\s0\s+backward\s+passes", text, re.DOTALL)
    assert found is not None
    assert float(found[1]) > 12  # a tenth by chance; three updates are not many
    assert re.search(r"for\s+as\s+it\s+went\s+on:\s+\d\s+\(step\s+2\),", text)
    # The commands to try next are commands.
    for command, _ in show.NEXT:
        assert command in text
        program, *arguments = shlex.split(command)
        assert program == "spikeprop"
        cli.parse(arguments)


@pytest.mark.parametrize(
    ("width", "colour", "image"),
    [(100, "truecolor", "▀"), (40, None, "⠁"), (100, None, "▀")],
)
def test_in_a_terminal(width: int, colour: str | None, image: str) -> None:
    console = terminal(width=width, height=30, color_system=colour)
    show.run(DemoConfig(quick=True), console)
    text = written(console)
    assert "learning: epoch 1 of 1, batch 7 of 7" in text
    assert "\x1b[?25l" in text  # the cursor goes while it draws,
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # and comes back
    assert bool(re.search(r"\x1b\[[0-9;]*9[14]", text)) == (colour is not None)
    letters = set(ANSI.sub("", text))
    assert any("⠀" <= letter <= "⣿" for letter in letters) == (image == "⠁")
    if image == "▀":
        assert letters & set("▀▄█")
    # What is drawn fits; commands may be wrapped by the terminal, which keeps them whole to copy.
    drawn = ANSI.sub("", text).split("Try next")[0].replace("\r", "\n").splitlines()
    assert max(map(cell_len, drawn)) <= width


def test_in_ascii() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=file, force_terminal=True, width=80, color_system=None, highlight=False)
    show.run(DemoConfig(quick=True), console)
    file.flush()
    text = file.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert "layer 1 #" in text


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    console = terminal(width=100)
    real = ForwardLearner.update
    calls = []

    def update(self: ForwardLearner, *given: object) -> object:
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(ForwardLearner, "update", update)
    monkeypatch.setattr(show, "text_console", lambda **options: console)
    assert cli.main(["demo", "--quick"]) == cli.INTERRUPTED
    assert written(console).rindex("\x1b[?25h") > written(console).rindex("\x1b[?25l")
    assert capsys.readouterr().err == "spikeprop: interrupted\n"
    assert "recognises" not in written(console)


def test_a_slow_machine_makes_fewer_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Learner:
        def update(self, x: object, label: object) -> None:
            clock[0] += 0.5

    clock = [0.0]
    monkeypatch.setattr(show.time, "perf_counter", lambda: clock[0])
    # Half a second an update: 25 s are five epochs of ten batches, and one of fifty.
    assert show._affordable(Learner(), [(0, 0)] * 10) == 5  # type: ignore[arg-type]
    assert show._affordable(Learner(), [(0, 0)] * 500) == 1  # type: ignore[arg-type]
    assert show._affordable(Learner(), [(0, 0)] * 2) == show.EPOCHS  # type: ignore[arg-type]


FRAME = np.zeros((2, 3, 4), dtype=np.bool_)
FRAME[1, 0, 0] = FRAME[0, 1, 0] = FRAME[1, 1, 1] = FRAME[1, 2, 3] = True


def test_blocks() -> None:
    text = blocks(FRAME)
    assert text.plain == "▀▄  \n   ▀"
    assert str(text.spans[0].style) == "bright_red on bright_blue"
    plain = blocks(FRAME, colour=False)
    assert plain.plain == "█▄  \n   ▀"
    assert plain.spans == []
    assert blocks(FRAME.any(axis=0, keepdims=True)).plain == "█▄  \n   ▀"


def test_letters_and_braille() -> None:
    assert letters(FRAME).plain == ":.  \n   '"
    # Dots 1, 2 and 5 in the first cell; dot 6 in the second.
    assert braille(FRAME).plain == chr(0x2800 + 1 + 2 + 16) + chr(0x2800 + 32)


def test_bars() -> None:
    assert bar(0.5, 4) == "██  "
    assert bar(0.53125, 4) == "██▏ "
    assert bar(2.0, 3) == "███"
    assert bar(-1.0, 3) == "   "
    assert bar(0.5, 4, ascii_only=True) == "##  "
    text = evidence_lines([0.0, 2.0, -1.0], 2, 4, 4.0)
    assert text.plain == "0      \n1 ██   \n2     ◂"
    assert {str(span.style) for span in text.spans} == {"bold red"}
    assert str(evidence_lines([1.0], 0, 4, 4.0).spans[0].style) == "bold green"


@pytest.mark.parametrize("name", ["seed", "threads"])
def test_bad_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", f"--{name}=-1"]) == cli.BAD_INPUT
    assert f"{name} must be at least 0, got -1" in capsys.readouterr().err
