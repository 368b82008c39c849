"""Synaptic against its equation and against snnTorch's."""

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
from torch import Tensor

from spikeprop.neurons import Synaptic

RESETS = ["subtract", "zero", "none"]


def test_equation_by_hand() -> None:
    neuron = Synaptic(alpha=0.5, beta=0.5)
    spk, syn, mem = neuron(torch.tensor([[0.8, 1.2]]))
    assert spk.tolist() == [[0.0, 1.0]]
    spk, syn, mem = neuron(torch.tensor([[0.8, 0.0]]), syn, mem)
    torch.testing.assert_close(syn, torch.tensor([[1.2, 0.6]]))
    torch.testing.assert_close(mem, torch.tensor([[1.6, 0.2]]))
    assert spk.tolist() == [[1.0, 0.0]]


def test_subthreshold_voltage_has_the_closed_form() -> None:
    impulse = torch.zeros(50, 1, 1, dtype=torch.float64)
    impulse[0] = 1
    a, b = 0.75, 0.5
    _, _, mem = Synaptic(a, b, threshold=10.0).unroll(impulse)
    n = torch.arange(1, 51, dtype=torch.float64)
    torch.testing.assert_close(mem[:, 0, 0], (a**n - b**n) / (a - b), rtol=1e-12, atol=0)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reset_delay": False},
        {"learn_alpha": True, "learn_beta": True, "learn_threshold": True},
        {"surrogate_disable": True},
        {"spike_grad": surrogate.fast_sigmoid(slope=10)},
        {"inhibition": True},
        {"inhibition": True, "reset_delay": False},
        {"state_quant": quant.state_quant(num_bits=4, lower_limit=3.0)},
    ],
    ids=option_id,
)
@pytest.mark.filterwarnings("ignore:Inhibition is an unstable feature")
def test_every_option_of_snntorch(reset: str, hidden: bool, options: dict[str, Any]) -> None:
    alpha, beta, threshold = torch.linspace(0, 1, 5), torch.linspace(1.2, 0.3, 5), torch.ones(5)
    options = {**options, "reset_mechanism": reset, "init_hidden": hidden, "output": hidden}
    for a, b, c in ((0.7, 0.9, 0.8), (alpha, beta, threshold)):
        assert_same(Synaptic(a, b, c, **options), snn.Synaptic(a, b, c, **options), noise(12, 3, 5))


@pytest.mark.parametrize("shape", [(5,), (3, 5), (3, 2, 4, 4)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert_same(Synaptic(0.7, 0.9), snn.Synaptic(0.7, 0.9), noise(12, *shape))


def test_placeholders_have_snntorchs_order() -> None:
    neuron: Any = Synaptic(0.7, 0.9)
    for start in (neuron.init_synaptic, neuron.reset_mem):
        syn, mem = start()
        assert syn.shape == mem.shape == (0,)
    assert isinstance(neuron, snn.Synaptic)
    assert not isinstance(neuron, snn.Leaky)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Synaptic(1.5, 0.5), r"alpha must lie in \[0, 1\], but is 1.5"),
        (lambda: Synaptic(0.5, -0.5), r"beta must lie in \[0, 1\], but is -0.5"),
        (lambda: Synaptic(float("nan"), 0.5), "alpha must be finite"),
        (lambda: Synaptic(torch.full((4,), 0.5), 0.5)(noise(3, 5)), r"alpha has shape \(4,\)"),
    ],
)
def test_refuses_bad_values(build: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
