"""The family's losses and views: golden numbers from plain loops, and closed forms by autograd."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import snntorch.surrogate
import torch
import worked
from torch import Tensor, nn
from worked import LABELS, SIGNAL, WEIGHTS, Rows, X
from worked_torch import cross, dot, hold, network, target_rows

from spikeprop import ForwardLearner
from spikeprop.config import TrainConfig
from spikeprop.contrast import BatchContrast, Maximum, RandomMaximum, SoftDistance, TopK
from spikeprop.evidence import Instantaneous, RunningMean
from spikeprop.losses import Cosine, Dot, SquaredDistance
from spikeprop.neurons import LIF
from spikeprop.recipes import sigprop_of
from spikeprop.rules import SigProp, SPSurrogate
from spikeprop.smooth import ATan, FastSigmoid, Sigmoid

PLAIN: dict[str, Any] = {
    "evidence": RunningMean(),
    "rectify": False,
    "potential": "membrane",
    "homeostasis": None,
}


def trained(rule: SigProp) -> list[Tensor]:
    """The weights that the library ends at, from the example's numbers and signal."""
    net = network()
    for layer, W in zip((net[0], net[2]), WEIGHTS, strict=True):
        layer.weight.data = torch.tensor(W, dtype=torch.float64)
    learner = ForwardLearner(net, rule, optimizer=lambda p: torch.optim.SGD(p, lr=worked.RATE))
    learner.bind((2,))
    learner.bound().tensors["signal.0"] = torch.tensor(SIGNAL, dtype=torch.float64)
    learner.update(torch.tensor(X, dtype=torch.float64), torch.tensor(LABELS))
    return [net[0].weight.detach(), net[2].weight.detach()]


@pytest.mark.parametrize(
    ("kind", "targets"),
    [("maximum", Maximum()), ("top-1", TopK(1)), ("soft", SoftDistance())],
)
def test_golden_batch_contrast(kind: str, targets: Any) -> None:
    # Two recordings of classes 0 and 1: row b of the batch has signal b.
    wanted = worked.propagate(lambda k, h, s, c: cross(h, s, target_rows(kind, c)))
    hold(trained(SigProp(2, loss=BatchContrast(targets), **PLAIN)), wanted)


def test_golden_random_maximum_is_the_maximum_where_nothing_ties() -> None:
    # With one recording a class, and signals that differ, there is one maximum to draw.
    def modulate(k: int, h: Rows, s: Rows, c: Rows) -> tuple[Rows, Rows]:
        wanted = target_rows("maximum", c)
        assert k > 0 or wanted == [[1.0, 0.0], [0.0, 1.0]]
        # Silent signals of the second layer are alike, and no draw is wanted in this example.
        return cross(h, s, wanted) if k == 0 else (worked.zeros(2, 3), worked.zeros(2, 3))

    wanted = worked.propagate(modulate)
    found = trained(SigProp(2, loss=BatchContrast(RandomMaximum()), **PLAIN))
    torch.testing.assert_close(found[0], torch.tensor(wanted[0], dtype=torch.float64))


def test_golden_sp_surrogate() -> None:
    def f(u: float) -> float:  # arctan(pi (u - 1)) / pi + 1/2
        return math.atan(math.pi * (u - 1.0)) / math.pi + 0.5

    def slope(u: float) -> float:  # 1 / (1 + (pi (u - 1))^2)
        return 1.0 / (1.0 + (math.pi * (u - 1.0)) ** 2)

    def modulate(k: int, h: Rows, s: Rows, c: Rows) -> tuple[Rows, Rows]:
        ones = [[1.0, 0.0], [0.0, 1.0]]  # the label's own signal
        deltas = cross([[f(u) for u in r] for r in h], [[f(u) for u in r] for r in s], ones)
        # delta f'(mem), for recordings and signals
        return tuple(  # type: ignore[return-value]
            [
                [d * slope(u) for d, u in zip(ds, us, strict=True)]
                for ds, us in zip(*pair, strict=True)
            ]
            for pair in zip(deltas, (h, s), strict=True)
        )

    wanted = worked.propagate(modulate, lambda t: 1.0)  # the voltage of the present step
    hold(trained(SPSurrogate(2)), wanted)


def test_golden_rectified_squared_distance() -> None:
    def modulate(k: int, h: Rows, s: Rows, c: Rows) -> tuple[Rows, Rows]:
        # L = mean_b |max(h_b, 0) - s_b|^2, two recordings: 2 / 2 (a - s), where h > 0
        difference = [
            [max(a, 0.0) - b for a, b in zip(p, q, strict=True)] for p, q in zip(h, s, strict=True)
        ]
        gated = [
            [d if a > 0 else 0.0 for d, a in zip(ds, row, strict=True)]
            for ds, row in zip(difference, h, strict=True)
        ]
        return gated, [[-d for d in row] for row in difference]

    wanted = worked.propagate(modulate)
    hold(trained(SigProp(2, loss=SquaredDistance(), **{**PLAIN, "rectify": True})), wanted)


def test_golden_spike_trace() -> None:
    # The loss compares spikes seen through the filter; the voltage's trace stands in for theirs.
    wanted = worked.propagate(
        lambda k, h, s, c: cross(h, s, [[1.0, 0.0], [0.0, 1.0]]), see_spikes=True
    )
    hold(trained(SigProp(2, loss=Dot(), **{**PLAIN, "potential": "spikes"})), wanted)


def test_golden_cosine() -> None:
    def direction(row: list[float]) -> tuple[list[float], float]:
        mean = sum(row) / len(row)
        centred = [a - mean for a in row]
        norm = math.sqrt(dot(centred, centred))
        return [a / norm for a in centred], norm

    def modulate(k: int, h: Rows, s: Rows, c: Rows) -> tuple[Rows, Rows]:
        (hd, hn), (sd, sn) = (
            zip(*[direction(row) for row in rows], strict=True) for rows in (h, s)
        )
        # logits = h^ s^ / tau
        deltas = cross([[a / 0.5 for a in row] for row in hd], list(sd), [[1, 0], [0, 1]])
        at_h, at_s = [[a / 0.5 for a in row] for row in deltas[0]], deltas[1]
        # through the direction: (d - (d h^) h^) / |h - mean|, and the mean over neurons taken out
        out = []
        for d, unit, norm in ((at_h, hd, hn), (at_s, sd, sn)):
            rows = []
            for row, u, length in zip(d, unit, norm, strict=True):
                along = dot(row, u)
                back = [(a - along * b) / length for a, b in zip(row, u, strict=True)]
                mean = sum(back) / len(back)
                rows.append([a - mean for a in back])
            out.append(rows)
        return out[0], out[1]

    # In the second layer's first step some rows are constant, with no direction; a weight of 0
    # there would need cases, so that this example has one layer.
    wanted = worked.propagate(
        lambda k, h, s, c: modulate(k, h, s, c) if k == 0 else (worked.zeros(2, 3),) * 2
    )
    found = trained(SigProp(2, loss=Cosine(0.5), **PLAIN))
    torch.testing.assert_close(found[0], torch.tensor(wanted[0], dtype=torch.float64))


# ------------------------------------------------------------------------ closed forms by autograd

TARGETS = [Maximum(), RandomMaximum(), TopK(2), TopK(99), SoftDistance(0.7)]


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("targets", TARGETS, ids=str)
def test_contrast_gradients_equal_autograd(targets: Any, cosine: bool) -> None:
    torch.manual_seed(0)
    h = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    s = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    context = torch.randn(3, 4, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 1, 0, 0, 2])
    loss = BatchContrast(targets, tau=0.3, cosine=cosine)
    torch.manual_seed(1)
    found = loss(h.detach(), s.detach(), labels, context)
    torch.manual_seed(1)
    wanted = targets(context[labels])

    def along(z: Tensor) -> Tensor:
        return nn.functional.normalize(z - z.mean(1, keepdim=True), dim=1) if cosine else z

    y = along(h) @ along(s[labels]).T / 0.3
    value = -(wanted * torch.log_softmax(y, 1)).sum(1).mean()
    delta_h, delta_s = torch.autograd.grad(value, [h, s])
    torch.testing.assert_close(found.value, value.detach())
    torch.testing.assert_close(found.delta_h, delta_h)
    torch.testing.assert_close(found.delta_s, delta_s)
    torch.testing.assert_close(found.logits, loss.logits(h.detach(), s.detach()))


def test_targets_are_what_their_names_say() -> None:
    c = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [1.0, 1.0]])
    same = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]])
    torch.testing.assert_close(Maximum()(c), same)
    drawn = torch.stack([RandomMaximum()(c) for _ in range(50)])
    assert (drawn.sum(2) == 1).all()
    assert (drawn <= same).all()
    assert drawn[:, 0, 2].mean() > 0.2, "both of the two are drawn"
    assert drawn[:, 0, 0].mean() > 0.2
    assert (TopK(3)(c).sum(1) == 3).all()
    assert TopK(3)(c)[0].tolist() == [1.0, 0.0, 1.0, 1.0]
    soft = SoftDistance(0.5)(c)
    distances = torch.cdist(c, c)
    torch.testing.assert_close(soft, torch.softmax(-distances / 0.5, 1), rtol=1e-4, atol=1e-4)


SMOOTH = [
    (ATan(), snntorch.surrogate.atan(alpha=2.0)),
    (ATan(3.0, 0.2), snntorch.surrogate.atan(alpha=3.0)),
    (FastSigmoid(), snntorch.surrogate.fast_sigmoid(slope=25)),
    (Sigmoid(4.0), snntorch.surrogate.sigmoid(slope=4)),
]


@pytest.mark.parametrize(
    ("smooth", "surrogate"), SMOOTH, ids=["atan", "atan-3", "fast-sigmoid", "sigmoid"]
)
def test_slopes_are_snntorchs_surrogates_and_the_derivatives(
    smooth: Any, surrogate: Callable[[Tensor], Tensor]
) -> None:
    v = torch.linspace(-1.7, 2.3, 41, dtype=torch.float64, requires_grad=True)
    value, slope = smooth(v)
    (derivative,) = torch.autograd.grad(value.sum(), v)
    torch.testing.assert_close(slope.detach(), derivative)
    (theirs,) = torch.autograd.grad(surrogate(v - smooth.centre).sum(), v)
    torch.testing.assert_close(slope.detach(), theirs)


@pytest.mark.parametrize("smooth", [ATan(2.0, 0.4), FastSigmoid(5.0, 0.3), Sigmoid(4.0)], ids=str)
@pytest.mark.parametrize("evidence", [Instantaneous(), RunningMean()], ids=str)
@pytest.mark.parametrize("loss", [Dot(), BatchContrast(cosine=True)], ids=str)
def test_a_smooth_view_of_a_projection_equals_autograd(
    smooth: Any, evidence: Any, loss: Any
) -> None:
    torch.manual_seed(2)
    rule = SigProp(3, loss=loss, evidence=evidence, rectify=False, smooth=smooth, homeostasis=None)
    evidence_rows = torch.randn(8, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 1, 0])
    found = rule.modulate(0, evidence_rows.detach(), labels, {})
    a = smooth(evidence_rows)[0]
    (wanted,) = torch.autograd.grad(
        -(
            torch.log_softmax(loss.logits(a[:5], a[5:])[:, labels], 1)
            * (labels[:, None] == labels).double()
        )
        .sum(1)
        .mean()
        if isinstance(loss, BatchContrast)
        else nn.functional.cross_entropy(loss.logits(a[:5], a[5:]), labels),
        evidence_rows,
    )
    torch.testing.assert_close(found.delta, wanted)


# ------------------------------------------------------------------------------- learning, errors


def events() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    rates = torch.full((3, 24), 0.15)
    for c in range(3):
        rates[c, c * 8 : (c + 1) * 8] = 0.4
    return (torch.rand(8, 60, 24, generator=generator) < rates[labels]).float(), labels


@pytest.mark.parametrize(
    "rule",
    [
        SigProp(3, loss=BatchContrast(Maximum(), 0.1, cosine=True)),
        SigProp(3, loss=BatchContrast(RandomMaximum(), 0.1, cosine=True)),
        SigProp(3, loss=BatchContrast(TopK(6), 0.1, cosine=True)),
        SigProp(3, loss=BatchContrast(SoftDistance(0.2), 0.1, cosine=True)),
        SigProp(3, loss=BatchContrast(Maximum(), 0.1, cosine=True), signal="projection"),
        SigProp(3, rectify=False, smooth=ATan()),
        SigProp(3, rectify=False, potential="spikes"),
        SPSurrogate(3),
    ],
    ids=lambda rule: f"{rule.loss} {rule.smooth} {rule.potential} {rule.signal}",
)
def test_each_learns(rule: SigProp) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(24, 32), LIF(beta=0.9, init_hidden=True),
        nn.Linear(32, 32), LIF(beta=0.9, init_hidden=True),
    )  # fmt: skip
    x, labels = events()
    learner = ForwardLearner(net, rule, optimizer=lambda p: torch.optim.Adam(p, lr=3e-3))
    before = learner.evaluate((x, labels)).accuracy
    for _ in range(12):
        learner.update(x, labels)
    assert learner.evaluate((x, labels)).accuracy > max(0.85, before)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="rectify and smooth are two views"):
        SigProp(3, smooth=ATan())
    with pytest.raises(ValueError, match="potential='spikes' needs rectify=False"):
        SigProp(3, potential="spikes")
    with pytest.raises(ValueError, match="tau has to be above 0, got 0"):
        BatchContrast(tau=0.0)
    with pytest.raises(TypeError, match="targets has to be such as Maximum"):
        BatchContrast(targets="maximum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="k has to be at least 1, got 0"):
        TopK(0)
    with pytest.raises(ValueError, match="scale has to be above 0, got -1"):
        SoftDistance(-1.0)
    with pytest.raises(ValueError, match="slope has to be above 0, got 0"):
        ATan(0.0)
    with pytest.raises(ValueError, match="did you mean 'propagated'"):
        SigProp(3, signal="propagate")
    net = nn.Sequential(nn.Linear(2, 3), LIF(beta=0.9, init_hidden=True))
    learner = ForwardLearner(net, SPSurrogate(2), engine="event")
    with pytest.raises(ValueError, match="classes are no linear layer on the voltage"):
        learner.bind((2,)) or learner.class_readout(3)  # type: ignore[func-returns-value]
    spikes = ForwardLearner(net, SigProp(2, rectify=False, potential="spikes"), engine="event")
    with pytest.raises(ValueError, match="looks at spikes"):
        spikes.update(torch.ones(2, 2, 2), torch.tensor([0, 1]))
    contrast = ForwardLearner(net, SigProp(2, loss=BatchContrast()), engine="chunked")
    with pytest.raises(ValueError, match="looks at the signals at a block's input"):
        contrast.update(torch.ones(2, 2, 2), torch.tensor([0, 1]))


def test_every_loss_and_view_has_a_name_on_the_command_line() -> None:
    def built(**options: Any) -> SigProp:
        return sigprop_of(TrainConfig(tau=0.2, top_k=4, **options), 3)

    assert built().loss == Cosine(0.2)
    assert built(loss="dot").loss == Dot()
    assert built(loss="squared-distance").loss == SquaredDistance()
    targets = {
        "maximum": Maximum(),
        "random": RandomMaximum(),
        "top-k": TopK(4),
        "soft": SoftDistance(),
    }
    for name, wanted in targets.items():
        assert built(loss=f"contrast-{name}").loss == BatchContrast(wanted, 0.2, cosine=True)
    for name, view in (("atan", ATan()), ("fast-sigmoid", FastSigmoid()), ("sigmoid", Sigmoid())):
        assert built(smooth=name, rectify=False).smooth == view
    assert built(potential="spikes", rectify=False).potential == "spikes"
