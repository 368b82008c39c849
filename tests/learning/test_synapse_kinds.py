"""Every kind of synapse and every sum of them learns by the exact gradient, to 1e-10."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from local_autograd import local_gradients
from test_exact_updates import Recorder
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from spikeprop import ForwardLearner
from spikeprop.evidence import Leaky, RunningMean
from spikeprop.neurons import LIF
from spikeprop.rules import SigProp
from spikeprop.sums import Parallel, Residual, Sum

C, B, T = 3, 4, 7
LABELS = torch.tensor([0, 1, 2, 1])


def lif(reset: str = "subtract", threshold: float = 0.2) -> LIF:
    return LIF(beta=0.85, threshold=threshold, reset_mechanism=reset, init_hidden=True)


def norm(kind: type[nn.Module], channels: int) -> nn.Module:
    """A batch norm whose statistics stand still while we compare."""
    module = kind(channels, momentum=0.0)
    nn.init.uniform_(module.running_mean, -0.3, 0.3)
    nn.init.uniform_(module.running_var, 0.5, 2.0)
    nn.init.uniform_(module.weight, 0.5, 1.5)
    nn.init.uniform_(module.bias, -0.2, 0.2)
    return module


def end(inputs: int) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(inputs, 6), lif()]


def conv1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2),
        nn.AvgPool1d(2, stride=1, padding=1),
        lif(),
        nn.Conv1d(6, 6, 2, groups=6, bias=False),
        norm(nn.BatchNorm1d, 6),
        lif("zero"),
        *end(24),
    )


def depthwise() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(2, (3, 3)),
        nn.Conv2d(4, 8, (2, 3), groups=4, padding=(1, 0)),
        norm(nn.BatchNorm2d, 8),
        nn.AdaptiveAvgPool2d((2, 1)),
        lif(),
        *end(16),
    )


def transposed() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(2, (3, 3)),
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=1),
        lif(),
        nn.Flatten(2),
        nn.ConvTranspose1d(6, 3, 3, stride=2, bias=False),
        nn.AvgPool1d(4),
        lif("zero"),
        *end(54),
    )


def normalised() -> nn.Module:
    return nn.Sequential(
        weight_norm(nn.Conv1d(4, 6, 3, groups=2), dim=0),
        lif(),
        nn.Flatten(),
        weight_norm(nn.Linear(42, 5, bias=False), dim=1),
        lif(),
        weight_norm(nn.Linear(5, 6), dim=None),
        norm(nn.BatchNorm1d, 6),
        lif(),
        nn.Unflatten(1, (6, 1)),
        weight_norm(nn.ConvTranspose1d(6, 2, 3)),
        lif(),
    )


def parallel() -> nn.Module:
    return nn.Sequential(
        Parallel(
            nn.Conv1d(4, 4, 3, padding=1),
            nn.Sequential(nn.Conv1d(4, 4, 5, padding=2, groups=4), norm(nn.BatchNorm1d, 4)),
        ),
        nn.AvgPool1d(3),
        lif(),
        Residual(nn.Conv1d(4, 4, 1)),
        lif("zero"),
        Residual(
            nn.Sequential(nn.Conv1d(4, 6, 1), lif(), nn.Conv1d(6, 5, 1, bias=False)),
            weight_norm(nn.Conv1d(4, 5, 1)),
        ),
        norm(nn.BatchNorm1d, 5),
        lif(),
        *end(15),
    )


class Bare(nn.Module):
    """Sums written as people write them, a recurrent synapse, and a state of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Flatten()
        self.w, self.skip = nn.Linear(36, 5), nn.Linear(36, 6, bias=False)
        self.v, self.u = nn.Linear(5, 6), nn.Linear(6, 6)
        self.lif1, self.lif2, self.lif3 = lif(), lif("zero"), lif()
        self.last = nn.Linear(6, 6)
        self.spk: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.flat(x)
        fresh = self.spk is None or len(self.spk) != len(x)  # the trial run has two rows
        before = x.new_zeros(len(x), 6) if fresh else self.spk
        current = self.v(self.lif1(self.w(x))) + self.u(before)
        current += self.skip(x)
        self.spk = spk = self.lif2(current)
        return self.lif3(self.last(spk) + spk)


class Inside(nn.Module):
    """A loop over time, recurrent from the second step on."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u = nn.Linear(36, 6), nn.Linear(6, 6)
        self.lif = LIF(beta=0.85, threshold=0.2, init_hidden=True)
        self.out, self.lif2 = nn.Linear(6, 4), lif()

    def forward(self, x: Tensor) -> Tensor:
        spk = x.new_zeros(x.shape[1], 6)
        for x_t in x:
            current = torch.add(self.w(x_t.flatten(1)), self.u(spk))
            spk = self.lif(current)
            last = self.lif2(self.out(spk))
        return last


@pytest.mark.parametrize("signal", ["propagated", "projection"])
@pytest.mark.parametrize(
    "make", [conv1d, depthwise, transposed, normalised, parallel, Bare, Inside]
)
def test_update_equals_autograd(make: Callable[[], nn.Module], signal: str) -> None:
    torch.manual_seed(1)
    net = make().double()
    x = (torch.rand(T, B, 4, 9) < 0.4).double()
    rule = SigProp(C, evidence=(RunningMean(), Leaky(0.4)), signal=signal, homeostasis=None)
    before = copy.deepcopy(net)
    time = "inside" if isinstance(net, Inside) else "step"
    learner = ForwardLearner(net, rule, optimizer=Recorder, update_every=T, time=time, seed=2)
    learner.update(x, LABELS)
    covered = {id(p) for block in learner.blocks for p in block.parameters}
    assert covered == {id(p) for p in net.parameters()}
    for optimizer, wanted in zip(
        learner.optimizers, local_gradients(learner, x, LABELS, before), strict=True
    ):
        (found,) = optimizer.seen  # type: ignore[union-attr]
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert a.abs().max() > 0, "a gradient of zero proves nothing"
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_a_weight_normalised_network_learns_at_every_step_and_keeps_its_keys() -> None:
    torch.manual_seed(2)
    net = normalised()
    keys, g = set(net.state_dict()), net[0].parametrizations.weight.original0.clone()
    learner = ForwardLearner(net, SigProp(C))
    learner.update((torch.rand(T, B, 4, 9) < 0.4).float(), LABELS)
    assert set(net.state_dict()) == keys
    assert (net[0].parametrizations.weight.original0 - g).abs().max() > 0
    plain = learner.export(time_steps=T)
    assert not any("parametrizations" in key for key in plain.state_dict())
    x = (torch.rand(T, B, 4, 9) < 0.4).float()
    assert torch.equal(plain(x).argmax(1), learner.predict(x, final=True))


def test_a_sum_refuses_shapes_that_broadcast_and_no_terms() -> None:
    with pytest.raises(ValueError, match="one shape"):
        Sum()(torch.zeros(2, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="at least one term"):
        Sum()()


class Broadcast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.lif = nn.Linear(6, 4), nn.Linear(6, 1), lif()

    def forward(self, x: Tensor) -> Tensor:
        return self.lif(self.a(x) + self.b(x))


class Scaled(Broadcast):
    def forward(self, x: Tensor) -> Tensor:
        return self.lif(torch.add(self.a(x), self.a(x), alpha=2))


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Broadcast(), "broadcasts"),
        (Scaled(), "could not be followed"),
        (nn.Sequential(Residual(nn.Identity()), lif()), "neuron '1' has no synapse"),
        (nn.Sequential(spectral_norm(nn.Linear(6, 4)), lif()), "parametrised by _SpectralNorm"),
        (
            nn.Sequential(
                nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False, affine=False), lif()
            ),
            "track_running_stats=True",
        ),
        (
            nn.Sequential(torch.nn.utils.weight_norm(nn.Linear(6, 4)), lif()),
            "older, hook-based",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_cannot_be_exact_is_refused_by_name(net: nn.Module, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ForwardLearner(net, SigProp(C)).update(torch.rand(T, B, 6), LABELS)
