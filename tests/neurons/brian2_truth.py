"""Neurons in Brian2's words, and what it makes of them; a script that needs NumPy and Brian2 only.

    python brian2_truth.py OUTPUT.npz

writes currents, spikes and voltages (before a spike's reset, which is where the state of ours
stands after a step) of every case, ``(T, N)`` each. v is the voltage, I(t, i) the current of
neuron i. Linear equations are integrated exactly, the others by the forward Euler method;
difference equations are stated as code for each time step.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import brian2 as b
import numpy as np
from inputs import STEPS, inputs

EARLY = "before_groups"  # in front of the equations
LATE = "after_groups"  # between the equations and the threshold
LAST = "after_resets"

BETA = float(np.exp(-1 / 20))
WEIGHTS = 0.1 * np.random.default_rng(2).standard_normal((12, 12))
CHANCE = np.random.default_rng(1).random((STEPS, 12))


class Truth(NamedTuple):
    """A neuron and its input."""

    equations: str
    threshold: str
    reset: str
    each_step: dict[str, str]
    scale: float = 1.0
    method: str = "euler"
    dt: float = 1.0
    start: tuple[tuple[str, float], ...] = ()
    refractory: float = 0.0
    recurrent: bool = False


def izhikevich(a_: float, b_: float, c_: float, d_: float) -> Truth:
    """The equations of the source, at a quarter of its time step."""
    rest = (b_ - 5 - np.sqrt((5 - b_) ** 2 - 22.4)) / 0.08
    return Truth(
        f"""dv/dt = ((0.04*v + 5)*v + 140 - u + I(t, i))/ms : 1
            du/dt = {a_}*({b_}*v - u)/ms : 1""",
        "v > 30",
        f"v = {c_}; u += {d_}",
        {},
        25.0,
        dt=0.25,
        start=(("v", rest), ("u", b_ * rest)),
    )


LEAK = "dv/dt = -v/(20*ms) : 1"
CASES: dict[str, Truth] = {
    # Ours takes the threshold away after the leak.
    "LIF-subtract": Truth(LEAK, "v > 1", f"v -= 1/{BETA}", {LATE: "v += I(t, i)"}, 1.0, "exact"),
    "LIF-zero": Truth(LEAK, "v > 1", "v = 0", {LATE: "v += I(t, i)"}, 1.0, "exact"),
    "CuBaLIF": Truth(
        "dv/dt = (4*y - v)/(20*ms) : 1\ndy/dt = -y/(5*ms) : 1",
        "v > 1",
        "v = 0",
        {EARLY: "y += I(t, i)"},
        1.0,
        "exact",
        0.5,
    ),
    "ALIF": Truth(
        "v : 1\na : 1\ns : 1",
        "v > 1 + 0.3*a",
        "s = 1",
        {EARLY: f"a = 0.95*a + s; v = {BETA}*v + I(t, i) - 0.05*a - s; s = 0"},
        2.0,
    ),
    "AdLIF": Truth(
        "v : 1\nw : 1\ns : 1",
        "v > 1",
        "v = 0; s = 1",
        {
            EARLY: "v = 0.9*v + I(t, i) - 0.1*w",
            LAST: "w = 0.95*w + 0.05*(2*v + 3*s); s = 0",
        },
        2.0,
    ),
    "EIF": Truth(
        "dv/dt = (0.1*exp((v - 0.7)/0.1) - v)/(20*ms) : 1",
        "v > 1",
        "v = 0",
        {LATE: "v += I(t, i)"},
        0.3,
        dt=0.5,
    ),
    # The source's units: mV and ms, the current as a voltage (R I dt / tau).
    "AdEx": Truth(
        """dv/dt = (-70.6 - v + 2*exp((v + 50.4)/2) - w)/(9.37*ms) : 1
           dw/dt = (0.133*(v + 70.6) - w)/(144*ms) : 1""",
        "v > -40",
        "v = -70.6; w += 2.68",
        {LATE: "v += I(t, i)"},
        3.0,
        dt=0.1,
        start=(("v", -70.6),),
    ),
    "QIF": Truth(
        "dv/dt = 1.25*v*(v - 0.8)/(20*ms) : 1",
        "v > 1",
        "v = -0.2",
        {LATE: "v = clip(v + I(t, i), -0.5, 1e9)"},
        0.4,
    ),
    "Izhikevich: regular spiking": izhikevich(0.02, 0.2, -65.0, 8.0),
    "Izhikevich: intrinsically bursting": izhikevich(0.02, 0.2, -55.0, 4.0),
    "Izhikevich: chattering": izhikevich(0.02, 0.2, -50.0, 2.0),
    "Izhikevich: fast spiking": izhikevich(0.1, 0.2, -65.0, 2.0),
    "Izhikevich: low-threshold spiking": izhikevich(0.02, 0.25, -65.0, 2.0),
    "Izhikevich: thalamo-cortical": izhikevich(0.02, 0.25, -65.0, 0.05),
    "Izhikevich: resonator": izhikevich(0.1, 0.26, -65.0, 2.0),
    # Brian2's exact method knows no complex eigenvalues.
    "RF": Truth(
        "v : 1\ny : 1",
        "v > 1",
        "v = 0; y = 0",
        {
            EARLY: """next_v = exp(-0.025)*(cos(0.15)*v - sin(0.15)*y) + I(t, i)
                      y = exp(-0.025)*(sin(0.15)*v + cos(0.15)*y)
                      v = next_v"""
        },
        1.5,
        dt=0.5,
    ),
    "BRF": Truth(
        "v : 1\ny : 1\nq : 1",
        "v > 1 + q",
        "q += 1",
        {
            EARLY: f"""rate = {(np.sqrt(1 - 0.2**2) - 1) / 0.5} - 0.05 - q
                       next_v = v + 0.5*(rate*v - 0.4*y) + I(t, i)
                       y = y + 0.5*(0.4*v + rate*y)
                       v = next_v""",
            "after_thresholds": "q = 0.9*q",
        },
        1.5,
        dt=0.5,
    ),
    "RefractoryLIF": Truth(
        "dv/dt = -v/(20*ms) : 1 (unless refractory)",
        "v > 1",
        "v = 0",
        {LATE: "v += I(t, i)*int(not_refractory)"},
        1.0,
        "exact",
        # Brian2 counts from the step of the spike.
        refractory=4.0,
    ),
    "RLIF": Truth(
        "v : 1\nrec : 1",
        "v > 1",
        f"v -= 1/{BETA}",
        {EARLY: f"v = {BETA}*v + I(t, i) + rec; rec = 0"},
        recurrent=True,
    ),
    "StochasticLIF": Truth(
        "v : 1",
        "U(t, i) < 1 - exp(-0.5*exp((v - 1)/0.2))",
        f"v -= 1/{BETA}",
        {EARLY: f"v = {BETA}*v + I(t, i)"},
    ),
}


def simulate(truth: Truth) -> dict[str, np.ndarray]:
    """Current, spikes and voltages."""
    current = inputs(truth.scale)
    step, n = truth.dt * b.ms, current.shape[1]
    group = b.NeuronGroup(
        n,
        truth.equations,
        threshold=truth.threshold,
        reset=truth.reset,
        refractory=truth.refractory * b.ms if truth.refractory else False,
        method=truth.method,
        dt=step,
        namespace={
            "I": b.TimedArray(current, dt=step),
            "U": b.TimedArray(CHANCE, dt=step),
            "ms": b.ms,
        },
    )
    for name, value in truth.start:
        setattr(group, name, value)
    for when, code in truth.each_step.items():
        group.run_regularly(code, dt=step, when=when)
    voltage = b.StateMonitor(group, "v", record=True, when="after_thresholds", dt=step)
    spikes = b.SpikeMonitor(group)
    network = b.Network(group, voltage, spikes)
    if truth.recurrent:
        synapses = b.Synapses(group, group, "weight : 1", on_pre="rec_post += weight", dt=step)
        synapses.connect()
        synapses.weight = WEIGHTS.T.flatten()
        network.add(synapses)
    network.run(STEPS * step)
    fired = np.zeros((STEPS, n))
    fired[np.rint(np.asarray(spikes.t / step)).astype(int), np.asarray(spikes.i)] = 1
    return {"current": current, "spikes": fired, "voltages": np.asarray(voltage.v).T}


def main(output: str) -> None:
    """Run every case."""
    b.prefs.codegen.target = "numpy"
    arrays = {"weights": WEIGHTS, "chance": CHANCE}
    for name, truth in CASES.items():
        arrays.update({f"{name}/{key}": value for key, value in simulate(truth).items()})
    np.savez(output, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
