"""Networks without spikes: plain ReLU networks, and rate neurons with a time constant."""

from __future__ import annotations

import copy

import pytest
import torch
from test_exact_updates import Recorder
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.evidence import Instantaneous
from spikeprop.experiments import discrete, static
from spikeprop.neurons import LIF
from spikeprop.rules import SigProp

RULE = SigProp(3, evidence=Instantaneous(), homeostasis=None)


def relu_network(momentum: float) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.ReLU(),
    ).double()  # fmt: skip
    for norm in (net[1], net[6]):
        norm.momentum = momentum
        nn.init.uniform_(norm.running_mean, -0.3, 0.3)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    return net


def normed(norm: nn.Module, x: Tensor, n: int, *, through_mean: bool) -> Tensor:
    """The norm's output; its mean follows the n recordings, as far as derivatives go."""
    dims = [0, *range(2, x.dim())]
    like = (1, -1, *[1] * (x.dim() - 2))
    mean = x[:n].mean(dim=dims)
    mean = norm.running_mean + (mean - mean.detach() if through_mean else 0.0)
    y = (x - mean.reshape(like)) / (norm.running_var.reshape(like) + norm.eps).sqrt()
    return y * norm.weight.reshape(like) + norm.bias.reshape(like)


def local_losses(
    net: nn.Sequential, x: Tensor, labels: Tensor, signal: Tensor, *, through_mean: bool
) -> Tensor:
    """Both blocks' losses, written down: h = relu(W x), s = the signal's own pre-activation."""
    n, total = len(x), torch.zeros((), dtype=torch.float64)
    rows = torch.cat([x, x.new_zeros(3, *x.shape[1:])])
    for conv, norm, behind in ((net[0], net[1], net[3:5]), (net[5], net[6], nn.Identity())):
        # The first block's signal rows are the signal itself, and nothing of W.
        first = conv is net[0]
        current = normed(norm, conv(rows[:n] if first else rows), n, through_mean=through_mean)
        if first:
            current = torch.cat([current, signal])
        h, s = torch.relu(current[:n]).flatten(1), current[n:].flatten(1)
        h = nn.functional.normalize(h - h.mean(1, keepdim=True), dim=1)
        s = nn.functional.normalize(s - s.mean(1, keepdim=True), dim=1)
        total = total + nn.functional.cross_entropy(h @ s.T / 0.07, labels)
        rows = behind(torch.relu(current)).detach()
    return total


@pytest.mark.parametrize("momentum", [0.0, 0.1])
def test_a_relu_network_gets_the_gradient_of_its_local_losses(momentum: float) -> None:
    net = relu_network(momentum)
    before = copy.deepcopy(net)
    x, labels = torch.rand(5, 1, 6, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    learner = ForwardLearner(net, RULE, optimizer=Recorder)
    learner.update(x[None], labels)
    signal = learner.bound().tensors["signal.0"]
    loss = local_losses(before, x, labels, signal, through_mean=momentum > 0)
    found = [g for o in learner.optimizers for g in o.seen[0]]  # type: ignore[union-attr]
    names = {id(p): name for name, p in net.named_parameters()}
    order = [names[id(p)] for block in learner.blocks for p in block.parameters]
    wanted = torch.autograd.grad(loss, [before.get_parameter(name) for name in order])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    biases = [g for g, name in zip(found, order, strict=True) if name in ("0.bias", "5.bias")]
    # A bias before a norm that follows the mean has no effect, and is not moved.
    assert all((g.abs().max() < 1e-9) == (momentum > 0) for g in biases)


def test_the_network_is_left_as_it_is_and_learns() -> None:
    net = relu_network(0.1).float()
    keys, kinds = list(net.state_dict()), [type(m) for m in net]
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    x = torch.rand(90, 1, 6, 6, generator=generator) * 0.7
    for c in range(3):
        x[labels == c, :, 2 * c : 2 * c + 2] += 0.3
    learner = ForwardLearner(net, RULE, optimizer=lambda p: torch.optim.Adam(p, lr=3e-3))
    for _ in range(40):
        learner.update(x[None], labels)
    assert learner.evaluate((x[None], labels)).accuracy > 0.95
    assert list(net.state_dict()) == keys
    assert [type(m) for m in net] == kinds
    assert learner.engine_choice is not None
    assert learner.engine_choice.name == "reference"
    exported = learner.export(time_steps=1)
    assert torch.equal(exported(x[None]).argmax(1), learner.predict(x[None]))


def test_a_stream_of_single_samples_learns_through_a_norm() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU())
    learner = ForwardLearner(net, RULE, optimizer=Recorder)
    learner.step(torch.rand(1, 4), torch.tensor([1]))
    (seen,) = learner.optimizers[0].seen  # type: ignore[union-attr]
    assert all(g.abs().max() > 0 for g in seen)


def test_relu_is_a_neuron_only_where_there_is_no_other() -> None:
    with pytest.raises(ValueError, match="'1' is a ReLU with inplace=True"):
        ForwardLearner(nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True)), RULE).bind((4,))
    lif = [LIF(beta=0.9, init_hidden=True) for _ in range(2)]
    net = nn.Sequential(nn.Linear(4, 6), lif[0], nn.ReLU(), nn.Linear(6, 5), lif[1])
    learner = ForwardLearner(net, SigProp(3))
    learner.bind((4,))
    assert [block.neuron_name for block in learner.blocks] == ["1", "4"]


def images(folder: object, labels: Tensor) -> None:
    """Two small IDX splits: a bright stripe whose place is the class."""
    import gzip
    import struct
    from pathlib import Path

    root = Path(str(folder))
    for split in ("train", "t10k"):
        pixels = torch.randint(0, 60, (len(labels), 28, 28), dtype=torch.uint8)
        for image, label in zip(pixels, labels.tolist(), strict=True):
            image[2 * label + 3 : 2 * label + 6] = 250
        head = struct.pack(">4I", 0x803, len(labels), 28, 28)
        data = head + pixels.numpy().tobytes()
        (root / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(data))
        data = struct.pack(">2I", 0x801, len(labels)) + bytes(labels.tolist())
        (root / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(data))


@pytest.mark.filterwarnings("ignore:.*of 60000|.*of 10000|.*part of")
def test_the_commands_run(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp("idx")
    torch.manual_seed(0)
    images(folder, torch.arange(60) % 10)
    options = ["--data-dir", str(folder), "--batch-size", "10", "--lr", "1e-3"]
    out = folder / "result.json"
    accuracy = discrete.main([*options, "--epochs", "5", "--seeds", "0", "1", "--out", str(out)])
    assert accuracy > 0.9
    assert out.is_file()
    assert "mnist: test accuracy" in capsys.readouterr().out
    assert static.main([*options, "--epochs", "1", "--limit", "20", "--rule", "sp-voltage"]) >= 0.0
