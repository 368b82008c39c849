"""What the processes of the tests do: the same on one process and on each of several."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from toy import CLASSES, INPUTS, network, recordings

from spikeprop import ForwardLearner
from spikeprop.datasets import EventBatch
from spikeprop.neurons import LIF
from spikeprop.parallel import Ranks, split
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
    elif name == "once":
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
    else:
        assert name == "reference", name
    return ForwardLearner(net(), rule, **options), name in ("event", "once")


CASES = (
    "reference", "event", "chunked", "once", "dropout", "normed", "beta", "projection", "learned",
)  # fmt: skip


def learn(name: str, updates: int, uneven: bool = True) -> dict[str, Tensor]:
    """Train in float64 and return the weights; under a process group on this rank's part."""
    learner, sparse = learner_of(name)
    x, labels = recordings(n=48, steps=STEPS)
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
