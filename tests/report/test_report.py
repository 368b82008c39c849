"""``spikeprop report``: what its page shows in a real browser, and what it is made of."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from tiny_events import tiny_options, write_tiny_events

from spikeprop import cli, inference
from spikeprop.config import TrainConfig
from spikeprop.datasets import formats
from spikeprop.report import behaviour, command
from spikeprop.report.charts import HEIGHT, WIDTH, line_chart
from spikeprop.report.config import ReportConfig
from spikeprop.report.images import pack, weight_images
from spikeprop.report.reading import read_run, wilson
from spikeprop.train import train

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
import layouts


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings, a run of signal propagation and one of another rule."""
    place = tmp_path_factory.mktemp("report")
    data = write_tiny_events(place / "data")
    options: Any = tiny_options(data, place / "runs")
    train(TrainConfig(**options, name="first"))
    train(TrainConfig(**{**options, "epochs": 2, "rule": "ottt"}, name="second"))
    return place


@pytest.fixture(scope="module")
def html(place: Path) -> Path:
    return command.write_report(ReportConfig((place / "runs" / "first",)))


def opaque(tab: Any, selector: str, part: int = 0) -> int:
    """How many pixels of a canvas are drawn."""
    code = """([selector, part]) => {
        const canvas = document.querySelectorAll(selector)[part];
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let drawn = 0;
        for (let i = 3; i < data.length; i += 4) drawn += data[i] > 0;
        return drawn;
    }"""
    return int(tab.evaluate(code, [selector, part]))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(page: Any, axe: Any, html: Path, width: int, theme: str) -> None:
    tab = page(width, theme)
    tab.goto(html.as_uri())
    assert tab.title() == "first: spikeprop report"
    metrics = json.loads((html.parent / "metrics.json").read_text(encoding="utf-8"))
    text = tab.inner_text("main")
    assert f"{100 * metrics['test_accuracy']:.2f} %" in text
    for heading in ("Learning curves", "Confusion matrix", "Firing rates and energy"):
        assert heading in text
    # Wide things scroll in a box of their own: the page itself does not.
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert axe(tab) == []
    # The events of the last step, and every spike that the caption counts.
    assert opaque(tab, "[data-part=events]") > 0
    counted = re.search(r"(\d+) spikes", tab.inner_text(".rasters figure:nth-child(2) figcaption"))
    assert counted is not None
    assert opaque(tab, ".rasters canvas", 1) == int(counted[1]) > 0
    # Weights are images that the browser can read.
    sizes = tab.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(sizes) == 24
    assert min(sizes) == 34 + 1 + 34


def test_playing_moves_the_evidence(page: Any, html: Path) -> None:
    tab = page()
    tab.goto(html.as_uri())
    tab.focus("[data-part=play]")
    end = tab.inner_text("[data-part=bars]")
    tab.keyboard.press("Space")
    assert tab.inner_text("[data-part=play]") == "Pause"
    tab.keyboard.press("Space")
    assert tab.inner_text("[data-part=play]") == "Play"
    tab.focus("[data-part=time]")
    tab.keyboard.press("Home")
    start = tab.inner_text("[data-part=bars]")
    assert start != end
    assert tab.inner_text("[data-part=said]").startswith("After step 1 of 6 (60 ms): ")
    path = tab.get_attribute("[data-part=lines] path.c1", "d")
    tab.focus("[data-part=play]")
    tab.keyboard.press("Space")
    moved = tab.locator("[data-part=said]").filter(has_text=re.compile("After step [2-6] of"))
    moved.wait_for()
    assert tab.inner_text("[data-part=bars]") != start
    assert tab.get_attribute("[data-part=lines] path.c1", "d").startswith(path)
    tab.focus("[data-part=time]")
    tab.keyboard.press("End")
    assert tab.inner_text("[data-part=bars]") == end
    assert tab.get_attribute("[data-part=time]", "aria-valuetext").startswith("After step 6 of 6")


def test_the_last_evidence_is_the_prediction(page: Any, place: Path, html: Path) -> None:
    """What the browser shows at the end of each recording is what the library predicts."""
    predicted = inference.predict_split(place / "runs" / "first", "test")
    tab = page()
    tab.goto(html.as_uri())
    choices = tab.evaluate("[...document.querySelector('select').options].map(o => o.text)")
    assert len(choices) >= 3
    for number, choice in enumerate(choices):
        tab.select_option("[data-part=choice]", str(number))
        index = re.search(r"recording (\d+)", choice)
        assert index is not None
        item = predicted[int(index[1])]
        said = tab.inner_text("[data-part=said]")
        assert said == (
            f"After step 6 of 6 (360 ms): {item.prediction} leads. The true class is {item.label}."
        )
        scores = np.array(item.scores.copy())
        shown = tab.evaluate("[...document.querySelectorAll('.now li')].map(li => li.innerText)")
        values = [float(text.replace("\u2212", "-").split()[-1]) for text in shown]
        np.testing.assert_allclose(values, scores - scores.mean(), atol=0.0051)


def test_evidence_adds_up_over_time(place: Path) -> None:
    learner, config, _ = inference.load(place / "runs" / "first")
    dataset = behaviour.open_dataset(config, train=False)
    x, _ = next(iter(behaviour._batches(config, dataset, np.array([1]))))
    x = x.to_dense()[:, 0]
    found = behaviour.evidence_over_time(learner, x, [1, 2, 3, 4, 5, 6])
    each = torch.stack([learner.logits(x[:t, None], final=True)[-1, 0] for t in range(1, 7)])
    expected = (each - each.mean(dim=1, keepdim=True)).cumsum(dim=0) / 6
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_several_runs(page: Any, axe: Any, place: Path, tmp_path: Path) -> None:
    runs = [place / "runs" / name for name in ("first", "second")]
    out = tmp_path / "both.html"
    assert cli.main(["report", *map(str, runs), "--output", str(out)]) == 0
    tab = page(390)
    tab.goto(out.as_uri())
    assert axe(tab) == []
    table = tab.inner_text("#comparison table >> nth=0")
    assert re.search(r"first\s+nmnist\s+sigprop", table)
    assert re.search(r"second\s+nmnist\s+ottt", table)
    assert "epochs\t4\t2" in tab.inner_text("#comparison table >> nth=1")
    assert tab.locator("#comparison svg path.line").count() == 2 + 2  # and their legend
    assert tab.locator(".player").count() == 2
    assert "different recordings" not in tab.inner_text("#comparison")


def test_names_are_escaped(page: Any, tmp_path: Path) -> None:
    classes = ["<img src=x onerror=boom()>", "</script><b>bold"]
    classes = [name.replace("/", "\u2215") for name in classes] + ["a&amp;'\""]
    random = np.random.default_rng(0)
    for number, name in enumerate(classes):
        for take in range(8):
            events = np.zeros(80, dtype=[("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "i1")])
            events["x"] = 4 * number + random.integers(0, 4, 80)
            events["y"] = random.integers(0, 12, 80)
            events["t"] = np.sort(random.integers(0, 60_000, 80))
            path = tmp_path / "data" / name / f"{take}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            formats.write_recording(path, events, (12, 12))
    options: Any = tiny_options(tmp_path / "data", tmp_path / "runs")
    options |= {"dataset": "folder", "epochs": 1, "time_window": 20_000}
    folder = train(TrainConfig(**options, name="<i>run")).path
    tab = page()
    tab.goto(command.write_report(ReportConfig((folder,))).as_uri())
    assert tab.inner_text("h1") == "<i>run"
    shown = tab.evaluate(
        "[...document.querySelectorAll('.confusion th[scope=row]')].map(t => t.innerText)"
    )
    assert sorted(shown) == sorted(classes)
    bars = tab.evaluate(
        "[...document.querySelectorAll('.now li > span:first-child')].map(s => s.innerText)"
    )
    assert sorted(name.removesuffix(" (true)") for name in bars) == sorted(classes)


def test_inputs_in_a_row(page: Any, tmp_path: Path) -> None:
    """Spoken digits are 700 channels and no picture: they are drawn over time."""
    layouts.heidelberg(tmp_path)
    options: Any = tiny_options(tmp_path, tmp_path / "runs")
    options |= {"dataset": "shd", "epochs": 1, "shift": 0, "validation": 0.0}
    folder = train(TrainConfig(**options, name="spoken")).path
    tab = page()
    tab.goto(command.write_report(ReportConfig((folder,))).as_uri())
    assert opaque(tab, "[data-part=events]") > 10  # 30 events, all of which stay to be seen
    assert tab.locator("[data-part=events]").bounding_box()["height"] < 400
    assert tab.inner_text(".maps").strip() == "all neurons"


def test_without_the_data(page: Any, axe: Any, place: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(place / "runs" / "first", tmp_path / "first")
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    out = command.write_report(ReportConfig((folder,), data_dir=nowhere))
    tab = page()
    tab.goto(out.as_uri())
    assert axe(tab) == []
    text = tab.inner_text("main")
    assert "the test recordings are not here" in text
    assert "N-MNIST" in text  # which files to put where
    assert "Learning curves" in text
    assert "Confusion matrix" in text
    assert "Weights of the first layer" in text
    assert tab.locator(".player").count() == 0
    assert list(nowhere.iterdir()) == []  # nothing was fetched


def test_a_run_that_has_not_finished(page: Any, axe: Any, place: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(place / "runs" / "first", tmp_path / "first")
    (folder / "metrics.json").unlink()
    tab = page()
    tab.goto(command.write_report(ReportConfig((folder,))).as_uri())
    assert axe(tab) == []
    text = tab.inner_text("main")
    assert "not finished: 4 of 4 epochs" in text
    assert "Learning curves" in text
    (folder / "metrics.csv").unlink()
    tab.goto(command.write_report(ReportConfig((folder,))).as_uri())
    assert "not finished: 0 of 4 epochs" in tab.inner_text("main")


def test_an_older_page_stays_until_the_new_one_is_whole(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.html"
    out.write_text("old", encoding="utf-8")

    def broken(found: object) -> str:
        raise RuntimeError("no paper left")

    monkeypatch.setattr(command, "render", broken)
    with pytest.raises(RuntimeError, match="no paper left"):
        command.write_report(ReportConfig((place / "runs" / "first",), output=out))
    assert out.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name at least one run folder"),
        (["RUN", "RUN"], "named twice"),
        (["RUN", "--output", "page.pdf"], "output must end in .html, got page.pdf"),
        (["RUN", "--output", "nowhere/page.html"], "there is no folder"),
        (["RUN", "--samples", "0"], "samples must be at least 1, got 0"),
        (["elsewhere"], "elsewhere is no run folder"),
    ],
)
def test_bad_input(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    given = [str(place / "runs" / "first") if part == "RUN" else part for part in arguments]
    assert cli.main(["report", *given]) == cli.BAD_INPUT
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        lambda metrics: metrics.pop("confusion_matrix"),
        lambda metrics: metrics["confusion_matrix"].pop(),
        lambda metrics: metrics.update(test_accuracy="<b>"),
        lambda metrics: metrics.update(data=3),
    ],
)
def test_damaged_metrics(place: Path, tmp_path: Path, damage: Any) -> None:
    folder = shutil.copytree(place / "runs" / "first", tmp_path / "first")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    damage(metrics)
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    with pytest.raises(ValueError, match=r"metrics\.json is damaged"):
        read_run(folder)


def test_damaged_table(place: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(place / "runs" / "first", tmp_path / "first")
    (folder / "metrics.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="without an epoch"):
        read_run(folder)


def test_intervals_are_wilsons() -> None:
    for right, count in ((0, 7), (3, 9), (390, 397), (50, 50)):
        expected = binomtest(right, count).proportion_ci(method="wilson")
        np.testing.assert_allclose(wilson(right / count, count), expected, atol=1e-4)
    assert wilson(0.0, 0) == (0.0, 1.0)


def test_which_recordings_are_shown() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2, 2])
    predictions = np.array([1, 0, 0, 0, 2, 1, 2])
    # The first right one of 0 and 2, the first of 1 (none is right), then other mistakes.
    assert behaviour.choose(labels, predictions, 5) == [1, 2, 4, 0, 3]
    assert behaviour.choose(labels, predictions, 3) == [1, 2, 0]
    assert behaviour.choose(labels, labels, 5) == [0, 2, 4]


def test_bits_are_packed_as_the_script_reads_them() -> None:
    bits = np.zeros(12, dtype=np.bool_)
    bits[[0, 9]] = True
    assert pack(bits) == "gEA="  # 0b10000000, 0b01000000


def test_weights_of_inputs_that_are_no_image() -> None:
    images, words = weight_images(torch.randn(5, 700), (1, 1, 700))
    assert len(images) == 1
    assert words == "a row is a neuron, a column an input"
    filters, _ = weight_images(torch.randn(8, 2, 3, 3), (2, 34, 34))
    assert len(filters) == 8


def test_charts_stay_inside() -> None:
    chart = line_chart("t", "y", [("a", 1, [(1, 0.5), (2, 3.7), (30, 0.0)]), ("none", 2, [])])
    assert chart is not None
    assert len(chart.lines) == 1
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in chart.lines[0].marks)
    assert [text for _, text in chart.y_ticks] == ["0", "1", "2", "3", "4"]
    assert line_chart("t", "y", []) is None
    assert line_chart("t", "y", [("a", 1, [(1, 0.0)])]) is not None


def test_long_recordings_are_shown_in_fewer_frames(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behaviour, "FRAMES", 4)
    run = read_run(place / "runs" / "first")
    seen = behaviour.observe(run, ReportConfig((run.path,), recordings=1))
    (shown,) = seen.shown
    assert shown.ends == [2, 3, 4, 6] or shown.ends == [1, 3, 4, 6]
    assert len(shown.frames) == len(shown.evidence) == 4
    assert replace(shown).spikes[0].shape == (4, 24)
