"""Every published setting learns a batch of files in their original layout."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_events import write_tiny_events
from torch import nn

from spikeprop.experiments import reproductions
from spikeprop.experiments.reproductions.__main__ import listing, settings
from spikeprop.experiments.reproductions.setting import Setting, build_network, main
from spikeprop.neurons import IF, LIF, RLIF
from spikeprop.rule_names import RULE_NAMES

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
import layouts

NAMES = list(settings())
DOCS = Path(__file__).parents[2] / "docs" / "reproductions.md"


def setting_of(name: str) -> Setting:
    return settings()[name]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A few recordings of each set, laid out as their publishers do."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("nmnist", "dvsgesture", "mnist")}
    write_tiny_events(folders["nmnist"], train=2, test=1)
    layouts.dvs_gesture_original(folders["dvsgesture"], users=(1, 24))
    layouts.mnist(folders["mnist"])
    return folders | {"fashion-mnist": folders["mnist"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_dry_run(name: str, data: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    setting = setting_of(name)
    torch.manual_seed(0)
    result = main(setting, ["--dry-run", "--data-dir", str(data[setting.dataset])])
    assert np.isnan(result)
    text = capsys.readouterr().out
    lines = text.splitlines()
    # What it needs is said before the data are opened, and that is the last line but one.
    assert [line.split(":")[0] for line in lines[1:4]] == ["published", "needs", "does"]
    found = re.search(r"learned from a batch \((\d+), 2, .*\), loss ([^;]+); tested 2", lines[-1])
    assert found is not None
    layers = re.findall(r"\d+(?:C\d+|R)?", re.sub(r"[AM]P\d", "", setting.network))
    assert len(found[2].split()) == len(layers)


@pytest.mark.parametrize("name", NAMES)
def test_setting(name: str) -> None:
    module: Any = importlib.import_module(f"{reproductions.__name__}.{name}")
    setting = setting_of(name)
    assert f"python -m {module.__name__} --data-dir DIR" in module.__doc__
    assert set(setting.published) <= set(RULE_NAMES)
    assert set(setting.options) <= set(setting.published)
    assert setting.differs
    assert name.startswith(setting.dataset.removesuffix("-mnist"))


def test_the_docs_hold_the_list() -> None:
    assert listing() in DOCS.read_text(encoding="utf-8")


def test_networks_are_what_their_words_say() -> None:
    setting = setting_of("mnist_sigprop")
    net = build_network(setting, (1, 28, 28), 0)
    kinds = [type(layer) for layer in net]
    block = [nn.Conv2d, nn.BatchNorm2d, IF, nn.MaxPool2d]
    assert kinds == [*block, *block, nn.Flatten, nn.Linear, IF]
    assert net[9].in_features == 40 * 7 * 7
    assert float(net[2].threshold) == 0.5
    recurrent = build_network(setting_of("nmnist_eprop"), (2, 34, 34), 0)
    assert [type(layer) for layer in recurrent] == [nn.Flatten, nn.Linear, RLIF]
    gestures = build_network(setting_of("dvsgesture_tess"), (2, 32, 32), 0)
    assert sum(isinstance(layer, LIF) for layer in gestures) == 8
    x = torch.zeros(1, 2, 32, 32)
    assert gestures(x).shape == (1, 512 * 2 * 2)
    first, second = (build_network(setting, (1, 28, 28), 3)[0].weight for _ in range(2))
    assert torch.equal(first, second)
    with pytest.raises(ValueError, match="no layer like 'x'"):
        build_network(Setting("", "", "mnist", {}, "5-x", 1, 1, 1.0, ()), (1, 28, 28), 0)


@pytest.mark.parametrize("name", ["mnist_sigprop", "nmnist_stsf"])
def test_a_whole_run(
    name: str, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = setting_of(name)
    out = tmp_path / "results.json"
    given = ["--data-dir", str(data[setting.dataset]), "--epochs", "1", "--seeds", "0", "1"]
    mean = main(setting, [*given, "--limit", "6", "--out", str(out)])
    text = capsys.readouterr().out
    assert "expected: " in text
    assert "epoch 1 of 1" in text
    assert "published: " in text.splitlines()[-1]
    assert 0.0 <= mean <= 1.0
    assert '"accuracies"' in out.read_text(encoding="utf-8")


def test_missing_data_say_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spikeprop.datasets import fetching, obtaining

    def fails(*given: object, **options: object) -> Path:
        raise fetching.DownloadError("no network")

    monkeypatch.setattr(obtaining, "download", fails)
    with pytest.raises(FileNotFoundError, match="Put one of these into"):
        main(setting_of("nmnist_etlp"), ["--dry-run", "--data-dir", str(tmp_path)])
