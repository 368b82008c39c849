"""Epochs, validation, loaders of the user's own and callbacks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from toy import CLASSES, network, recordings

from spikeprop import ForwardLearner
from spikeprop.fit import Callback, EpochResult, TensorBatches
from spikeprop.learner import Metrics
from spikeprop.rules import SigProp


class Diary(Callback):
    def __init__(self) -> None:
        self.lines: list[Any] = []

    def on_epoch_start(self, learner: ForwardLearner, epoch: int, n_batches: int | None) -> None:
        self.lines.append(("start", epoch, n_batches))

    def on_batch_end(
        self, learner: ForwardLearner, epoch: int, batch: int, metrics: Metrics
    ) -> None:
        self.lines.append(("batch", epoch, batch, len(metrics.prediction)))

    def on_epoch_end(self, learner: ForwardLearner, result: EpochResult) -> None:
        self.lines.append(("end", result.epoch))


def test_callbacks_see_every_batch_in_order() -> None:
    diary = Diary()
    learner = ForwardLearner(network(), SigProp(CLASSES))
    learner.fit(recordings(50), epochs=2, batch_size=20, callbacks=[diary])
    one = [("batch", 1, 1, 20), ("batch", 1, 2, 20), ("batch", 1, 3, 10)]
    assert diary.lines[:5] == [("start", 1, 3), *one, ("end", 1)]
    assert diary.lines[5] == ("start", 2, 3)


def test_results_weigh_samples_and_carry_validation() -> None:
    train, validation = recordings(50), recordings(30, seed=4)
    learner = ForwardLearner(
        network(), SigProp(CLASSES), optimizer=lambda p: torch.optim.Adam(p, lr=1e-3)
    )
    results = learner.fit(train, validation, epochs=8, batch_size=20)
    last = results[-1]
    assert [r.epoch for r in results] == list(range(1, 9))
    assert last.train_loss.shape == last.train_block_accuracy.shape == last.rate.shape == (2,)
    assert last.train_loss[1] < results[0].train_loss[1]
    assert 0.0 <= last.train_accuracy <= 1.0
    assert last.samples_per_second == pytest.approx(50 / last.seconds)
    checked = learner.evaluate(validation)
    assert last.validation is not None
    assert checked.accuracy == last.validation.accuracy
    assert checked.samples == 30 == int(checked.confusion.sum())
    right = (learner.predict(validation[0]) == validation[1]).float().mean()
    assert checked.accuracy == pytest.approx(float(right))
    assert checked.block_accuracy[-1] == pytest.approx(float(right))
    for c in range(CLASSES):
        own = learner.predict(validation[0])[validation[1] == c]
        assert float(checked.per_class[c]) == pytest.approx(float((own == c).float().mean()))


def test_the_cosine_schedule_ends_at_zero_and_starts_at_the_full_rate() -> None:
    rates: list[float] = []

    class Watch(Callback):
        def on_batch_end(self, learner: Any, epoch: int, batch: int, metrics: Any) -> None:
            rates.append(learner.optimizers[0].param_groups[0]["lr"])

    learner = ForwardLearner(network(), SigProp(CLASSES))
    learner.fit(recordings(50), epochs=3, callbacks=[Watch()], batch_size=10)
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(1e-4, rel=0.02)
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)
    learner.fit(recordings(50), epochs=1, callbacks=[Watch()], batch_size=10, schedule="constant")
    assert rates[-1] == 0.0, "a constant schedule keeps what the rate is"


def test_a_second_fit_begins_its_own_cosine() -> None:
    learner = ForwardLearner(network(), SigProp(CLASSES))
    learner.fit(recordings(50), epochs=1)
    before = {k: v.clone() for k, v in learner.net.state_dict().items()}
    learner.fit(recordings(50), epochs=1)
    assert not torch.equal(before["0.weight"], learner.net.state_dict()["0.weight"])


def test_batches_of_tensors_depend_on_seed_and_epoch_alone() -> None:
    x, labels = recordings(20)
    batches = TensorBatches(x, labels, batch_size=6, shuffle=True, seed=1)

    def order(epoch: int) -> list[Tensor]:
        batches.set_epoch(epoch)
        return [label for _, label in batches]

    assert len(batches) == 4
    assert all(torch.equal(a, b) for a, b in zip(order(1), order(1), strict=True))
    assert not torch.equal(torch.cat(order(1)), torch.cat(order(2)))
    for part, label in batches:
        assert part.shape[1] == len(label)


def test_any_data_loader_will_do_and_its_epoch_is_set() -> None:
    x, labels = recordings(40)

    def time_first(items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        return torch.stack([i for i, _ in items], dim=1), torch.stack([y for _, y in items])

    class Sampler(torch.utils.data.Sampler[int]):
        epochs: list[int] = []  # noqa: RUF012

        def set_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

        def __iter__(self) -> Any:
            return iter(range(40))

        def __len__(self) -> int:
            return 40

    data = TensorDataset(x.transpose(0, 1), labels)
    loader = DataLoader(data, batch_size=16, sampler=Sampler(), collate_fn=time_first)
    learner = ForwardLearner(network(), SigProp(CLASSES))
    assert len(learner.fit(loader, loader, epochs=2)) == 2
    assert Sampler.epochs == [1, 2]
    plain = DataLoader(data, batch_size=16)
    with pytest.raises(ValueError, match="batch-first"):
        ForwardLearner(network(), SigProp(CLASSES)).fit(plain, epochs=1)


def test_a_loader_without_length_learns_at_a_constant_rate() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            yield from TensorBatches(*recordings(20), batch_size=10, shuffle=False)

    loader: DataLoader[Any] = DataLoader(Stream(), batch_size=None)
    diary = Diary()
    learner = ForwardLearner(network(), SigProp(CLASSES))
    learner.fit(loader, epochs=1, schedule="constant", callbacks=[diary])
    assert diary.lines[0] == ("start", 1, None)
    with pytest.raises(ValueError, match="no length"):
        learner.fit(loader, epochs=1)
