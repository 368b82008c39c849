"""What inference costs on event-driven hardware: spikes, and the synapses that they reach."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.datasets import EventBatch
from spikeprop.learner import ForwardLearner

__all__ = ["activity", "fan_out"]


def fan_out(synapse: nn.Module) -> float:
    """Return how many neurons one input of a synapse reaches, the borders of pictures forgotten.

    Raises
    ------
    TypeError
        For a synapse that is neither ``Linear`` nor ``Conv2d``.
    """
    if isinstance(synapse, nn.Linear):
        return float(synapse.out_features)
    if isinstance(synapse, nn.Conv2d):
        kernel = synapse.kernel_size[0] * synapse.kernel_size[1]
        stride = synapse.stride[0] * synapse.stride[1]
        return synapse.out_channels * kernel / (stride * synapse.groups)
    raise TypeError(f"fan-out of {type(synapse).__name__} is not known")


@torch.no_grad()
def activity(learner: ForwardLearner, data: Iterable[Any]) -> tuple[float, float]:
    """Return spikes, and synaptic operations, per recording in inference.

    What reaches a synapse is counted there: events in the first block, and spikes (behind pooling:
    inputs that are not zero) in the others.
    """
    spikes = operations = 0.0
    recordings = 0
    arrived: dict[nn.Module, Tensor] = {}

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        arrived[module] = arrived.get(module, torch.zeros(())) + torch.count_nonzero(inputs[0])

    fired: list[Tensor] = []

    def see(module: nn.Module, inputs: Any, output: Any) -> None:
        fired.append(torch.count_nonzero(output[0] if isinstance(output, tuple) else output))

    handles = [b.synapse.register_forward_pre_hook(count) for b in learner.blocks]
    handles += [b.neuron.register_forward_hook(see) for b in learner.blocks]
    learner.reset()
    training = learner.net.training
    learner.net.eval()
    try:
        for x, label in data:
            dense = x.to_dense() if isinstance(x, EventBatch) else x.float()
            for x_t in dense:
                learner.net(x_t)
            learner.reset()
            recordings += len(label)
    finally:
        learner.net.train(training)
        for handle in handles:
            handle.remove()
    spikes = float(sum(fired))
    operations = sum(float(n) * fan_out(module) for module, n in arrived.items())
    return spikes / recordings, operations / recordings
