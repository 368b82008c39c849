"""The neurons of :mod:`spikeprop.neurons` at a glance: a plain table, and how to show each of them.

What a class says of itself (parameters, state, eligibility) is read off the class; what it cannot
say (its equation in a line, NIR's and snnTorch's names) stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from spikeprop import neurons
from spikeprop.neurons import FIRING_CLASSES, SpikingNeuron

__all__ = ["NEURONS", "Entry", "find", "names"]


@dataclass(frozen=True)
class Entry:
    """A neuron in the table.

    Attributes
    ----------
    name : str
        Name of its class.
    build : Callable
        Makes an example of it, the one that is shown.
    dynamics : str
        What happens to its voltage v in a step, in a line; a dash marks the value after the step.
    drive : float
        Current that makes the example fire at a moderate rate.
    nir : str
        Primitive of the neuromorphic intermediate representation, or nothing.
    snntorch : str
        snnTorch class that it can take the place of, or nothing.
    """

    name: str
    build: Callable[[], SpikingNeuron]
    dynamics: str
    drive: float
    nir: str = ""
    snntorch: str = ""

    @property
    def kind(self) -> type[SpikingNeuron]:
        """The class."""
        kind: type[SpikingNeuron] = getattr(neurons, self.name)
        return kind

    @property
    def parameters(self) -> str:
        """Names of the parameters that may be one number or one a neuron."""
        return ", ".join(n for n in self.kind._per_neuron if n != "graded_spikes_factor")

    @property
    def state(self) -> str:
        """Names of the state variables."""
        return ", ".join(self.build().State._fields)

    @property
    def eligibility(self) -> str:
        """Whether the eligibility filter is exact, and how many variables it has."""
        if not self.kind.exact:
            return "truncated (local Jacobian)"
        with torch.no_grad():
            order = self.build().filter().order
        return f"exact ({order} variable{'s' if order > 1 else ''})"

    @property
    def summary(self) -> str:
        """First line of the class's docstring."""
        return str(self.kind.__doc__).partition("\n")[0]


def _fixed_rlif() -> neurons.RLIF:
    return neurons.RLIF(0.9, -0.4, all_to_all=False, learn_recurrent=False)


def _fixed_rsynaptic() -> neurons.RSynaptic:
    return neurons.RSynaptic(0.7, 0.9, -0.2, all_to_all=False, learn_recurrent=False)


NEURONS: tuple[Entry, ...] = (
    Entry("IF", lambda: neurons.IF(), "v' = v + I", 0.06, "IF", "Leaky(beta=1)"),
    Entry("LIF", lambda: neurons.LIF(0.9), "v' = beta v + I", 0.14, "LIF", "Leaky"),
    Entry(
        "Lapicque",
        lambda: neurons.Lapicque(R=5.0, C=2.0),
        "v' = (1 - dt / RC) v + dt / C I",
        0.28,
        "LIF",
        "Lapicque",
    ),
    Entry(
        "PLIF",
        lambda: neurons.PLIF(10.0, learn_tau=False),
        "v' = v + k (I - v), k = sigmoid(w)",
        1.4,
        "LIF",
    ),
    Entry(
        "Synaptic",
        lambda: neurons.Synaptic(0.8, 0.9),
        "syn' = alpha syn + I, v' = beta v + syn'",
        0.028,
        "CubaLIF",
        "Synaptic",
    ),
    Entry(
        "CuBaLIF",
        lambda: neurons.CuBaLIF(5.0, 10.0),
        "(syn, v)' = expm(M dt) (syn + I, v), one or two synaptic poles",
        0.14,
        "CubaLIF",
    ),
    Entry(
        "Alpha",
        lambda: neurons.Alpha(0.9, 0.8),
        "exc' = alpha exc + I, inh' = beta inh - I, v' = tau (exc' + inh')",
        0.35,
        "",
        "Alpha",
    ),
    Entry(
        "ALIF",
        lambda: neurons.ALIF(0.9, 0.97, 0.2),
        "v' = beta v + I - gamma adapt', threshold + kappa adapt'",
        0.25,
    ),
    Entry(
        "AdLIF",
        lambda: neurons.AdLIF(0.9, 0.97, 1.0, 10.0),
        "v' = beta v + I - (1 - beta) w, w' = rho w + (1 - rho) (a v' + b spk')",
        0.3,
    ),
    Entry("EIF", lambda: neurons.EIF(), "v' = v + k (v_rest - v + delta exp(..)) + I", 0.04),
    Entry(
        "AdEx",
        lambda: neurons.AdEx(),
        "v' = v + k (v_rest - v + delta exp(..) - w) + I, w' = w + .. (a v - w)",
        0.07,
    ),
    Entry("QIF", lambda: neurons.QIF(), "v' = v + k gain (v - v_rest) (v - v_crit) + I", 0.022),
    Entry(
        "Izhikevich",
        lambda: neurons.Izhikevich(),
        "v' = v + dt (0.04 v^2 + 5 v + 140 - u + I), u' = u + dt a (b v - u)",
        10.0,
    ),
    Entry(
        "RF",
        lambda: neurons.RF(0.3, 0.02, reset_mechanism="zero"),
        "z' = exp((-damping + i omega) dt) z + I, v = Re z",
        0.35,
    ),
    Entry(
        "BRF",
        lambda: neurons.BRF(0.3, 0.02),
        "as RF, Euler; spikes raise damping and threshold",
        0.35,
    ),
    Entry(
        "StochasticLIF",
        lambda: neurons.StochasticLIF(0.9, rate=0.2, width=0.15),
        "as LIF; fires with p = 1 - exp(-rate exp((v - threshold) / width))",
        0.09,
    ),
    Entry(
        "RefractoryLIF",
        lambda: neurons.RefractoryLIF(0.9, 8),
        "as LIF; held for some steps after a spike",
        0.2,
    ),
    Entry(
        "SigmaDelta",
        lambda: neurons.SigmaDelta(0.2, 0.9),
        "v' = beta v + I; sends changes of f(v) beyond threshold",
        0.1,
    ),
    Entry("GradedLIF", lambda: neurons.GradedLIF(0.9), "as LIF; a spike carries v", 0.14),
    Entry(
        "TwoCompartmentLIF",
        lambda: neurons.TwoCompartmentLIF(0.9, 0.9, 0.3),
        "v' = beta v + I + coupling apical, apical' = alpha (apical + signal)",
        0.14,
    ),
    Entry(
        "RLIF",
        _fixed_rlif,
        "v' = beta v + I + V(spk)",
        0.2,
        "LIF, recurrent",
        "RLeaky",
    ),
    Entry(
        "RSynaptic",
        _fixed_rsynaptic,
        "syn' = alpha syn + I + V(spk), v' = beta v + syn'",
        0.05,
        "CubaLIF, recurrent",
        "RSynaptic",
    ),
    Entry("LI", lambda: neurons.LI(0.9), "v' = beta v + I, no spikes", 0.1, "LI", "Leaky"),
)


def names() -> list[str]:
    """Return what ``find`` knows: the classes, and the Izhikevich neuron's firing classes."""
    return [e.name for e in NEURONS] + [f"Izhikevich:{_dashed(name)}" for name in FIRING_CLASSES]


def find(name: str) -> Entry:
    """Return the entry of a neuron.

    Parameters
    ----------
    name : str
        A class's name in any case, or ``izhikevich:`` and a firing class, such as
        ``izhikevich:fast-spiking``.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    known = {entry.name.lower(): entry for entry in NEURONS}
    wanted = name.lower()
    if wanted in known:
        return known[wanted]
    for firing_class in FIRING_CLASSES:
        if wanted == f"izhikevich:{_dashed(firing_class)}":
            return replace(
                known["izhikevich"],
                build=partial(neurons.Izhikevich.preset, firing_class),
                drive=_GENTLY.get(firing_class, known["izhikevich"].drive),
            )
    raise ValueError(f"there is no neuron {name!r}: choose one of {', '.join(names())}")


#: Firing classes that show their character at another current than the others.
_GENTLY = {"thalamo-cortical": 5.0, "resonator": 2.0}


def _dashed(firing_class: str) -> str:
    return firing_class.replace(" ", "-")
