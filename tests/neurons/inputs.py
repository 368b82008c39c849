"""Steps, ramps and Poisson input, one a neuron, for comparisons with an independent truth."""

from __future__ import annotations

import numpy as np

STEPS = 300


def inputs(scale: float = 1.0, bias: float = 0.0) -> np.ndarray:
    """Currents ``(300, 12)`` in float64: four steps, four ramps, four Poisson trains.

    Parameters
    ----------
    scale : float
        Multiplies all of them.
    bias : float
        Is added to all of them.
    """
    t = np.arange(STEPS)
    step = np.where((t >= 20) & (t < 220), 1.0, 0.0)
    levels = np.array([-0.3, 0.1, 0.25, 0.6])
    slopes = np.array([-0.2, 0.2, 0.5, 0.9])
    rng = np.random.default_rng(0)
    poisson = rng.poisson([0.05, 0.1, 0.3, 0.6], (STEPS, 4)) * np.array([0.9, 0.7, 0.4, -0.3])
    whole = np.concatenate((step[:, None] * levels, t[:, None] / STEPS * slopes, poisson), axis=1)
    return bias + scale * whole
