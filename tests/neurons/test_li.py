"""LI: a leaky integrator in a LIF's place."""

from __future__ import annotations

import snntorch as snn
import torch

from spikeprop.neurons import LI


def test_closed_form() -> None:
    out, mem = LI(0.5).unroll(torch.ones(20, 1, 1, dtype=torch.float64))
    t = torch.arange(1, 21, dtype=torch.float64)
    torch.testing.assert_close(mem[:, 0, 0], 2 * (1 - 0.5**t))
    assert torch.equal(out, mem)


def test_is_snntorch_without_reset() -> None:
    li, leaky, mem = LI(0.9), snn.Leaky(0.9, reset_mechanism="none"), torch.zeros(3, 5)
    theirs = mem
    for row in torch.randn(10, 3, 5, generator=torch.Generator().manual_seed(0)):
        out, mem = li(row, mem)
        _, theirs = leaky(row, theirs)
        assert out is mem is li.mem
        torch.testing.assert_close(mem, theirs)


def test_gives_its_voltage_in_place_of_spikes() -> None:
    current = torch.ones(3, 5)
    li = LI(0.5, init_hidden=True)
    li(current)
    assert torch.equal(li(current), torch.full((3, 5), 1.5))
    out, mem = LI(0.5, init_hidden=True, output=True)(current)
    assert torch.equal(out, mem)


def test_learns_beta_and_keeps_nothing_else() -> None:
    li = LI(0.5, learn_beta=True)
    _, mem = li.unroll(torch.ones(2, 1, 1))
    mem[-1].sum().backward()
    assert li.beta.grad is not None
    assert float(li.beta.grad) == 1.0
    assert set(li.state_dict()) == {"beta"}
