"""Neurons under torch.compile, torch.func, autocast and torch.export."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from families import FAMILIES, Build, every, noise
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from spikeprop.neurons import LIF, SpikingNeuron, StochasticLIF, reset
from spikeprop.neurons.surrogates import atan


@pytest.fixture(autouse=True)
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand_like", lambda x: torch.full_like(x, 0.5))


def next_state(neuron: SpikingNeuron, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs[-len(neuron.State._fields) :]


@every
def test_a_compiled_step_is_the_eager_step(build: Build) -> None:
    """One graph without a break, compiled once (once more for a hidden state that has a shape)."""
    current = noise(6, 3, 5)
    # Hidden state is the same code for all families: one variable, several, spikes among them.
    both = build in (FAMILIES["LIF"], FAMILIES["Synaptic"], FAMILIES["RLIF"])
    with torch.no_grad():
        for hidden in (False, True) if both else (False,):
            neuron = build(init_hidden=hidden, output=hidden)
            expected = build().unroll(current)
            torch._dynamo.reset()
            counter = CompileCounter()
            step = torch.compile(neuron, backend=counter, fullgraph=True)
            state = tuple(neuron.initial_state(current[0]))
            for t, row in enumerate(current):
                outputs = step(row) if hidden else step(row, *state)
                state = next_state(neuron, outputs)
                for ours, theirs in zip(outputs, expected, strict=True):
                    torch.testing.assert_close(ours, theirs[t], rtol=1e-6, atol=1e-6)
            assert counter.frame_count == 1 + hidden


def test_a_compiled_step_has_a_gradient() -> None:
    current = noise(6, 3, 5).requires_grad_()
    grads = []
    for compiled in (False, True):
        neuron = LIF(0.9, 0.5, learn_beta=True)
        step: Any = torch.compile(neuron.step, backend="aot_eager", fullgraph=True)
        state, total = None, torch.zeros(())
        for row in current:
            spk, state = step(row, state) if compiled else neuron.step(row, state)
            total = total + spk.sum() + state.mem.sum()
        grads.append(torch.autograd.grad(total, (current, neuron.beta)))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@every
def test_vmap_is_a_loop_over_neurons_of_one_row(build: Build) -> None:
    neuron, current = build(), noise(4, 3, 5)
    loop = [neuron.step(row) for row in current]
    spk, state = torch.func.vmap(neuron.step)(current)
    torch.testing.assert_close(spk, torch.stack([s for s, _ in loop]))
    for i, name in enumerate(state._fields):
        torch.testing.assert_close(getattr(state, name), torch.stack([s[i] for _, s in loop]))
    torch.func.vmap(lambda row: neuron(row)[0])(current)
    copy.deepcopy(neuron)  # nothing of the transform is left behind


@every
def test_functional_gradients_are_backwards(build: Build) -> None:
    neuron = build().double()
    current = noise(6, 3, 5, dtype=torch.float64)
    values = {name: value.detach() for name, value in neuron.named_parameters()}

    def total(values: dict[str, Tensor], current: Tensor) -> Tensor:
        outputs = torch.func.functional_call(neuron, values, (current[0],))
        for row in current[1:]:
            state = next_state(neuron, outputs)
            outputs = torch.func.functional_call(neuron, values, (row, *state))
        return sum((value.sum() for value in outputs), torch.zeros(()))

    found = torch.func.grad(total, argnums=(0, 1))(values, current)
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    x = current.clone().requires_grad_()
    wanted = torch.autograd.grad(total(leaves, x), [*leaves.values(), x], allow_unused=True)
    for a, b in zip([*found[0].values(), found[1]], wanted, strict=True):
        torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b)


def test_the_surrogate_is_snntorchs_everywhere() -> None:
    x = torch.linspace(-2, 2, 41)
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(atan(leaf).sum(), leaf)
    found = torch.func.vmap(torch.func.grad(atan))(x)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(wanted, 1 / (1 + (torch.pi * x) ** 2))
    assert torch.equal(torch.func.vmap(atan)(x), (x > 0).float())


@every
def test_state_is_float32_under_autocast(build: Build) -> None:
    neuron, synapse = build(init_hidden=True, output=True), nn.Linear(5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        for row in noise(3, 3, 5):
            current = synapse(row)
            assert current.dtype == torch.bfloat16
            outputs = neuron(current, signal=current[:1])
            assert all(value.dtype == torch.float32 for value in (*outputs, *neuron.state))
        assert all(v.dtype == torch.float32 for v in neuron.unroll(synapse(noise(3, 3, 5))))


@every
def test_export(build: Build) -> None:
    neuron, current = build(), noise(2, 3, 5)
    state = tuple(neuron.initial_state(current[0]))
    rows = torch.export.Dim("rows", min=2, max=64)
    program = torch.export.export(
        neuron,
        (current[0], *state),
        dynamic_shapes={
            "current": {0: rows},
            "state": tuple({0: rows} for _ in state),
        },
    )
    other = noise(7, 5, seed=1)
    state = tuple(neuron.initial_state(other))
    with torch.no_grad():
        for _ in range(3):
            expected = neuron(other, *state)
            for a, b in zip(program.module()(other, *state), expected, strict=True):
                torch.testing.assert_close(a, b)
            state = next_state(neuron, expected)


@every
def test_networks_of_one_state_dict(build: Build) -> None:
    """Checkpoints know neither batch size nor mode, and values survive them."""
    saved = {k: v.clone() for k, v in build().state_dict().items()}
    for name, value in saved.items():
        if value.is_floating_point() and name != "beta":  # an IF's is always 1
            saved[name] = value * 0.9
    inside, outside = build(init_hidden=True), build()
    inside(noise(7, 5))
    for neuron in (inside, outside):
        neuron.load_state_dict(saved)
    reset(inside)
    current = noise(6, 3, 5)
    spk = torch.stack([inside(row) for row in current])
    assert torch.equal(spk, outside.unroll(current)[0])


def test_every_family_is_tried() -> None:
    """A family that is not in the list would escape all of the above."""
    import spikeprop.neurons as neurons

    known = {type(build()) for build in FAMILIES.values()}
    bases = {"SpikingNeuron", "FiringNeuron", "RecurrentNeuron"}
    for name in neurons.__all__:
        kind = getattr(neurons, name)
        if isinstance(kind, type) and issubclass(kind, SpikingNeuron) and name not in bases:
            assert kind in known, name
    assert StochasticLIF in known
