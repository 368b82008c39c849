"""Export: a plain network whose readout is part of it.

After learning, the evidence of a class signal in the last block is a fixed vector, and comparing a
recording with it is a linear layer: ``scores = readout(max(v_T, 0))`` with ``v_T`` the evidence of
the last neuron's voltage at the end of the recording.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spikeprop import checks
from spikeprop.blocks import Block
from spikeprop.evidence import Evidence, as_filters
from spikeprop.membranes import output_of
from spikeprop.neurons import reset
from spikeprop.parametrizations import bake

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner

__all__ = ["ExportedNetwork", "export"]


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
    ) -> None:
        super().__init__()
        self.network = network
        self.readout = readout
        self._neuron = neuron
        self._filters = filters
        self._rectify = rectify
        self._time_inside = time_inside

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores ``(B, C)`` for recordings ``x`` ``(T, B, *features)``."""
        evidence: list[Tensor] = []
        step = 0

        def read(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            nonlocal evidence, step
            step += 1
            _, mem = output_of(module, output)
            flat = mem.flatten(1)
            evidence = evidence or [torch.zeros_like(flat) for _ in self._filters]
            evidence = [
                value.lerp(flat, item.weight(step))
                for value, item in zip(evidence, self._filters, strict=True)
            ]

        reset(self.network)
        handle = self.network.get_submodule(self._neuron).register_forward_hook(read)
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
        scores: Tensor = self.readout(features.clamp_min(0) if self._rectify else features)
        return scores


def export(
    learner: ForwardLearner, *, time_steps: int, fold_thresholds: bool = False
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

    Returns
    -------
    ExportedNetwork
        In evaluation mode. It predicts what ``learner.predict(x, final=True)`` predicts.

    Raises
    ------
    RuntimeError
        If the learner has not seen data.
    ValueError
        If the rule predicts from several blocks, or thresholds cannot be folded.
    """
    checks.positive_integer("time_steps", time_steps)
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
    readout = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        readout.weight.copy_(weight)
        readout.bias.copy_(bias)
    exported = ExportedNetwork(
        network,
        block.neuron_name,
        readout,
        filters=as_filters(learner.rule.evidence),
        rectify=rectify,
        time_inside=learner.time == "inside",
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
