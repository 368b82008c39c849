"""What inference costs on event-driven hardware: spikes, and the synapses that they reach."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikeprop.datasets import EventBatch
from spikeprop.learner import ForwardLearner

__all__ = ["Activity", "activity", "count_activity", "fan_out"]


class Activity(NamedTuple):
    """What a network did in inference, block by block, summed over recordings and time steps.

    Attributes
    ----------
    recordings : int
        Number of recordings.
    steps : int
        Time steps of all recordings together.
    spikes : list of Tensor
        Spikes of every neuron ``(neurons,)``.
    arrivals : list of float
        Inputs of the synapse that were not zero.
    operations : list of float
        Synaptic operations: arrivals times the neurons that each of them reaches.
    """

    recordings: int
    steps: int
    spikes: list[Tensor]
    arrivals: list[float]
    operations: list[float]


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


def activity(learner: ForwardLearner, data: Iterable[Any]) -> tuple[float, float]:
    """Return spikes, and synaptic operations, per recording in inference."""
    counts = count_activity(learner, data)
    spikes = sum(float(own.sum()) for own in counts.spikes)
    return spikes / counts.recordings, sum(counts.operations) / counts.recordings


@torch.no_grad()
def count_activity(learner: ForwardLearner, data: Iterable[Any]) -> Activity:
    """Count, block by block, what a network does in inference.

    What reaches a synapse is counted there: events in the first block, and spikes (behind pooling:
    inputs that are not zero) in the others.

    Parameters
    ----------
    learner
        A learner whose network maps one time step.
    data
        Batches ``(x (T, B, *features), labels (B,))``, dense or as sparse events.
    """
    recordings = steps = 0
    arrived: dict[nn.Module, float] = {}
    fired: dict[nn.Module, Tensor] = {}

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        arrived[module] = arrived.get(module, 0.0) + float(torch.count_nonzero(inputs[0]))

    def see(module: nn.Module, inputs: Any, output: Any) -> None:
        spikes = output[0] if isinstance(output, tuple) else output
        own = torch.count_nonzero(spikes.flatten(start_dim=1), dim=0).cpu()
        fired[module] = fired[module] + own if module in fired else own

    handles = [b.synapse.register_forward_pre_hook(count) for b in learner.blocks]
    handles += [b.neuron.register_forward_hook(see) for b in learner.blocks]
    learner.reset()
    training = learner.net.training
    learner.net.eval()
    try:
        for x, label in data:
            dense = x.to_dense() if isinstance(x, EventBatch) else x.float()
            for x_t in dense.to(learner.device):
                learner.net(x_t)
            learner.reset()
            recordings += len(label)
            steps += len(dense) * len(label)
    finally:
        learner.net.train(training)
        for handle in handles:
            handle.remove()
    arrivals = [arrived[block.synapse] for block in learner.blocks]
    operations = [
        n * fan_out(block.synapse) for n, block in zip(arrivals, learner.blocks, strict=True)
    ]
    spikes = [fired[block.neuron] for block in learner.blocks]
    return Activity(recordings, steps, spikes, arrivals, operations)
