"""What the processes of the tests do: the same on one process and on each of several."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from toy import CLASSES, INPUTS, network, recordings

from spikeprop import ForwardLearner
from spikeprop.contrast import BatchContrast, RandomMaximum
from spikeprop.datasets import EventBatch
from spikeprop.neurons import LIF
from spikeprop.parallel import Ranks, channel, split
from spikeprop.parallel.pipeline import Pipeline
from spikeprop.rules import RULES, SigProp

STEPS = 4


def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05)


def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=2e-3)


def plain() -> nn.Module:
    return network().double()


def dropping() -> nn.Module:
    first, *rest = network()
    return nn.Sequential(first, rest[0], nn.Dropout(0.3), *rest[1:]).double()


def normed() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 6)),
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        LIF(0.9, init_hidden=True),
        nn.Flatten(),
        nn.Linear(96, 16),
        nn.BatchNorm1d(16),
        LIF(0.9, init_hidden=True),
    ).double()


def convolution() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 6)),
        nn.Conv2d(1, 4, 3, padding=1),
        LIF(0.9, threshold=0.3, init_hidden=True),
        nn.Flatten(),
        nn.Linear(96, 16),
        LIF(0.9, init_hidden=True),
    ).double()


def learning_beta() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(INPUTS, 16),
        LIF(0.9, learn_beta=True, init_hidden=True),
        nn.Linear(16, 16),
        LIF(0.9, learn_beta=True, init_hidden=True),
    ).double()


def learner_of(name: str) -> tuple[ForwardLearner, bool]:
    """Return the learner of a case, and whether it is given sparse events."""
    rule: Any = SigProp(num_classes=CLASSES)
    net: Callable[[], nn.Module] = plain
    options: dict[str, Any] = {"engine": "reference", "optimizer": adam}
    if name.startswith("rule:"):
        options["optimizer"] = sgd
        rule = RULES[name[5:]](num_classes=CLASSES)
    elif name == "event":
        options["engine"] = "event"
    elif name == "chunked":
        options.update(engine="chunked", update_every=3)
    elif name in ("once", "grouped"):
        options.update(engine="event", update_every=STEPS)
    elif name == "dropout":
        net = dropping
    elif name == "normed":
        net = normed
        options["optimizer"] = sgd  # Adam makes steps of the rounding errors in place of zeros
    elif name == "beta":
        net = learning_beta
        options["optimizer"] = sgd
    elif name == "projection":
        rule = SigProp(num_classes=CLASSES, signal="projection")
    elif name == "learned":
        rule = SigProp(num_classes=CLASSES, signal="learned", readout="trained")
    elif name == "signal":
        rule = SigProp(num_classes=CLASSES, signal="learned")
        options.update(engine="chunked", update_every=3)
    elif name == "convolution":
        net = convolution
        options.update(engine="event", update_every=3)
    else:
        assert name == "reference", name
    sparse = name in ("event", "once", "grouped", "convolution")
    return ForwardLearner(net(), rule, **options), sparse


CASES = (
    "reference", "event", "chunked", "once", "grouped",
    "dropout", "normed", "beta", "projection", "learned", "signal", "convolution",
)  # fmt: skip


def learn(name: str, updates: int, uneven: bool = True) -> dict[str, Tensor]:
    """Train in float64 and return the weights; under a process group on this rank's part."""
    learner, sparse = learner_of(name)
    x, labels = recordings(n=48, steps=STEPS)
    if name in ("grouped", "convolution"):  # of denser input the first product is a dense one
        x = x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.4)
    ranks = Ranks.present()
    for update in range(updates):
        generator = torch.Generator().manual_seed(update)
        size = (12, 7, 1)[update % 3] if uneven else 12
        rows = torch.randperm(48, generator=generator)[:size]
        part: Any = x[:, rows]
        part = EventBatch.from_dense(part) if sparse else part.double()
        label = labels[rows]
        if ranks is not None:
            part, label = split(part, label, ranks)
        metrics = learner.update(part, label)
    state = {k: v.clone().contiguous() for k, v in learner.net.state_dict().items()}
    state["metrics"] = torch.stack([metrics.loss, metrics.accuracy, metrics.rate])
    return state


def weights(out: str, names: str, updates: str) -> None:
    """Write each case's weights, as this process has them."""
    ranks = Ranks.present()
    assert ranks is not None
    for name in names.split(","):
        save_file(learn(name, int(updates)), Path(out) / f"{name}.{ranks.rank}")


def read(out: Path, name: str, rank: int) -> dict[str, Tensor]:
    return dict(load_file(out / f"{name}.{rank}"))


def fitted(out: str) -> None:
    """Fit and evaluate; the same file from one process and from the ranks."""
    learner = ForwardLearner(plain(), SigProp(num_classes=CLASSES), optimizer=adam, seed=3)
    x, labels = recordings(n=23, steps=STEPS)
    results = learner.fit((x.double(), labels), (x.double(), labels), epochs=2, batch_size=6)
    judged = learner.evaluate((x.double(), labels), batch_size=2)
    ranks = Ranks.present()
    state: dict[str, Tensor] = {k: v.contiguous() for k, v in learner.net.state_dict().items()}
    last = results[-1]
    assert last.validation is not None
    state |= {
        "loss": last.train_loss, "rate": last.rate, "blocks": last.train_block_accuracy,
        "train": torch.tensor(last.train_accuracy), "confusion": last.validation.confusion,
        "accuracy": torch.tensor(judged.accuracy), "block_accuracy": judged.block_accuracy,
        "updates": torch.tensor(learner.updates),
    }  # fmt: skip
    save_file(state, Path(out) / f"fitted.{ranks.rank if ranks else 'alone'}")


def unlike(out: str) -> None:
    """Every rank begins with weights of its own, and goes on with those of the first."""
    ranks = Ranks.present()
    assert ranks is not None
    torch.manual_seed(ranks.rank)
    net = nn.Sequential(nn.Linear(INPUTS, 8), LIF(0.9, init_hidden=True))
    learner = ForwardLearner(net, SigProp(num_classes=CLASSES), seed=ranks.rank)
    x, labels = recordings(n=4 + 3 * ranks.rank, steps=STEPS)
    metrics = learner.update(x, labels)
    assert metrics.prediction.shape == labels.shape
    save_file(dict(net.state_dict()), Path(out) / f"unlike.{ranks.rank}")


def refused(name: str, reason: str) -> None:
    """A rule that cannot be split says so in every rank."""
    learner, _ = learner_of(f"rule:{name}")
    x, labels = recordings(n=6, steps=STEPS)
    with pytest.raises(ValueError, match=reason):
        learner.update(x.double(), labels)


def mistaken() -> None:
    """What cannot work is said before it begins."""
    learner, _ = learner_of("reference")
    x, labels = recordings(n=6, steps=STEPS)
    with pytest.raises(ValueError, match=r"at least the number of processes, 2.*got 1"):
        learner.fit((x.double(), labels), epochs=1, batch_size=1)
    with pytest.raises(ValueError, match="not split among processes"):
        learner.step(x[0].double(), labels)
    with pytest.raises(ValueError, match="one sample in one of the ranks"):
        learner.update(x[:, :0].double(), labels[:0])
    ranks = Ranks.present()
    assert ranks is not None
    with pytest.raises(ValueError if ranks.first else RuntimeError, match="no such thing"):
        ranks.agree(_fail)
    assert ranks.agree(lambda: {"a": [1, None, "b"]}) == {"a": [1, None, "b"]}


def _fail() -> None:
    raise ValueError("no such thing")


def losing(out: str, how: str) -> None:
    """The last rank dies, or falls silent, after two updates; the others say which it was."""
    learner, _ = learner_of("reference")
    x, labels = recordings(n=6, steps=STEPS)
    ranks = Ranks.present()
    assert ranks is not None
    part, label = split(x.double(), labels, ranks)
    begun = time.monotonic()
    try:
        for update in range(1000):
            if update == 2 and ranks.rank == ranks.size - 1:
                if how == "dies":
                    os._exit(9)
                time.sleep(600)
            begun = time.monotonic()
            learner.update(part, label)
    except ConnectionError as error:
        seconds = time.monotonic() - begun
        (Path(out) / f"lost.{ranks.rank}").write_text(f"{seconds} {error}")
    os._exit(0)  # nobody is left to leave with


def deep() -> nn.Module:
    """Four blocks, one of them behind pooling."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(INPUTS, 32),
        LIF(0.9, init_hidden=True),
        nn.Sequential(nn.Linear(32, 24), LIF(0.8, init_hidden=True)),
        nn.Unflatten(1, (1, 24)),
        nn.Flatten(),
        nn.Linear(24, 20),
        LIF(0.9, init_hidden=True),
        nn.Linear(20, 16),
        LIF(0.9, init_hidden=True),
    ).double()


def cosine(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + 0.1 * step))


def staged_learner(name: str) -> ForwardLearner:
    engine, every = {
        "reference": ("reference", 1), "event": ("event", 1), "chunked": ("chunked", 2),
        "once": ("event", STEPS), "normed": ("auto", 1),
    }[name]  # fmt: skip
    net = normed() if name == "normed" else deep()
    options: dict[str, Any] = {"optimizer": sgd if name == "normed" else adam, "scheduler": cosine}
    rule = SigProp(num_classes=CLASSES)
    learner = ForwardLearner(net, rule, engine=engine, update_every=every, **options)
    learner.bind((INPUTS,))
    return learner


def staged_batches(updates: int, sparse: bool) -> list[Any]:
    x, labels = recordings(n=48, steps=STEPS)
    found = []
    for update in range(updates):
        rows = torch.randperm(48, generator=torch.Generator().manual_seed(update))[:8]
        part: Any = x[:, rows].double()
        found.append((EventBatch.from_dense(part) if sparse else part, labels[rows]))
    return found


def staged(name: str, updates: int) -> dict[str, Tensor]:
    """Train through one process, or through the stages of a pipeline."""
    learner = staged_learner(name)
    batches = staged_batches(updates, sparse=name in ("event", "once"))
    half = updates // 2
    if Ranks.present() is None:
        metrics = [learner.update(x, label) for x, label in batches][half:]
        means = [torch.stack([item[k] for item in metrics]).mean(0) for k in range(3)]
        right = sum(
            int((item.prediction == label).sum())
            for item, (_, label) in zip(metrics, batches[half:], strict=True)
        )
    else:
        pipeline = Pipeline(learner)
        pipeline.learn(batches[:half] if pipeline.first else None)
        pipeline.gather()  # and go on
        learned = pipeline.learn(batches[half:] if pipeline.first else None)
        pipeline.gather()
        means, right = [learned.loss, learned.accuracy, learned.rate], learned.right
        assert learned.samples == 8 * (updates - half)
    state = {k: v.clone().contiguous() for k, v in learner.net.state_dict().items()}
    for i, optimizer in enumerate(learner.optimizers):
        assert optimizer is not None
        for j, moments in optimizer.state_dict()["state"].items():
            for key, value in moments.items():
                if isinstance(value, Tensor):
                    state[f"{i}.{j}.{key}"] = value.double().contiguous()
    rates = [s.get_last_lr()[0] for s in learner.schedulers]
    state["metrics"] = torch.stack([m.float() for m in means])
    state["counts"] = torch.tensor([float(learner.updates), float(right), *rates]).double()
    return state


def stages(out: str, names: str, updates: str) -> None:
    ranks = Ranks.present()
    assert ranks is not None
    for name in names.split(","):
        save_file(staged(name, int(updates)), Path(out) / f"{name}.{ranks.rank}")


def followed(out: str) -> dict[str, Tensor]:
    """Follow a stream with labels now and then."""
    learner = staged_learner("reference")
    x, labels = recordings(n=2, steps=40)
    steps = [(x_t.double(), labels if t % 3 else None) for t, x_t in enumerate(x)]
    ranks = Ranks.present()
    if ranks is None:
        seen = [learner.step(x_t, label) for x_t, label in steps]
    else:
        pipeline = Pipeline(learner)
        seen = list(pipeline.stream(steps if pipeline.first else None))
        assert len(seen) == 40
        pipeline.gather()
    state = {k: v.clone().contiguous() for k, v in learner.net.state_dict().items()}
    state["prediction"] = torch.stack([item.prediction for item in seen])
    state["logits"] = torch.stack([item.logits[-1] for item in seen])
    if ranks is not None:
        save_file(state, Path(out) / f"followed.{ranks.rank}")
    return state


def unpipelined() -> None:
    """What cannot stand in a pipeline is refused by name."""
    net = network().double()
    for rule, words in (
        (RULES["e-prop"](num_classes=CLASSES), "look at other blocks"),
        (SigProp(num_classes=CLASSES, signal="learned"), "learns tensors of its own"),
        (SigProp(CLASSES, loss=BatchContrast(RandomMaximum())), "RandomMaximum"),
    ):
        learner = ForwardLearner(network(), rule)
        learner.bind((INPUTS,))
        with pytest.raises(ValueError, match=words):
            Pipeline(learner)
    for bad, words in (
        (dropping(), "Dropout"),
        (nn.Sequential(net[0], net[1]), "2 processes need at least 2 blocks"),
        (Wrapped(), "nn.Sequential"),
    ):
        learner = ForwardLearner(bad, SigProp(num_classes=CLASSES))
        learner.bind((INPUTS,))
        with pytest.raises(ValueError, match=words):
            Pipeline(learner)
    learner = staged_learner("event")
    with pytest.raises(ValueError, match="ascending numbers of blocks"):
        Pipeline(learner, cuts=[0])


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = network().double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out


def relayed(room: str) -> None:
    """Two rows of more messages than are under way at a time, of all sizes, through all stages."""
    ranks = Ranks.present()
    assert ranks is not None
    channel.ROOM = int(room)
    way = channel.Channel(ranks)
    for row in range(2):
        expected = [np.arange(n * 13 % 700, dtype=np.uint8) for n in range(3 * channel.READY + row)]
        if ranks.first:
            for n, content in enumerate(expected):
                head = channel.Head(channel.WINDOW, number=n)
                way.send(head, content, more=n % 5 == 0)
            way.send(channel.Head(channel.END))
        else:
            for n, content in enumerate([*expected, None]):
                head, found = way.receive()
                if content is None:
                    assert head.what == channel.END
                else:
                    assert (head.number, head.size) == (n, len(content))
                    assert np.array_equal(found, content)
                way.send(head, found, more=bool(head.more))
        way.settle()
    assert way.bytes_sent > 0
