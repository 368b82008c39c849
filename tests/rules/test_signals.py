"""The signal's ways: golden numbers from plain loops, exact gradients, learning, and refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import worked
from torch import Tensor, nn
from worked import LABELS, WEIGHTS, Learned, Rows, X, zeros
from worked_torch import cross, hold, network, softmax

from spikeprop import ForwardLearner
from spikeprop.config import TrainConfig
from spikeprop.contrast import BatchContrast, SoftDistance
from spikeprop.evidence import Instantaneous, Leaky, RunningMean
from spikeprop.glyphs import glyphs
from spikeprop.losses import Dot, SquaredDistance
from spikeprop.neurons import LIF
from spikeprop.placements import PLACEMENTS, During, arranged, placed_filters
from spikeprop.recipes import sigprop_of
from spikeprop.rules import SigProp
from spikeprop.signal_path import SIGNALS
from spikeprop.time_codes import Constant, Latency, Pattern, Phases, Rate, TimeCode

PLAIN: dict[str, Any] = {
    "loss": Dot(),
    "evidence": RunningMean(),
    "rectify": False,
    "potential": "membrane",
    "homeostasis": None,
}
OWN = [[1.0, 0.0], [0.0, 1.0]]  # two recordings of classes 0 and 1: row b has signal b
S = [[0.7, -0.3], [-0.2, 0.6], [0.4, 0.8]]  # three neurons, two entries of a code
CODES = [  # a code of three steps for two classes
    [[1.0, 0.0], [0.0, 1.0]],
    [[0.0, 2.0], [1.0, 0.0]],
    [[1.0, 1.0], [0.0, 0.0]],
]


def double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def learner_of(rule: SigProp, **tensors: Any) -> ForwardLearner:
    """The example's network, and tensors in the place of those that were drawn."""
    net = network()
    for layer, W in zip((net[0], net[2]), WEIGHTS, strict=True):
        layer.weight.data = double(W)
    learner = ForwardLearner(net, rule, optimizer=lambda p: torch.optim.SGD(p, lr=worked.RATE))
    learner.bind((2,))
    for name, value in tensors.items():
        held = learner.bound().tensors[name]
        if isinstance(held, nn.Parameter):
            held.data = double(value)
        else:
            learner.bound().tensors[name] = double(value)
    return learner


def update(learner: ForwardLearner, labels: Any = LABELS) -> list[Tensor]:
    """Learn the example's recordings; return both weights."""
    learner.update(double(X), torch.as_tensor(labels))
    return [learner.net[0].weight.detach(), learner.net[2].weight.detach()]  # type: ignore[index]


def own_classes(k: int, h: Rows, s: Rows, c: Rows) -> tuple[Rows, Rows]:
    return cross(h, s, OWN)


# ----------------------------------------------------------------------------------- golden numbers


@pytest.mark.parametrize("coded", [False, True])
def test_golden_learned_projection(coded: bool) -> None:
    # S learns as any synapse: S_id -= lr sum_c delta_ci e_cd, e the code through both filters.
    codes = CODES if coded else CODES[:1]
    learned = Learned([list(row) for row in S], lambda t: codes[(t - 1) % len(codes)])
    wanted = worked.propagate(own_classes, learned=learned)
    learner = learner_of(SigProp(2, signal="learned", **PLAIN), codes=codes, projection=S)
    hold(update(learner), wanted)
    found = learner.bound().tensors["projection"].detach()
    assert (found - double(S)).abs().max() > 1e-3
    torch.testing.assert_close(found, double(learned.S), rtol=1e-6, atol=1e-6)


def test_golden_coded_signal() -> None:
    def current(t: int) -> Rows:  # S c_t
        return [[sum(a * b for a, b in zip(row, c, strict=True)) for row in S]
                for c in CODES[(t - 1) % 3]]  # fmt: skip

    wanted = worked.propagate(own_classes, signal=current)
    rule = SigProp(2, coding=Pattern(3), **PLAIN)
    hold(update(learner_of(rule, codes=CODES, projection=S)), wanted)


def test_golden_signal_through_the_first_synapse() -> None:
    P = [[0.9, -0.4], [0.3, 1.1]]  # an input pattern of two pixels for each class

    wanted = worked.propagate(own_classes, signal=None, inputs=lambda t: P)
    rule = SigProp(2, signal="synapse", **PLAIN)
    hold(update(learner_of(rule, projection=P)), wanted)


PAIRS = {**PLAIN, "loss": BatchContrast(SoftDistance()), "readout": "trained"}


def soft(k: int, h: Rows, s: Rows, c: Rows) -> tuple[Rows, Rows]:
    targets = [softmax([-math.dist(a, b) for b in c]) for a in c]
    return cross(h, s, targets)


def test_golden_context_and_input() -> None:
    # Signal rows are the recordings once more, with S c of the label on top: W x + S c.
    wanted = worked.propagate(
        soft, signal=lambda t: [[row[c] for row in S] for c in LABELS], inputs=lambda t: X[t - 1]
    )
    rule = SigProp(2, signal="context-input", **PAIRS)
    hold(update(learner_of(rule, projection=S)), wanted)


def test_golden_concatenated() -> None:
    learned = Learned([list(row) for row in S], lambda t: [[1.0, 0.0], [0.0, 1.0]])
    wanted = worked.propagate(soft, inputs=lambda t: X[t - 1], learned=learned)
    learner = learner_of(SigProp(2, signal="concatenated", **PAIRS), projection=S)
    hold(update(learner), wanted)
    found = learner.bound().tensors["projection"].detach()
    torch.testing.assert_close(found, double(learned.S), rtol=1e-6, atol=1e-6)


def test_golden_overlaid() -> None:
    # Both inputs of the signal rows are the code: here nothing of the recording is left.
    wanted = worked.propagate(soft, signal=None, inputs=lambda t: OWN)
    hold(update(learner_of(SigProp(2, signal="overlaid", **PAIRS))), wanted)


@pytest.mark.parametrize("placement", ["interleaved", "leading", "trailing"])
def test_golden_signal_on_the_same_membrane(placement: str) -> None:
    blank = zeros(2, 2)
    recording, steps = {
        "interleaved": ([row for x in X for row in (x, blank)], [2, 4, 6, 8, 10]),
        "leading": ([blank, blank, *X], [1, 2]),
        "trailing": ([*X, blank, blank], [6, 7]),
    }[placement]
    own_steps = [t for t in range(1, len(recording) + 1) if t not in steps]

    def weight(of: list[int]) -> Any:  # a running mean over its own steps: 1 / (how many so far)
        return lambda t: 1.0 / (of.index(t) + 1) if t in of else 0.0

    def current(t: int) -> Rows:  # the class rows have the signal at its steps, and nothing else
        return [[row[c] for row in S] for c in (0, 1)] if t in steps else zeros(2, 3)

    def modulate(k: int, both: Rows, classes: Rows, c: Rows) -> tuple[Rows, Rows]:
        size = len(both[0]) // 2
        h, s = [row[:size] for row in both], [row[size:] for row in both]
        if not any(map(any, h)) or not any(map(any, s)):  # only one of them has been seen
            return zeros(2, 2 * size), zeros(2, 2 * size)
        delta_h, delta_s = cross(h, s, OWN)
        return [a + b for a, b in zip(delta_h, delta_s, strict=True)], zeros(2, 2 * size)

    wanted = worked.propagate(
        modulate,
        weight(own_steps),
        weight(steps),
        signal=current,
        own=current,  # recording b has label b
        recordings=recording,
    )
    rule = SigProp(2, placement=placement, signal_steps=2, **{**PLAIN, "loss": BatchContrast()})
    learner = learner_of(rule, **{"signal.0": [[row[c] for row in S] for c in (0, 1)]})
    hold(update(learner), wanted)


def test_golden_output_layer() -> None:
    V = [zeros(2, 3), zeros(2, 3)]
    b = zeros(2, 2)

    def modulate(k: int, h: Rows, s: Rows, c: Rows) -> tuple[Rows, Rows]:
        errors = []
        for row, label in zip(h, LABELS, strict=True):
            p = softmax([sum(v * a for v, a in zip(V[k][i], row, strict=True)) + b[k][i]
                         for i in (0, 1)])  # fmt: skip
            errors.append([(p[i] - (i == label)) / 2 for i in (0, 1)])
        for i in (0, 1):  # the delta rule: V_ij -= lr sum_b error_bi h_bj
            for j in range(3):
                V[k][i][j] -= worked.RATE * sum(errors[r][i] * h[r][j] for r in (0, 1))
            b[k][i] -= worked.RATE * sum(errors[r][i] for r in (0, 1))
        return cross(h, s, OWN)

    worked.propagate(modulate, signal=lambda t: [[row[c] for row in S] for c in (0, 1)])
    rule = SigProp(2, readout="trained", **PLAIN)
    learner = learner_of(rule, **{"signal.0": [[row[c] for row in S] for c in (0, 1)]})
    update(learner)
    for k in (0, 1):
        weight = learner.bound().tensors[f"output.{k}.weight"].detach()
        assert weight.abs().max() > 1e-3
        torch.testing.assert_close(weight, double(V[k]), rtol=1e-6, atol=1e-6)
        bias = learner.bound().tensors[f"output.{k}.bias"].detach()
        torch.testing.assert_close(bias, double(b[k]), rtol=1e-6, atol=1e-6)


def test_golden_regression() -> None:
    vectors = [[0.5, -1.0], [1.5, 0.25]]
    V = zeros(2, 3)

    def modulate(k: int, h: Rows, s: Rows, c: Rows) -> tuple[Rows, Rows]:
        if k == 1:  # the output layer's squared error, without a bias at the start
            errors = [
                [
                    (sum(v * a for v, a in zip(V[i], row, strict=True)) + bias[i] - y[i]) / 2
                    for i in (0, 1)
                ]
                for row, y in zip(h, vectors, strict=True)
            ]
            for i in (0, 1):
                for j in range(3):
                    V[i][j] -= worked.RATE * sum(errors[r][i] * h[r][j] for r in (0, 1))
                bias[i] -= worked.RATE * sum(errors[r][i] for r in (0, 1))
        return soft(k, h, s, c)

    bias = [0.0, 0.0]
    currents = [[sum(a * y for a, y in zip(row, v, strict=True)) for row in S] for v in vectors]
    wanted = worked.propagate(modulate, signal=lambda t: currents)
    learner = learner_of(SigProp(2, labels="vectors", **PAIRS), projection=S)
    hold(update(learner, double(vectors)), wanted)
    torch.testing.assert_close(
        learner.bound().tensors["output.1.weight"].detach(), double(V), rtol=1e-6, atol=1e-6
    )


# ----------------------------------------------------------------------------- codes and placements


def test_codes_along_time() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.tensor([[1.0, 0.0, 0.5], [0.0, -2.0, 0.0]])
    assert torch.equal(Constant().draw(codes, generator), codes[None])
    late = Latency(5).draw(codes, generator)
    torch.testing.assert_close(late.mean(0), codes)
    assert (late != 0).sum() == 3, "one spike for each entry that is not zero"
    # 2 is the largest and comes first; 1 is half of it, at 1 + 0.5 * 4; 0.5 a quarter
    assert [int(late[:, a, b].abs().argmax()) for a, b in ((1, 1), (0, 0), (0, 2))] == [0, 2, 3]
    rate = Rate(4000, 0.25).draw(codes, generator)
    torch.testing.assert_close(rate.mean(0), codes, atol=0.1, rtol=0.05)
    assert ((rate == 0) | (rate == 4 * codes)).all()
    pattern = Pattern(50, 0.5).draw(codes, generator)
    assert pattern.shape == (50, 2, 3)
    assert set(pattern.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(pattern[:, 0], pattern[:, 1])
    phases = Phases(5, 3).draw(codes, generator)
    # By hand: the phases are at steps 1, 3 and 5, and halfway between two they weigh the same.
    half = math.sqrt(0.5)
    weights = torch.tensor([[1, 0, 0], [half, half, 0], [0, 1, 0], [0, half, half], [0, 0, 1]])
    assert phases.shape == (5, 2, 9)
    torch.testing.assert_close(phases.unflatten(2, (3, 3))[:, 0, 0], weights)
    torch.testing.assert_close(phases.unflatten(2, (3, 3))[:, 1, 1], -2 * weights)
    torch.testing.assert_close(phases.norm(dim=2), codes.norm(dim=1).expand(5, 2))


def test_filters_look_at_their_own_steps() -> None:
    x = torch.arange(1.0, 4.0).reshape(3, 1, 1)
    assert arranged("interleaved", x, 2).flatten().tolist() == [1, 0, 2, 0, 3, 0]
    assert arranged("leading", x, 2).flatten().tolist() == [0, 0, 1, 2, 3]
    assert arranged("trailing", x, 2).flatten().tolist() == [1, 2, 3, 0, 0]
    for placement in ("interleaved", "leading", "trailing"):
        total = len(arranged(placement, x, 2))
        pair = placed_filters(placement, RunningMean(), 3, 2)
        seen = [[f.weight(t) for t in range(1, total + 1)] for f in pair]
        assert [w for w in seen[0] if w] == [1.0, 1 / 2, 1 / 3]
        assert sum(bool(w) for w in seen[1]) == (3 if placement == "interleaved" else 2)
        assert not any(a and b for a, b in zip(*seen, strict=True))
    assert During(Leaky(0.3), 2, 2).weight(4) == 0.3
    assert During(Instantaneous(), 2, 2).weight(3) == 0.0


def test_glyphs_are_numbers() -> None:
    drawn = glyphs(10, torch.Size((2, 34, 34)))
    assert drawn.shape == (10, 2, 34, 34)
    assert torch.equal(drawn[:, 0], drawn[:, 1])
    assert len({tuple(image.flatten().tolist()) for image in drawn}) == 10
    one = glyphs(2, torch.Size((5, 3)))[1]
    assert one.tolist() == [[0, 1, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0], [1, 1, 1]]
    assert glyphs(12, torch.Size((5, 7)))[11].sum() == 16, "two digits, side by side"
    with pytest.raises(ValueError, match="5 x 3 pixels into the input, which has the shape"):
        glyphs(10, torch.Size((8,)))


# ----------------------------------------------------------------------------------------- learning


def events(features: tuple[int, ...] = (24,)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    rates = torch.full((3, 24), 0.15)
    for c in range(3):
        rates[c, c * 8 : (c + 1) * 8] = 0.4
    x = (torch.rand(8, 60, 24, generator=generator) < rates[labels]).float()
    return x.reshape(8, 60, *features), labels


def small(beta: float = 0.9, first: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        first or nn.Identity(),
        nn.Linear(24, 32), LIF(beta=beta, init_hidden=True),
        nn.Linear(32, 32), LIF(beta=beta, init_hidden=True),
    )  # fmt: skip


def fitted(rule: SigProp, net: nn.Module, x: Tensor, labels: Tensor) -> ForwardLearner:
    learner = ForwardLearner(net, rule, optimizer=lambda p: torch.optim.Adam(p, lr=3e-3))
    for _ in range(15):
        learner.update(x, labels)
    return learner


CONTRAST = BatchContrast(tau=0.1, cosine=True)
ROWS: dict[str, Any] = {"loss": CONTRAST, "readout": "trained"}


@pytest.mark.parametrize(
    "options",
    [
        {"signal": "learned"},
        {"signal": "synapse", "signal_scale": 1.0},
        {"signal": "context-input", **ROWS},
        {"signal": "concatenated", **ROWS},
        {"signal": "overlaid", **ROWS},
        {"coding": Rate()},
        {"coding": Latency()},
        {"coding": Pattern()},
        {"coding": Phases(8, 3)},
        {"labels": "batch"},
        {"readout": "trained"},
        {"placement": "trailing", "loss": CONTRAST},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
def test_each_learns(options: dict[str, Any]) -> None:
    x, labels = events()
    learner = fitted(SigProp(3, **options), small(), x, labels)
    assert learner.evaluate((x, labels)).accuracy > 0.8


def test_phases_tell_apart_what_only_the_order_decides() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 2  # the second half is new to the network
    rates = torch.full((2, 8, 24), 0.1)  # two halves of a recording; the classes exchange them
    rates[0, :4, :12] = rates[0, 4:, 12:] = rates[1, :4, 12:] = rates[1, 4:, :12] = 0.4
    x = (torch.rand(120, 8, 24, generator=generator) < rates[labels]).float().transpose(0, 1)

    def accuracy(coding: TimeCode) -> float:
        rule = SigProp(2, coding=coding, evidence=Leaky(0.7))
        learner = fitted(rule, small(beta=0.3), x[:, :60], labels[:60])
        return learner.evaluate((x[:, 60:], labels[60:])).accuracy

    assert accuracy(Phases(8, 2)) > 0.95
    assert accuracy(Constant()) < 0.8


@pytest.mark.parametrize("placement", ["interleaved", "leading"])
def test_a_voltage_that_forgets_can_take_turns(placement: str) -> None:
    x, labels = events()
    rule = SigProp(3, placement=placement, loss=CONTRAST, potential="membrane")
    assert fitted(rule, small(beta=0.5), x, labels).evaluate((x, labels)).accuracy > 0.9


def test_a_drawn_signal_learns_and_a_network_may_loop_over_time_itself() -> None:
    x, labels = events((1, 6, 4))
    learner = fitted(SigProp(3, signal="drawn"), small(first=nn.Flatten()), x, labels)
    assert learner.evaluate((x, labels)).accuracy > 0.9

    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = small(first=nn.Flatten())

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.body(x_t) for x_t in x])

    inside = ForwardLearner(
        Inside(), SigProp(3, signal="drawn"), time="inside",
        optimizer=lambda p: torch.optim.Adam(p, lr=3e-3),
    )  # fmt: skip
    for _ in range(15):
        inside.update(x, labels)
    for a, b in zip(inside.net.parameters(), learner.net.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_convolution_can_have_a_learned_signal() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), LIF(beta=0.9, init_hidden=True),
        nn.Flatten(), nn.Linear(96, 16), LIF(beta=0.9, init_hidden=True),
    )  # fmt: skip
    x, labels = events((1, 6, 4))
    learner = ForwardLearner(net, SigProp(3, signal="learned"), seed=1)
    learner.bind((1, 6, 4))
    before = learner.bound().tensors["projection"].detach().clone()
    learner.update(x, labels)
    assert before.shape == (96, 3)
    assert not torch.equal(before, learner.bound().tensors["projection"])


def test_the_batchs_classes_alone_are_all_that_is_compared() -> None:
    x, labels = events()
    learner = ForwardLearner(small(), SigProp(3, labels="batch"), optimizer=torch.optim.SGD)
    some = labels != 1
    found = learner.update(x[:, some], labels[some])
    assert (found.logits[:, :, 1] == -torch.inf).all()
    assert torch.isfinite(found.logits[:, :, [0, 2]]).all()
    assert torch.isfinite(learner.logits(x)).all(), "all classes are there to predict"


def test_regression_learns_and_predicts_vectors() -> None:
    x, _ = events()
    seen = x.mean(0)
    y = 5 * torch.stack([seen[:, :8].mean(1), seen[:, 8:16].mean(1)], 1)
    rule = SigProp(
        2, labels="vectors", readout="trained", loss=BatchContrast(SoftDistance(), 0.1, cosine=True)
    )
    learner = ForwardLearner(small(), rule, optimizer=lambda p: torch.optim.Adam(p, lr=3e-3))
    metrics = [learner.update(x, y) for _ in range(60)]
    assert metrics[-1].accuracy.isnan().all()
    predicted = learner.predict(x)
    assert predicted.shape == (60, 2)
    assert (predicted - y).square().mean() < 0.5 * y.var(dim=0).mean()
    with pytest.raises(ValueError, match="a regression has no accuracy"):
        learner.evaluate((x, torch.zeros(60, dtype=torch.int64)))
    with pytest.raises(ValueError, match=r"label has to have shape \(60, 2\), got \(60,\)"):
        learner.update(x, y[:, 0])
    with pytest.raises(TypeError, match="floating-point tensor of vectors"):
        learner.update(x, torch.zeros(60, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="values that are not finite"):
        learner.update(x, y * torch.nan)


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signal": "overlaid"}, "set readout='trained'"),
        ({"signal": "overlaid", "readout": "trained"}, "compare pairs of recording and signal"),
        ({"placement": "leading"}, r"loss has to be BatchContrast\(...\) .* or SquaredDistance"),
        (
            {"placement": "leading", "loss": SquaredDistance(), "signal": "learned"},
            "needs signal='propagated'",
        ),
        ({"signal": "projection", "coding": Rate()}, "sends nothing through the network"),
        ({"labels": "vectors", "loss": SquaredDistance()}, "set readout='trained'"),
        (
            {
                "labels": "vectors",
                "coding": Rate(),
                "loss": SquaredDistance(),
                "readout": "trained",
            },
            "needs signal='propagated' or 'learned'",
        ),
        ({"signal": "synapse", "coding": Phases()}, "widens a current, and signal='synapse' is"),
        ({"signal": "learnt"}, "did you mean 'learned'"),
        ({"placement": "interleave"}, "did you mean 'interleaved'"),
        ({"signal_steps": 0}, "signal_steps has to be at least 1, got 0"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SigProp(3, **options)


def test_more_refusals() -> None:
    with pytest.raises(ValueError, match="period has to be at least 1, got 0"):
        Latency(0)
    with pytest.raises(ValueError, match="rate has to be above 0 and at most 1, got 2"):
        Rate(rate=2.0)
    with pytest.raises(ValueError, match="puts 30 entries of a code on the input, which has only"):
        ForwardLearner(small(), SigProp(30, signal="overlaid", **ROWS)).bind((24,))
    x, labels = events()
    for options in ({"signal": "overlaid", **ROWS}, {"placement": "leading", "loss": CONTRAST}):
        learner = ForwardLearner(small(), SigProp(3, **options))
        with pytest.raises(ValueError, match="cannot follow a stream"):
            learner.step(x[0], labels)
    learner = ForwardLearner(small(), SigProp(3, signal="synapse"), engine="event")
    with pytest.raises(ValueError, match="through the first synapse"):
        learner.update(x, labels)
    per_neuron = nn.Sequential(nn.Linear(24, 4), LIF(beta=torch.rand(4), init_hidden=True))
    with pytest.raises(ValueError, match="a learned signal needs neurons that share one linear"):
        ForwardLearner(per_neuron, SigProp(3, signal="learned")).update(x, labels)
    placed = ForwardLearner(small(), SigProp(3, placement="leading", loss=CONTRAST))
    placed.update(x, labels)
    with pytest.raises(ValueError, match="has no class signal beside a recording"):
        placed.class_readout(8)


def test_every_choice_has_a_name_on_the_command_line() -> None:
    def built(**options: Any) -> SigProp:
        return sigprop_of(TrainConfig(**options), 3)

    for name, way in SIGNALS.items():
        pairs = {"loss": "contrast-soft", "readout": "trained"} if way.rows == "recordings" else {}
        assert built(signal=name, **pairs).path.way == way
    for name, code in (("rate", Rate()), ("latency", Latency()), ("pattern", Pattern())):
        assert built(coding=name).coding == code
    assert built(coding="phases", coding_period=60, phases=4).coding == Phases(60, 4)
    assert built(coding="rate", coding_period=7).coding == Rate(7)
    for name in PLACEMENTS:
        found = built(placement=name, loss="contrast-maximum", signal_steps=3)
        assert (found.placement, found.signal_steps) == (name, 3)
    assert built(class_signals="batch").labels == "batch"
    with pytest.raises(ValueError, match="did you mean 'concatenated'"):
        TrainConfig(signal="concatenate")


@pytest.mark.parametrize("coding", [Pattern(3), Phases(8, 3)], ids=["pattern", "phases"])
@pytest.mark.parametrize("engine", ["chunked", "event"])
def test_codes_along_time_are_the_same_on_every_engine(engine: str, coding: TimeCode) -> None:
    x, labels = events()
    weights = []
    for name in ("reference", engine):
        learner = ForwardLearner(
            small().double(), SigProp(3, coding=coding), engine=name, update_every=3,
            optimizer=lambda p: torch.optim.Adam(p, lr=3e-3),
        )  # fmt: skip
        learner.update(x.double(), labels)
        weights.append([p.detach().clone() for p in learner.net.parameters()])
    for a, b in zip(*weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
