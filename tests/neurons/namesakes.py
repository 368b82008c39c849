"""Comparing a drop-in with the snnTorch neuron whose name it bears."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def run(neuron: nn.Module, current: Tensor, spk_in_state: bool = False) -> Tensor:
    """Step through a sequence, whichever library the neuron is from; stacks all outputs."""
    if hasattr(neuron, "reset_mem"):
        neuron.reset_mem()
    state: tuple[Tensor, ...] = ()
    seen: list[Tensor] = []
    for t, row in enumerate(current):
        outputs = neuron(row) if t == 0 or neuron.init_hidden else neuron(row, *state)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        state = outputs if spk_in_state else outputs[1:]
        seen += outputs
    return torch.stack(seen)


def assert_same(
    ours: nn.Module,
    theirs: nn.Module,
    current: Tensor,
    spk_in_state: bool = False,
    keys: bool = True,
) -> None:
    """Same outputs, same state_dict keys, same gradients of a random functional of the outputs."""
    if keys:
        assert list(ours.state_dict()) == list(theirs.state_dict())
    current = current.clone().requires_grad_()
    a, b = run(ours, current, spk_in_state), run(theirs, current, spk_in_state)
    assert a.dtype == b.dtype
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(run(ours, current, spk_in_state), a)
    weight = torch.randn(a.shape, generator=torch.Generator().manual_seed(1))
    inputs = [
        [current, *(p for p in neuron.parameters() if p.requires_grad)] for neuron in (ours, theirs)
    ]
    da = torch.autograd.grad((a * weight).sum(), inputs[0])
    db = torch.autograd.grad((b * weight).sum(), inputs[1])
    for x, y in zip(da, db, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6 * float(y.abs().max().clamp_min(1)))


def option_id(options: dict[str, Any]) -> str:
    """Return a name for a test of these options that is the same in every process."""
    return ",".join(f"{key}={getattr(value, '__name__', value)}" for key, value in options.items())
