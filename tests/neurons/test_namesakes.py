"""Lapicque, Alpha, RLIF, RSynaptic and GradedSpikes against the snnTorch modules of their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import snntorch as snn
import torch
from families import noise
from namesakes import assert_same, option_id
from snntorch import surrogate
from snntorch.functional import quant
from torch import nn

from spikeprop.neurons import RLIF, Alpha, GradedSpikes, Lapicque, RSynaptic

RESETS = ["subtract", "zero", "none"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"learn_threshold": True},
    {"surrogate_disable": True},
    {"spike_grad": surrogate.fast_sigmoid(slope=10)},
    {"inhibition": True},
    {"state_quant": quant.state_quant(num_bits=4, lower_limit=3.0)},
]
all_options = pytest.mark.parametrize("options", OPTIONS, ids=option_id)
all_resets = pytest.mark.parametrize("reset", RESETS)
both_modes = pytest.mark.parametrize("hidden", [False, True])
pytestmark = pytest.mark.filterwarnings("ignore:Inhibition is an unstable feature")


def modes(options: dict[str, Any], reset: str, hidden: bool) -> dict[str, Any]:
    return {**options, "reset_mechanism": reset, "init_hidden": hidden, "output": hidden}


@all_options
@all_resets
@both_modes
def test_lapicque(options: dict[str, Any], reset: str, hidden: bool) -> None:
    options = modes(options, reset, hidden)
    circuits: list[dict[str, Any]] = [
        {"beta": 0.8},
        {"R": 2.0, "C": 3.0},
        {"beta": 0.8, "R": 0.5},
        {"beta": 0.8, "C": 0.5, "time_step": 0.5},
        {"R": 2.0, "C": 3.0, "time_step": 0.1},
    ]
    for circuit in circuits:
        ours, theirs = Lapicque(**circuit, **options), snn.Lapicque(**circuit, **options)
        assert set(ours.state_dict()) == set(theirs.state_dict())
        assert_same(ours, theirs, 3 * noise(12, 3, 5), keys=False)


def test_lapicque_learns_beta() -> None:
    ours, theirs = Lapicque(0.8, learn_beta=True), snn.Lapicque(0.8, learn_beta=True)
    assert_same(ours, theirs, noise(12, 3, 5), keys=False)
    with torch.no_grad():
        ours.beta.fill_(0.9)
    torch.testing.assert_close(ours.decay(), 1 + torch.log(torch.tensor(0.9)))


def test_lapicque_a_neuron() -> None:
    R, C = torch.linspace(1, 3, 5), torch.linspace(4, 2, 5)
    both = Lapicque(R=R, C=C).unroll(noise(12, 3, 5))
    for i in range(5):
        one = Lapicque(R=float(R[i]), C=float(C[i])).unroll(noise(12, 3, 5)[..., i : i + 1])
        torch.testing.assert_close(both[1][..., i : i + 1], one[1])


@all_options
@all_resets
@both_modes
@pytest.mark.parametrize("learn_beta", [False, True])
def test_alpha(options: dict[str, Any], reset: str, hidden: bool, learn_beta: bool) -> None:
    options = {**modes(options, reset, hidden), "learn_beta": learn_beta}
    a, b = torch.linspace(0.5, 0.95, 5), torch.linspace(0.1, 0.9, 5)
    for alpha, beta in ((0.8, 0.7), (a, b)):
        ours, theirs = Alpha(alpha, beta, 0.5, **options), snn.Alpha(alpha, beta, 0.5, **options)
        assert_same(ours, theirs, noise(12, 3, 5))


def test_alpha_learns_alpha_too() -> None:
    neuron = Alpha(0.8, 0.7, learn_alpha=True)
    _, _, _, mem = neuron.unroll(noise(5, 3, 4))
    mem.sum().backward()
    assert neuron.alpha.grad is not None
    assert float(neuron.alpha.grad) != 0


SYNAPSES: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    ({"all_to_all": False, "V": 0.3}, (3, 5)),
    ({"all_to_all": False, "V": torch.linspace(-1, 1, 5)}, (3, 5)),
    ({"all_to_all": False, "V": 0.3, "learn_recurrent": False}, (3, 5)),
    ({"linear_features": 5}, (3, 5)),
    ({"linear_features": 5, "learn_recurrent": False}, (3, 5)),
    ({"conv2d_channels": 2, "kernel_size": 3}, (3, 2, 4, 4)),
    ({"conv2d_channels": 2, "kernel_size": (1, 3)}, (3, 2, 4, 4)),
]


@all_options
@all_resets
@both_modes
@pytest.mark.parametrize("synaptic", [False, True])
def test_recurrent(options: dict[str, Any], reset: str, hidden: bool, synaptic: bool) -> None:
    options = {**modes(options, reset, hidden), "threshold": 0.5}
    if synaptic:
        build, reference, decays = RSynaptic, snn.RSynaptic, (0.7, 0.9)
    else:
        build, reference, decays = RLIF, snn.RLeaky, (0.9,)
    for synapse, shape in SYNAPSES:
        if options.get("inhibition") and len(shape) != 2:
            continue
        ours, theirs = (
            build(*decays, **synapse, **options),
            reference(*decays, **synapse, **options),
        )
        ours.load_state_dict(theirs.state_dict(), strict=True)
        assert [p.requires_grad for p in ours.parameters()] == [
            p.requires_grad for p in theirs.parameters()
        ]
        assert_same(ours, theirs, noise(12, *shape), spk_in_state=True)


@pytest.mark.parametrize("reset", RESETS)
def test_recurrent_resets_within_the_step(reset: str) -> None:
    options: dict[str, Any] = {"reset_delay": False, "reset_mechanism": reset}
    ours = RLIF(0.9, 0.3, all_to_all=False, **options)
    theirs = snn.RLeaky(0.9, 0.3, all_to_all=False, **options)
    assert_same(ours, theirs, noise(12, 3, 5), spk_in_state=True)
    # snnTorch's RSynaptic fails there: its limit of a current that does not last is RLIF.
    limit = RSynaptic(0.0, 0.9, 0.3, all_to_all=False, **options)
    spk, _, mem = limit.unroll(noise(12, 3, 5))
    for a, b in zip((spk, mem), ours.unroll(noise(12, 3, 5)), strict=True):
        torch.testing.assert_close(a, b)


def test_a_recurrent_synapse_has_to_be_said() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "all_to_all=True needs either"),
        ({"conv2d_channels": 2}, "was given conv2d_channels"),
        ({"linear_features": 5, "kernel_size": 3}, "was given linear_features, kernel_size"),
        ({"all_to_all": False, "kernel_size": 3}, "takes no kernel_size"),
    ]
    for arguments, message in cases:
        with pytest.raises(TypeError, match=message):
            RLIF(0.9, **arguments)
        with pytest.raises(TypeError):
            snn.RLeaky(0.9, **arguments)


@pytest.mark.parametrize("factor", [None, 2.0])
def test_graded_spikes(factor: float | None) -> None:
    ours, theirs = GradedSpikes(5, factor), snn.GradedSpikes(5, factor)
    ours.load_state_dict(theirs.state_dict())
    x = noise(5, 3)
    assert torch.equal(ours(x), theirs(x))
    if factor is None:
        assert float(GradedSpikes(1000).weights.detach().min()) >= 0.5
        assert float(GradedSpikes(1000).weights.detach().max()) < 1.5


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (lambda: Lapicque(0.8), snn.Lapicque),
        (lambda: Alpha(0.8, 0.7), snn.Alpha),
        (lambda: RLIF(0.9, linear_features=2), snn.RLeaky),
        (lambda: RSynaptic(0.9, 0.8, linear_features=2), snn.RSynaptic),
    ],
)
def test_snntorchs_tools_take_them_for_theirs(
    build: Callable[[], nn.Module], kind: type[nn.Module]
) -> None:
    assert isinstance(build(), kind)
    assert not isinstance(build(), snn.Leaky)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Lapicque(), "beta, or two of beta, R and C"),
        (lambda: Lapicque(R=1.0), "beta, or two of beta, R and C"),
        (lambda: Lapicque(0.5, 1.0, 1.0), "beta, or two of beta, R and C"),
        (lambda: Lapicque(1.0), r"beta must lie between 0 and 1, but is 1\.0"),
        (lambda: Lapicque(R=1.0, C=0.5), r"time_step must be at most R C"),
        (lambda: Lapicque(R=-1.0, C=0.5), "R must be positive"),
        (lambda: Lapicque(0.8, time_step=0.0), "time_step must be positive"),
        (lambda: Alpha(0.5, 0.5), "alpha must be greater than beta"),
        (lambda: Alpha(0.5, 0.0), "alpha must be greater than beta, and beta above 0"),
        (lambda: GradedSpikes(0), "size must be at least 1, but is 0"),
        (lambda: GradedSpikes(1, float("nan")), "constant_factor must be finite"),
    ],
)
def test_refuses_bad_values(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
