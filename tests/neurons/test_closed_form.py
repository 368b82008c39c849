"""Linear neurons against the closed-form solution: input convolved with a kernel known in advance.

Kernels are written down from the equations' solutions, not computed by stepping anything.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from inputs import STEPS
from inputs import inputs as numpy_inputs

from spikeprop.neurons import (
    ALIF,
    IF,
    LI,
    LIF,
    PLIF,
    RF,
    RLIF,
    AdLIF,
    Alpha,
    CuBaLIF,
    GradedLIF,
    Lapicque,
    RefractoryLIF,
    RSynaptic,
    SigmaDelta,
    SpikingNeuron,
    StochasticLIF,
    Synaptic,
    TwoCompartmentLIF,
)

Kernel = Callable[[np.ndarray], np.ndarray]
HIGH = 1e6


def leak(beta: float, gain: float = 1.0) -> Kernel:
    return lambda n: gain * beta**n


def two_poles(alpha: float, beta: float) -> Kernel:
    """1 / ((1 - alpha/z) (1 - beta/z)) back in time."""
    return lambda n: (alpha ** (n + 1) - beta ** (n + 1)) / (alpha - beta)


def exponentials(dt: float, gain: float, *taus: float) -> Kernel:
    """Impulse response of a chain of filters with different time constants (partial fractions).

    The filters are ``1 / (1 + s tau)``, the first of which an impulse charges to 1.
    """

    def kernel(n: np.ndarray) -> np.ndarray:
        t, total = (n + 1) * dt, np.zeros(len(n))
        for i, tau in enumerate(taus):
            others = np.prod([tau - other for j, other in enumerate(taus) if j != i])
            total += tau ** (len(taus) - 2) * np.exp(-t / tau) / others
        return gain * total * taus[0]

    return kernel


def adlif(beta: float, rho: float, a: float) -> Kernel:
    """Roots of the characteristic polynomial of mem_t, with w eliminated."""
    k = (1 - beta) * (1 - rho) * a
    # w_t - rho w_{t-1} = (1 - rho) a mem_t, put into the equation of mem_t
    roots = np.roots([1.0, -(beta + rho) + k, beta * rho])
    first = beta - k
    matrix = np.array([[1.0, 1.0], roots])
    weights = np.linalg.solve(matrix, np.array([1.0, first]).astype(complex))
    return lambda n: (weights[0] * roots[0] ** n + weights[1] * roots[1] ** n).real


def inputs() -> torch.Tensor:
    return torch.from_numpy(numpy_inputs())[:, None]


F64 = {"dtype": torch.float64}
CASES: dict[str, tuple[Callable[[], SpikingNeuron], Kernel]] = {
    "IF": (lambda: IF(HIGH), leak(1.0)),
    "LIF": (lambda: LIF(0.75, HIGH), leak(0.75)),
    "LI": (lambda: LI(0.75), leak(0.75)),
    "Synaptic": (lambda: Synaptic(0.75, 0.5, HIGH), two_poles(0.75, 0.5)),
    "Alpha": (
        lambda: Alpha(0.75, 0.5, HIGH),
        lambda n: (np.log(0.75) / (np.log(0.5) - np.log(0.75)) + 1) * (0.75**n - 0.5**n),
    ),
    "Lapicque": (lambda: Lapicque(R=2.0, C=4.0, threshold=HIGH), leak(1 - 1 / 8, 1 / 4)),
    "PLIF": (lambda: PLIF(4.0, threshold=HIGH).double(), leak(0.75, 0.25)),
    "PLIF-no-gain": (lambda: PLIF(4.0, False, threshold=HIGH), leak(0.75)),
    "ALIF": (lambda: ALIF(0.75, 0.5, threshold=HIGH), leak(0.75)),
    "AdLIF": (lambda: AdLIF(0.75, 0.5, 4.0, threshold=HIGH), adlif(0.75, 0.5, 4.0)),
    "CuBaLIF": (
        lambda: CuBaLIF(4.0, 16.0, dt=0.5, threshold=HIGH),
        exponentials(0.5, 16.0 / 4.0, 4.0, 16.0),
    ),
    "CuBaLIF-2": (
        lambda: CuBaLIF(4.0, 16.0, 2.0, dt=0.5, r=3.0, threshold=HIGH),
        exponentials(0.5, 3.0, 2.0, 4.0, 16.0),
    ),
    "RF": (
        lambda: RF(torch.tensor(0.3, **F64), torch.tensor(0.05, **F64), HIGH),
        lambda n: np.exp(-0.05 * n) * np.cos(0.3 * n),
    ),
    "RefractoryLIF": (lambda: RefractoryLIF(0.75, threshold=HIGH), leak(0.75)),
    "SigmaDelta": (lambda: SigmaDelta(0.1, 0.75), leak(0.75)),
    "GradedLIF": (lambda: GradedLIF(0.75, HIGH), leak(0.75)),
    "TwoCompartmentLIF": (lambda: TwoCompartmentLIF(0.5, 0.75, threshold=HIGH), leak(0.75)),
    "RLIF": (lambda: RLIF(0.75, all_to_all=False, threshold=HIGH), leak(0.75)),
    "RSynaptic": (
        lambda: RSynaptic(0.75, 0.5, all_to_all=False, threshold=HIGH),
        two_poles(0.75, 0.5),
    ),
    "StochasticLIF": (lambda: StochasticLIF(0.75, HIGH), leak(0.75)),
}


def convolved(kernel: Kernel, current: np.ndarray) -> np.ndarray:
    response = kernel(np.arange(STEPS, dtype=float))
    return np.stack([np.convolve(column, response)[:STEPS] for column in current.T], axis=1)


def voltage(neuron: SpikingNeuron, current: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        outputs = neuron.double().unroll(current)
    mem: np.ndarray = outputs[neuron.State._fields.index("mem") - len(neuron.State._fields)].numpy()
    return mem[:, 0]


@pytest.mark.parametrize("name", CASES)
def test_voltage_without_spikes(name: str) -> None:
    build, kernel = CASES[name]
    current = inputs()
    expected = convolved(kernel, current[:, 0].numpy())
    # float32 time constants are 1e-7 off; everything else is exact in binary.
    np.testing.assert_allclose(voltage(build(), current), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["IF", "LIF", "RF", "CuBaLIF"])
def test_soft_reset_is_one_more_input(name: str) -> None:
    """With spike times known, the voltage has a closed form too: each takes away a kernel."""
    build, kernel = CASES[name]
    neuron = build()
    neuron.reset_mechanism = "subtract"
    neuron.threshold = torch.tensor(1.0)
    current = inputs()
    with torch.no_grad():
        spk = neuron.double().unroll(current)[0][:, 0].numpy()
    assert 20 < spk.sum() < 0.5 * spk.size
    delayed = np.concatenate((np.zeros((1, spk.shape[1])), spk[:-1]))
    # What is taken is taken from the voltage itself, which leaks but is not filtered by a synapse.
    taken = leak(np.exp(-0.5 / 16)) if name == "CuBaLIF" else kernel
    expected = convolved(kernel, current[:, 0].numpy()) - convolved(taken, delayed)
    actual = voltage(neuron, current)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)
    assert np.array_equal(actual > 1, spk > 0)


def test_the_signal_takes_the_long_way_through_the_apical_compartment() -> None:
    neuron = TwoCompartmentLIF(0.5, 0.75, 2.0, HIGH)
    signal = inputs()
    with torch.no_grad():
        _, apical, mem = neuron.double().unroll(torch.zeros_like(signal), signal=signal)
    through = two_poles(0.5, 0.75)
    expected = convolved(lambda n: 2.0 * through(n), signal[:, 0].numpy())
    np.testing.assert_allclose(mem[:, 1].numpy(), expected, rtol=1e-9, atol=1e-9)
    dendrite = convolved(lambda n: 0.5 ** (n + 1), signal[:, 0].numpy())
    np.testing.assert_allclose(apical[:, 1].numpy(), dendrite, rtol=1e-9, atol=1e-9)
    assert not mem[:, 0].any()


def test_a_sigma_delta_listener_is_never_far_from_the_value() -> None:
    neuron = SigmaDelta(0.1, 0.9, torch.relu).double()
    spk, sent, mem = neuron.unroll(inputs())
    torch.testing.assert_close(spk.cumsum(0), sent)
    assert float((sent - mem.relu()).abs().max()) <= 0.1 + 1e-12
    assert 0 < float((spk != 0).double().mean()) < 0.9
    assert float(spk.min()) < 0


def test_chance_has_the_stated_probability() -> None:
    torch.manual_seed(0)
    neuron = StochasticLIF(0.0, 1.0, rate=0.5, width=0.2, reset_mechanism="none")
    current = torch.tensor([0.6, 0.9, 1.0, 1.2])
    rate = neuron.unroll(current.expand(20000, 1, 4))[0].mean((0, 1))
    expected = 1 - torch.exp(-0.5 * torch.exp((current - 1.0) / 0.2))
    # Five standard deviations.
    assert bool(((rate - expected).abs() < 5 * (expected * (1 - expected) / 20000).sqrt()).all())


def test_chance_is_repeated_by_a_seed() -> None:
    current = inputs().float()
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        runs.append(StochasticLIF(0.9).unroll(current)[0])
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_a_chance_spike_has_the_derivative_of_its_probability() -> None:
    mem = torch.tensor([[0.8, 1.0, 1.1]], dtype=torch.float64, requires_grad=True)
    neuron = StochasticLIF(0.9).double()
    (grad,) = torch.autograd.grad(neuron(mem)[0].sum(), mem)
    chance = mem.detach().clone().requires_grad_()
    rate = torch.exp((chance - neuron.threshold) / neuron.width)
    (expected,) = torch.autograd.grad((1 - torch.exp(-rate)).sum(), chance)
    torch.testing.assert_close(grad, expected)
