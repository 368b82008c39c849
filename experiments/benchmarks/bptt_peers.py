"""Surrogate-gradient BPTT of the same network in other libraries, each the fastest way it offers.

Layers run one after the other over the whole sequence: one matrix product a layer, and only the
neurons loop over time. That is the same gradient as stepping through time with all layers, and on a
CPU it was measured faster for every library here; the usual loop over time steps is kept beside it
for snnTorch (``snntorch_stepwise``), since most published code is written like that.

All have the weights they are given (so that hidden layers fire alike), soft reset, the decay of
:data:`~spikeprop.experiments.benchmarks.workload.BETA`, a readout of their own, and fused Adam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from spikeprop.datasets.sparse import EventBatch
from spikeprop.experiments.benchmarks.sparse_layer import EventLinear
from spikeprop.experiments.benchmarks.workload import BETA, Batch
from spikeprop.experiments.bptt import BPTTConfig, SpikingMLP, over_time

__all__ = ["LEARNING_RATE", "PEERS", "Learner", "sceptic"]

#: So small that the weights, and with them the firing rates, stay put while the clock runs.
LEARNING_RATE = 1e-7


class Learner(Protocol):
    """Anything that learns from a batch."""

    @property
    def takes_events(self) -> bool:
        """Whether it reads the events; the dense tensor otherwise."""
        ...

    def update(self, batch: Batch) -> None:
        """Make one training step."""
        ...


class Backpropagation:
    """Cross-entropy, backward pass, Adam.

    Parameters
    ----------
    net : nn.Module
        Gives scores ``(B, C)``.
    events : bool
        Whether ``net`` takes the events, instead of the dense tensor.
    before : callable
        Called with ``net`` before each batch, to clear its state.
    lr : float
        Step size of Adam.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        events: bool = False,
        before: Callable[[nn.Module], object] = lambda net: None,
        lr: float = LEARNING_RATE,
    ) -> None:
        self.net, self.takes_events, self.before = net, events, before
        self.optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)

    def update(self, batch: Batch) -> None:
        """Make one training step."""
        self.before(self.net)
        scores = self.net(batch.events if self.takes_events else batch.dense)
        loss = nn.functional.cross_entropy(scores, batch.label)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


class StepwiseMLP(SpikingMLP):
    """The same network, all layers at each time step: the loop of snnTorch's tutorials."""

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores ``(B, C)`` for recordings ``(T, B, inputs)``."""
        neurons: list[Any] = list(self.neurons)
        voltages = [neuron.reset_mem() for neuron in neurons]
        total: Tensor | float = 0.0
        for spikes in x:
            for layer, (synapse, neuron) in enumerate(zip(self.synapses, neurons, strict=True)):
                spikes, voltages[layer] = neuron(synapse(spikes), voltages[layer])
            total = total + voltages[-1]
        assert isinstance(total, Tensor)
        return total / len(x)


class EventMLP(nn.Module):
    """The same network, reading events: the first product of ``net`` is event-driven."""

    def __init__(self, net: SpikingMLP) -> None:
        super().__init__()
        self.net = net
        first = net.synapses[0]
        assert isinstance(first, nn.Linear)
        self.first = EventLinear(first)

    def forward(self, events: EventBatch) -> Tensor:
        """Return class scores ``(B, C)``."""
        spikes, voltages = over_time(self.net.neurons[0], self.first(events))
        for synapse, neuron in list(zip(self.net.synapses, self.net.neurons, strict=True))[1:]:
            spikes, voltages = over_time(neuron, synapse(torch.stack(spikes)))
        return torch.stack(voltages).mean(dim=0)


def load_weights(synapses: Sequence[nn.Module], matrices: Sequence[Tensor], gain: float) -> None:
    """Put the hidden layers' weights in place; biases begin at 0."""
    for synapse, matrix in zip(synapses, matrices, strict=False):
        assert isinstance(synapse, nn.Linear)
        synapse.weight.data.copy_(gain * matrix)
        synapse.bias.data.zero_()


def _sizes(matrices: Sequence[Tensor], classes: int) -> list[int]:
    return [matrices[0].shape[1], *(len(matrix) for matrix in matrices), classes]


def snntorch(matrices: Sequence[Tensor], classes: int) -> Learner:
    """snnTorch, layer by layer."""
    net = SpikingMLP(_sizes(matrices, classes), BPTTConfig(beta=BETA, lags=()))
    load_weights(list(net.synapses), matrices, 1.0)
    return Backpropagation(net)


def snntorch_stepwise(matrices: Sequence[Tensor], classes: int) -> Learner:
    """snnTorch, step by step as in its tutorials."""
    net = StepwiseMLP(_sizes(matrices, classes), BPTTConfig(beta=BETA, lags=()))
    load_weights(list(net.synapses), matrices, 1.0)
    return Backpropagation(net)


def sceptic(matrices: Sequence[Tensor], classes: int) -> Learner:
    """SnnTorch given our own event-driven product in its first layer."""
    net = SpikingMLP(_sizes(matrices, classes), BPTTConfig(beta=BETA, lags=()))
    load_weights(list(net.synapses), matrices, 1.0)
    return Backpropagation(EventMLP(net), events=True)


def spikingjelly(matrices: Sequence[Tensor], classes: int) -> Learner:
    """SpikingJelly's multi-step mode on its torch backend."""
    from spikingjelly.activation_based import functional, neuron, surrogate

    def node() -> nn.Module:
        made: nn.Module = neuron.LIFNode(
            tau=1.0 / (1.0 - BETA),
            decay_input=False,
            v_threshold=1.0,
            v_reset=None,
            surrogate_function=surrogate.ATan(),
            detach_reset=True,
            step_mode="m",
        )
        return made

    return Backpropagation(_layers(matrices, classes, node, 1.0), before=functional.reset_net)


def norse(matrices: Sequence[Tensor], classes: int) -> Learner:
    """Norse's LIF without synaptic current, lifted over time."""
    from norse.torch import LIFBoxCell, LIFBoxParameters, Lift
    from norse.torch.functional.reset import reset_subtract

    # dt * tau_mem_inv is the leak per step; it scales the input too, hence the gain below.
    parameters = LIFBoxParameters(
        tau_mem_inv=torch.as_tensor((1.0 - BETA) / 0.001), reset_method=reset_subtract
    )

    def node() -> nn.Module:
        return _SpikesOf(Lift(LIFBoxCell(parameters)))

    return Backpropagation(_layers(matrices, classes, node, 1.0 / (1.0 - BETA)))


def _layers(
    matrices: Sequence[Tensor], classes: int, node: Callable[[], nn.Module], gain: float
) -> nn.Sequential:
    """Return hidden layers and the cheapest readout, a linear one of the firing rates."""
    layers: list[nn.Module] = []
    for matrix in matrices:
        layers += [nn.Linear(matrix.shape[1], len(matrix)), node()]
    load_weights(layers[::2], matrices, gain)
    return nn.Sequential(*layers, _MeanOverTime(), nn.Linear(len(matrices[-1]), classes))


class _SpikesOf(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        spikes: Tensor = self.inner(x)[0]
        return spikes


class _MeanOverTime(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=0)


#: Peers by name. SpikingJelly and Norse come with the ``bench`` extra.
PEERS: dict[str, Callable[[Sequence[Tensor], int], Learner]] = {
    "snntorch": snntorch,
    "snntorch_stepwise": snntorch_stepwise,
    "spikingjelly": spikingjelly,
    "norse": norse,
    "sceptic": sceptic,
}
