"""The eligibility filter against autograd of the dynamics with the whole reset term detached."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spikeprop.neurons import IF, LI, LIF, SpikingNeuron

RESETS = ["subtract", "zero", "none"]


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def reset_term(mem: Tensor, neuron: SpikingNeuron) -> Tensor:
    """What the reset takes away in the next step, as a plain number."""
    if not isinstance(neuron, LIF) or neuron.reset_mechanism == "none":
        return torch.zeros_like(mem)
    fired = (mem > neuron.threshold).to(mem.dtype)
    taken = neuron.threshold if neuron.reset_mechanism == "subtract" else neuron.decay() * mem
    return (taken * fired).detach()


@pytest.mark.parametrize(
    "neuron",
    [
        *(LIF(0.9, 0.5, reset_mechanism=mechanism).double() for mechanism in RESETS),
        IF(0.5).double(),
        LI(torch.tensor([0.8])).double(),
    ],
    ids=[*RESETS, "IF", "LI"],
)
def test_trace_is_the_derivative_of_the_voltage(neuron: SpikingNeuron) -> None:
    x = (noise(12, 3, 4) > 0).double()
    weight, bias = noise(5, 4, seed=1).requires_grad_(), noise(5, seed=2).requires_grad_()
    mem = actual = torch.zeros(3, 5, dtype=torch.float64)
    trace = bias_trace = None
    resets = 0.0
    for t in range(12):
        current = x[t] @ weight.T + bias
        taken = reset_term(mem, neuron)
        resets += float(taken.abs().sum())
        mem = neuron.decay() * mem + current - taken
        with torch.no_grad():
            _, actual = neuron(current, actual)
            trace = neuron.eligibility(trace, x[t])
            bias_trace = neuron.eligibility(bias_trace, torch.ones(3, 1, dtype=torch.float64))
        # The reference is the neuron itself, only with its reset term written as an input.
        torch.testing.assert_close(actual, mem.detach(), rtol=0, atol=1e-10)
        delta = noise(3, 5, seed=100 + t)
        grads = torch.autograd.grad((mem * delta).sum(), (weight, bias), retain_graph=True)
        assert trace is not None
        assert bias_trace is not None
        torch.testing.assert_close(delta.T @ trace, grads[0], rtol=0, atol=1e-10)
        torch.testing.assert_close((delta.T @ bias_trace)[:, 0], grads[1], rtol=0, atol=1e-10)
    assert (resets > 0) == (isinstance(neuron, LIF) and neuron.reset_mechanism != "none")


def test_a_fresh_trace_is_a_copy() -> None:
    x = noise(3, 4)
    before = x.clone()
    lif = LIF(0.5).double()
    trace = lif.eligibility(None, x)
    assert lif.eligibility(trace, x) is trace  # in place
    assert torch.equal(x, before)
    torch.testing.assert_close(trace, 1.5 * x)


def test_binary_input_of_any_dtype() -> None:
    lif, x = LIF(0.5), torch.tensor([[True, False]])
    trace = lif.eligibility(lif.eligibility(None, x), x)
    assert trace.tolist() == [[1.5, 0.0]]


def test_nothing_is_overwritten_under_autograd() -> None:
    lif = LIF(0.5, learn_beta=True)
    first = lif.eligibility(None, torch.ones(3, 4))
    second = lif.eligibility(first, torch.ones(3, 4))
    third = lif.eligibility(second, torch.ones(3, 4))
    assert float(first[0, 0]) == 1.0
    (grad,) = torch.autograd.grad(third[0, 0], lif.beta)
    assert float(grad) == 2.0  # of 1 + beta + beta^2 at 0.5
    with torch.no_grad():
        assert lif.eligibility(second.detach(), torch.ones(3, 4)).requires_grad is False


def test_decay_is_clamped() -> None:
    assert LIF(torch.tensor(1.5)).decay().item() == 1.0
    assert LIF(torch.tensor([-1.0, 0.5])).decay().tolist() == [0.0, 0.5]
    assert IF().decay().item() == 1.0


def test_one_decay_a_neuron_has_no_common_trace() -> None:
    with pytest.raises(ValueError, match=r"beta of their own \(shape \(5,\)\).*reverse filter"):
        LIF(torch.full((5,), 0.9)).eligibility(None, torch.ones(3, 4))


def test_a_trace_of_another_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4\).*\(3, 4\).*trace=None"):
        LIF(0.9).eligibility(torch.ones(2, 4), torch.ones(3, 4))
