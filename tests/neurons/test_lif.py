"""LIF and IF against their equation and against snnTorch's Leaky."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import snntorch as snn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from namesakes import option_id
from snntorch import surrogate
from snntorch.functional import quant
from torch import Tensor, nn

from spikeprop.neurons import IF, LI, LIF

RESETS = ["subtract", "zero", "none"]


def run(neuron: nn.Module, current: Tensor) -> Tensor:
    """Step through a sequence with explicit state, whichever library the neuron is from."""
    mem = torch.zeros_like(current[0])
    seen = []
    for row in current:
        spk, mem = neuron(row, mem)
        seen += [spk, mem]
    return torch.stack(seen)


def assert_same(ours: nn.Module, theirs: nn.Module, current: Tensor) -> None:
    """Same spikes and voltages, and same gradients of a random functional of them."""
    current = current.clone().requires_grad_()
    a, b = run(ours, current), run(theirs, current)
    assert a.dtype == b.dtype
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(run(ours, current), a)
    weight = torch.randn(a.shape, generator=torch.Generator().manual_seed(1))
    inputs = [current, *ours.parameters()], [current, *theirs.parameters()]
    da = torch.autograd.grad((a * weight).sum(), inputs[0])
    db = torch.autograd.grad((b * weight).sum(), inputs[1])
    for x, y in zip(da, db, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6 * float(y.abs().max().clamp_min(1)))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 1.5 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_equation_by_hand() -> None:
    lif = LIF(beta=0.5)
    spk, mem = lif(torch.tensor([[0.8, 1.2]]))
    assert spk.tolist() == [[0.0, 1.0]]
    spk, mem = lif(torch.tensor([[0.8, 0.0]]), mem)
    torch.testing.assert_close(mem, torch.tensor([[1.2, -0.4]]))
    assert spk.tolist() == [[1.0, 0.0]]
    assert lif.mem is mem


def test_subthreshold_voltage_has_the_closed_form() -> None:
    spk, mem = LIF(0.8, threshold=10.0).unroll(torch.full((50, 1, 1), 0.3, dtype=torch.float64))
    t = torch.arange(1, 51, dtype=torch.float64)
    beta = float(torch.tensor(0.8))
    torch.testing.assert_close(mem[:, 0, 0], 0.3 * (1 - beta**t) / (1 - beta))
    assert not spk.any()


def test_a_voltage_at_the_threshold_does_not_fire() -> None:
    spk, _ = LIF(0.5)(torch.tensor([[1.0, 1.0000001]]))
    assert spk.tolist() == [[0.0, 1.0]]


@settings(max_examples=40, deadline=None)
@given(
    beta=st.floats(0, 1, width=32),
    threshold=st.floats(-0.5, 2, width=32),
    reset=st.sampled_from(RESETS),
    shape=st.lists(st.integers(1, 4), max_size=4),
    learn=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_numbers_and_gradients_of_snntorch(
    beta: float, threshold: float, reset: str, shape: list[int], learn: bool, seed: int
) -> None:
    options: dict[str, Any] = {
        "reset_mechanism": reset,
        "learn_beta": learn,
        "learn_threshold": learn,
    }
    assert_same(
        LIF(beta, threshold, **options),
        snn.Leaky(beta, threshold, **options),
        noise(12, *shape, seed=seed),
    )


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("learn", [False, True])
def test_one_beta_and_threshold_a_neuron(reset: str, learn: bool) -> None:
    beta, threshold = torch.tensor([-0.5, 0.0, 0.7, 1.0, 1.5]), torch.linspace(0.2, 1.5, 5)
    options: dict[str, Any] = {
        "reset_mechanism": reset,
        "learn_beta": learn,
        "learn_threshold": learn,
    }
    ours = LIF(beta, threshold, **options)
    assert_same(ours, snn.Leaky(beta.clone(), threshold.clone(), **options), noise(12, 3, 5))
    assert ours.decay().tolist() == beta.clamp(0, 1).tolist()


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize(
    "options",
    [
        {"reset_delay": False},
        {"graded_spikes_factor": 0.7},
        {"graded_spikes_factor": 0.7, "learn_graded_spikes_factor": True, "learn_threshold": True},
        {"graded_spikes_factor": 0.7, "reset_delay": False, "learn_beta": True},
        {"surrogate_disable": True},
        {"inhibition": True},
        {"inhibition": True, "reset_delay": False},
        {"state_quant": quant.state_quant(num_bits=4, lower_limit=3.0)},
        {"state_quant": quant.state_quant(num_bits=3), "inhibition": True, "reset_delay": False},
    ],
    ids=option_id,
)
@pytest.mark.filterwarnings("ignore:Inhibition is an unstable feature")
def test_every_option_of_snntorch(reset: str, options: dict[str, Any]) -> None:
    assert_same(
        LIF(0.9, reset_mechanism=reset, **options),
        snn.Leaky(0.9, reset_mechanism=reset, **options),
        noise(12, 3, 5),
    )


def boxcar(x: Tensor) -> Tensor:
    """A user's own spike function, which is not even a step."""
    return x.clamp(0, 0.5)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize(
    "spike_grad",
    [
        surrogate.atan(alpha=3.0),
        surrogate.fast_sigmoid(slope=10),
        surrogate.sigmoid(slope=5),
        surrogate.straight_through_estimator(),
        surrogate.triangular(),
        surrogate.SFS(slope=5),
        surrogate.heaviside(),
        boxcar,
    ],
)
def test_surrogates(reset: str, spike_grad: Callable[[Tensor], Tensor]) -> None:
    assert_same(
        LIF(0.9, spike_grad=spike_grad, reset_mechanism=reset),
        snn.Leaky(0.9, spike_grad=spike_grad, reset_mechanism=reset),
        noise(12, 3, 5),
    )


@pytest.mark.parametrize("output", [False, True])
def test_returns_what_snntorch_returns_with_hidden_state(output: bool) -> None:
    ours = LIF(0.9, init_hidden=True, output=output)
    theirs = snn.Leaky(0.9, init_hidden=True, output=output)
    for row in noise(6, 3, 5):
        a, b = ours(row), theirs(row)
        assert isinstance(a, tuple) == isinstance(b, tuple) == output
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(ours.mem, theirs.mem)


TUTORIAL = """
import torch
from torch import nn

torch.manual_seed(0)
data = (torch.rand(8, 20, 16, 6) < 0.4).float()
labels = torch.randint(3, (8, 16))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 12)
        self.lif1 = Leaky(beta=0.9, learn_beta=True, threshold=0.5)
        self.fc2 = nn.Linear(12, 3)
        self.lif2 = Leaky(beta=0.8, learn_threshold=True, reset_mechanism="zero")

    def forward(self, x):
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.reset_mem()
        spk2_rec, mem2_rec = [], []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[step]), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec), torch.stack(mem2_rec)

net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
losses = []
for x, y in zip(data, labels):
    spk, mem = net(x)
    loss = sum(nn.functional.cross_entropy(m, y) for m in mem)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
"""

HIDDEN = """
import torch
from torch import nn
from snntorch import surrogate, utils

torch.manual_seed(0)
data = (torch.rand(6, 20, 16, 6) < 0.4).float()
labels = torch.randint(3, (6, 16))
grad = surrogate.fast_sigmoid(slope=25)
net = nn.Sequential(
    nn.Linear(6, 12), Leaky(beta=0.9, spike_grad=grad, init_hidden=True),
    nn.Linear(12, 3), Leaky(beta=0.9, spike_grad=grad, init_hidden=True, output=True),
)
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
losses = []
for x, y in zip(data, labels):
    utils.reset(net)
    mems = [net(row)[1] for row in x]
    loss = sum(nn.functional.cross_entropy(m, y) for m in mems)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
"""


@pytest.mark.parametrize("script", [TUTORIAL, HIDDEN], ids=["tutorial", "hidden"])
def test_swaps_into_a_training_script(script: str) -> None:
    ours: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    exec("from spikeprop.neurons import LIF as Leaky" + script, ours)
    exec("from snntorch import Leaky" + script, theirs)
    assert ours["losses"][-1] != ours["losses"][0]
    assert ours["losses"] == pytest.approx(theirs["losses"], rel=1e-6)
    for a, b in zip(ours["net"].parameters(), theirs["net"].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_if_is_a_lif_that_does_not_leak() -> None:
    current = noise(12, 3, 5)
    assert torch.equal(run(IF(0.7), current), run(LIF(1.0, 0.7), current))
    assert IF(reset_mechanism="zero", init_hidden=True).reset_mechanism == "zero"
    with pytest.raises(TypeError, match="beta fixed at 1"):
        IF(beta=0.9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_spikes_and_voltage_have_the_currents_dtype(dtype: torch.dtype) -> None:
    lif = LIF(torch.full((5,), 0.9), learn_threshold=True)
    for current in (noise(3, 5).to(dtype), noise(3, 5).to(dtype).requires_grad_()):
        spk, mem = lif(current)
        assert spk.dtype == mem.dtype == dtype
    spk, mem = lif(noise(3, 5), torch.zeros(3, 5, dtype=torch.float64))
    assert mem.dtype == torch.float64


def test_parameters_are_copies() -> None:
    shared = torch.ones(5)
    a, b = LIF(0.9, threshold=shared), LIF(0.9, threshold=shared)
    a.threshold.add_(1)
    assert b.threshold.tolist() == shared.tolist() == [1.0] * 5


def test_reset_mechanism_can_be_assigned() -> None:
    lif, current = LIF(0.9), noise(12, 3, 5)
    lif.reset_mechanism = "zero"
    assert torch.equal(run(lif, current), run(LIF(0.9, reset_mechanism="zero"), current))
    assert int(lif.reset_mechanism_val) == 1


def test_repr_tells_layers_apart() -> None:
    assert "beta=0.9, threshold=tensor(5,), reset_mechanism='zero'" in repr(
        LIF(0.9, torch.ones(5), reset_mechanism="zero")
    )
    assert repr(LI(0.5)) == "LI(beta=0.5, init_hidden=False)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": 1.5}, r"beta must lie in \[0, 1\], but is 1.5"),
        ({"beta": [0.5, -0.1]}, r"beta must lie in \[0, 1\]"),
        ({"beta": float("nan")}, "beta must be finite, but is nan"),
        ({"beta": torch.tensor([0.5, float("nan")])}, "beta must be finite"),
        ({"beta": torch.zeros(0)}, "beta must not be empty"),
        ({"beta": 0.9, "threshold": float("nan")}, "threshold must be finite"),
        ({"beta": 0.9, "threshold": float("inf")}, "threshold must be finite"),
        ({"beta": 0.9, "graded_spikes_factor": float("nan")}, "graded_spikes_factor must be"),
        ({"beta": 0.9, "reset_mechanism": "substract"}, "'subtract', 'zero', 'none'.*'substract'"),
    ],
)
def test_refuses_bad_values(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LIF(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": "0.9"}, "beta must be a number"),
        ({"beta": 0.9, "threshold": None}, "threshold must be a number"),
        ({"beta": 0.9, "threshold": torch.tensor(1j)}, "threshold must be real"),
        ({"beta": 0.9, "spike_grad": "atan"}, "spike_grad must be a function"),
        ({"beta": 0.9, "state_quant": 4}, "state_quant must be a function"),
    ],
)
def test_refuses_bad_types(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        LIF(**arguments)


@pytest.mark.parametrize(
    ("beta", "threshold"),
    [
        (0.9, torch.ones(4)),
        (torch.full((4,), 0.9), 1.0),
        (0.9, torch.ones(2, 3, 5)),
        (0.9, torch.ones(3, 1, 5)),
    ],
)
def test_refuses_parameters_that_do_not_fit(beta: Any, threshold: Any) -> None:
    with pytest.raises(ValueError, match=r"does not fit a current of shape \(3, 5\)"):
        LIF(beta, threshold)(noise(3, 5))


def test_a_parameter_never_enlarges_the_current() -> None:
    with pytest.raises(ValueError, match="threshold has shape"):
        LIF(0.9, torch.ones(5))(noise(3, 1))


def test_a_threshold_a_channel_broadcasts() -> None:
    threshold = torch.tensor([0.5, 1.5]).reshape(2, 1, 1)
    assert_same(LIF(0.9, threshold), snn.Leaky(0.9, threshold), noise(6, 3, 2, 4, 4))


@pytest.mark.parametrize("current", [torch.ones(3, 5, dtype=torch.int64), torch.ones(3, 5) > 0])
def test_refuses_currents_that_are_not_floating(current: Tensor) -> None:
    with pytest.raises(TypeError, match="current must be of a floating-point dtype"):
        LIF(0.9)(current)
    with pytest.raises(TypeError, match="current must be of a floating-point dtype"):
        LIF(0.9).unroll(current)


def test_refuses_currents_that_are_not_tensors() -> None:
    with pytest.raises(TypeError, match=r"current must be a torch\.Tensor, not float"):
        LIF(0.9)(0.5)


def test_inhibition_needs_flat_rows() -> None:
    with pytest.raises(ValueError, match="inhibition needs a current of shape"):
        LIF(0.9, inhibition=True)(noise(3, 2, 5))
