"""Checkpoints: the keys of snnTorch, and scalars that meet one value a neuron."""

from __future__ import annotations

from typing import Any

import pytest
import snntorch as snn
import torch
from torch import Tensor, nn

from spikeprop.neurons import IF, LI, LIF

VECTOR = torch.linspace(0.5, 1.5, 5)


def noise(*shape: int) -> Tensor:
    return 1.5 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("threshold", [0.7, VECTOR], ids=["scalar", "vector"])
def test_checkpoints_are_snntorchs_both_ways(mechanism: str, learn: bool, threshold: Any) -> None:
    def build(library: Any, beta: float, threshold: Any) -> nn.Module:
        options = {"learn_beta": learn, "learn_threshold": learn, "reset_mechanism": mechanism}
        return nn.Sequential(nn.Linear(4, 5), library(beta, threshold, **options))

    for source, target in ((LIF, snn.Leaky), (snn.Leaky, LIF)):
        trained = build(source, 0.6, threshold)
        blank = build(target, 0.9, torch.ones_like(torch.as_tensor(threshold)))
        trained[1](trained[0](noise(3, 4)))  # state must not get into the file
        assert list(trained.state_dict()) == list(blank.state_dict())
        blank.load_state_dict(trained.state_dict())
        mem = trained_mem = torch.zeros(3, 5)
        for row in noise(6, 3, 4):
            spk, mem = blank[1](blank[0](row), mem)
            expected, trained_mem = trained[1](trained[0](row), trained_mem)
            assert torch.equal(spk, expected)


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("single", [torch.tensor(0.7), torch.tensor([0.7])], ids=["()", "(1,)"])
def test_scalar_and_vector_meet(learn: bool, assign: bool, single: Tensor) -> None:
    names = ("beta", "threshold", "graded_spikes_factor")

    def build(value: Tensor) -> LIF:
        return LIF(
            value,
            value,
            graded_spikes_factor=value,
            learn_beta=learn,
            learn_threshold=learn,
            learn_graded_spikes_factor=learn,
        )

    grown, saved = build(single), build(VECTOR).state_dict()
    parameters = list(grown.parameters())
    grown.load_state_dict(saved, assign=assign)
    for name in names:
        assert torch.equal(getattr(grown, name), VECTOR)
        assert isinstance(getattr(grown, name), nn.Parameter) is learn
    if not assign:
        # Still the optimiser's parameters, and a copy of the file's numbers.
        assert all(a is b for a, b in zip(parameters, grown.parameters(), strict=True))
        grown.threshold.detach().add_(1)
        assert torch.equal(saved["threshold"], VECTOR)

    filled = build(VECTOR)
    filled.load_state_dict(build(single).state_dict(), assign=assign)
    for name in names:
        assert torch.equal(getattr(filled, name), torch.full((5,), 0.7))
        assert isinstance(getattr(filled, name), nn.Parameter) is learn
    filled.threshold.detach()[0] += 1  # of its own memory, not one number seen five times
    assert filled.threshold.tolist()[1:] == pytest.approx([0.7] * 4)


def test_the_dict_that_is_loaded_stays_as_it_was() -> None:
    saved = LIF(0.5).state_dict()
    LIF(torch.full((5,), 0.9)).load_state_dict(saved)
    assert saved["beta"].shape == ()


def test_one_threshold_a_neuron_in_a_network_built_with_numbers() -> None:
    def build() -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 5), LIF(0.9, init_hidden=True), LI(0.9, init_hidden=True))

    trained, blank = build(), build()
    assert isinstance(trained[1], LIF)
    trained[1].threshold = VECTOR.clone()
    blank.load_state_dict(trained.state_dict())
    assert torch.equal(blank(noise(3, 4)), trained(noise(3, 4)))


@pytest.mark.parametrize("shape", [(6,), (2, 5), (0,)])
@pytest.mark.parametrize("name", ["beta", "threshold"])
def test_wrong_shapes_still_fail(name: str, shape: tuple[int, ...]) -> None:
    lif = LIF(torch.full((5,), 0.9), VECTOR)
    with pytest.raises(RuntimeError, match=f"size mismatch for {name}"):
        lif.load_state_dict({**lif.state_dict(), name: torch.ones(shape)})
    assert torch.equal(lif.threshold, VECTOR)


def test_an_empty_tensor_is_no_scalar() -> None:
    with pytest.raises(RuntimeError, match="size mismatch for threshold"):
        LIF(0.9).load_state_dict({**LIF(0.9).state_dict(), "threshold": torch.zeros(0)})


def test_missing_unexpected_and_foreign_entries_still_fail() -> None:
    saved = LIF(0.9).state_dict()
    with pytest.raises(RuntimeError, match="Missing key"):
        LIF(0.9).load_state_dict({k: v for k, v in saved.items() if k != "threshold"})
    with pytest.raises(RuntimeError, match="Unexpected key"):
        LIF(0.9).load_state_dict({**saved, "mem": torch.zeros(3)})
    with pytest.raises(RuntimeError, match=r"expected torch\.Tensor"):
        LIF(0.9).load_state_dict({**saved, "threshold": 1.0})


def test_the_reset_mechanism_comes_with_the_checkpoint() -> None:
    lif, current = LIF(0.9), noise(12, 3, 5)
    zero = LIF(0.9, reset_mechanism="zero")
    lif.load_state_dict(zero.state_dict())
    assert lif.reset_mechanism == "zero"
    assert torch.equal(lif.unroll(current)[1], zero.unroll(current)[1])
    with pytest.raises(RuntimeError, match="reset_mechanism_val must be 0, 1 or 2"):
        lif.load_state_dict({**lif.state_dict(), "reset_mechanism_val": torch.tensor(7)})
    assert lif.reset_mechanism == "zero"


def test_an_if_neuron_takes_no_leak_from_a_checkpoint() -> None:
    neuron = IF(0.5)
    neuron.load_state_dict(LIF(1.0, 0.7).state_dict())
    assert neuron.threshold.item() == pytest.approx(0.7)
    with pytest.raises(RuntimeError, match="beta must be 1 for an IF neuron"):
        neuron.load_state_dict(LIF(0.9).state_dict())
    assert neuron.decay().item() == 1.0
