"""Every wrong input ends in an error that says what was wrong and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import snntorch as snn
import torch
from torch import Tensor, nn
from toy import CLASSES, INPUTS, network, recordings

from spikeprop import ForwardLearner, checks
from spikeprop.evidence import Leaky, as_filters
from spikeprop.fit import TensorBatches
from spikeprop.homeostasis import Homeostasis
from spikeprop.losses import Cosine, Dot
from spikeprop.neurons import LIF
from spikeprop.rules import SigProp

X, LABELS = recordings(10)


def nan(x: Tensor) -> Tensor:
    x = x.clone()
    x[2, 3, 4] = float("nan")
    return x


@pytest.mark.parametrize(
    ("x", "label", "error", "words"),
    [
        (X.transpose(0, 1), LABELS, ValueError, "batch-first"),
        (X[0], LABELS, ValueError, "time-first"),
        (X[:0], LABELS, ValueError, "at least one time step"),
        (X[:, :0], LABELS[:0], ValueError, "one sample"),
        (X.double(), LABELS, TypeError, "torch.float64"),
        (X.to(torch.complex64), LABELS, TypeError, "complex64"),
        (X.numpy(), LABELS, TypeError, "ndarray"),
        (nan(X), LABELS, ValueError, r"not finite at index \(2, 3, 4\)"),
        (X * float("inf"), LABELS, ValueError, "not finite"),
        (X, LABELS.float(), TypeError, "integers"),
        (X, LABELS.tolist(), TypeError, "list"),
        (X, LABELS[:4], ValueError, r"shape \(10,\)"),
        (X, LABELS + 1, ValueError, r"0 \.\. 2 .* from 1 to 3"),
        (X, LABELS - 1, ValueError, "from -1 to 1"),
        (X[..., :7], LABELS, ValueError, "does not take an input of shape"),
    ],
)
def test_update_refuses(x: Any, label: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ForwardLearner(network(), SigProp(CLASSES)).update(x, label)


def test_step_and_predict_refuse() -> None:
    learner = ForwardLearner(network(), SigProp(CLASSES))
    with pytest.raises(ValueError, match=r"x_t has to be one time step"):
        learner.step(X[0, 0])
    with pytest.raises(ValueError, match="not finite"):
        learner.step(nan(X)[2])
    with pytest.raises(ValueError, match="from 1 to 3"):
        learner.step(X[0], LABELS + 1)
    with pytest.raises(ValueError, match="time-first"):
        learner.predict(X[0])
    learner.predict(X)
    with pytest.raises(ValueError, match=r"features of shape \(5,\).*bound to \(24,\)"):
        learner.predict(X[..., :5])


def test_nan_in_weights_is_refused() -> None:
    net = network()
    with torch.no_grad():
        net[2].weight[1, 1] = float("nan")
    with pytest.raises(ValueError, match=r"'2.weight' has values that are NaN"):
        ForwardLearner(net, SigProp(CLASSES)).update(X, LABELS)


def test_nan_that_comes_later_is_refused_by_update_predict_and_load() -> None:
    net = network()
    learner = ForwardLearner(net, SigProp(CLASSES))
    learner.update(X, LABELS)
    state = learner.state_dict()
    state["network"] = {k: v.clone() for k, v in state["network"].items()}
    state["network"]["0.bias"][1] = float("inf")
    with pytest.raises(ValueError, match=r"saved network's '0\.bias'"):
        learner.load_state_dict(state)
    learner.predict(X)
    with torch.no_grad():
        net[2].weight[1, 1] = float("nan")
    for call in (lambda: learner.update(X, LABELS), lambda: learner.predict(X)):
        with pytest.raises(ValueError, match=r"'2\.weight' has values that are NaN"):
            call()


@pytest.mark.parametrize("shape", [(300, 400), (20, 10, 40, 10)])
@pytest.mark.parametrize("turned", [False, True])
def test_numbers_of_large_weights_are_seen_however_they_lie(
    shape: tuple[int, ...], turned: bool
) -> None:
    weight = torch.zeros(shape[::-1]).permute(*range(len(shape))[::-1])
    weight = weight if turned else weight.contiguous()
    weight[0] = 1e38  # the sum is not finite, the numbers are
    checks.finite("the network", {"0.weight": weight})
    for value in (float("nan"), float("inf")):
        weight[7, 9] = value
        with pytest.raises(ValueError, match=r"the network's '0\.weight' has values that are NaN"):
            checks.finite("the network", {"0.weight": weight})


def test_a_loss_that_explodes_names_its_block() -> None:
    learner = ForwardLearner(network(), SigProp(CLASSES, loss=Dot()))
    learner.update(X, LABELS)
    with torch.no_grad():
        learner.net[2].weight.mul_(1e30)
    with pytest.raises(FloatingPointError, match="block '2'"):
        learner.update(X, LABELS)


def lif() -> LIF:
    return LIF(beta=0.9, init_hidden=True)


class Functional(nn.Module):
    def __init__(self, how: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc, self.lif, self.how = nn.Linear(INPUTS, 4), lif(), how

    def forward(self, x: Tensor) -> Tensor:
        return self.lif(self.how(self.fc(x)))


class Twice(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.fc = nn.Linear(INPUTS, INPUTS)
        self.lif1 = lif()
        self.lif2 = self.lif1 if what == "neuron" else lif()
        self.fc2 = self.fc if what == "synapse" else nn.Linear(INPUTS, INPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.lif2(self.fc2(self.lif1(self.fc(x))))


class WholeSequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(INPUTS, 4), LIF(beta=0.9)

    def forward(self, x: Tensor) -> Tensor:
        current, mem = self.fc(x), None
        for t in range(len(x)):
            spk, mem = self.lif(current[t], mem)
        return spk


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (nn.Sequential(nn.Linear(INPUTS, 4), nn.ReLU(), lif()), r"'1' \(ReLU\).*Move it behind"),
        (nn.Sequential(nn.Linear(INPUTS, 4), nn.ReLU(inplace=True), lif()), "Move it behind"),
        (nn.Sequential(nn.Linear(INPUTS, 4), nn.Dropout(0.5), lif()), "Dropout"),
        (nn.Sequential(nn.Linear(INPUTS, 4), nn.Sigmoid()), "no trainable block"),
        (nn.Sequential(nn.Linear(INPUTS, 4).requires_grad_(False), lif()), "requires_grad=False"),
        (nn.Sequential(nn.Linear(INPUTS, 4), lif(), lif()), "has no synapse"),
        (nn.Sequential(nn.Identity(), lif()), "could not be followed back"),
        (Functional(torch.relu), "could not be followed back"),
        (Functional(lambda current: 2 * current), "could not be followed back"),
        (Twice("neuron"), "neuron 'lif1' is used more than once"),
        (Twice("synapse"), "synapse 'fc' is used more than once"),
        (nn.Sequential(nn.Linear(INPUTS, 4), snn.Synaptic(0.9, 0.8, init_hidden=True)), "Synaptic"),
        (
            nn.Sequential(
                nn.Unflatten(1, (1, 4, 6)), nn.Conv2d(1, 2, 3, padding_mode="circular"), lif()
            ),
            "padding_mode",
        ),
        (
            nn.Sequential(nn.Unflatten(1, (1, 4, 6)), nn.Conv2d(1, 2, 3, padding="same"), lif()),
            "padding='same'",
        ),
        (
            nn.Sequential(nn.Unflatten(1, (1, 4, 6)), nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), lif()),
            "MaxPool2d",
        ),
        (
            nn.Sequential(
                nn.Linear(INPUTS, 4), snn.Leaky(0.9, init_hidden=True, state_quant=torch.round)
            ),
            "state_quant",
        ),
    ],
)
def test_networks_that_cannot_learn_exactly_are_refused_by_name(net: nn.Module, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ForwardLearner(net, SigProp(CLASSES)).update(X, LABELS)


def test_a_synapse_called_on_the_whole_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="at each time step"):
        ForwardLearner(WholeSequence(), SigProp(CLASSES), time="inside").update(X, LABELS)


def test_a_loop_over_time_given_as_a_step_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="inside"):
        ForwardLearner(WholeSequence(), SigProp(CLASSES)).update(X, LABELS)


class HalfTheTime(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(INPUTS, 4), LIF(beta=0.9)

    def forward(self, x: Tensor) -> None:
        mem = None
        for t in range(len(x) // 2):
            _, mem = self.lif(self.fc(x[t]), mem)


def test_a_network_that_skips_time_steps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x has 8 time steps, but neuron 'lif' made 4"):
        ForwardLearner(HalfTheTime(), SigProp(CLASSES), time="inside").update(X, LABELS)


class Skips(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif, self.calls = nn.Linear(INPUTS, 4), lif(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        current = self.fc(x)
        if self.calls > 2:
            self.fc(x)
        return self.lif(current)


def test_a_synapse_called_out_of_step_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'fc' was called 3 times when neuron 'lif' made step 2"):
        ForwardLearner(Skips(), SigProp(CLASSES)).update(X, LABELS)


def test_parameters_outside_every_block_are_named() -> None:
    net = nn.Sequential(*network(), nn.Linear(32, 3))
    with pytest.warns(UserWarning, match=r"4\.weight, 4\.bias"):
        ForwardLearner(net, SigProp(CLASSES)).update(X, LABELS)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ForwardLearner("net", SigProp(3)), TypeError, "net has to be"),
        (lambda: ForwardLearner(network(), "sigprop"), TypeError, "rule has to be"),
        (lambda: ForwardLearner(network(), SigProp(3), update_every=0), ValueError, "at least 1"),
        (lambda: ForwardLearner(network(), SigProp(3), update_every=1.5), TypeError, "integer"),
        (lambda: ForwardLearner(network(), SigProp(3), engine="warp"), ValueError, "reference"),
        (lambda: ForwardLearner(network(), SigProp(3), time="outside"), ValueError, "inside"),
        (lambda: SigProp(1), ValueError, "num_classes"),
        (lambda: SigProp(3, signal="radio"), ValueError, "propagated"),
        (lambda: SigProp(3, predict_from="first"), ValueError, "vote"),
        (lambda: SigProp(3, signal_scale=0.0), ValueError, "signal_scale"),
        (lambda: SigProp(3, evidence=()), ValueError, "empty"),
        (lambda: SigProp(3, evidence="mean"), TypeError, "RunningMean"),
        (lambda: SigProp(3, codes=torch.eye(4)), ValueError, "codes"),
        (lambda: SigProp(3, codes=torch.full((3, 2), torch.nan)), ValueError, "not finite"),
        (lambda: Leaky(0.0), ValueError, "alpha"),
        (lambda: Cosine(0.0), ValueError, "tau"),
        (lambda: Dot(-1.0), ValueError, "tau"),
        (lambda: Homeostasis(target=0.0), ValueError, "target"),
        (lambda: Homeostasis(gain=-1.0), ValueError, "gain"),
        (lambda: Homeostasis(low=2.0, high=1.0), ValueError, "low"),
        (lambda: Homeostasis(smoothing=0.0), ValueError, "smoothing"),
        (lambda: TensorBatches(X, LABELS, batch_size=0, shuffle=False), ValueError, "batch_size"),
        (lambda: TensorBatches(X, LABELS[:3], batch_size=2, shuffle=False), ValueError, "time"),
        (lambda: ForwardLearner(network(), SigProp(3)).blocks, RuntimeError, "not known yet"),
        (
            lambda: ForwardLearner(network(), SigProp(3)).fit((X, LABELS), epochs=0),
            ValueError,
            "epochs",
        ),
        (
            lambda: ForwardLearner(network(), SigProp(3)).fit((X, LABELS), epochs=1, schedule="up"),
            ValueError,
            "schedule",
        ),
        (
            lambda: ForwardLearner(network(), SigProp(3)).fit((X, LABELS), epochs=1, start_epoch=2),
            ValueError,
            "start_epoch",
        ),
        (lambda: ForwardLearner(network(), SigProp(3)).fit([], epochs=1), ValueError, "no batch"),
        (lambda: ForwardLearner(network(), SigProp(3)).evaluate([]), ValueError, "no batch"),
        (
            lambda: ForwardLearner(network(), SigProp(3)).fit(iter([(X, LABELS)]), epochs=1),
            ValueError,
            "no length",
        ),
        (
            lambda: ForwardLearner(network(), SigProp(3), optimizer=lambda p: None).update(
                X, LABELS
            ),
            TypeError,
            "torch.optim.Optimizer",
        ),
    ],
)
def test_wrong_settings_are_refused(
    make: Callable[[], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make()


def test_filters_are_given_one_or_several() -> None:
    assert as_filters(Leaky(0.5)) == (Leaky(0.5),)
    assert as_filters((Leaky(0.5), Leaky(0.1))) == (Leaky(0.5), Leaky(0.1))
