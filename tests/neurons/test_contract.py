"""What every neuron keeps: explicit and hidden state, sequences, signal rows, its filter."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from families import Build, every, noise, stepped
from snntorch import utils
from torch import Tensor, nn

from spikeprop.neurons import (
    ALIF,
    BRF,
    EIF,
    LIF,
    QIF,
    AdEx,
    Izhikevich,
    MemState,
    RefractoryLIF,
    SpikingNeuron,
    Synaptic,
    TwoCompartmentLIF,
    advance,
    local_jacobian,
    make_filter,
    read,
    reset,
)
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.surrogates import heaviside


@pytest.fixture(autouse=True)
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stochastic neurons fire exactly where that is more likely than not."""
    monkeypatch.setattr(torch, "rand_like", lambda x: torch.full_like(x, 0.5))


def assert_equal(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> None:
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x, y)


@every
@pytest.mark.parametrize("grad", [False, True])
def test_one_step_in_every_mode(build: Build, grad: bool) -> None:
    explicit, inside, shown = build(), build(init_hidden=True), build(init_hidden=True, output=True)
    current = noise(12, 3, 5).requires_grad_(grad)
    expected = stepped(build(), current)
    state: tuple[Tensor, ...] = ()
    fields = explicit.State._fields
    for t, row in enumerate(current):
        outputs = explicit(row, *state)
        state = outputs if "spk" in fields else outputs[1:]
        named = explicit(row, **dict(zip(fields, state, strict=True))) if t else outputs
        assert len(named) == len(outputs)
        assert_equal(outputs, tuple(values[t] for values in expected))
        assert_equal(shown(row), outputs)
        assert torch.equal(inside(row), outputs[0])
        assert_equal(tuple(inside.state), state)
        assert_equal(tuple(explicit.state), state if t == 0 else tuple(explicit.state))
        assert inside.mem is inside.state.mem
    assert_equal(explicit.unroll(current), expected)
    assert_equal(inside.unroll(current), expected)


@every
def test_unroll_continues(build: Build) -> None:
    neuron, current = build(), noise(12, 3, 5)
    whole = neuron.unroll(current)
    head = neuron.unroll(current[:5])
    state = [values[-1] for values in head[-len(neuron.State._fields) :]]
    tail = neuron.unroll(current[5:], *state)
    assert_equal(tuple(torch.cat(pair) for pair in zip(head, tail, strict=True)), whole)
    fields = dict(zip(neuron.State._fields, state, strict=True))
    assert_equal(neuron.unroll(current[5:], **fields), tail)


@every
def test_signal_rows_are_rows(build: Build) -> None:
    neuron, current, signal = build(), noise(12, 3, 5), noise(12, 2, 5, seed=1)
    together = neuron.unroll(current, signal=signal)
    alone = neuron.unroll(current), neuron.unroll(signal)
    if isinstance(neuron, TwoCompartmentLIF):
        alone = alone[0], neuron.unroll(torch.zeros(12, 0, 5), signal=signal)
    for whole, *expected in zip(together, *alone, strict=True):
        # A matrix product over more rows may round differently.
        torch.testing.assert_close(whole, torch.cat(expected, dim=1), rtol=1e-5, atol=1e-5)
    hidden = build(init_hidden=True)
    for t in range(12):
        assert torch.equal(hidden(current[t], signal=signal[t]), together[0][t])


@every
def test_resets_and_copies_start_fresh(build: Build) -> None:
    net = nn.Sequential(build(init_hidden=True))
    current = noise(12, 3, 5)
    expected = torch.stack([net(row) for row in current])
    for clear in (reset, utils.reset):
        clear(net)
        assert torch.equal(torch.stack([net(row) for row in current]), expected)
    twin = copy.deepcopy(net)
    assert torch.equal(torch.stack([twin(row) for row in current]), expected)
    reset(net)
    assert net(noise(2, 5)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"\(2, 5\).*\(3, 5\).*spikeprop\.neurons\.reset"):
        net(noise(3, 5))


@every
def test_a_placeholder_is_a_fresh_start(build: Build) -> None:
    neuron, current = build(), noise(3, 5)
    fresh = neuron(current)
    placeholder = neuron.reset_mem()
    given = placeholder if isinstance(placeholder, tuple) else (placeholder,)
    assert_equal(neuron(current, *given), fresh)


@every
def test_state_dict_knows_no_batch(build: Build) -> None:
    trained, blank = build(init_hidden=True), build(init_hidden=True)
    keys = set(blank.state_dict())
    trained(noise(3, 5))
    assert set(trained.state_dict()) == keys
    assert not keys & (set(trained.State._fields) - {"spk"})
    blank(noise(7, 5))
    blank.load_state_dict(trained.state_dict())
    assert blank(noise(7, 5)).shape == (7, 5)


@every
def test_truncation_cuts_the_graph(build: Build) -> None:
    neuron = build(init_hidden=True)
    neuron(noise(3, 5).requires_grad_())
    before = neuron.mem.clone()
    type(neuron).detach_hidden()
    assert not any(value.requires_grad for value in neuron.state)
    assert torch.equal(neuron.mem, before)
    type(neuron).reset_hidden()
    assert neuron.mem.shape == (0,)


@every
def test_filter_is_the_derivative_of_the_step(build: Build) -> None:
    """A step's forward-mode derivative, taken where nothing fires, against the stated filter."""
    neuron = build().double()
    current = 0.01 * noise(3, 5, dtype=torch.float64)
    _, state = neuron.step(current)
    local = local_jacobian(neuron.step_function(current), current, state)
    if not neuron.exact:
        with pytest.raises(TypeError, match="linearize"):
            neuron.filter()
        return
    with torch.no_grad():
        stated, linearized = neuron.filter(), neuron.linearize(current, state)
    assert stated.shared
    for given in (stated, linearized):
        impulse, expected = [], []
        for f in (given, local):
            q = f.B.reshape(f.order, -1)[:, 0]
            A = f.A.reshape(f.order, f.order, -1)[..., 0]
            C = f.C.reshape(f.order, -1)[:, 0]
            response = impulse if f is given else expected
            for _ in range(20):
                response.append(float(C.double() @ q.double()))
                q = A @ q
        assert impulse == pytest.approx(expected, rel=1e-6, abs=1e-9)


@every
def test_the_trace_is_the_derivative_of_the_voltage(build: Build) -> None:
    """Autograd through whole runs without surrogates, against the factored trace.

    With soft reset neurons fire, since what is taken away has no derivative then; else they do not.
    """
    neuron = build().double()
    if not neuron.exact:
        pytest.skip("truncated: its Jacobian differs from neuron to neuron")
    fires = getattr(neuron, "reset_mechanism", "none") == "subtract"
    neuron.spike_grad = heaviside
    x = noise(12, 3, 4, dtype=torch.float64) * (1 if fires else 0.01)
    weight = (0.5 * noise(5, 4, seed=1, dtype=torch.float64)).requires_grad_()
    outputs = neuron.unroll(x @ weight.T)
    assert bool(((outputs[0] > 0) & (outputs[0] == 1)).any()) == fires
    mem = outputs[1 + neuron.State._fields.index("mem") - ("spk" in neuron.State._fields)]
    q = None
    for t in range(12):
        q = advance(neuron.filter(), q, x[t])
        delta = noise(3, 5, seed=100 + t, dtype=torch.float64)
        (grad,) = torch.autograd.grad((mem[t] * delta).sum(), weight, retain_graph=True)
        torch.testing.assert_close(delta.T @ read(neuron.filter(), q), grad, rtol=0, atol=1e-10)


TRUNCATED: dict[str, Callable[[], SpikingNeuron]] = {
    "EIF": lambda: EIF(torch.linspace(5, 20, 5), v_reset=-0.1),
    "AdEx": lambda: AdEx(torch.linspace(5, 20, 5), v_reset=-0.1),
    "QIF": lambda: QIF(torch.linspace(5, 20, 5)),
    "QIF-floor": lambda: QIF(torch.linspace(5, 20, 5), floor=-0.5),
    "Izhikevich": lambda: Izhikevich(torch.linspace(0.02, 0.1, 5), gain=30.0),
    "Izhikevich-floor": lambda: Izhikevich(gain=30.0, floor=-75.0),
    "BRF": lambda: BRF(torch.linspace(0.1, 0.9, 5)),
    "RefractoryLIF": lambda: RefractoryLIF(torch.linspace(0.5, 0.95, 5), 2, 0.5),
    "RefractoryLIF-subtract": lambda: RefractoryLIF(0.9, 3, 0.5, reset_mechanism="subtract"),
}


@pytest.mark.parametrize("name", TRUNCATED)
def test_local_jacobians_are_forward_mode_derivatives(name: str) -> None:
    neuron = TRUNCATED[name]().double()
    state = neuron.initial_state(torch.zeros(3, 5, dtype=torch.float64))
    fired = 0.0
    for row in noise(25, 3, 5, dtype=torch.float64):
        stated = neuron.linearize(row, state)
        whole = local_jacobian(neuron.step_function(row), row, state)
        n = stated.order
        # Variables in front of the stated ones hear of spikes alone.
        torch.testing.assert_close(stated.A, whole.A[-n:, -n:], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(stated.B, whole.B[-n:], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(stated.C, whole.C[-n:])
        assert not whole.B[:-n].any()
        assert not whole.A[:-n, -n:].any()
        spk, state = neuron.step(row, state)
        fired += float(spk.sum())
    assert fired > 5


def test_a_users_own_neuron_is_linearised_by_itself() -> None:
    class Cubic(SpikingNeuron):
        """v' = v - v^3 / 10 + current."""

        _per_neuron = ()

        def step_function(self, current: Tensor) -> StepFunction:
            def step(current: Tensor, state: MemState) -> tuple[Tensor, MemState]:
                mem = state.mem - state.mem**3 / 10 + current
                return (mem > 1).to(mem.dtype), MemState(mem)

            return step

    neuron, mem = Cubic(), torch.tensor([[0.5, -2.0]])
    A, B, C = neuron.linearize(torch.zeros(1, 2), MemState(mem))
    torch.testing.assert_close(A[0, 0], 1 - 0.3 * mem**2)
    assert B.tolist() == C.tolist() == [[[1.0, 1.0]]]
    spk, _ = neuron.unroll(noise(10, 3, 5))
    assert spk.sum() > 0
    with pytest.raises(TypeError, match="Cubic has no linear"):
        neuron.filter()


def test_a_filter_a_neuron_does_not_factor() -> None:
    neuron = Synaptic(0.5, torch.linspace(0.1, 0.9, 5))
    stated = neuron.filter()
    assert stated.A.shape == (2, 2, 5)
    assert not stated.shared
    with pytest.raises(ValueError, match=r"filter of their own.*\(2, 2, 5\)"):
        advance(stated, None, noise(3, 4))
    with pytest.raises(TypeError, match="filter"):
        neuron.eligibility(None, noise(3, 4))
    shared = Synaptic(0.5, 0.9).filter()
    with pytest.raises(ValueError, match=r"q has shape .*\(2, 3, 4\)"):
        advance(shared, torch.zeros(2, 2, 4), noise(3, 4))
    assert advance(shared, None, torch.ones(3, 4, dtype=torch.bool)).dtype == torch.float32


def test_a_filter_is_differentiable_in_the_parameters() -> None:
    neuron = Synaptic(0.5, 0.9, learn_beta=True)
    (grad,) = torch.autograd.grad(neuron.filter().A[1, 1], neuron.beta)
    assert float(grad) == 1.0
    assert make_filter([[torch.tensor(2.0)]], [1], [1]).B.dtype == torch.float32


def test_arguments_are_sorted_or_refused() -> None:
    neuron, current, state = Synaptic(0.5, 0.9), noise(3, 5), noise(3, 5)
    rows = torch.zeros(5, 5)
    assert neuron(current, rows, rows, noise(2, 5))[0].shape == (5, 5)
    with pytest.raises(TypeError, match="syn, mem"):
        neuron(current, *[state] * 4)
    with pytest.raises(TypeError, match="'spk' is unknown or given twice"):
        neuron(current, spk=state)
    with pytest.raises(TypeError, match="'syn' is unknown or given twice"):
        neuron(current, state, syn=state)
    with pytest.raises(TypeError, match="init_hidden=True"):
        Synaptic(0.5, 0.9, init_hidden=True)(current, mem=state)
    with pytest.raises(ValueError, match="variables syn, mem, not 1"):
        neuron.step(current, (state,))
    with pytest.raises(ValueError, match=r"syn has shape \(2, 5\)"):
        neuron(current, noise(2, 5))


@pytest.mark.parametrize("family", [LIF, Synaptic, ALIF])
def test_time_constants_are_decay_factors(family: type[SpikingNeuron]) -> None:
    names = {"beta": ("tau_mem", 20.0)}
    if family is Synaptic:
        names["alpha"] = ("tau_syn", 5.0)
    if family is ALIF:
        names["rho"] = ("tau_adapt", 100.0)
    neuron = family(dt=0.5, **dict(names.values()))
    for decay, (_, tau) in names.items():
        assert float(getattr(neuron, decay)) == pytest.approx(float(torch.tensor(-0.5 / tau).exp()))
    for decay, (tau, _) in names.items():
        good = dict(names.values())
        with pytest.raises(TypeError, match=f"either {decay} or {tau}.*both"):
            family(**good, **{decay: 0.5})
        with pytest.raises(TypeError, match=f"either {decay} or {tau}.*neither"):
            family(**{k: v for k, v in good.items() if k != tau})
        with pytest.raises(ValueError, match=f"{tau} must be positive, but is 0.0"):
            family(**{**good, tau: 0.0})
    with pytest.raises(ValueError, match=r"dt must be positive, but is -1\.0"):
        family(dt=-1.0, **dict(names.values()))
