"""Export: a plain network whose readout is part of it.

Two readouts: by the voltage, as the learner predicts, or by spikes (:mod:`.spike_readout`), for
targets on which no voltage can be seen. For the first, the evidence of a class signal in the last
block is a fixed vector after learning, and comparing a recording with it is a linear layer:
``scores = readout(max(v_T, 0))`` with ``v_T`` the evidence of the last neuron's voltage at the end
of the recording.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spikeprop import checks
from spikeprop.blocks import Block
from spikeprop.evidence import Evidence, as_filters
from spikeprop.membranes import output_of, visible
from spikeprop.neurons import LinearFilter, reset
from spikeprop.parametrizations import bake
from spikeprop.potentials import FreePotential, free_potential, recurrence_of
from spikeprop.spike_readout import fit_spike_readout, spike_rates

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner

__all__ = ["READOUTS", "ExportedNetwork", "export"]

READOUTS = ("voltage", "spikes")


class ExportedNetwork(nn.Module):
    """A network with its readout, free of everything that only learning needs.

    Parameters
    ----------
    network : nn.Module
        The trained network.
    neuron : str
        Name of the neuron whose voltage is read.
    readout : nn.Linear
        From evidence to class scores.
    filters : tuple of Evidence
        Filters of the voltage over time.
    rectify : bool
        Whether the readout sees ``max(evidence, 0)``.
    time_inside : bool
        Whether the network loops over time itself.
    reads : {"voltage", "spikes"}
        What the readout sees: the evidence of the last neuron, or the network's own output (the
        last spikes) at every time step, scores averaged over time.
    dynamics : LinearFilter, optional
        The last neuron's filter, where evidence is made of its free potential; None where it is
        made of its voltage.
    """

    def __init__(
        self,
        network: nn.Module,
        neuron: str,
        readout: nn.Linear,
        *,
        filters: tuple[Evidence, ...],
        rectify: bool,
        time_inside: bool,
        reads: str = "voltage",
        dynamics: LinearFilter | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.readout = readout
        self._neuron = neuron
        self._filters = filters
        self._rectify = rectify
        self._time_inside = time_inside
        self._reads = reads
        self._dynamics = dynamics

    def per_step(self) -> nn.Module:
        """Return a copy that maps one time step to that step's class scores, which sum up.

        Raises
        ------
        ValueError
            If the readout sees a voltage, which is no output of a spiking neuron.
        """
        if self._reads != "spikes":
            raise ValueError(
                "this network reads classes from a voltage over time, which is not a layer on "
                "spikes; export with readout='spikes' and training data"
            )
        return copy.deepcopy(nn.Sequential(self.network, nn.Flatten(), self.readout))

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores ``(B, C)`` for recordings ``x`` ``(T, B, *features)``."""
        if self._reads == "spikes":
            return self._scores(spike_rates(self.network, x))
        return self._scores(self.evidence(x))

    def evidence(self, x: Tensor) -> Tensor:
        """Return what a readout by voltage sees at the end of recordings, ``(B, F)``."""
        evidence: list[Tensor] = []
        neuron = self.network.get_submodule(self._neuron)
        free = None
        if self._dynamics is not None:
            free = FreePotential(self._dynamics, recurrence_of(neuron))
        step = 0

        def read(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            nonlocal evidence, step
            step += 1
            spk, mem = output_of(module, output, inputs[0])
            mem, _ = visible(module, mem)
            flat = (mem if free is None else free.advance(inputs[0], spk)).flatten(1)
            evidence = evidence or [torch.zeros_like(flat) for _ in self._filters]
            evidence = [
                value.lerp(flat, item.weight(step))
                for value, item in zip(evidence, self._filters, strict=True)
            ]

        reset(self.network)
        handle = neuron.register_forward_hook(read)
        try:
            if self._time_inside:
                self.network(x)
            else:
                for x_t in x:
                    self.network(x_t)
        finally:
            handle.remove()
            reset(self.network)
        features = torch.cat(evidence, dim=1)
        return features.clamp_min(0) if self._rectify else features

    def _scores(self, features: Tensor) -> Tensor:
        scores: Tensor = self.readout(features)
        return scores


def export(
    learner: ForwardLearner,
    *,
    time_steps: int,
    fold_thresholds: bool = False,
    readout: str = "voltage",
    data: Iterable[Any] | None = None,
) -> ExportedNetwork:
    """Copy a learner's network and make its readout a linear layer.

    Parameters
    ----------
    learner : ForwardLearner
        A learner that has seen data; it is left as it is.
    time_steps : int
        Length T of the recordings: the class vectors are the signals' evidence after T steps.
    fold_thresholds : bool
        Scale each neuron's weights and bias by ``1 / threshold`` and set the threshold to 1, for
        hardware with one threshold per layer. The spikes stay the same.
    readout : {"voltage", "spikes"}
        By the last neuron's voltage, as the learner predicts, or by its spikes.
    data : iterable of (x, label), optional
        Training recordings, for ``readout="spikes"``: that readout is fitted to them, once.

    Returns
    -------
    ExportedNetwork
        In evaluation mode. Read by voltage, it predicts what ``learner.predict(x, final=True)``
        predicts; read by spikes it is a network of its own accuracy (a little lower).

    Raises
    ------
    RuntimeError
        If the learner has not seen data.
    ValueError
        If the rule predicts from several blocks, or thresholds cannot be folded.
    """
    checks.positive_integer("time_steps", time_steps)
    checks.one_of("readout", readout, READOUTS)
    if (readout == "spikes") != (data is not None):
        raise ValueError("data has to be given with readout='spikes', and only there")
    if readout == "spikes" and learner.time == "inside":
        raise ValueError("readout='spikes' needs a network that maps one time step")
    if learner.rule.predict_from != "last":
        raise ValueError(
            f"export needs predict_from='last': a vote of all blocks "
            f"(predict_from={learner.rule.predict_from!r}) is not one linear layer"
        )
    block = learner.blocks[-1]
    weight, bias, rectify = learner.class_readout(time_steps)
    network = copy.deepcopy(learner.net)
    reset(network)
    bake(network)
    if fold_thresholds:
        for item in learner.blocks:
            scale = _fold(item, network)
            if item is block:  # the voltage shrinks by the threshold; the readout makes up for it
                weight = weight * scale.expand(block.features).flatten().repeat(
                    len(as_filters(learner.rule.evidence))
                )
    if data is not None:
        weight, bias = fit_spike_readout(network, data, learner.rule.num_classes, weight)
    free = free_potential(block, learner.traces) if learner.rule.potential == "free" else None
    layer = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    exported = ExportedNetwork(
        network,
        block.neuron_name,
        layer,
        filters=as_filters(learner.rule.evidence),
        rectify=rectify,
        time_inside=learner.time == "inside",
        reads=readout,
        dynamics=None if free is None else free.dynamics,
    )
    return exported.eval()


def _fold(block: Block, network: nn.Module) -> Tensor:
    """Divide a block's current by its threshold, in ``network``; return the old threshold."""
    synapse: Any = network.get_submodule(block.name)
    neuron: Any = network.get_submodule(block.neuron_name)
    threshold: Tensor = neuron.threshold.detach().clone()
    per_output = threshold.flatten()
    if (per_output <= 0).any():
        raise ValueError(f"the thresholds of '{block.neuron_name}' are not all above 0")
    if len(per_output) not in (1, synapse.weight.shape[0]) or len(block.sites) > 1:
        raise ValueError(
            f"the thresholds of '{block.neuron_name}' cannot be folded into '{block.name}': there "
            f"is not one per output of the synapse, or it is not one synapse alone that feeds them"
        )
    with torch.no_grad():
        synapse.weight.div_(per_output.reshape(-1, *[1] * (synapse.weight.dim() - 1)))
        if synapse.bias is not None:
            synapse.bias.div_(per_output)
        neuron.threshold.fill_(1.0)
    return threshold
