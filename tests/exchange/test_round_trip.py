"""A network written as NIR and read back has the same spikes, step by step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikeprop.neurons import (
    ALIF,
    EIF,
    IF,
    LI,
    LIF,
    PLIF,
    RLIF,
    CuBaLIF,
    Delay,
    Lapicque,
    RefractoryLIF,
    RSynaptic,
    SpikingNeuron,
    Synaptic,
    reset,
)
from spikeprop.sums import Parallel, Residual

nir = pytest.importorskip("nir")

from spikeprop.nir import from_nir, read, to_nir, write  # noqa: E402
from spikeprop.nir.dialects import DIALECTS  # noqa: E402
from spikeprop.nir.layers import layer_of  # noqa: E402
from spikeprop.nir.network import Scale, order_of  # noqa: E402

STEPS = 200


def poisson(*features: int, rate: float = 0.2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.poisson(torch.full((STEPS, 3, *features), rate), generator=generator)


def spread(low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(*shape)


def hidden(neuron: type[SpikingNeuron], *args: object, **options: object) -> SpikingNeuron:
    return neuron(*args, init_hidden=True, **options)


def dense() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        Delay(3 * torch.randint(2, (12,)), init_hidden=True),
        nn.Linear(12, 20),
        hidden(LIF, 0.9, spread(0.3, 0.6, 20), reset_mechanism="zero"),
        nn.Dropout(0.5),
        Delay(2, init_hidden=True),
        nn.Linear(20, 15, bias=False),
        hidden(LIF, spread(0.5, 0.99, 15), 0.4, reset_mechanism="subtract"),
        nn.Linear(15, 10),
        hidden(IF, 0.6, reset_mechanism="zero", reset_delay=False),
        nn.Linear(10, 8),
        hidden(Synaptic, 0.7, 0.8, 0.5, reset_mechanism="zero"),
        nn.Linear(8, 8),
        hidden(LIF, 0.0, 0.1, reset_mechanism="none"),
        nn.Linear(8, 4),
        hidden(LI, 0.95),
        Scale(torch.tensor(2.0)),
        hidden(LI, 1.0),
    )


def convolutional() -> nn.Module:
    norm = nn.BatchNorm2d(6)
    nn.init.uniform_(norm.running_mean, -0.1, 0.1)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    zero = {"reset_mechanism": "zero"}
    return nn.Sequential(
        nn.Conv2d(2, 6, (3, 2), stride=2, padding=1, groups=2),
        norm,
        hidden(LIF, 0.9, spread(0.1, 0.3, 6, 1, 1), **zero),
        nn.AvgPool2d((2, 1)),
        nn.Conv2d(6, 4, 2, padding="same", dilation=1),
        nn.AvgPool2d(2, divisor_override=1),
        hidden(LIF, 0.8, 0.2, **zero),
        nn.Flatten(2),
        nn.Conv1d(4, 5, 1),
        hidden(LIF, 0.8, 0.2, **zero),
        nn.Flatten(),
        nn.LazyLinear(7),
        hidden(LIF, 0.8, 0.2, **zero),
    )


class Sums(nn.Module):
    """Parallel, residual and recurrent connections."""

    def __init__(self) -> None:
        super().__init__()
        zero = {"reset_mechanism": "zero"}
        self.first = nn.Sequential(
            Parallel(nn.Linear(12, 9), nn.Linear(12, 9, bias=False)), hidden(LIF, 0.9, 0.3, **zero)
        )
        self.second = nn.Sequential(Residual(nn.Linear(9, 9)), hidden(LIF, 0.8, 0.5, **zero))
        self.third, self.skip = nn.Linear(9, 6), nn.Linear(12, 6)
        self.lif = hidden(LIF, 0.9, 0.4, **zero)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1) if x.dim() > 2 else x
        return self.lif(self.third(self.second(self.first(x))) + self.skip(x))


def families() -> nn.Module:
    zero = {"reset_mechanism": "zero"}
    return nn.Sequential(
        nn.Linear(12, 10),
        hidden(Lapicque, 0.8, threshold=0.5, **zero),
        nn.Linear(10, 9),
        hidden(PLIF, 3.0, threshold=0.3),
        nn.Linear(9, 8),
        hidden(CuBaLIF, 5.0, 10.0, threshold=0.5, **zero),
        nn.Linear(8, 7),
        hidden(RLIF, 0.9, linear_features=7, threshold=0.5, **zero),
        nn.Linear(7, 6),
        hidden(RSynaptic, 0.7, 0.9, linear_features=6, threshold=0.5, **zero),
        nn.Linear(6, 5),
        hidden(RLIF, 0.9, -0.3, all_to_all=False, threshold=0.5, **zero),
    )


def recurrent_convolution() -> nn.Module:
    zero = {"reset_mechanism": "zero"}
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), hidden(RLIF, 0.9, conv2d_channels=3, kernel_size=3, **zero)
    )


def run(net: nn.Module, x: Tensor) -> Tensor:
    reset(net)
    with torch.no_grad():
        outputs = torch.stack([net(x_t) for x_t in x])
    reset(net)
    return outputs


@pytest.mark.parametrize(
    ("make", "features"),
    [
        (dense, (3, 4)),
        (convolutional, (2, 9, 8)),
        (Sums, (12,)),
        (families, (12,)),
        (recurrent_convolution, (2, 5, 6)),
    ],
)
@pytest.mark.parametrize("through_a_file", [False, True])
def test_same_spikes_over_200_steps(
    make: Callable[[], nn.Module], features: tuple[int, ...], through_a_file: bool, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    net = make().eval()
    x = poisson(*features)
    net(x[0])  # lazy shapes
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(3)
    wanted = run(net, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the reset "subtract"
        if through_a_file:
            write(tmp_path / "net.nir", net, features)
            again = read(tmp_path / "net.nir")
            assert [p.name for p in tmp_path.iterdir()] == ["net.nir"]
        else:
            again = from_nir(to_nir(net, features))
    found = run(again, x)
    spiking = make is not dense
    assert spiking == bool(((wanted == 0) | (wanted == 1)).all())
    assert wanted.any(dim=0).float().mean() > 0.5, "silence proves nothing"
    if spiking:
        assert torch.equal(found, wanted)
    else:  # the last layers integrate: the spikes before them are compared by what they add up to
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)
    inner, outer = _spikes(again, x), _spikes(net, x)
    assert len(inner) == len(outer) >= 1
    for a, b in zip(inner, outer, strict=True):
        assert torch.equal(a, b)


def _spikes(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Spikes of every firing neuron, in the order of their calls (a file sorts by names)."""
    seen: dict[nn.Module, list[Tensor]] = {}
    neurons = [m for m in net.modules() if isinstance(m, SpikingNeuron) and not isinstance(m, LI)]
    handles = [
        m.register_forward_hook(lambda m, i, o: seen.setdefault(m, []).append(o)) for m in neurons
    ]
    run(net, x)
    for handle in handles:
        handle.remove()
    return [torch.stack(spikes) for spikes in seen.values()]


def test_the_nodes_are_those_of_the_equations() -> None:
    net = nn.Sequential(nn.Linear(3, 2), hidden(LIF, 0.9, 0.5, reset_mechanism="zero"))
    graph = to_nir(net, (3,))
    node = graph.nodes["1"]
    np.testing.assert_allclose(node.tau, 1e-4 / (1 - np.float32(0.9)))
    np.testing.assert_allclose(node.r * 1e-4 / node.tau, 1.0)
    np.testing.assert_allclose(node.v_threshold, 0.5)
    assert node.v_threshold.shape == (2,)
    assert set(graph.edges) == {("input", "0"), ("0", "1"), ("1", "output")}
    norse = to_nir(net, (3,), dialect="norse").nodes["1"]
    assert (norse.r == 1).all()
    np.testing.assert_allclose(norse.v_threshold, 0.5 * (1 - np.float32(0.9)))
    sinabs = to_nir(net, (3,), dialect="sinabs").nodes["1"]
    np.testing.assert_allclose(np.exp(-1 / sinabs.tau), np.float32(0.9))


def lif_node(**changes: object) -> object:
    ones = np.ones(2)
    values = {"tau": 2e-3 * ones, "r": 20 * ones, "v_leak": 0 * ones, "v_threshold": ones}
    return nir.LIF(**{**values, **changes})


def chain(*nodes: object) -> object:
    size = {"input": np.array([2])}
    return nir.NIRGraph.from_list(nir.Input(size), *nodes, nir.Output({"output": np.array([2])}))


def euler(node: object, x: Tensor, dt: float = 1e-4) -> Tensor:
    """NIR's differential equation of a LIF by forward Euler, reset within the step."""
    v, out = torch.zeros(len(x[0]), 2), []
    tau, r, leak, threshold = (
        torch.as_tensor(getattr(node, n)).float() for n in ("tau", "r", "v_leak", "v_threshold")
    )
    for x_t in x:
        v = v + dt / tau * (leak - v + r * x_t)
        spk = (v > threshold).float()
        v = v * (1 - spk)
        out.append(spk)
    return torch.stack(out)


def test_a_foreign_lif_is_its_differential_equation() -> None:
    node = lif_node(v_leak=np.array([0.3, -0.2]), tau=np.array([2e-3, 1e-3]))
    x = 2 * torch.rand(STEPS, 3, 2, generator=torch.Generator().manual_seed(1))
    wanted = euler(node, x)
    found = run(from_nir(chain(node)), x)
    assert 0.05 < wanted.mean() < 0.95
    assert (found != wanted).float().mean() < 1e-2  # rounding at the threshold
    torch.testing.assert_close(found.sum(0), wanted.sum(0), rtol=0, atol=1.0)


def test_foreign_integrators() -> None:
    ones, dt = np.ones(2), 1e-4
    x = torch.rand(50, 3, 2, generator=torch.Generator().manual_seed(1))
    found = run(from_nir(chain(nir.I(3e3 * ones))), x)
    torch.testing.assert_close(found, 0.3 * x.cumsum(0))
    node = nir.CubaLI(1e-3 * ones, 2e-3 * ones, 2.0 * ones, 0 * ones, 3.0 * ones)
    syn = mem = torch.zeros(3, 2)
    for x_t in x:
        syn = syn + dt / 1e-3 * (-syn + 3.0 * x_t)
        mem = mem + dt / 2e-3 * (-mem + 2.0 * syn)
    torch.testing.assert_close(run(from_nir(chain(node)), x)[-1], mem)
    fires = run(from_nir(chain(nir.Threshold(np.array([0.5, 0.2])))), x)
    assert torch.equal(fires, (x > torch.tensor([0.5, 0.2])).float())


class Recurrent(nn.Module):
    """The same network as the graph below, written out."""

    def __init__(self, w: Tensor, v: Tensor, b: Tensor, outer: Tensor) -> None:
        super().__init__()
        self.w, self.v, self.b, self.outer = w, v, b, outer

    def forward(self, x: Tensor) -> Tensor:
        mem1 = mem2 = spk1 = spk2 = torch.zeros(len(x[0]), 2)
        out = []
        for x_t in x:
            current = x_t @ self.w.T + spk1 @ self.v.T + self.b + spk2 @ self.outer.T
            mem1 = 0.95 * mem1 * (1 - spk1) + current
            spk1 = (mem1 > 1).float()
            mem2 = 0.95 * mem2 * (1 - spk2) + spk1
            spk2 = (mem2 > 1).float()
            out.append(spk2)
        return torch.stack(out)


@pytest.mark.parametrize("nested", [False, True])
def test_cycles_carry_the_step_before(nested: bool) -> None:
    torch.manual_seed(2)
    w, v, b, outer = (
        2 * torch.rand(2, 2),
        torch.randn(2, 2),
        0.1 * torch.rand(2),
        torch.randn(2, 2),
    )
    array = [t.numpy() for t in (w, v, b, outer)]
    size = np.array([2])
    inner_nodes = {
        "lif": lif_node(),
        "w_rec": nir.Affine(array[1], array[2]),
    }
    inner_edges = [("lif", "w_rec"), ("w_rec", "lif")]
    nodes = {
        "in": nir.Input({"input": size}),
        "w": nir.Linear(array[0]),
        "lif2": lif_node(),
        "outer": nir.Linear(array[3]),
        "out": nir.Output({"output": size}),
    }
    if nested:
        inner_nodes |= {"i": nir.Input({"input": size}), "o": nir.Output({"output": size})}
        inner_edges += [("i", "lif"), ("lif", "o")]
        nodes["rnn"] = nir.NIRGraph(inner_nodes, inner_edges, type_check=False)
        edges, core = [], "rnn"
    else:
        nodes |= inner_nodes
        edges, core = inner_edges, "lif"
    edges = [
        *edges,
        ("in", "w"),
        ("w", core),
        (core, "lif2"),
        ("lif2", "out"),
        ("lif2", "outer"),
        ("outer", core),
    ]
    net = from_nir(nir.NIRGraph(nodes, edges, type_check=False))
    x = (torch.rand(STEPS, 3, 2) < 0.3).float()
    wanted = Recurrent(w, v, b, outer)(x)
    assert 0.02 < wanted.mean() < 0.9
    assert torch.equal(run(net, x), wanted)
    assert torch.equal(run(net, x), wanted), "nothing is left over from the run before"


def test_order_of_refuses_what_cannot_be_run() -> None:
    with pytest.raises(ValueError, match="cycle without a neuron"):
        order_of("iabo", [("i", "a"), ("a", "b"), ("b", "a"), ("b", "o")], set())
    with pytest.raises(ValueError, match="nothing reaches node 'a'"):
        order_of("iabo", [("a", "b"), ("b", "a"), ("i", "o")], {"a"})


def lif_net(*modules: nn.Module, **options: object) -> nn.Module:
    lif = hidden(LIF, 0.9, **{"reset_mechanism": "zero", **options})
    return nn.Sequential(nn.Linear(4, 4), lif, *modules)


@pytest.mark.parametrize(
    ("net", "dialect", "words"),
    [
        (lif_net(nn.Unflatten(1, (1, 2, 2)), nn.MaxPool2d(2)), "nir", "'2' is a Unflatten"),
        (lif_net(nn.ReLU()), "nir", "'2' is a ReLU, for which NIR has no node"),
        (lif_net(nn.BatchNorm1d(4)), "nir", "batch norm '2' can"),
        (lif_net(inhibition=True), "nir", "NIR cannot say inhibition"),
        (lif_net(graded_spikes_factor=2.0), "nir", "cannot say graded_spikes_factor"),
        (lif_net(threshold=torch.rand(4)), "snntorch", "fold_thresholds=True"),
        (lif_net(nn.Linear(4, 4), hidden(LI, 0.9)), "snntorch", "does not know NIR's LI"),
        (nn.Sequential(nn.Linear(4, 4), hidden(IF)), "snntorch", "does not know NIR's IF"),
        (nn.Sequential(nn.Linear(4, 4), hidden(LIF, 0.0)), "sinabs", "no time constant"),
        (
            nn.Sequential(nn.Linear(4, 4), hidden(LIF, torch.tensor([0.9, 1, 1, 1]))),
            "nir",
            "some neurons leak",
        ),
        (
            nn.Sequential(nn.Linear(4, 4), hidden(RefractoryLIF, 0.9, 2)),
            "nir",
            "RefractoryLIF; NIR has n",
        ),
        (nn.Sequential(nn.Linear(4, 4), hidden(ALIF, 0.9, 0.9)), "nir", "is a ALIF; NIR has"),
        (nn.Sequential(nn.Linear(4, 4), hidden(EIF)), "nir", "nonlinear sub-threshold"),
        (
            nn.Sequential(nn.Linear(4, 4), hidden(RLIF, 0.9, linear_features=4)),
            "norse",
            "no recurrent connections",
        ),
        (lif_net(), "brian", "dialect has to be one of"),
    ],
)
def test_what_nir_or_a_reader_cannot_say_is_named(net: nn.Module, dialect: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        to_nir(net, (4,), dialect=dialect)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(4, 4), hidden(LIF, 0.9)

    def forward(self, x: Tensor) -> Tensor:
        return self.lif(torch.relu(self.fc(x)))


def test_functions_and_snntorch_neurons_are_refused_and_subtract_warns() -> None:
    import snntorch as snn

    with pytest.raises(ValueError, match="not a module"):
        to_nir(Functional(), (4,))
    with pytest.raises(ValueError, match=r"no neuron of spikeprop\.neurons"):
        to_nir(nn.Sequential(nn.Linear(4, 4), snn.Leaky(0.9, init_hidden=True)), (4,))
    with pytest.warns(UserWarning, match="Train with reset_mechanism='zero'"):
        to_nir(lif_net(reset_mechanism="subtract"), (4,))
    synaptic = hidden(Synaptic, 0.5, 0.9, reset_mechanism="zero")
    with pytest.warns(UserWarning, match="and a delay.*Train with reset_delay=False"):
        to_nir(nn.Sequential(nn.Linear(4, 4), synaptic), (4,))


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (lambda: chain(lif_node(v_reset=np.full(2, 0.1))), "v_reset other than 0"),
        (lambda: chain(lif_node(tau=np.array([1e-3, 1e-5]))), "shorter than the time step"),
        (lambda: chain(nir.Delay(np.array([1e-4, 2.5e-4]))), "whole number of time steps"),
        (
            lambda: nir.NIRGraph(
                {"a": lif_node(), "b": lif_node()}, [("a", "b")], type_check=False
            ),
            "exactly one Input",
        ),
    ],
)
def test_graphs_that_cannot_be_read_are_refused_by_name(
    graph: Callable[[], object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        from_nir(graph())


def test_a_node_without_a_module_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="node 'a': NIR's object has no module here"):
        layer_of("a", object(), DIALECTS["nir"])


def test_bad_arguments_and_files(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="NIRGraph"):
        from_nir("graph")
    with pytest.raises(ValueError, match="dt has to be above 0"):
        from_nir(chain(lif_node()), dt=0.0)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.nir")
    (tmp_path / "text.nir").write_text("no graph")
    with pytest.raises(ValueError, match="damaged or no NIR file"):
        read(tmp_path / "text.nir")
