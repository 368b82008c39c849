"""ForwardLearner: what it promises of learning, state and networks of every form."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import snntorch as snn
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from toy import CLASSES, network, recordings

from spikeprop import ForwardLearner, reset
from spikeprop.evidence import Leaky, RunningMean
from spikeprop.homeostasis import Homeostasis
from spikeprop.neurons import LIF
from spikeprop.rules import SigProp, SPVoltage

adam = partial(torch.optim.Adam, lr=1e-3)


def same(a: nn.Module | dict[str, Tensor], b: nn.Module | dict[str, Tensor]) -> bool:
    first = a.state_dict() if isinstance(a, nn.Module) else a
    second = b.state_dict() if isinstance(b, nn.Module) else b
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def trained(net: nn.Module, n: int = 3, **options: Any) -> ForwardLearner:
    rule = options.pop("rule", SigProp(CLASSES))
    learner = ForwardLearner(net, rule, optimizer=options.pop("optimizer", adam), **options)
    x, labels = recordings()
    x = x.to(next(net.parameters()).dtype)
    for _ in range(n):
        learner.update(x, labels)
    return learner


# ---------------------------------------------------------------------- learning


@pytest.mark.parametrize(
    ("rule", "update_every", "lr", "bar"),
    [
        (SigProp(CLASSES), 1, 1e-3, 0.9),
        (SigProp(CLASSES), 3, 2e-3, 0.9),
        (SigProp(CLASSES), 100, 5e-3, 0.9),
        (SigProp(CLASSES, signal="projection"), 1, 1e-3, 0.9),
        (SigProp(CLASSES, predict_from="vote"), 100, 5e-3, 0.9),
        (SigProp(CLASSES, evidence=(RunningMean(), Leaky(0.5))), 1, 1e-3, 0.9),
        (SPVoltage(CLASSES), 1, 1e-3, 0.6),
    ],
)
def test_it_learns_without_any_backward_pass(
    monkeypatch: pytest.MonkeyPatch, rule: SigProp, update_every: int, lr: float, bar: float
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a backward pass")

    trained(network(), 1)  # torch imports parts of itself at the first step of an optimiser
    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    monkeypatch.setattr(torch.autograd, "backward", refuse)
    monkeypatch.setattr(torch.autograd, "grad", refuse)
    learner = ForwardLearner(
        network(), rule, optimizer=partial(torch.optim.Adam, lr=lr), update_every=update_every
    )
    learner.fit(recordings(240), epochs=12, batch_size=20)
    found = learner.evaluate(recordings(90, seed=9)).accuracy
    assert found >= bar


def test_no_tensor_made_in_training_requires_grad() -> None:
    class Watch(TorchFunctionMode):
        made = 0

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            for item in result if isinstance(result, (tuple, list)) else [result]:
                if isinstance(item, Tensor) and not isinstance(item, nn.Parameter):
                    Watch.made += 1
                    assert not item.requires_grad, f"{func} made a tensor that requires grad"
            return result

    net = network()
    learner = ForwardLearner(net, SigProp(CLASSES))
    x, labels = recordings()
    with Watch():
        learner.update(x, labels)
        learner.update(x, labels)
        learner.step(x[0], labels)
    assert Watch.made > 1000
    for optimizer in learner.optimizers:
        assert optimizer is not None
        state = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
        assert len(state) == 6
        assert not any(v.requires_grad for v in state)
    assert all(p.grad is None for p in net.parameters())


def test_every_block_changes_and_a_frozen_one_does_not() -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    trained(net, 1)
    for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
        assert not torch.equal(before[name], net.state_dict()[name])
    net = network()
    net[0].requires_grad_(False)
    learner = trained(net, 2)
    assert torch.equal(net[0].weight, before["0.weight"])
    assert not torch.equal(net[2].weight, before["2.weight"])
    assert [b.trained for b in learner.blocks] == [False, True]


@pytest.mark.parametrize("signal", ["propagated", "learned", "projection"])
@pytest.mark.parametrize("update_every", [1, 100])
@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_a_block_learns_the_same_whatever_stands_behind_it(
    signal: str, update_every: int, engine: str
) -> None:
    whole = network().double()
    alone = copy.deepcopy(whole[:2])
    for net in (whole, alone):
        rule = SigProp(CLASSES, signal=signal)
        trained(net, rule=rule, update_every=update_every, engine=engine)
    for key, value in alone.state_dict().items():
        torch.testing.assert_close(whole.state_dict()[key], value, rtol=0, atol=1e-10)


def test_a_frozen_bias_stays_and_its_weight_learns() -> None:
    net = network()
    net[0].bias.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    trained(net, 1)
    assert torch.equal(before["0.bias"], net[0].bias)
    assert not torch.equal(before["0.weight"], net[0].weight)


def test_state_dict_has_the_keys_of_the_plain_module() -> None:
    plain = list(network().state_dict())
    net = network()
    learner = trained(net)
    learner.step(recordings()[0][0], recordings()[1])
    assert list(net.state_dict()) == plain
    fresh = network(seed=5)
    fresh.load_state_dict(net.state_dict())
    assert same(fresh, net)


def test_hooks_are_gone_after_an_update_even_if_it_fails() -> None:
    net = network()
    learner = trained(net, 1)
    net[3].register_forward_hook(_boom)
    with pytest.raises(RuntimeError, match="boom"):
        learner.update(*recordings())
    assert len(net[3]._forward_hooks) == 1
    assert not net[0]._forward_pre_hooks
    assert not net[1]._forward_pre_hooks


def _boom(*args: object) -> None:
    raise RuntimeError("boom")


def test_metrics_say_what_happened() -> None:
    x, labels = recordings()
    learner = trained(network(), 30)
    metrics = learner.update(x, labels)
    assert metrics.logits.shape == (2, len(labels), CLASSES)
    assert metrics.prediction.shape == labels.shape
    wanted = (metrics.logits[-1].argmax(dim=1) == labels).float().mean()
    assert metrics.accuracy[-1] == wanted
    assert (metrics.loss > 0).all()
    assert (metrics.rate > 0.02).all()
    assert (metrics.rate < 0.4).all()


def test_homeostasis_brings_the_rates_near_their_target() -> None:
    rule = SigProp(CLASSES, homeostasis=Homeostasis(target=0.2))
    learner = trained(network(), 80, rule=rule, optimizer=partial(torch.optim.SGD, lr=0.0))
    rate = learner.update(*recordings()).rate
    start = trained(network(), 0).update(*recordings()).rate
    # Neurons whose current is never above 0 cannot follow.
    assert ((rate - 0.2).abs() < 0.07).all()
    assert (rate > start + 0.03).all()
    assert learner.net[1].threshold.shape == (32,)


# ---------------------------------------------------------------------- the same numbers


def test_same_seed_gives_bit_identical_weights_even_with_dropout() -> None:
    def run(noise: int) -> nn.Module:
        net = network()
        net.insert(2, nn.Dropout(0.3))
        torch.manual_seed(noise)
        trained(net, seed=4)
        return net

    assert same(run(1), run(2))


def test_dropout_draws_anew_at_each_update_and_leaves_the_global_state_alone() -> None:
    net = nn.Sequential(nn.Dropout(0.5), *network())
    learner = trained(net, 1, optimizer=partial(torch.optim.SGD, lr=0.0))
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    first, second = (learner.update(*recordings()).loss for _ in range(2))
    assert torch.rand(1) == wanted
    assert not torch.equal(first, second)
    x = recordings()[0]
    assert torch.equal(learner.logits(x), learner.logits(x))
    assert net.training


class Explicit(nn.Module):
    """A network in the style of snnTorch's tutorials."""

    def __init__(self, neuron: Callable[..., nn.Module], rows: Callable[[Tensor], int]) -> None:
        super().__init__()
        parts = network()
        self.fc1, self.fc2 = parts[0], parts[2]
        self.lif1, self.lif2 = neuron(beta=0.9), neuron(beta=0.9)

    def forward(self, x: Tensor) -> Tensor:
        mem1 = torch.zeros(x.size(1), 32)
        mem2 = self.lif2.init_leaky()
        record = []
        for step in range(x.size(0)):
            cur1 = self.fc1(x[step])
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            record.append(spk2)
        return torch.stack(record)


@pytest.mark.parametrize("update_every", [1, 3])
def test_a_loop_over_time_inside_the_network_gives_the_very_same_weights(
    update_every: int,
) -> None:
    net = network()
    learner = trained(net, update_every=update_every, engine="reference")
    explicit = Explicit(LIF, len)
    other = trained(explicit, update_every=update_every, time="inside")
    for mine, theirs in [(net[0], explicit.fc1), (net[2], explicit.fc2), (net[1], explicit.lif1)]:
        assert same(mine, theirs)
    x = recordings(seed=3)[0]
    assert torch.equal(learner.logits(x), other.logits(x))


@pytest.mark.parametrize("inside", [False, True])
def test_an_unchanged_snntorch_network_trains_to_the_same_weights(inside: bool) -> None:
    net = network()
    learner = trained(net)
    torch_net: nn.Module
    if inside:
        torch_net = Explicit(snn.Leaky, len)
        synapses = [torch_net.fc1, torch_net.fc2]
    else:
        parts = network()
        torch_net = nn.Sequential(
            parts[0],
            snn.Leaky(beta=0.9, init_hidden=True),
            parts[2],
            snn.Leaky(beta=0.9, init_hidden=True),
        )
        synapses = [torch_net[0], torch_net[2]]
    other = trained(torch_net, time="inside" if inside else "step")
    for mine, theirs in zip([net[0], net[2]], synapses, strict=True):
        torch.testing.assert_close(mine.weight, theirs.weight, rtol=0, atol=1e-6)
    x = recordings(seed=3)[0]
    torch.testing.assert_close(learner.logits(x), other.logits(x), rtol=1e-4, atol=1e-4)


def test_nested_modules_and_other_input_types_change_nothing() -> None:
    flat, nested = network(), network()
    nested = nn.Sequential(nn.Sequential(nested[0], nested[1]), nn.Sequential(nested[2], nested[3]))
    a, b = trained(flat), trained(nested)
    x = recordings(seed=3)[0]
    assert torch.equal(a.logits(x), b.logits(x))
    assert torch.equal(a.logits(x), b.logits(x.to(torch.int16)))
    assert torch.equal(a.logits(x), b.logits(x.bool()))


def test_rows_behind_the_batch_equal_a_separate_run_of_the_signal() -> None:
    net = network()
    learner = trained(net)
    x = recordings(seed=3)[0]
    seen: list[Tensor] = []
    handle = net[3].register_forward_hook(lambda m, i, o: seen.append(m.mem[-CLASSES:].clone()))
    learner.logits(x)
    handle.remove()
    signal = learner.bound().tensors["signal.0"]
    reset(net)
    with torch.no_grad():
        for t in range(len(x)):
            net[3](net[2](net[1](signal)))
            torch.testing.assert_close(net[3].mem, seen[t], rtol=0, atol=1e-6)
    reset(net)


def test_predictions_do_not_depend_on_the_rest_of_the_batch_or_on_repetition() -> None:
    learner = trained(network(), 5)
    x = recordings(seed=3)[0]
    whole = learner.logits(x)
    assert torch.equal(whole, learner.logits(x))
    torch.testing.assert_close(whole[:, :7], learner.logits(x[:, :7]), rtol=1e-4, atol=1e-4)
    assert torch.equal(learner.predict(x), whole[-1].argmax(dim=1))
    assert not torch.equal(whole, learner.logits(x, final=True))


# ---------------------------------------------------------------------- streams


def test_a_stream_equals_an_update_under_the_same_filter() -> None:
    rule = SigProp(
        CLASSES,
        evidence=Leaky(0.2),
        stream_evidence=Leaky(0.2),
        homeostasis=None,
        stream_homeostasis=None,
    )
    x, labels = recordings()
    a, b = network(), network()
    batch = ForwardLearner(a, rule, optimizer=adam, engine="reference")
    stream = ForwardLearner(b, rule, optimizer=adam)
    batch.update(x, labels)
    for x_t in x:
        metrics = stream.step(x_t, labels)
    assert same(a, b)
    assert metrics.logits.shape == (2, len(labels), CLASSES)


def test_a_stream_learns_one_recording_at_a_time_and_predicts_without_labels() -> None:
    x, labels = recordings(90)
    learner = ForwardLearner(
        network(), SigProp(CLASSES), optimizer=partial(torch.optim.Adam, lr=5e-4)
    )
    for _ in range(2):
        for i in range(90):
            learner.reset()
            for x_t in x[:, i : i + 1]:
                learner.step(x_t, labels[i : i + 1])
    test_x, test_labels = recordings(60, steps=20, seed=9)
    learner.reset()
    before = copy.deepcopy(learner.net.state_dict())
    for x_t in test_x:
        metrics = learner.step(x_t)
    assert same(before, learner.net)
    assert (metrics.prediction == test_labels).float().mean() > 0.8
    assert torch.isnan(metrics.accuracy).all()


def test_unlabelled_steps_still_count_in_the_trace() -> None:
    x, labels = recordings()
    nets = network(), network()
    learners = [ForwardLearner(n, SigProp(CLASSES), optimizer=adam) for n in nets]
    for t, x_t in enumerate(x):
        learners[0].step(x_t, labels if t == 7 else None)
    learners[1].step(x[7], labels)
    assert not torch.equal(nets[0][0].weight, nets[1][0].weight)


def test_stream_refuses_other_batches_and_networks_with_their_own_loop() -> None:
    x, labels = recordings()
    learner = trained(network(), 1)
    learner.step(x[0], labels)
    with pytest.raises(ValueError, match=r"x_t has 3 samples, but this stream began with 60"):
        learner.step(x[0, :3], labels[:3])
    learner.reset()
    learner.step(x[0, :3], labels[:3])
    learner.predict(x)
    learner.step(x[0], labels)
    with pytest.raises(ValueError, match="time='inside'"):
        ForwardLearner(Explicit(LIF, len), SigProp(CLASSES), time="inside").step(x[0])


# ---------------------------------------------------------------------- keeping


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_saved_and_loaded_it_goes_on_bit_identically(tmp_path: Path, schedule: str) -> None:
    def make() -> ForwardLearner:
        net = network()
        net.insert(2, nn.Dropout(0.2))
        return ForwardLearner(net, SigProp(CLASSES), optimizer=adam, seed=3)

    data, x = recordings(), recordings(seed=3)[0]
    whole = make()
    whole.fit(data, epochs=4, schedule=schedule)
    half = make()

    class Stop(Exception):  # noqa: N818
        pass

    from spikeprop.fit import Callback

    class Halt(Callback):
        def on_epoch_end(self, learner: ForwardLearner, result: Any) -> None:
            if result.epoch == 2:
                learner.save(tmp_path / "half.safetensors")
                raise Stop

    with pytest.raises(Stop):
        half.fit(data, epochs=4, schedule=schedule, callbacks=[Halt()])
    rest = make().load(tmp_path / "half.safetensors")
    assert torch.equal(rest.logits(x), half.logits(x))
    assert torch.equal(rest.predict(x), half.predict(x))
    results = rest.fit(data, epochs=4, start_epoch=2, schedule=schedule)
    assert [r.epoch for r in results] == [3, 4]
    assert same(whole.net, rest.net)
    assert torch.equal(whole.logits(x), rest.logits(x))


def test_loading_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    trained(network(), 1).save(path)
    net = network()
    before = copy.deepcopy(net.state_dict())
    cases: list[tuple[ForwardLearner, str]] = [
        (ForwardLearner(net, SigProp(4)), "num_classes=3, this one num_classes=4"),
        (ForwardLearner(net, SigProp(CLASSES), update_every=2), "update_every=1"),
        (ForwardLearner(net, SPVoltage(CLASSES)), "this one"),
        (ForwardLearner(network(hidden=8), SigProp(CLASSES)), "has shape"),
        (ForwardLearner(nn.Sequential(*net[:2]), SigProp(CLASSES)), "unknown"),
    ]
    for learner, words in cases:
        with pytest.raises(ValueError, match=words):
            learner.load(path)
    assert same(before, net)
    state = trained(network(), 1).state_dict()
    with pytest.raises(ValueError, match="version 99"):
        ForwardLearner(net, SigProp(CLASSES)).load_state_dict({**state, "version": 99})


def test_a_learner_with_nan_weights_is_not_saved(tmp_path: Path) -> None:
    learner = trained(network(), 1)
    with torch.no_grad():
        learner.net[2].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"'2.weight' has values that are NaN"):
        learner.save(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize(
    "rule",
    [SigProp(CLASSES), SPVoltage(CLASSES), SigProp(CLASSES, evidence=(RunningMean(), Leaky(0.3)))],
)
def test_export_predicts_what_the_learner_predicts_from_final_evidence(
    rule: SigProp, fold: bool
) -> None:
    learner = trained(network(), 20, rule=rule)
    x = recordings(seed=3)[0]
    exported = learner.export(time_steps=len(x), fold_thresholds=fold)
    scores = exported(x)
    assert scores.shape == (60, CLASSES)
    assert torch.equal(scores.argmax(dim=1), learner.predict(x, final=True))
    assert torch.equal(scores, exported(x))
    if fold:
        assert (exported.get_submodule("network.1").threshold == 1).all()
    else:
        assert same(exported.network, learner.net)


def test_export_of_a_loop_inside_and_of_a_vote() -> None:
    x = recordings(seed=3)[0]
    learner = trained(Explicit(LIF, len), time="inside")
    found = learner.export(time_steps=len(x))(x).argmax(dim=1)
    assert torch.equal(found, learner.predict(x, final=True))
    vote = trained(network(), 1, rule=SigProp(CLASSES, predict_from="vote"))
    with pytest.raises(ValueError, match="predict_from"):
        vote.export(time_steps=5)


# ---------------------------------------------------------------------- convolution


def conv_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        LIF(beta=0.9, init_hidden=True),
        nn.MaxPool2d(2),
        nn.Dropout(0.1),
        nn.Flatten(),
        nn.Linear(6 * 2 * 3, 20),
        LIF(beta=0.9, init_hidden=True),
    )


def test_a_convolutional_network_learns_and_its_norm_follows_the_recordings() -> None:
    x, labels = recordings(90)
    x = x.reshape(len(x), 90, 1, 4, 6)
    net = conv_net()
    learner = ForwardLearner(net, SigProp(CLASSES), optimizer=adam)
    learner.update(x, labels)
    norm = net[1]
    with torch.no_grad():
        currents = torch.stack([conv_net()[0](x_t) for x_t in x])
    assert norm.num_batches_tracked == 1
    assert net.training
    # One update with an update at every step: the weights moved a little meanwhile.
    wanted = 0.1 * currents.mean(dim=(0, 1, 3, 4))
    torch.testing.assert_close(norm.running_mean, wanted, rtol=0, atol=0.01)
    learner.fit((x, labels), epochs=30, batch_size=15)
    assert net[2].threshold.shape == (6, 1, 1)
    test_x, test_labels = recordings(60, seed=9)
    found = learner.evaluate((test_x.reshape(8, 60, 1, 4, 6), test_labels)).accuracy
    assert found > 0.85
    exported = learner.export(time_steps=8)
    x = test_x.reshape(8, 60, 1, 4, 6)
    assert torch.equal(exported(x).argmax(dim=1), learner.predict(x, final=True))
    with pytest.raises(ValueError, match="cannot be folded"):
        learner.export(time_steps=8, fold_thresholds=True)


def test_norm_without_momentum_averages_over_updates() -> None:
    net = conv_net()
    net[1] = nn.BatchNorm2d(6, momentum=None)
    learner = ForwardLearner(net, SigProp(CLASSES), optimizer=partial(torch.optim.SGD, lr=0.0))
    x, labels = recordings(12)
    x = x.reshape(8, 12, 1, 4, 6)
    learner.update(x, labels)
    first = net[1].running_mean.clone()
    learner.update(x[:, :6], labels[:6])
    with torch.no_grad():
        second = torch.stack([net[0](x_t) for x_t in x[:, :6]]).mean(dim=(0, 1, 3, 4))
    torch.testing.assert_close(net[1].running_mean, (first + second) / 2)


# ---------------------------------------------------------------------- options


def test_any_optimiser_and_scheduler_one_per_block() -> None:
    seen: list[list[nn.Parameter]] = []

    def optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        seen.append(parameters)
        return torch.optim.RMSprop(parameters, lr=0.01)

    learner = trained(
        network(),
        3,
        optimizer=optimizer,
        scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=1, gamma=0.5),
    )
    assert [len(p) for p in seen] == [2, 2]
    rates = [o.param_groups[0]["lr"] for o in learner.optimizers if o is not None]
    assert rates == [0.01 / 8] * 2
    learner.fit(recordings(), epochs=1)
    assert learner.optimizers[0].param_groups[0]["lr"] == 0.01 / 32  # type: ignore[union-attr]


@pytest.mark.parametrize("engine", ["reference", "event"])
def test_moments_of_silent_inputs_reach_zero_and_the_processor_is_left_as_it_was(
    engine: str,
) -> None:
    tiny = torch.tensor([3e-39])
    torch.set_flush_denormal(True)
    if float((tiny * 0.5).sum()) != 0.0:
        pytest.skip("this processor keeps denormal numbers")
    torch.set_flush_denormal(False)
    x, label = recordings()
    x[:, :, 0] = 0.0
    learner = ForwardLearner(
        network(), SigProp(CLASSES), engine=engine, optimizer=torch.optim.Adam, seed=0
    )
    learner.update(x, label)
    optimizer = learner.optimizers[0]
    assert optimizer is not None
    first = optimizer.state[optimizer.param_groups[0]["params"][0]]["exp_avg"]
    first[:, 0] = tiny
    learner.update(x, label)
    assert (first.view(torch.int32)[:, 0] == 0).all()
    assert (tiny * 0.5).view(torch.int32) != 0
    torch.set_flush_denormal(True)
    try:
        learner.update(x, label)
        assert float((tiny * 0.5).sum()) == 0.0, "it was on before"
    finally:
        torch.set_flush_denormal(False)


def test_to_moves_and_keeps_learning() -> None:
    a, b = network(), network()
    first, second = trained(a, 1), trained(b, 1)
    second.to("cpu")
    first.update(*recordings())
    second.update(*recordings())
    assert same(a, b)


@pytest.mark.cuda
def test_cuda_gives_the_numbers_of_the_cpu() -> None:
    a, b = network(), network().cuda()
    x, labels = recordings()
    first = ForwardLearner(a, SigProp(CLASSES), optimizer=partial(torch.optim.SGD, lr=0.01))
    second = ForwardLearner(b, SigProp(CLASSES), optimizer=partial(torch.optim.SGD, lr=0.01))
    first.update(x, labels)
    second.update(x.cuda(), labels.cuda())
    torch.testing.assert_close(a[0].weight, b[0].weight.cpu(), rtol=0, atol=1e-4)
    second.to("cpu")
    assert second.predict(x).device.type == "cpu"
