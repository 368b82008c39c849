"""State: where it lives, when it ends, and what it never gets into."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import snntorch as snn
import torch
from snntorch import utils
from torch import Tensor, nn

from spikeprop.neurons import IF, LI, LIF, SpikingNeuron, reset

FAMILIES: list[Callable[..., SpikingNeuron]] = [
    lambda **options: LIF(0.9, **options),
    lambda **options: IF(**options),
    lambda **options: LI(0.9, **options),
]
each_family = pytest.mark.parametrize("build", FAMILIES, ids=["LIF", "IF", "LI"])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 1.5 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def hidden(neuron: nn.Module) -> Tensor:
    assert isinstance(neuron, SpikingNeuron)
    return neuron.mem


@each_family
@pytest.mark.parametrize("grad", [False, True])
def test_hidden_state_gives_the_numbers_of_explicit_state(
    build: Callable[..., SpikingNeuron], grad: bool
) -> None:
    explicit, inside = build(), build(init_hidden=True)
    mem = None
    for row in noise(10, 3, 5).requires_grad_(grad):
        spk, mem = explicit(row, mem)
        assert torch.equal(inside(row), spk)
        assert torch.equal(inside.mem, mem)
        assert explicit.mem is mem


@each_family
def test_state_is_never_in_the_state_dict(build: Callable[..., SpikingNeuron]) -> None:
    neuron = build(init_hidden=True)
    before = set(neuron.state_dict())
    neuron(noise(3, 5))
    assert set(neuron.state_dict()) == before
    assert "mem" not in before
    assert "mem" not in dict(neuron.named_buffers())


@each_family
def test_without_mem_a_step_starts_fresh(build: Callable[..., SpikingNeuron]) -> None:
    neuron, current = build(), noise(3, 5)
    _, first = neuron(current)
    _, again = neuron(current)
    assert torch.equal(first, again)
    neuron(noise(7, 5))  # nor does the last batch's size matter


@pytest.mark.parametrize("placeholder", [LIF(0.9).init_leaky, LIF(0.9).reset_mem])
def test_a_placeholder_means_zeros(placeholder: Callable[[], Tensor]) -> None:
    lif, current = LIF(0.9), noise(3, 5)
    lif(noise(4, 5))
    assert torch.equal(lif(current, placeholder())[1], lif(current)[1])
    assert torch.equal(lif(current, lif.init_leaky())[1], lif(current)[1])
    assert torch.equal(lif.unroll(noise(6, 3, 5), placeholder())[1], lif.unroll(noise(6, 3, 5))[1])


def test_the_mem_that_was_given_is_left_alone() -> None:
    mem = noise(3, 5, seed=1)
    before = mem.clone()
    with torch.no_grad():
        for mechanism in ("subtract", "zero", "none"):
            LIF(0.9, reset_mechanism=mechanism)(noise(3, 5), mem)
    assert torch.equal(mem, before)


@pytest.mark.parametrize("shape", [(2, 5), (5,), (1,), (3, 1)])
def test_a_mem_of_another_shape_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"mem has shape .* \(3, 5\)") as error:
        LIF(0.9)(noise(3, 5), torch.zeros(shape))
    assert str(shape) in str(error.value)


def test_a_mem_that_is_no_floating_tensor_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"mem must be a torch\.Tensor, not float"):
        LIF(0.9)(noise(3, 5), 0.0)
    with pytest.raises(TypeError, match="mem must be of a floating-point dtype"):
        LIF(0.9)(noise(3, 5), torch.zeros(3, 5, dtype=torch.int64))


def test_mem_is_not_an_argument_with_hidden_state() -> None:
    with pytest.raises(TypeError, match="init_hidden=True"):
        LIF(0.9, init_hidden=True)(noise(3, 5), torch.zeros(3, 5))


def test_another_batch_size_needs_a_reset() -> None:
    lif = LIF(0.9, init_hidden=True)
    lif(noise(3, 5))
    with pytest.raises(ValueError, match=r"\(3, 5\).*\(2, 5\).*spikeprop\.neurons\.reset"):
        lif(noise(2, 5))
    reset(lif)
    assert lif(noise(2, 5)).shape == (2, 5)


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = LIF(0.9, init_hidden=True)
        self.rest = nn.ModuleList([nn.Sequential(nn.Linear(5, 5), LI(0.9, init_hidden=True))])

    def forward(self, x: Tensor) -> Tensor:
        out = self.rest[0](self.first(x))
        assert isinstance(out, Tensor)
        return out


@pytest.mark.parametrize("clear", [reset, utils.reset], ids=["ours", "snntorch"])
def test_reset_clears_any_depth(clear: Callable[[nn.Module], None]) -> None:
    net, x = Nested(), noise(3, 5)
    first = net(x)
    assert not torch.equal(net(x), first)
    clear(net)
    assert torch.equal(net(x), first)
    clear(net)
    assert net(noise(2, 5)).shape == (2, 5)


def test_reset_clears_snntorch_neurons_and_no_other_network() -> None:
    other = LIF(0.9, init_hidden=True)
    other(noise(3, 5))
    theirs: list[Any] = [
        snn.Leaky(0.9, init_hidden=True),
        snn.Synaptic(0.9, 0.8, init_hidden=True),
        snn.Alpha(0.9, 0.8, init_hidden=True),
        snn.RLeaky(0.9, linear_features=5, init_hidden=True),
    ]
    for neuron in theirs:
        first = neuron(noise(3, 5))
        reset(nn.Sequential(nn.Sequential(neuron)))
        assert torch.equal(neuron(noise(3, 5)), first)
    assert other.mem.abs().sum() > 0


def test_reset_wants_a_module() -> None:
    with pytest.raises(TypeError, match=r"net must be a torch\.nn\.Module, not list"):
        reset([LIF(0.9)])  # type: ignore[arg-type]


def test_copies_start_without_state_and_are_reset_too() -> None:
    net = nn.Sequential(nn.Linear(5, 5), LIF(0.9, init_hidden=True, learn_beta=True))
    net(noise(3, 5))  # leaves a voltage with a graph, which could not be copied
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), copy.copy(net[1])):
        neuron = twin[1] if isinstance(twin, nn.Sequential) else twin
        assert hidden(neuron).shape == (0,)
        first = twin(noise(3, 5))
        twin(noise(3, 5))
        utils.reset(nn.Sequential(neuron))
        assert torch.equal(twin(noise(3, 5)), first)
    utils.reset(net)
    net(noise(3, 5))
    assert hidden(net[1]).shape == (3, 5)


def test_a_whole_module_survives_torch_save() -> None:
    file = io.BytesIO()
    lif = LIF(0.9, threshold=torch.ones(5), reset_mechanism="zero")
    torch.save(lif, file)
    file.seek(0)
    twin = torch.load(file, weights_only=False)
    assert torch.equal(twin(noise(3, 5))[0], lif(noise(3, 5))[0])


def test_layers_are_not_kept_alive() -> None:
    net = nn.Sequential(LIF(0.9), IF(), LI(0.9))
    watch = [weakref.ref(neuron) for neuron in net]
    del net
    gc.collect()
    assert [w() for w in watch] == [None] * 3


def test_dead_layers_never_break_snntorch() -> None:
    alive = LIF(0.9, init_hidden=True)
    LIF(0.9, init_hidden=True)(noise(3, 5))
    gc.collect()
    alive(noise(3, 5))
    utils.reset(nn.Sequential(alive))
    assert alive.mem.shape == (0,)
    LIF.reset_hidden()
    LIF.detach_hidden()


def test_a_layer_may_die_in_the_middle_of_snntorchs_loop() -> None:
    kept = [LIF(0.9, init_hidden=True)]
    handle = next(
        h for h in reversed(snn.Leaky.instances) if isinstance(h, LIF) and h.mem is kept[0].mem
    )
    assert isinstance(handle, snn.Leaky)
    kept.clear()
    gc.collect()
    assert not isinstance(handle, snn.Leaky)
    # What the loop does next, had its isinstance test come a moment earlier:
    handle.mem = torch.zeros_like(handle.mem)
    handle.mem.detach_()


def test_dead_entries_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snn.SpikingNeuron, "instances", [])
    keepers = [LIF(0.9) for _ in range(20)]
    for _ in range(200):
        LIF(0.9)
        assert len(snn.SpikingNeuron.instances) <= 32
    gc.collect()
    assert all(isinstance(entry, LIF) for entry in snn.SpikingNeuron.instances[:20])
    assert keepers[0].mem.shape == (0,)


def test_snntorch_neurons_in_the_list_stay() -> None:
    theirs = snn.Leaky(0.9, init_hidden=True)
    LIF(0.9)
    assert any(entry is theirs for entry in snn.Leaky.instances)


def test_truncated_bptt_with_hidden_state() -> None:
    net = nn.Sequential(nn.Linear(5, 4), LIF(0.9, init_hidden=True))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x = noise(12, 3, 5)
    for chunk in x.split(4):
        loss = torch.stack([net(row) for row in chunk]).sum()
        optimizer.zero_grad()
        loss.backward()  # would complain of a second time through the graph, were it not cut
        optimizer.step()
        before = hidden(net[1]).clone()
        LIF.detach_hidden()
        assert not hidden(net[1]).requires_grad
        assert torch.equal(hidden(net[1]), before)
    assert before.abs().sum() > 0


def test_state_moves_with_the_module() -> None:
    lif = LIF(0.9, init_hidden=True)
    lif(noise(3, 5))
    before = lif.mem.clone()
    lif.double()
    assert lif.mem.dtype == torch.float64
    assert torch.equal(lif.mem.float(), before)
    lif(noise(3, 5).double())
    assert LIF(0.9, init_hidden=True).to("meta").mem.device.type == "meta"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_cpus_numbers_and_state_moves() -> None:  # pragma: no cover
    x = noise(10, 3, 5)
    for mechanism in ("subtract", "zero", "none"):
        lif = LIF(0.9, reset_mechanism=mechanism, init_hidden=True)
        spk = [lif(row) for row in x[:5]]
        lif.cuda()
        spk += [lif(row.cuda()).cpu() for row in x[5:]]
        expected, mem = LIF(0.9, reset_mechanism=mechanism).unroll(x)
        assert torch.equal(torch.stack(spk), expected)
        torch.testing.assert_close(lif.mem.cpu(), mem[-1])
