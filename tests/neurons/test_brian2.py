"""Neurons against Brian2, run with the same integration step: same spikes, same voltages.

Brian2 releases need certain NumPy and Python versions, so it may live in an environment of its own:
``SPIKEPROP_BRIAN2_PYTHON`` names an interpreter that has it, and without one, and without Brian2
beside us, these tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from spikeprop.neurons import (
    ALIF,
    BRF,
    EIF,
    LIF,
    QIF,
    RF,
    RLIF,
    AdEx,
    AdLIF,
    CuBaLIF,
    Izhikevich,
    RefractoryLIF,
    SpikingNeuron,
    StochasticLIF,
)
from spikeprop.neurons.izhikevich import FIRING_CLASSES

SCRIPT = Path(__file__).with_name("brian2_truth.py")
Truth = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    python = os.environ.get("SPIKEPROP_BRIAN2_PYTHON", sys.executable)
    if not os.environ.get("SPIKEPROP_BRIAN2_PYTHON"):
        pytest.importorskip("brian2", exc_type=ImportError, reason="needs SPIKEPROP_BRIAN2_PYTHON")
    output = tmp_path_factory.mktemp("brian2") / "truth.npz"
    subprocess.run([python, str(SCRIPT), str(output)], check=True, cwd=output.parent, timeout=300)
    with np.load(output, allow_pickle=False) as arrays:
        return dict(arrays)


def t64(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


BETA = t64(np.exp(-1 / 20))
MILLIVOLTS = {"v_rest": t64(-70.6), "v_reset": t64(-70.6)}
CASES: dict[str, Callable[[], SpikingNeuron]] = {
    "LIF-subtract": lambda: LIF(tau_mem=t64(20.0)),
    "LIF-zero": lambda: LIF(tau_mem=t64(20.0), reset_mechanism="zero"),
    "CuBaLIF": lambda: CuBaLIF(t64(5.0), t64(20.0), reset_mechanism="zero", dt=0.5),
    "ALIF": lambda: ALIF(BETA, t64(0.95), t64(0.3), t64(0.05)),
    "AdLIF": lambda: AdLIF(t64(0.9), t64(0.95), t64(2.0), t64(3.0)),
    "EIF": lambda: EIF(t64(20.0), t64(0.1), t64(0.7), t64(1.0), dt=0.5),
    "AdEx": lambda: AdEx(
        t64(9.37),
        t64(2.0),
        t64(-50.4),
        t64(-40.0),
        tau_adapt=t64(144.0),
        a=t64(0.133),
        b=t64(2.68),
        dt=0.1,
        **MILLIVOLTS,
    ),
    "QIF": lambda: QIF(t64(20.0), t64(1.25), t64(0.8), t64(1.0), v_reset=t64(-0.2), floor=-0.5),
    **{
        f"Izhikevich: {name}": lambda values=values: Izhikevich(
            *(t64(value) for value in values), dt=0.25
        )
        for name, values in FIRING_CLASSES.items()
    },
    "RF": lambda: RF(t64(0.3), t64(0.05), dt=0.5, reset_mechanism="zero"),
    "BRF": lambda: BRF(t64(0.4), t64(0.05), t64(1.0), t64(0.9), dt=0.5),
    "RefractoryLIF": lambda: RefractoryLIF(tau_mem=t64(20.0), refractory=3),
    "RLIF": lambda: RLIF(BETA, linear_features=12),
    "StochasticLIF": lambda: StochasticLIF(BETA, t64(1.0), t64(0.5), t64(0.2)),
}


@pytest.mark.parametrize("name", CASES)
def test_same_spikes_and_voltages(name: str, truth: Truth, monkeypatch: pytest.MonkeyPatch) -> None:
    neuron = CASES[name]().double()
    if isinstance(neuron, RLIF):
        neuron.recurrent.load_state_dict(
            {"weight": torch.from_numpy(truth["weights"]), "bias": torch.zeros(12)}
        )
    draws = iter(torch.from_numpy(truth["chance"])[:, None])
    monkeypatch.setattr(torch, "rand_like", lambda _: next(draws))
    with torch.no_grad():
        outputs = neuron.unroll(torch.from_numpy(truth[f"{name}/current"])[:, None])
    spk, mem = outputs[0][:, 0].numpy(), outputs[-1][:, 0].numpy()
    assert spk.sum() >= 10, "a comparison without spikes proves little"
    assert np.array_equal(spk, truth[f"{name}/spikes"])
    np.testing.assert_allclose(mem, truth[f"{name}/voltages"], rtol=1e-6, atol=1e-6)
