"""``spikeprop neurons``: the table, single pictures, and the gallery in the docs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from spikeprop import neuron_gallery, neurons
from spikeprop.cli import main
from spikeprop.neuron_gallery import current_of, draw, measured, page, record, write_gallery
from spikeprop.neuron_table import NEURONS, find, names
from spikeprop.neurons import SpikingNeuron
from spikeprop.nir.neurons import PLAIN

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_every_neuron_is_in_the_table() -> None:
    bases = {"SpikingNeuron", "FiringNeuron", "RecurrentNeuron", "Leaky", "RLeaky"}
    kinds = {
        name
        for name in neurons.__all__
        if isinstance(kind := getattr(neurons, name), type) and issubclass(kind, SpikingNeuron)
    }
    assert {entry.name for entry in NEURONS} == kinds - bases
    ours = {kind for kind in PLAIN if kind.__module__.startswith("spikeprop.")}  # users add theirs
    assert {entry.kind for entry in NEURONS if entry.nir} == ours


@pytest.mark.parametrize("name", names())
def test_every_example_is_shown_in_action(name: str) -> None:
    entry = find(name.upper())
    assert isinstance(entry.build(), entry.kind)
    seen = record(entry.build(), current_of("step", entry.drive, 200))
    assert 0 < np.count_nonzero(seen.spikes[:180]) < 190
    assert np.isfinite(seen.trace).all()
    assert seen.state["mem"].shape == seen.trace.shape == (200,)


@pytest.mark.parametrize("name", ["lif", "cubalif", "eif", "adex", "refractorylif"])
def test_the_trace_is_the_derivative_of_the_voltage(name: str) -> None:
    """Against a difference quotient of the weight, up to the first spike."""
    entry = find(name)
    current = current_of("step", entry.drive, 60)
    seen = record(entry.build(), current)
    quotient = (
        record(entry.build(), current * (1 + 1e-6)).state["mem"]
        - record(entry.build(), current * (1 - 1e-6)).state["mem"]
    ) / 2e-6
    quiet = slice(0, int(np.argmax(seen.spikes > 0)) or 60)
    np.testing.assert_allclose(seen.trace[quiet], quotient[quiet], rtol=1e-5, atol=1e-6)


def test_inputs() -> None:
    assert current_of("step", 2.0, 10).tolist() == [0.0, *[2.0] * 8, 0.0]
    assert current_of("ramp", 2.0, 4).tolist() == [0.0, 1.0, 2.0, 3.0]
    noise = current_of("noise", 2.0, 4000)
    assert noise.mean() == pytest.approx(1.4, abs=0.2)
    assert np.array_equal(noise, current_of("noise", 2.0, 4000))


def test_a_record_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    record(find("stochasticlif").build(), current_of("noise", 0.1, 20))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["neurons"]) == 0
    shown = capsys.readouterr().out
    for entry in NEURONS:
        assert entry.name in shown
    (alif,) = [line for line in shown.splitlines() if line.startswith("ALIF")]
    assert "exact (1 variable)" in alif
    assert "kappa" in alif


def test_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["neurons", "show", "AdEx", "--input", "ramp", "--steps", "50"]) == 0
    assert capsys.readouterr().out.strip() == "adex-ramp.png"
    with Image.open("adex-ramp.png") as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert len(np.unique(pixels, axis=0)) > 50
    wanted = ["neurons", "show", "izhikevich:chattering", "--output", "a.png", "--amplitude", "5"]
    assert main(wanted) == 0
    assert Path("a.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show"], "show needs the name of a neuron"),
        (["gallery"], "gallery needs a .md file to write"),
        (["gallery", "page.txt"], "output must end in .md, got page.txt"),
        (["show", "hodgkin"], "there is no neuron 'hodgkin': choose one of IF, LIF"),
        (["show", "lif", "--output", "a.jpg"], "output must end in .png, got a.jpg"),
        (["show", "lif", "--steps", "3"], "steps must be at least 10, got 3"),
        (["table", "lif"], "table takes no further word, got 'lif'"),
        (["paint"], "paint"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["neurons", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuron_gallery, "names", lambda: ["LIF", "Izhikevich:fast-spiking"])
    *pictures, written = write_gallery(tmp_path / "docs" / "page.md")
    assert [p.name for p in pictures] == ["lif.png", "izhikevich-fast-spiking.png"]
    text = written.read_text(encoding="utf-8")
    assert "](page/lif.png)" in text
    for picture in pictures:
        assert picture.is_file()
    written.write_text("# An older page\n\n## Measured\n\n| a | b |\n", encoding="utf-8")
    write_gallery(written)
    assert written.read_text(encoding="utf-8") == text + "\n## Measured\n\n| a | b |\n"


def test_the_gallery_in_the_docs_is_up_to_date() -> None:
    path = DOCS / "neurons.md"
    assert path.read_text(encoding="utf-8") == page("neurons") + measured(path)
    pictures = {f"{name.lower().replace(':', '-')}.png" for name in names()}
    assert {path.name for path in (DOCS / "neurons").iterdir()} == pictures


def test_draw_refuses_nothing_it_can_draw(tmp_path: Path) -> None:
    draw("sigmadelta", tmp_path / "a.png", kind="noise", steps=30)
    assert (tmp_path / "a.png").is_file()
