"""Neurons between this library's difference equations and NIR's differential ones.

A neuron that fires and resets as NIR's do (:data:`PLAIN` lists them, open to a user's own class) is
written from the filter of its sub-threshold dynamics. With a step ``dt`` of forward Euler, and
gains ``b`` of the current and ``g`` between the two variables of second order:

    LIF       mem_t = beta mem_{t-1} + b I_t            tau dv/dt = -v + r I
              tau = dt / (1 - beta),  r = b / (1 - beta)

    CubaLIF   syn_t = alpha syn_{t-1} + b I_t           tau_syn dI/dt = -I + w_in S
              mem_t = beta mem_{t-1} + g syn_t          tau_mem dv/dt = -v + r I
              tau_syn = dt / (1 - alpha), w_in = b / (1 - alpha), likewise tau_mem and r

without a leak (``beta = 1``) IF or I, with ``r = b / dt``; without a threshold LI, CubaLI, I; and
``Threshold`` for a LIF that neither remembers nor resets.

The reset "zero" of LIF, PLIF and CuBaLIF has the spikes of NIR's, whether it is delayed or not. The
delayed one of the others (as in snnTorch) also loses the current of the step after a spike, which
NIR's does not: they are written with a warning, unless ``reset_delay=False``.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeprop.membranes import has_threshold
from spikeprop.neurons import (
    IF,
    LI,
    LIF,
    PLIF,
    RLIF,
    CuBaLIF,
    Lapicque,
    LinearFilter,
    RSynaptic,
    SpikingNeuron,
    Synaptic,
)
from spikeprop.nir.dialects import Dialect
from spikeprop.nir.network import Scale, as_tensor
from spikeprop.nir.package import nir_package

__all__ = ["PLAIN", "neuron_of", "node_of"]

Array = NDArray[Any]

#: Neurons that are their filter, a threshold and a reset, and nothing else.
PLAIN: set[type[nn.Module]] = {
    CuBaLIF,
    IF,
    LI,
    LIF,
    Lapicque,
    PLIF,
    RLIF,
    RSynaptic,
    Synaptic,
}

#: Those whose delayed reset to zero takes the current of the next step along.
_LOSE_CURRENT = (Lapicque, RLIF, RSynaptic, Synaptic)


def node_of(name: str, neuron: nn.Module, features: tuple[int, ...], dialect: Dialect) -> Any:
    """Return the NIR node of a neuron.

    Parameters
    ----------
    name : str
        Its name, for messages.
    neuron : nn.Module
        A neuron of this library.
    features : tuple of int
        Shape of its voltage, without batch.
    dialect : Dialect
        What to write for.

    Raises
    ------
    ValueError
        If NIR (or the reader) has no such neuron; the message says what it is about it.
    """
    if not isinstance(neuron, SpikingNeuron):
        raise ValueError(f"neuron '{name}' is no neuron of spikeprop.neurons: convert it first")
    if not neuron.exact:
        raise ValueError(
            f"neuron '{name}' is a {type(neuron).__name__}; NIR has no neurons with nonlinear "
            f"sub-threshold dynamics"
        )
    if type(neuron) not in PLAIN:
        raise ValueError(
            f"neuron '{name}' is a {type(neuron).__name__}; NIR has nothing like it. (A class of "
            f"your own that is its filter, a threshold and a reset can be added to "
            f"spikeprop.nir.PLAIN)"
        )
    _check_options(name, neuron)
    with torch.no_grad():
        filter_ = neuron.filter()
    own: Any = neuron.threshold if has_threshold(neuron) else None
    threshold: Tensor | None = None if own is None else own.detach()
    if threshold is not None and dialect.one_threshold and _distinct(threshold) > 1:
        raise ValueError(
            f"neuron '{name}' has {_distinct(threshold)} different thresholds, and this "
            f"reader takes one a layer: export with fold_thresholds=True"
        )
    fires = None if threshold is None else _wide(threshold, features)
    if filter_.order == 1:
        node = _first_order(name, filter_, fires, features, dialect, neuron)
    else:
        node = _second_order(name, filter_, fires, features, dialect)
    if type(node).__name__ in dialect.unknown:
        raise ValueError(f"neuron '{name}': this reader does not know NIR's {type(node).__name__}")
    node.metadata = {"writer": "spikeprop"}
    if fires is not None and type(node).__name__ != "Threshold":
        mechanism = str(neuron.reset_mechanism)
        delayed = bool(neuron.reset_delay)
        if mechanism == "zero" and not isinstance(neuron, _LOSE_CURRENT):
            delayed = False  # the same spikes
        node.metadata |= {"reset_mechanism": mechanism, "reset_delay": int(delayed)}
        _warn_of_reset(name, mechanism, delayed)
    return node


def _check_options(name: str, neuron: SpikingNeuron) -> None:
    factor = getattr(neuron, "graded_spikes_factor", None)
    said: dict[str, bool] = {
        "inhibition": bool(getattr(neuron, "inhibition", False)),
        "state_quant": bool(getattr(neuron, "state_quant", False)),
        "graded_spikes_factor": isinstance(factor, Tensor) and bool((factor != 1).any()),
    }
    for option, used in said.items():
        if used:
            raise ValueError(f"neuron '{name}': NIR cannot say {option}")


def _warn_of_reset(name: str, mechanism: str, delayed: bool) -> None:
    if mechanism == "zero" and not delayed:
        return
    how = "with reset_delay=False" if mechanism == "zero" else "with reset_mechanism='zero'"
    delay = " and a delay" if delayed else ""
    warnings.warn(
        f"neuron '{name}' has reset_mechanism={mechanism!r}{delay}, and "
        f"NIR's neurons reset to a value, within the step. It is kept in the node's metadata, "
        f"which this library reads; other readers reset their way. Train {how} to have the same "
        f"spikes there",
        stacklevel=5,
    )


def _first_order(
    name: str,
    filter_: LinearFilter,
    threshold: Array | None,
    features: tuple[int, ...],
    dialect: Dialect,
    neuron: SpikingNeuron,
) -> Any:
    nir = nir_package()
    beta, gain = _wide(filter_.A[0, 0], features), _wide(filter_.B[0] * filter_.C[0], features)
    zero = np.zeros(features)
    if threshold is not None and not beta.any() and neuron.reset_mechanism == "none":
        return nir.Threshold(threshold / gain)
    if (beta == 1).all():
        if dialect.unit_resistance or dialect.exponential_steps:
            threshold, r = None if threshold is None else threshold / gain, np.ones(features)
        else:
            r = gain / dialect.dt
        return nir.I(r) if threshold is None else nir.IF(r, threshold, zero)
    if (beta == 1).any():
        raise ValueError(f"neuron '{name}': NIR has no layer in which some neurons leak, some not")
    if dialect.exponential_steps:
        if (beta <= 0).any():
            raise ValueError(f"neuron '{name}': beta=0 has no time constant for this reader")
        tau, r, scale = -1.0 / np.log(beta), np.ones(features), 1.0 / gain
    elif dialect.unit_resistance:
        tau, r, scale = dialect.dt / (1 - beta), np.ones(features), (1 - beta) / gain
    else:
        tau, r, scale = dialect.dt / (1 - beta), gain / (1 - beta), np.ones(features)
    if threshold is None:
        if (scale != 1).any():
            raise ValueError(f"neuron '{name}': this reader's LI has another gain than 1")
        return nir.LI(tau, r, zero)
    return nir.LIF(tau, r, zero, threshold * scale, zero)


def _second_order(
    name: str,
    filter_: LinearFilter,
    threshold: Array | None,
    features: tuple[int, ...],
    dialect: Dialect,
) -> Any:
    nir = nir_package()
    A, B, C = filter_
    alpha, beta, gain = A[0, 0], A[1, 1], B[0]
    between = B[1] / B[0]
    chained = (
        filter_.order == 2
        and bool((A[0, 1] == 0).all() and (C[0] == 0).all() and (C[1] == 1).all())
        and torch.allclose(A[1, 0].double(), (between * alpha).double(), rtol=1e-6)
    )
    if not chained:
        raise ValueError(
            f"neuron '{name}': NIR has no neuron with these dynamics; of second order it has a "
            f"synaptic current that drives a voltage"
        )
    syn, mem = _wide(alpha, features), _wide(beta, features)
    if (syn == 1).any() or (mem == 1).any():
        raise ValueError(f"neuron '{name}': NIR has no CubaLIF without a leak (alpha or beta of 1)")
    values = {
        "tau_syn": dialect.dt / (1 - syn),
        "tau_mem": dialect.dt / (1 - mem),
        "r": _wide(between, features) / (1 - mem),
        "v_leak": np.zeros(features),
        "w_in": _wide(gain, features) / (1 - syn),
    }
    if threshold is None:
        return nir.CubaLI(**values)
    return nir.CubaLIF(**values, v_threshold=threshold, v_reset=np.zeros(features))


def neuron_of(name: str, node: Any, dialect: Dialect) -> nn.Module:
    """Return the neuron of a NIR node, with a gain before it where there is one.

    Parameters
    ----------
    name : str
        The node's name, for messages.
    node : nir.NIRNode
        A neuron.
    dialect : Dialect
        Who wrote it, and the time step.

    Raises
    ------
    ValueError
        If the node cannot be said here, or the time step is longer than a time constant.
    """
    kind = type(node).__name__
    options: dict[str, Any] = {"init_hidden": True}
    if kind == "Threshold":
        return LIF(0.0, _narrow(node.threshold), reset_mechanism="none", **options)
    said = getattr(node, "metadata", None) or {}
    if said.get("writer") == "spikeprop":
        dialect = dialect._replace(written_unit=1.0)
    fires: dict[str, Any] = {}
    if hasattr(node, "v_threshold"):
        if np.any(node.v_reset):
            raise ValueError(f"node '{name}': a v_reset other than 0 is not known here")
        fires = {
            "threshold": _narrow(node.v_threshold),
            "reset_mechanism": str(said.get("reset_mechanism", "zero")),
            "reset_delay": bool(int(said.get("reset_delay", 0))),
        }
    if kind in ("I", "IF"):
        gain = np.asarray(node.r, dtype=np.float64)
        if not (dialect.unit_resistance or dialect.exponential_steps):
            gain = gain * dialect.dt
        neuron: nn.Module = LIF(1.0, **fires, **options) if fires else LI(1.0, **options)
        return _driven(neuron, gain, None)
    if kind in ("LI", "LIF"):
        beta = _decay(name, "tau", node.tau, dialect)
        gain, shift = np.asarray(node.r) * (1 - beta), np.asarray(node.v_leak) * (1 - beta)
        if dialect.exponential_steps:
            gain = np.ones_like(gain)
        if fires.get("reset_mechanism") == "zero" and fires.get("reset_delay"):
            # A synaptic current that does not last: the delayed reset that loses a step's current.
            return _driven(Synaptic(0.0, _narrow(beta), **fires, **options), gain, shift)
        neuron = LIF(_narrow(beta), **fires, **options) if fires else LI(_narrow(beta), **options)
        return _driven(neuron, gain, shift)
    if np.any(node.v_leak):
        raise ValueError(f"node '{name}': a v_leak other than 0 of a {kind} is not known here")
    alpha = _decay(name, "tau_syn", node.tau_syn, dialect)
    beta = _decay(name, "tau_mem", node.tau_mem, dialect)
    gain = node.w_in * (1 - alpha) * node.r * (1 - beta)
    if kind == "CubaLI":
        synapse = _driven(LI(_narrow(alpha), **options), gain, None)
        return nn.Sequential(synapse, LI(_narrow(beta), **options))
    # The voltage is linear in the current: all gains can stand before the synaptic current.
    synaptic = Synaptic(_narrow(alpha), _narrow(beta), **fires, **options)
    return _driven(synaptic, gain, None)


def _decay(name: str, what: str, tau: Any, dialect: Dialect) -> Array:
    """Return the decay of a step for a time constant."""
    tau, dt = np.asarray(tau, dtype=np.float64) / dialect.written_unit, dialect.dt
    if dialect.exponential_steps:
        exponential: Array = np.exp(-dt / tau)
        return exponential
    if not (tau >= dt * (1 - 1e-6)).all():
        raise ValueError(
            f"node '{name}': {what} reaches down to {tau.min():g} s, which is shorter than the "
            f"time step of {dt:g} s; give the dt, or the dialect, that the graph was written for"
        )
    euler: Array = np.maximum(1 - dt / tau, 0.0)
    return euler


def _driven(neuron: nn.Module, gain: Any, shift: Any) -> nn.Module:
    gain = np.asarray(gain, dtype=np.float64)
    unit = np.allclose(gain, 1.0, rtol=1e-9)
    shifted = shift is not None and np.any(shift)
    if unit and not shifted:
        return neuron
    return nn.Sequential(Scale(as_tensor(gain), as_tensor(shift) if shifted else None), neuron)


def _wide(value: Tensor, features: tuple[int, ...]) -> Array:
    array: Array = value.detach().cpu().double().expand(features).numpy().copy()
    return array


def _narrow(value: Any) -> Tensor:
    """Return a scalar where all entries are equal, the array's own shape else."""
    tensor = as_tensor(np.asarray(value))
    return tensor.flatten()[0].clone() if _distinct(tensor) == 1 else tensor


def _distinct(tensor: Tensor) -> int:
    return len(set(tensor.flatten().tolist()))
