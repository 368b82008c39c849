"""Bad parameters are refused when a neuron is built or first used, by name, value and range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from families import every, noise

from spikeprop.neurons import (
    ALIF,
    BRF,
    EIF,
    LIF,
    PLIF,
    QIF,
    RF,
    RLIF,
    AdEx,
    AdLIF,
    Alpha,
    CuBaLIF,
    GradedLIF,
    Izhikevich,
    RefractoryLIF,
    SigmaDelta,
    SpikingNeuron,
    StochasticLIF,
    Synaptic,
    TwoCompartmentLIF,
)

NAN = float("nan")
VALUES: list[tuple[Callable[[], SpikingNeuron], str]] = [
    (lambda: LIF(tau_mem=-1.0), r"tau_mem must be positive, but is -1\.0"),
    (lambda: LIF(tau_mem=[5.0, 0.0]), r"tau_mem must be positive, but is a tensor with \[5\.0, 0"),
    (lambda: LIF(tau_mem=5.0, dt=0.0), r"dt must be positive, but is 0\.0"),
    (lambda: LIF(tau_mem=5.0, dt=[1.0, 2.0]), "dt must be one number"),  # type: ignore[arg-type]
    (lambda: Synaptic(0.5, tau_mem=NAN), "tau_mem must be finite, but is nan"),
    (lambda: RLIF(1.5, linear_features=2), r"beta must lie in \[0, 1\], but is 1\.5"),
    (lambda: ALIF(0.5, -0.1), r"rho must lie in \[0, 1\], but is -0\.1"),
    (lambda: ALIF(0.5, 0.5, NAN), "kappa must be finite, but is nan"),
    (lambda: AdLIF(0.5, 0.5, -100.0), r"a must keep the voltage from growing .* -100\.0"),
    (lambda: AdLIF(0.9, 0.9, 1e4), "a must keep the voltage from growing"),
    (lambda: AdLIF(0.5, 0.5, b=NAN), "b must be finite, but is nan"),
    (lambda: PLIF(1.0), r"init_tau must be above 1 time step, but is 1\.0"),
    (lambda: PLIF(beta=1.0), r"beta must lie between 0 and 1, but is 1\.0"),
    (lambda: CuBaLIF(0.0, 5.0), r"tau_syn must be positive, but is 0\.0"),
    (lambda: CuBaLIF(5.0, -5.0), r"tau_mem must be positive, but is -5\.0"),
    (lambda: CuBaLIF(5.0, 5.0, -1.0), r"tau_rise must be positive, but is -1\.0"),
    (lambda: CuBaLIF(5.0, 5.0, r=NAN), "r must be finite, but is nan"),
    (lambda: EIF(tau_mem=0.5), r"dt must be at most tau_mem, 0\.5 ms, but is 1 ms"),
    (lambda: EIF(dt=-1.0), r"dt must be positive, but is -1\.0"),
    (lambda: EIF(delta=0.0), r"delta must be positive, but is 0\.0"),
    (lambda: EIF(v_rheo=1.0), r"v_rheo must be below threshold, 1\.0, but is 1\.0"),
    (lambda: EIF(v_reset=2.0), r"v_reset must be below threshold, 1\.0, but is 2\.0"),
    (lambda: AdEx(tau_adapt=0.5), r"dt must be at most tau_adapt, 0\.5 ms, but is 1 ms"),
    (lambda: AdEx(a=NAN), "a must be finite, but is nan"),
    (lambda: QIF(dt=100.0), r"dt must be at most tau_mem / \(gain \(v_crit - v_rest\)\), .*100 ms"),
    (lambda: QIF(v_crit=-0.1), r"v_crit must be above v_rest, 0\.0, but is -0\.1"),
    (lambda: QIF(v_crit=1.5), r"v_crit must be below threshold, 1\.0, but is 1\.5"),
    (lambda: QIF(floor=0.5), r"floor must be at most v_rest, 0\.0, but is 0\.5"),
    (lambda: QIF(gain=-1.0), r"gain must be positive, but is -1\.0"),
    (lambda: Izhikevich(dt=2.0), r"dt must be at most 1 ms and 1 / a, but is 2\.0 ms"),
    (lambda: Izhikevich(a=5.0), "dt must be at most 1 ms and 1 / a"),
    (lambda: Izhikevich(a=-0.1), r"a must be positive, but is -0\.1"),
    (lambda: Izhikevich(c=40.0), r"c must be below threshold, 30\.0, but is 40\.0"),
    (lambda: Izhikevich.preset("sleepy"), "firing_class must be one of regular .* not 'sleepy'"),
    (lambda: RF(damping=-0.1), r"damping must not be negative, but is -0\.1"),
    (lambda: RF(omega=4.0), r"dt must be at most 3\.142 / \|omega\|, but is 1\.0 ms with omega 4"),
    (lambda: BRF(omega=2.0), r"dt must be at most 1 / \|omega\|"),
    (lambda: BRF(gamma=2.0), r"gamma must lie in \[0, 1\], but is 2\.0"),
    (lambda: StochasticLIF(0.9, width=0.0), r"width must be positive, but is 0\.0"),
    (lambda: StochasticLIF(0.9, rate=-1.0), r"rate must be positive, but is -1\.0"),
    (lambda: RefractoryLIF(0.9, 1.5), r"refractory must be a whole number .* but is 1\.5"),
    (lambda: RefractoryLIF(0.9, -1), "refractory must be a whole number"),
    (lambda: SigmaDelta(0.0), r"threshold must be positive, but is 0\.0"),
    (lambda: SigmaDelta(0.1, 1.5), r"beta must lie in \[0, 1\]"),
    (lambda: GradedLIF(0.9, NAN), "threshold must be finite, but is nan"),
    (lambda: TwoCompartmentLIF(1.5, 0.9), r"alpha must lie in \[0, 1\], but is 1\.5"),
    (lambda: TwoCompartmentLIF(0.5, 0.9, NAN), "coupling must be finite, but is nan"),
]
TYPES: list[tuple[Callable[[], SpikingNeuron], str]] = [
    (lambda: PLIF(2.0, beta=0.5), "at most one of init_tau, beta and tau_mem"),
    (lambda: CuBaLIF("5", 5.0), "tau_syn must be a number"),
    (lambda: EIF(reset_mechanism="subtract"), "EIF always resets .* takes no reset_mechanism"),
    (lambda: Izhikevich(state_quant=torch.round), "takes no state_quant"),
    (lambda: BRF(reset_mechanism="zero"), "BRF has no reset but its trace of spikes"),
    (lambda: StochasticLIF(0.9, inhibition=True), "fires by chance and takes no inhibition"),
    (lambda: SigmaDelta(reset_mechanism="zero"), "takes no reset_mechanism"),
    (lambda: SigmaDelta(activation="relu"), "activation must be a function"),  # type: ignore
    (lambda: ALIF(0.9, 0.9, reset_delay=False), "reset_delay"),
    (lambda: Alpha(0.9), "give either beta or tau_inh"),
]


@pytest.mark.parametrize(("build", "message"), VALUES)
def test_values(build: Callable[[], SpikingNeuron], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(("build", "message"), TYPES)
def test_types(build: Callable[[], SpikingNeuron], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        build()


@every
def test_shapes_are_checked_at_the_first_call(build: Callable[..., SpikingNeuron]) -> None:
    for name in build()._per_neuron:
        neuron = build()
        value: Any = getattr(neuron, name)
        value.data = value.detach().reshape(-1)[:1].expand(4).clone()
        if type(neuron).__name__.startswith("R") and hasattr(neuron, "recurrent"):
            neuron.recurrent = torch.nn.Identity()
        with pytest.raises(ValueError, match=rf"{name} has shape \(4,\), which does not fit"):
            neuron(noise(3, 5))


@every
def test_currents_are_floating_tensors(build: Callable[..., SpikingNeuron]) -> None:
    neuron = build()
    for call in (neuron, neuron.unroll, neuron.step):
        with pytest.raises(TypeError, match="current must be of a floating-point dtype"):
            call(torch.ones(3, 5, dtype=torch.int64))
        with pytest.raises(TypeError, match=r"current must be a torch\.Tensor, not list"):
            call([1.0])  # type: ignore[arg-type]
    states = tuple(torch.zeros(3, 5, dtype=torch.int64) for _ in neuron.State._fields)
    with pytest.raises(TypeError, match="must be of a floating-point dtype"):
        neuron(noise(3, 5), *states)
    with pytest.raises(ValueError, match=r"has shape \(2, 5\), but must have the current's"):
        neuron(noise(3, 5), *(torch.zeros(2, 5) for _ in states))
