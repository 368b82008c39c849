"""A network trained here predicts the same in snnTorch, Norse and Sinabs, and theirs here.

Needs the extra ``peers``. ``SPIKEPROP_NMNIST`` names a folder with ``Train`` and ``Test`` of
N-MNIST (or a part of it) for the same on real recordings.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.datasets import NMNIST, SaccadeDigits
from spikeprop.neurons import LIF, reset
from spikeprop.nir import read, write
from spikeprop.rules import SigProp

nir = pytest.importorskip("nir")
pytest.importorskip("nirtorch")

FOLDER = "SPIKEPROP_NMNIST"


def snntorch_scores(path: Path, x: Tensor) -> Tensor:
    from snntorch.import_nir import import_from_nir

    net = import_from_nir(nir.read(path))
    state, total = None, torch.zeros(())
    for x_t in x:
        scores, state = net(x_t, state)
        total = total + scores
    return total


def norse_scores(path: Path, x: Tensor) -> Tensor:
    pytest.importorskip("norse")
    from norse.torch.utils.import_nir import from_nir

    net, state, total = from_nir(nir.read(path), ignore_warnings=True), None, torch.zeros(())
    for x_t in x:
        scores, state = net(x_t, state)
        total = total + scores
    return total


def sinabs_scores(path: Path, x: Tensor) -> Tensor:
    pytest.importorskip("sinabs")
    from sinabs import activation
    from sinabs.layers import LIFSqueeze
    from sinabs.nir import from_nir

    net = from_nir(nir.read(path), batch_size=x.shape[1])
    for layer in net.modules():
        if isinstance(layer, LIFSqueeze):
            layer.spike_fn, layer.reset_fn = activation.SingleSpike, activation.MembraneReset()
    given = net(x.transpose(0, 1).flatten(0, 1))
    scores: Tensor = given[0] if isinstance(given, tuple) else given
    return scores.reshape(x.shape[1], len(x), -1).sum(1)


PEERS: dict[str, Callable[[Path, Tensor], Tensor]] = {
    "snntorch": snntorch_scores,
    "norse": norse_scores,
    "sinabs": sinabs_scores,
}


def trained(batches: list[tuple[Tensor, Tensor]], passes: int) -> Any:
    """A trained 2312-64-64 with its readout by spikes, thresholds folded."""
    torch.manual_seed(0)
    lif = {"reset_mechanism": "zero", "init_hidden": True}
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(2312, 64), LIF(0.9, **lif), nn.Linear(64, 64), LIF(0.9, **lif)
    )
    learner = ForwardLearner(
        net, SigProp(10), optimizer=lambda p: torch.optim.Adam(p, lr=1e-3, fused=True)
    )
    for _ in range(passes):
        for x, label in batches:
            learner.update(x, label)
    steps = len(batches[0][0])
    return learner.export(time_steps=steps, fold_thresholds=True, readout="spikes", data=batches)


def flat(net: Any) -> nn.Module:
    """The network on flat inputs: snnTorch and Norse would flatten the batch dimension, too."""
    step = net.per_step()
    step[0][0] = nn.Identity()
    return step


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Tensor, Tensor]:
    batches = [b for i, b in enumerate(SaccadeDigits.loader(train=True, batch_size=50)) if i < 6]
    x, label = next(iter(SaccadeDigits.loader(train=False, batch_size=150)))
    return trained(batches, 4), x, label


@pytest.mark.parametrize("peer", PEERS)
def test_a_trained_network_predicts_the_same(
    peer: str, digits: tuple[Any, Tensor, Tensor], tmp_path: Path
) -> None:
    net, x, label = digits
    wanted = net(x).argmax(1)
    assert (wanted == label).float().mean() > 0.6, "a network that has learned"
    write(tmp_path / "net.nir", flat(net), (2312,), dialect=peer)
    found = PEERS[peer](tmp_path / "net.nir", x.flatten(2)).argmax(1)
    assert torch.equal(found, wanted)
    again = read(tmp_path / "net.nir", dialect=peer)
    reset(again)
    with torch.no_grad():
        total = torch.stack([again(x_t) for x_t in x.flatten(2)]).sum(0)
    assert torch.equal(total.argmax(1), wanted)


@pytest.mark.slow
@pytest.mark.skipif(FOLDER not in os.environ, reason=f"{FOLDER} names no folder")
@pytest.mark.parametrize("peer", PEERS)
def test_a_trained_network_predicts_the_same_on_real_recordings(peer: str, tmp_path: Path) -> None:
    root = Path(os.environ[FOLDER])
    train = list(NMNIST.loader(root, train=True, batch_size=50, time_window=15_000))
    x, label = next(iter(NMNIST.loader(root, train=False, batch_size=150, time_window=15_000)))
    steps = min(len(x), *(len(batch) for batch, _ in train))
    train, x = [(batch[:steps], labels) for batch, labels in train], x[:steps]
    assert len(label) == 150
    net = trained(train, 3)
    wanted = net(x).argmax(1)
    assert (wanted == label).float().mean() > 0.6, "a network that has learned"
    write(tmp_path / "net.nir", flat(net), (2312,), dialect=peer)
    found = PEERS[peer](tmp_path / "net.nir", x.flatten(2)).argmax(1)
    assert torch.equal(found, wanted)


X = (torch.rand(100, 5, 12, generator=torch.Generator().manual_seed(1)) < 0.3).float()


def ours(graph: Any, dialect: str, path: Path) -> Tensor:
    nir.write(path / "theirs.nir", graph)
    net = read(path / "theirs.nir", dialect=dialect)
    reset(net)
    with torch.no_grad():
        return torch.stack([net(x_t) for x_t in X])


def test_a_graph_of_norse_has_its_spikes_here(tmp_path: Path) -> None:
    norse = pytest.importorskip("norse.torch")
    from norse.torch.utils.export_nir import to_nir

    torch.manual_seed(0)
    cells = [
        norse.LIFBoxCell(
            norse.LIFBoxParameters(
                tau_mem_inv=torch.full((n,), 100.0),
                v_th=torch.full((n,), 0.03),
                v_leak=torch.zeros(n),
                v_reset=torch.zeros(n),
            )
        )
        for n in (9, 5)
    ]
    net = norse.SequentialState(nn.Linear(12, 9), cells[0], nn.Linear(9, 5), cells[1])
    graph = to_nir(net, X[0])
    state, seen = None, []
    with torch.no_grad():
        for x_t in X:
            spk, state = net(x_t, state)
            seen.append(spk)
    wanted = torch.stack(seen)
    assert 0.05 < wanted.mean() < 0.95
    assert torch.equal(ours(graph, "norse", tmp_path), wanted)


def test_a_graph_of_sinabs_has_its_spikes_here(tmp_path: Path) -> None:
    layers = pytest.importorskip("sinabs.layers")
    from sinabs import activation
    from sinabs.nir import to_nir

    torch.manual_seed(0)
    lifs = [
        layers.LIF(
            tau_mem=torch.full((n,), 9.5),
            spike_threshold=torch.full((n,), 0.3),
            norm_input=False,
            spike_fn=activation.SingleSpike,
            reset_fn=activation.MembraneReset(),
        )
        for n in (9, 5)
    ]
    net = nn.Sequential(nn.Linear(12, 9), lifs[0], nn.Linear(9, 5), lifs[1])
    with torch.no_grad():
        net(X.transpose(0, 1))
        graph = to_nir(net, X.transpose(0, 1)[:, :1])
        for lif in lifs:
            lif.reset_states()
        wanted = net(X.transpose(0, 1)).transpose(0, 1)
    assert 0.05 < wanted.mean() < 0.95
    assert torch.equal(ours(graph, "sinabs", tmp_path), wanted)


def test_a_graph_of_snntorch_has_its_spikes_here(tmp_path: Path) -> None:
    import snntorch as snn
    from snntorch import utils
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(0)
    zero = {"threshold": 0.3, "reset_mechanism": "zero", "init_hidden": True}
    net = nn.Sequential(
        nn.Linear(12, 9),
        snn.Leaky(torch.full((9,), 0.9), **{**zero, "threshold": torch.full((9,), 0.3)}),
        nn.Linear(9, 5),
        snn.Leaky(torch.full((5,), 0.8), **{**zero, "threshold": torch.full((5,), 0.3)}),
    )
    graph = export_to_nir(net, X[0, :1], ignore_dims=[0])
    utils.reset(net)
    with torch.no_grad():
        wanted = torch.stack([net(x_t) for x_t in X])
    assert 0.05 < wanted.mean() < 0.95
    assert torch.equal(ours(graph, "snntorch", tmp_path), wanted)
