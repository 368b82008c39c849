"""LIF against its equation and against snnTorch."""

from __future__ import annotations

import torch
from spikeprop.neurons import LIF


def test_equation_by_hand() -> None:
    lif = LIF(beta=0.5)
    spk, mem = lif(torch.tensor([[0.8, 1.2]]))
    assert spk.tolist() == [[0.0, 1.0]]
    spk, mem = lif(torch.tensor([[0.8, 0.0]]), mem)
    torch.testing.assert_close(mem, torch.tensor([[1.2, -0.4]]))
    assert spk.tolist() == [[1.0, 0.0]]
    assert lif.mem is mem
