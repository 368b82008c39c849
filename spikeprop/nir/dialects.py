"""What other libraries make of a NIR graph, so that both sides compute the same.

Read from their import and export code, and tested against them (snnTorch 1.0, Norse 1.1, Sinabs
2.0):

- **snnTorch** takes a step of 0.1 ms, one threshold a layer, ``beta = 1 - dt / tau``, and the
  reset "zero" within the step. It reads an ``IF`` as a LIF with ``beta=0.9``, and knows no ``LI``.
- **Norse** takes a step of 1 ms and ignores ``r``: ``v += dt / tau (I - v)``. Written with
  ``r = 1`` and thresholds scaled by ``dt / tau`` that is the same neuron. It knows no pooling by
  averages, no ``LI`` and no recurrent connections. What it writes has the time
  constants multiplied by its time step.
- **Sinabs** takes ``tau`` in time steps with ``beta = exp(-1 / tau)`` and ignores ``r``. Its
  neurons fire several times a step and subtract: to get NIR's neuron set ``layer.spike_fn =
  SingleSpike`` and ``layer.reset_fn = MembraneReset()`` on what it returns. It knows no ``Linear``
  without bias, pools by sums alone, and clips the voltage of an ``IF`` at minus the threshold.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DIALECTS", "Dialect"]


class Dialect(NamedTuple):
    """How neurons are written for one library, and what it writes itself.

    Attributes
    ----------
    dt : float
        Time step in seconds that the reader takes.
    unit_resistance : bool
        Whether ``r`` is ignored, so that it has to be 1 and the thresholds have to be scaled.
    exponential_steps : bool
        Whether ``tau`` counts time steps, with ``beta = exp(-1 / tau)`` and an input gain of 1.
    one_threshold : bool
        Whether all neurons of a layer have to share their threshold.
    needs_bias : bool
        Whether a ``Linear`` has to be written as an ``Affine`` with a bias of zero.
    unknown : frozenset of str
        Names of NIR's nodes that the reader does not know, or gets wrong.
    recurrent : bool
        Whether it knows recurrent connections.
    """

    dt: float = 1e-4
    unit_resistance: bool = False
    exponential_steps: bool = False
    one_threshold: bool = False
    needs_bias: bool = False
    unknown: frozenset[str] = frozenset()
    recurrent: bool = True
    grouped: bool = True
    written_unit: float = 1.0


DIALECTS: dict[str, Dialect] = {
    "nir": Dialect(),
    "snntorch": Dialect(
        one_threshold=True,
        grouped=False,
        unknown=frozenset(
            {"IF", "LI", "I", "CubaLI", "Threshold", "Delay", "Scale", "Conv1d", "SumPool2d"}
        ),
    ),
    "norse": Dialect(
        dt=1e-3,
        unit_resistance=True,
        written_unit=1e-3,
        unknown=frozenset(
            {"LI", "I", "CubaLI", "Threshold", "Delay", "Scale", "Conv1d", "AvgPool2d"}
        ),
        recurrent=False,
        grouped=False,
    ),
    "sinabs": Dialect(
        dt=1.0,
        exponential_steps=True,
        needs_bias=True,
        unknown=frozenset({"I", "CubaLI", "CubaLIF", "Threshold", "Delay", "Scale", "AvgPool2d"}),
        recurrent=False,
        grouped=False,
    ),
}
