"""Where a rule equals a gradient under stated assumptions, it equals autograd's, in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.neurons import ALIF, LIF, RLIF, Synaptic, reset
from spikeprop.rules import (
    BPTT,
    DECOLLE,
    OSTL,
    OTTT,
    SLTT,
    STLLR,
    TBPTT,
    TESS,
    ATan,
    EProp,
    FastSigmoid,
    Rule,
    TracesPropagation,
    Triangle,
)

C, B, T = 3, 4, 7
PSI = Triangle(0.5)


class Surrogate(torch.autograd.Function):
    """The step forward, a triangle of height 0.5 backward."""

    @staticmethod
    def forward(ctx: Any, shift: Tensor) -> Tensor:
        ctx.save_for_backward(shift)
        return (shift > 0).to(shift.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (shift,) = ctx.saved_tensors
        return gradient * 0.5 * (1.0 - shift.abs()).clamp_min(0.0)


def spike(shift: Tensor) -> Tensor:
    found: Tensor = Surrogate.apply(shift)
    return found


def data(*features: int, seed: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(T, B, *features, generator=generator) < 0.5).double()
    return x, torch.arange(B) % C


def net(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(*layers).double()
    generator = torch.Generator().manual_seed(1)
    for module in made.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):  # large enough for spikes
            drawn = torch.randn(module.weight.shape, generator=generator).double()
            fan = module.weight[0].numel()
            module.weight.data.copy_(1.5 * drawn / fan**0.5)
            if module.bias is not None:  # made before the seed was set: of any test before this
                drawn = torch.rand(module.bias.shape, generator=generator).double()
                module.bias.data.copy_((2.0 * drawn - 1.0) / fan**0.5)
    return made


def moves(
    network: nn.Module,
    rule: Rule,
    x: Tensor,
    labels: Tensor,
    by_autograd: Callable[[dict[str, Tensor]], Tensor],
    update_every: int = T,
    **options: Any,
) -> None:
    """The learner's update is minus the gradient of a loss, parameter by parameter."""
    learner = ForwardLearner(
        network,
        rule,
        optimizer=partial(torch.optim.SGD, lr=1.0),
        update_every=update_every,
        **options,
    )
    learner.bind(x.shape[2:], time_steps=len(x))
    tensors = {k: v.detach().clone() for k, v in learner.bound().tensors.items()}
    before = {k: v.detach().clone() for k, v in network.named_parameters()}
    reset(network)
    loss = by_autograd(tensors)
    parameters = dict(network.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    reset(network)
    assert any(g is not None and g.abs().max() > 1e-3 for g in found)
    learner.update(x, labels)
    for (name, parameter), gradient in zip(parameters.items(), found, strict=True):
        wanted = torch.zeros_like(parameter) if gradient is None else gradient
        torch.testing.assert_close(
            before[name] - parameter.detach(), wanted, rtol=1e-9, atol=1e-11, msg=name
        )


def readout(tensors: dict[str, Tensor], z: Tensor) -> Tensor:
    return z @ tensors["readout.weight"].T + tensors["readout.bias"]


def loss_at_every_step(
    network: nn.Module, x: Tensor, labels: Tensor, kappa: float, tensors: dict[str, Tensor]
) -> Tensor:
    total, z = torch.zeros(()).double(), torch.zeros(()).double()
    for x_t in x:
        z = kappa * z + network(x_t).flatten(1)
        total = total + nn.functional.cross_entropy(readout(tensors, z), labels)
    return total


def lif(**options: Any) -> LIF:
    return LIF(0.75, spike_grad=spike, init_hidden=True, **options)


NEURONS: dict[str, Callable[[], nn.Module]] = {
    "LIF": lif,
    "LIF, a beta a neuron": lambda: LIF(
        torch.linspace(0.3, 0.9, 5), spike_grad=spike, init_hidden=True
    ),
    "Synaptic": lambda: Synaptic(0.7, 0.8, spike_grad=spike, init_hidden=True),
    "ALIF": lambda: ALIF(0.8, rho=0.95, kappa=0.4, spike_grad=spike, init_hidden=True),
    "ALIF, by a current": lambda: ALIF(
        0.8, rho=0.9, kappa=0.2, gamma=0.3, spike_grad=spike, init_hidden=True
    ),
}


@pytest.mark.parametrize("traces", ["synapse", "chunk"])
@pytest.mark.parametrize("kappa", [0.0, 0.7])
@pytest.mark.parametrize("neuron", NEURONS)
def test_eprop_is_the_gradient_of_one_layer(neuron: str, kappa: float, traces: str) -> None:
    network = net(nn.Linear(6, 5), NEURONS[neuron]())
    x, labels = data(6)
    moves(
        network,
        EProp(C, kappa=kappa, surrogate=PSI),
        x,
        labels,
        lambda tensors: loss_at_every_step(network, x, labels, kappa, tensors),
        traces=traces,
    )


def test_eprop_keeps_the_same_sums_with_a_trace_a_synapse() -> None:
    x, labels = data(6)
    found = []
    for update_every in (T, 10**6):
        network = net(nn.Linear(6, 5), NEURONS["ALIF"](), nn.Linear(5, 4), lif())
        learner = ForwardLearner(
            network,
            EProp(C, surrogate=PSI),
            optimizer=partial(torch.optim.SGD, lr=1.0),
            update_every=update_every,
        )
        if update_every == T:
            learner.update(x, labels)
        else:  # step by step no reverse filter is used; the last step comes with the update
            learner.bind((6,))
            learner.update_every = T
            for x_t in x:
                learner.step(x_t, labels)
        found.append([p.detach().clone() for p in network.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_eprop_is_the_gradient_that_crosses_no_spike_of_the_layer_itself() -> None:
    """A recurrent layer: spikes that come back are constants (the truncation of e-prop)."""

    class Constant(RLIF):
        def step_function(self, current: Tensor) -> Any:
            step = super().step_function(current)
            return lambda now, state: step(now, state._replace(spk=state.spk.detach()))

    torch.manual_seed(2)
    neuron = Constant(0.8, linear_features=5, spike_grad=spike, init_hidden=True)
    network = net(nn.Linear(6, 5), neuron)
    x, labels = data(6)
    moves(
        network,
        EProp(C, kappa=0.7, surrogate=PSI),
        x,
        labels,
        lambda tensors: loss_at_every_step(network, x, labels, 0.7, tensors),
    )


class Unheld(nn.Module):
    """A LIF whose reset is differentiated."""

    def __init__(self, mechanism: str) -> None:
        super().__init__()
        self.mechanism, self.mem = mechanism, None

    def forward(self, current: Tensor) -> Tensor:
        mem = torch.zeros_like(current) if self.mem is None else self.mem
        spk = spike(mem - 1.0)
        kept = 0.75 * mem - spk if self.mechanism == "subtract" else 0.75 * mem * (1.0 - spk)
        self.mem = kept + current
        return spike(self.mem - 1.0)


@pytest.mark.parametrize("traces", ["synapse", "chunk"])
@pytest.mark.parametrize("mechanism", ["subtract", "zero"])
def test_ostl_is_the_gradient_of_one_layer_with_its_reset(mechanism: str, traces: str) -> None:
    network = net(nn.Linear(6, 5), lif(reset_mechanism=mechanism))
    twin = nn.Sequential(network[0], Unheld(mechanism))
    x, labels = data(6)
    moves(
        network,
        OSTL(C, kappa=0.0, surrogate=PSI),
        x,
        labels,
        lambda tensors: loss_at_every_step(twin, x, labels, 0.0, tensors),
        traces=traces,
    )


def deep(beta: float) -> nn.Sequential:
    def neuron() -> LIF:
        return LIF(beta, spike_grad=spike, init_hidden=True)

    return net(
        nn.Conv2d(1, 3, 3, padding=1),
        neuron(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3),
        nn.AvgPool2d(2),
        neuron(),
        nn.Flatten(),
        nn.Linear(4, 5),
        neuron(),
    )


@pytest.mark.parametrize(
    "rule", [OTTT, SLTT, OSTL, EProp, partial(STLLR, lambda_pre=0.0, alpha_post=0.0)]
)
def test_without_a_memory_they_are_the_spatial_gradient(rule: Callable[..., Rule]) -> None:
    """beta = 0 and kappa = 0: nothing is left of time, and convolutions and pooling are crossed."""
    network = deep(0.0)
    x, labels = data(1, 8, 8)
    if rule is OSTL:  # its reset is no constant, and acts on the step after
        for module in network:
            if isinstance(module, LIF):
                module.reset_mechanism = "none"
    moves(
        network,
        rule(C, kappa=0.0, surrogate=PSI),
        x,
        labels,
        lambda tensors: loss_at_every_step(network, x, labels, 0.0, tensors),
    )


def test_gain_of_the_readout_is_a_change_of_its_units() -> None:
    network = net(nn.Linear(6, 5), lif())
    x, labels = data(6)

    def by_autograd(tensors: dict[str, Tensor]) -> Tensor:
        larger = {name: 4.0 * value for name, value in tensors.items()}
        return loss_at_every_step(network, x, labels, 0.7, larger)

    moves(network, EProp(C, kappa=0.7, surrogate=PSI, readout_gain=4.0), x, labels, by_autograd)


@pytest.mark.parametrize("rule", [OTTT, SLTT, EProp])
def test_a_network_without_spikes_learns_by_its_true_gradient(rule: Callable[..., Rule]) -> None:
    """A ReLU has a derivative of its own, and the spatial gradient is backpropagation."""
    network = net(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU())
    x, labels = data(6)
    moves(
        network,
        rule(C, kappa=0.0),
        x,
        labels,
        lambda tensors: loss_at_every_step(network, x, labels, 0.0, tensors),
    )


def test_sltt_is_the_spatial_gradient_at_each_step() -> None:
    """With memory, too: autograd with all state cut off after every step."""
    network = deep(0.8)
    x, labels = data(1, 8, 8)

    def by_autograd(tensors: dict[str, Tensor]) -> Tensor:
        total = torch.zeros(()).double()
        for x_t in x:
            total = total + nn.functional.cross_entropy(
                readout(tensors, network(x_t).flatten(1)), labels
            )
            for module in network:
                if isinstance(module, LIF):
                    module.mem = module.mem.detach()
        return total

    moves(network, SLTT(C, kappa=0.0, surrogate=PSI), x, labels, by_autograd)


@pytest.mark.parametrize("rule", ["decolle", "mse", "tess"])
def test_local_readouts_give_the_gradient_of_the_local_losses(rule: str) -> None:
    network = net(nn.Linear(6, 5), lif(), nn.Linear(5, 4), lif())
    x, labels = data(6)
    made: Rule
    if rule == "tess":  # without its non-causal term, and with the neuron's decay
        made = TESS(C, surrogate=PSI, lambda_pre=0.75, alpha_post=0.0)
    else:
        made = DECOLLE(C, surrogate=PSI, loss="mse" if rule == "mse" else "cross-entropy")

    def by_autograd(tensors: dict[str, Tensor]) -> Tensor:
        total = torch.zeros(()).double()
        for x_t in x:
            first = network[1](network[0](x_t))
            second = network[3](network[2](first.detach()))
            for k, spk in enumerate((first, second)):
                y = spk @ tensors[f"feedback.{k}"].T
                onehot = nn.functional.one_hot(labels, C).double()
                if rule == "mse":
                    total = total + (y - onehot).square().sum(dim=1).mean() / 2
                else:
                    total = total + nn.functional.cross_entropy(y, labels)
        return total

    moves(network, made, x, labels, by_autograd)


def test_traces_propagation_is_the_gradient_of_the_contrastive_loss() -> None:
    network = net(nn.Linear(6, 5), lif(), nn.Linear(5, 4), lif())
    x, labels = data(6)
    beta = 0.9

    def by_autograd(tensors: dict[str, Tensor]) -> Tensor:
        total, traces = torch.zeros(()).double(), [torch.zeros(()).double()] * 3
        for x_t in x:
            # As published: one target row a recording, behind the recordings.
            target = nn.functional.one_hot(labels, C).double()
            traces[0] = beta * traces[0] + target
            current = torch.cat([network[0](x_t), target @ tensors["signal"]])
            first = network[1](current)
            second = network[3](network[2](first.detach()))
            below = traces[0]
            for k, spk in enumerate((first, second), start=1):
                traces[k] = beta * traces[k].detach() + spk
                z = traces[k][:B] @ traces[k][B:].T
                wanted = torch.softmax(-torch.cdist(below, below), dim=1).detach()
                loss = -(wanted * torch.log_softmax(z, dim=1)).sum(dim=1).mean()
                total, below = total + loss, traces[k][B:].detach()
            for place in (1, 3):
                network[place].mem = network[place].mem.detach()
        return total

    rule = TracesPropagation(C, surrogate=PSI, similarity_scale=1.0)
    moves(network, rule, x, labels, by_autograd)


@pytest.mark.parametrize("neuron", ["LIF", "ALIF"])
def test_bptt_is_autograd_over_the_sequence(neuron: str) -> None:
    network = net(nn.Linear(6, 5), NEURONS[neuron](), nn.Linear(5, 4), lif())
    x, labels = data(6)

    def by_autograd(tensors: dict[str, Tensor]) -> Tensor:
        total, z = torch.zeros(()).double(), torch.zeros(()).double()
        for x_t in x:
            z = 0.9 * z + network(x_t)
            total = total + readout(tensors, z)
        return nn.functional.cross_entropy(total / T, labels)

    moves(network, BPTT(C, surrogate=PSI), x, labels, by_autograd, update_every=1)


def test_truncated_bptt_moves_after_each_window() -> None:
    """Windows of 3, 3 and 1 steps, with state carried and cut, by hand with autograd."""
    network = net(nn.Linear(6, 5), lif(), nn.Linear(5, 4), lif())
    x, labels = data(6)
    learner = ForwardLearner(
        network, TBPTT(C, window=3, surrogate=PSI), optimizer=partial(torch.optim.SGD, lr=0.5)
    )
    learner.bind((6,))
    weight = learner.bound().tensors["readout.weight"].detach().clone().requires_grad_()
    bias = learner.bound().tensors["readout.bias"].detach().clone().requires_grad_()
    twin = net(nn.Linear(6, 5), lif(), nn.Linear(5, 4), lif())
    learner.update(x, labels)
    z = torch.zeros(()).double()
    for start in (0, 3, 6):
        window, total = x[start : start + 3], torch.zeros(()).double()
        for x_t in window:
            z = 0.9 * z + twin(x_t)
            total = total + z @ weight.T + bias
        loss = nn.functional.cross_entropy(total / len(window), labels)
        parameters = [*twin.parameters(), weight, bias]
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.5 * gradient
        z = z.detach()
        for place in (1, 3):
            twin[place].mem = twin[place].mem.detach()
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(learner.bound().tensors["readout.weight"], weight)


@pytest.mark.parametrize("slope", [1.0, 4.0, 25.0])
def test_pseudo_derivatives_are_those_of_snntorch(slope: float) -> None:
    from snntorch import surrogate

    from spikeprop.rules import Sigmoid

    pairs = [
        (FastSigmoid(slope), surrogate.fast_sigmoid(slope)),
        (ATan(slope), surrogate.atan(slope)),
        (Sigmoid(slope), surrogate.sigmoid(slope)),
    ]
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    for ours, theirs in pairs:
        leaf = x.clone().requires_grad_()
        (wanted,) = torch.autograd.grad(theirs(leaf).sum(), leaf)
        torch.testing.assert_close(ours(x), wanted)
