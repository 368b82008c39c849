"""The numbered equations of the documentation hold in numbers, each in a test that names it.

Both sides are written from the equation alone, in float64; derivatives are autograd's. Where the
library computes one of the sides, it is compared as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from pages import equations
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from spikeprop.evidence import Leaky
from spikeprop.losses import Cosine, Dot
from spikeprop.neurons import LIF, GradedLIF
from spikeprop.rules import SigProp
from spikeprop.rules.goodness import goodness

CHECKS: dict[str, Callable[[], None]] = {}
ALPHA, BETA, THRESHOLD = 0.7, 0.9, 0.5


def of(label: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Say which equation a function checks."""

    def note(check: Callable[[], None]) -> Callable[[], None]:
        assert label not in CHECKS
        CHECKS[label] = check
        return check

    return note


def test_every_numbered_equation_has_a_check() -> None:
    labels = equations()
    assert len(labels) == len(set(labels))
    assert set(labels) == set(CHECKS)


@pytest.mark.parametrize("label", CHECKS)
def test_equation(label: str) -> None:
    torch.manual_seed(0)
    CHECKS[label]()


def normal(*shape: int, grad: bool = False) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


def spikes(*shape: int) -> Tensor:
    return (torch.rand(*shape) < 0.4).double()


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-12) -> None:
    assert wanted.abs().max() > 1e-6, "nothing was compared"
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def filtered(x: Tensor, start: Tensor | None = None) -> Tensor:
    """``y_t = beta y_{t-1} + x_t`` over the first dimension."""
    out = [torch.zeros_like(x[0]) if start is None else start]
    for x_t in x:
        out.append(BETA * out[-1] + x_t)
    return torch.stack(out[1:])


def leaky(x: Tensor) -> Tensor:
    """``v_t = v_{t-1} + alpha (x_t - v_{t-1})`` over the first dimension."""
    out = [torch.zeros_like(x[0])]
    for x_t in x:
        out.append(out[-1] + ALPHA * (x_t - out[-1]))
    return torch.stack(out[1:])


@of("eq-two-views")
def two_views() -> None:
    x, W = spikes(12, 5), normal(3, 5, grad=True)
    mem = filtered(x @ W.T)
    loss = (mem.sin() * torch.arange(1, 13)[:, None]).sum()  # some loss of every step's voltage
    g, exact = torch.autograd.grad(loss, [mem, W], retain_graph=True)
    late = torch.stack([sum(BETA ** (t - k) * g[t] for t in range(k, 12)) for k in range(12)])
    traces = torch.stack([sum(BETA ** (t - k) * x[k] for k in range(t + 1)) for t in range(12)])
    backward = torch.einsum("tj,ti->ji", late, x)
    forward = torch.einsum("tj,ti->ji", g, traces)
    close(backward, exact)
    close(forward, exact)


@of("eq-trace")
def trace() -> None:
    x = spikes(12, 5)
    summed = [sum(BETA ** (t - k) * x[k] for k in range(t + 1)) for t in range(12)]
    close(filtered(x), torch.stack(summed))


@of("eq-memory")
def memory() -> None:
    B, C, I, F = 50, 10, 2312, 256  # noqa: E741
    for T, said in ((21, 9.7), (1000, 463.0)):
        bptt = sum(B * I + B * F for _ in range(T))  # what each step leaves behind
        forward = sum(2 * I for _ in range(B + C))  # two values an input, for every row
        assert bptt / forward == pytest.approx(T * B * (I + F) / (2 * (B + C) * I))
        assert bptt / forward == pytest.approx(said, rel=0.01)


@of("eq-dot-delta")
def dot_delta() -> None:
    h, s, label = normal(6, 4, grad=True), normal(3, 4, grad=True), torch.arange(6) % 3
    wanted = torch.autograd.grad(cross_entropy(h @ s.T, label), [h, s])
    delta = ((h @ s.T).softmax(1) - one_hot(label, 3)).detach() / 6
    close(delta @ s.detach(), wanted[0])
    close(delta.T @ h.detach(), wanted[1])
    ours = Dot()(h.detach(), s.detach(), label)
    close(ours.delta_h, wanted[0])
    close(ours.delta_s, wanted[1])


@of("eq-collapse")
def collapse() -> None:
    s1, h1 = normal(7), normal(7)
    for value in (0.8, -1.3):
        W2 = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        s2, h2 = W2 * s1, W2 * h1
        (found,) = torch.autograd.grad(((s2 - h2) ** 2).sum(), W2)
        close((2 * (s2 - h2) * (s1 - h1)).sum().detach(), found)
        close((2 * W2 * (s1 - h1) ** 2).sum().detach(), found)
        assert found * value > 0, "it always shrinks"


@of("eq-local")
def local() -> None:
    """Through a network whose layers are cut apart by detaching."""
    below, label = (normal(8, 20), normal(3, 20)), torch.arange(8) % 3
    for _ in range(2):
        W = normal(20, 20, grad=True)
        u_h, u_s = below[0] @ W.T, below[1] @ W.T
        h, s = u_h.clamp_min(0), u_s
        loss = Cosine()(h, s, label)
        value = cross_entropy(Cosine().logits(h, s), label)
        (wanted,) = torch.autograd.grad(value, W)
        delta_h = loss.delta_h.detach() * (u_h > 0)
        found = delta_h.T @ below[0] + loss.delta_s.detach().T @ below[1]
        close(found.detach(), wanted, 1e-10)
        below = (h.detach(), s.detach())


@of("eq-cosine")
def cosine() -> None:
    tau, label = 0.07, torch.arange(6) % 3
    h, s = normal(6, 9, grad=True), normal(3, 9)

    def direction(v: Tensor) -> Tensor:
        centred = v - v.mean(1, keepdim=True)
        return centred / centred.norm(dim=1, keepdim=True)

    logits = direction(h) @ direction(s).T / tau
    (wanted,) = torch.autograd.grad(cross_entropy(logits, label), h)
    delta = (logits.softmax(1) - one_hot(label, 3)).detach() / 6
    h_hat, pull = direction(h).detach(), delta @ direction(s)
    length = (h - h.mean(1, keepdim=True)).norm(dim=1, keepdim=True).detach()
    close((pull - (pull * h_hat).sum(1, keepdim=True) * h_hat) / (tau * length), wanted, 1e-10)
    close(Cosine(tau)(h.detach(), s, label).delta_h, wanted, 1e-10)


@of("eq-exact-step")
def exact_step() -> None:
    """Against many small Euler steps of the differential equation, and against the library."""
    tau, dt, drive, u0 = 3.0, 1.0, 0.7, 0.2
    u, n = u0, 200_000
    for _ in range(n):
        u += dt / n / tau * (-u + drive)
    beta = math.exp(-dt / tau)
    assert beta * u0 + (1 - beta) * drive == pytest.approx(u, rel=1e-5)
    rate = GradedLIF(beta=beta, threshold=0.0, reset_mechanism="none")
    _, mem = rate(torch.tensor([[(1 - beta) * drive]]), torch.tensor([[u0]]))
    assert float(mem) == pytest.approx(u, rel=1e-4)


@of("eq-hebbian")
def hebbian() -> None:
    """Exact on the left; on the right the rest is of second order in the signal."""
    W, below, towards, other = normal(4, 5, grad=True), normal(5), normal(5), normal(4)
    rests = []
    for size in (1e-2, 1e-3):
        t_below, h = below + size * towards, W @ below
        t = (h + size * other).detach()
        (gradient,) = torch.autograd.grad(0.5 * ((t - h) ** 2).sum(), W, retain_graph=True)
        close(torch.outer(t - h.detach(), below), -gradient, 1e-10)
        rest = torch.outer(t - h.detach(), t_below) + gradient
        close(rest, torch.outer(t - h.detach(), t_below - below), 1e-10)
        rests.append(float(rest.norm() / gradient.norm()))
    assert rests[0] < 0.1
    assert rests[1] == pytest.approx(rests[0] / 10, rel=1e-3)


@of("eq-free")
def free() -> None:
    current = normal(30, 2, 6).abs() * 0.3
    lif = LIF(beta=BETA, threshold=THRESHOLD).double()
    spk, mem = lif.unroll(current)
    assert 0.05 < spk.mean() < 0.95
    u = filtered(current)
    beta, threshold = float(lif.beta), float(lif.threshold)
    for t in range(1, 30):
        resets = sum(beta ** (t - 1 - k) * spk[k] for k in range(t))
        close(mem[t], u[t] - threshold * resets, 1e-6)


@of("eq-eligibility")
def eligibility() -> None:
    x, W = spikes(9, 5), normal(3, 5, grad=True)
    u, traces = filtered(x @ W.T), filtered(x)
    for j in range(3):
        (found,) = torch.autograd.grad(u[-1, j], W, retain_graph=True)
        wanted = torch.zeros(3, 5, dtype=torch.float64)
        wanted[j] = traces[-1]
        close(found, wanted)


@of("eq-evidence")
def evidence() -> None:
    x, W = spikes(9, 5), normal(3, 5, grad=True)
    u = filtered(x @ W.T)
    v, e = leaky(u), leaky(filtered(x))
    means = [torch.zeros_like(u[0])]
    for t, u_t in enumerate(u, 1):
        means.append(means[-1] + (u_t - means[-1]) / t)
    close(means[-1].detach(), u.mean(0).detach())
    assert Leaky(ALPHA) == SigProp(3).evidence, "the page names the default"
    (found,) = torch.autograd.grad(v[-1, 1], W)
    close(found[1], e[-1])
    assert not found[0].any()


@of("eq-three-factor")
def three_factor() -> None:
    x, W, label = spikes(9, 7, 5), normal(6, 5, grad=True), torch.arange(4) % 3
    v, e = leaky(filtered(x @ W.T))[-1], leaky(filtered(x))[-1]
    h, s = v[:4].clamp_min(0), v[4:]
    (wanted,) = torch.autograd.grad(cross_entropy(Cosine().logits(h, s), label), W)
    loss = Cosine()(h.detach(), s.detach(), label)
    delta = torch.cat([loss.delta_h * (v[:4] > 0), loss.delta_s])
    close(delta.T @ e, wanted, 1e-10)


@of("eq-goodness")
def good() -> None:
    alpha, F = 4.0, 9
    v = normal(2, F, grad=True)
    a = v.clamp_min(0)
    g = (a**2).mean(1)
    close(goodness(v.detach()), g.detach())
    (wanted,) = torch.autograd.grad(torch.log1p(torch.exp(-alpha * (g[0] - g[1]))), v)
    strength = alpha * torch.sigmoid(-alpha * (g[0] - g[1])).detach()
    close(-strength * 2 * a[0].detach() / F, wanted[0])
    close(strength * 2 * a[1].detach() / F, wanted[1])


@of("eq-error")
def error() -> None:
    y = normal(4, grad=True)
    (gradient,) = torch.autograd.grad(cross_entropy(y[None], torch.tensor([2])), y)
    close(one_hot(torch.tensor(2), 4) - y.detach().softmax(0), -gradient)


@of("eq-two-sides")
def two_sides() -> None:
    """On smooth layers: what is left falls with the square of the signal."""
    net = nn.Sequential(nn.Softplus(), nn.Linear(6, 6), nn.Softplus(), nn.Linear(6, 4)).double()
    u1, signal = normal(6), normal(6)
    jacobian = torch.autograd.functional.jacobian(net, u1)
    rests = []
    for size in (1e-1, 1e-2):
        found = (net(u1 + size * signal) - net(u1 - size * signal)).detach() / (2 * size)
        rests.append(float((found - jacobian @ signal).norm() / (jacobian @ signal).norm()))
    assert rests[0] < 0.05
    assert rests[1] < rests[0] / 50


def window() -> tuple[Tensor, Tensor, int]:
    """Inputs and modulators of 20 steps, of which the last K are a window."""
    return spikes(20, 5), normal(20, 3), 8


@of("eq-window")
def window_sum() -> None:
    x, delta, K = window()
    t0, traces = 20 - K, filtered(x)
    wanted = torch.einsum("tj,ti->ji", delta[t0:], traces[t0:])
    powers = torch.tensor([BETA ** (k + 1) for k in range(K)], dtype=torch.float64)
    late = [sum(BETA ** (t - k) * delta[t] for t in range(k, 20)) for k in range(t0, 20)]
    found = torch.einsum("kj,ki->ji", torch.stack(late), x[t0:])
    found = found + torch.outer((powers[:, None] * delta[t0:]).sum(0), traces[t0 - 1])
    close(found, wanted)


@of("eq-window-evidence")
def window_evidence() -> None:
    x, delta, K = window()
    t0, traces, kept = 20 - K, filtered(x), 1 - ALPHA
    e = leaky(traces)
    wanted = torch.einsum("tj,ti->ji", delta[t0:], e[t0:])
    carried = sum(kept ** (t - t0 + 1) * delta[t] for t in range(t0, 20))
    late = [ALPHA * sum(kept ** (t - k) * delta[t] for t in range(k, 20)) for k in range(t0, 20)]
    found = torch.outer(carried, e[t0 - 1])
    close(found + torch.einsum("kj,ki->ji", torch.stack(late), traces[t0:]), wanted)
