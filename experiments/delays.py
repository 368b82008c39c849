"""Credit over a delay: a cue of a few spikes, silence, a question; which rule learns the answer.

    python -m spikeprop.experiments.delays
    python -m spikeprop.experiments.delays --rules e-prop ottt bptt --delays 20 100

The cue is five steps of spikes on the channels of one of two classes, the question five steps of
spikes on channels that all classes share, when the cue is long gone. Learning and judging happen at
the question alone. Neurons: LIF, which forgets within tens of steps; ALIF, whose threshold
remembers its own spikes (``rho = exp(-1 / 200)``); RLIF, a recurrent layer. Cue synapses start so
weak that an untrained network hardly tells one class from the other at the end.

Two figures a cell:

    accuracy    of fresh sequences after training, mean and standard deviation over seeds
    alignment   before training: cosine between the rule's gradient for the cue's synapses and that
                of backpropagation through time. Accuracy may rise by memory alone (a readout finds
                what lasts by itself); alignment shows whether credit reaches back to the cue.

Finished cells are kept in ``results.json`` and are not run again; a table and a PNG are written
from whatever is there. Signal propagation has no error at a distance to carry: its evidence, the
running mean, remembers the cue itself, which its row shows.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.datasets.files import write_atomically, write_text
from spikeprop.experiments.store import Store
from spikeprop.neurons import ALIF, LIF, RLIF
from spikeprop.rules import RULES, Rule
from spikeprop.rules.names import make_rule

__all__ = ["DelaysConfig", "recordings", "run_cell"]

CUE, QUESTION, CHANNELS, RATE = 5, 5, 8, 0.5
NeuronName = Literal["lif", "alif", "rlif"]

NEURONS: dict[str, Callable[[int], nn.Module]] = {
    "lif": lambda width: LIF(0.9, init_hidden=True),
    "alif": lambda width: ALIF(0.9, rho=math.exp(-1 / 200), kappa=0.3, init_hidden=True),
    "rlif": lambda width: RLIF(0.9, linear_features=width, init_hidden=True),
}


@dataclass(frozen=True)
class DelaysConfig:
    """Options of the delay task."""

    rules: tuple[str, ...] = (
        "readout-only",
        "sigprop",
        "traces-propagation",
        "decolle",
        "sltt",
        "ottt",
        "s-tllr",
        "ostl",
        "e-prop",
        "e-prop-random",
        "bptt",
    )
    """Rules, as `spikeprop rules` lists them."""
    neurons: tuple[NeuronName, ...] = ("lif", "alif", "rlif")
    """Neurons of the hidden layer."""
    delays: tuple[int, ...] = (10, 20, 50, 100, 200)
    """Silent steps between cue and question [time steps]."""
    hidden: int = 32
    """Neurons."""
    updates: int = 150
    """Batches to learn from."""
    batch_size: int = 32
    """Sequences in a batch."""
    lr: float = 5e-3
    """Step size of Adam, for every rule alike: the task asks what can be learned at all."""
    seeds: int = 3
    """Runs of every cell."""
    out: Path = Path("runs/delays")
    """Folder of results.json, table.md and delays.png."""


def recordings(delay: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw sequences ``(T, count, 3 * CHANNELS)`` and their classes, 0 or 1."""
    labels = torch.randint(2, (count,), generator=generator)
    x = torch.zeros(CUE + delay + QUESTION, count, 3 * CHANNELS)
    cue = torch.rand(CUE, count, CHANNELS, generator=generator) < RATE
    question = torch.rand(QUESTION, count, CHANNELS, generator=generator) < RATE
    for label in (0, 1):
        channels = slice(label * CHANNELS, (label + 1) * CHANNELS)
        x[:CUE, labels == label, channels] = cue[:, labels == label].float()
    x[-QUESTION:, :, 2 * CHANNELS :] = question.float()
    return x, labels


def build(config: DelaysConfig, rule: Rule, neuron: str, seed: int) -> ForwardLearner:
    """Return a learner before its first update."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        synapse = nn.Linear(3 * CHANNELS, config.hidden)
        with torch.no_grad():
            synapse.weight[:, : 2 * CHANNELS] *= 0.5  # the cue alone makes few neurons fire
            synapse.weight[:, 2 * CHANNELS :].abs_().mul_(1.5)  # and the question many
        net = nn.Sequential(synapse, NEURONS[neuron](config.hidden))
    return ForwardLearner(net, rule, optimizer=partial(torch.optim.Adam, lr=config.lr), seed=seed)


def rule_of(name: str, delay: int) -> Rule:
    """Return a rule that learns at the question alone, where it has such a choice."""
    has = "first_step" in getattr(RULES.get(name), "__dataclass_fields__", {})
    options: dict[str, Any] = {"first_step": CUE + delay + 1} if has else {}
    if has and "homeostasis" in RULES[name].__dataclass_fields__:
        options["homeostasis"] = None  # its rates are those of the question, mostly
    return make_rule(name, 2, **options)


def run_cell(
    config: DelaysConfig, rule: str, neuron: str, delay: int, seed: int
) -> dict[str, float]:
    """Train and judge one learner.

    Returns
    -------
    dict
        ``accuracy`` from 0 to 1 and ``alignment`` from -1 to 1.
    """
    generator = torch.Generator().manual_seed(1000 + seed)
    aligned = alignment(config, rule, neuron, delay, seed)
    learner = build(config, rule_of(rule, delay), neuron, seed)
    for _ in range(config.updates):
        learner.update(*recordings(delay, config.batch_size, generator))
    x, labels = recordings(delay, 400, torch.Generator().manual_seed(2000 + seed))
    right = (learner.predict(x, final=True) == labels).float().mean()
    return {"accuracy": float(right), "alignment": aligned}


def alignment(config: DelaysConfig, rule: str, neuron: str, delay: int, seed: int) -> float:
    """Return the cosine of the rule's and of BPTT's first gradient for the cue's synapses."""
    x, labels = recordings(delay, 256, torch.Generator().manual_seed(3000 + seed))
    found = []
    for name in (rule, "bptt"):
        made = build(config, rule_of(name, delay), neuron, seed)
        whole = ForwardLearner(  # one update for all steps, whose size is the gradient
            made.net,
            made.rule,
            optimizer=partial(torch.optim.SGD, lr=1.0),
            update_every=len(x),
            traces="chunk",
            seed=seed,
        )
        weight: Any = whole.net[0].weight  # type: ignore[index]
        before = weight.detach().clone()
        whole.bind(x.shape[2:])
        share_readout(whole, seed)
        whole.update(x, labels)
        found.append((before - weight.detach())[:, : 2 * CHANNELS].flatten())
    if not found[0].any() or not found[1].any():
        return 0.0
    return float(nn.functional.cosine_similarity(found[0], found[1], dim=0))


def share_readout(learner: ForwardLearner, seed: int) -> None:
    """Give every rule with a readout the same one, large enough for an error to come back by."""
    weight = learner.bound().tensors.get("readout.weight")
    if weight is not None:
        generator = torch.Generator().manual_seed(4000 + seed)
        weight.data.copy_(torch.randn(weight.shape, generator=generator))


def table(config: DelaysConfig, store: Store) -> str:
    """Return accuracy and alignment of what is finished, as Markdown."""
    lines = [
        "| neuron | rule | " + " | ".join(f"{d} steps" for d in config.delays) + " |",
        "|---" * (2 + len(config.delays)) + "|",
    ]
    for neuron in config.neurons:
        for rule in config.rules:
            cells = [_cell(found_of(config, store, rule, neuron, d)) for d in config.delays]
            lines.append(f"| {neuron} | {rule} | " + " | ".join(cells) + " |")
    note = (
        f"Accuracy in % (mean ± sd of {config.seeds} seeds, {config.updates} updates) and, in "
        "brackets, the alignment with BPTT of the first gradient at the cue."
    )
    return "\n".join([*lines, "", note, ""])


def _cell(found: list[dict[str, Any]]) -> str:
    if not found:
        return "-"
    accuracy = [100 * item["accuracy"] for item in found]
    spread = statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0
    aligned = statistics.mean(item["alignment"] for item in found)
    return f"{statistics.mean(accuracy):.0f} ± {spread:.0f} ({aligned:.2f})"


def found_of(
    config: DelaysConfig, store: Store, rule: str, neuron: str, delay: int
) -> list[dict[str, Any]]:
    """Return the finished runs of a cell."""
    keys = [key_of(config, rule, neuron, delay, seed) for seed in range(config.seeds)]
    return [found for key in keys if (found := store.get(key)) is not None]


def key_of(config: DelaysConfig, rule: str, neuron: str, delay: int, seed: int) -> str:
    """Return the name of a run in the store, with a digest of all that determines it."""
    fixed = {k: getattr(config, k) for k in ("hidden", "updates", "batch_size", "lr")}
    identity = {**fixed, "rule": rule_of(rule, delay).config(), "seed": seed, "version": 1}
    return Store.key(f"{neuron} {rule} {delay} seed {seed}", identity)


def draw(config: DelaysConfig, store: Store, path: Path) -> None:
    """Draw accuracy and alignment over the delay, a column a neuron."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = len(config.neurons)
    figure = Figure(figsize=(3.6 * columns + 2, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, columns, sharex=True, squeeze=False)
    for column, neuron in enumerate(config.neurons):
        for row, value in enumerate(("accuracy", "alignment")):
            axis = axes[row, column]
            for place, rule in enumerate(config.rules):
                cells = [(d, found_of(config, store, rule, neuron, d)) for d in config.delays]
                points = [(d, statistics.mean(f[value] for f in fs)) for d, fs in cells if fs]
                style = ("-", "--", ":")[place // 10 % 3]
                axis.plot(*zip(*points, strict=True) if points else ([], []), style, label=rule)
            axis.set_xscale("log")
            axis.set_ylim((0.4, 1.02) if value == "accuracy" else (-0.3, 1.05))
            axis.set_title(f"{neuron}: {value}", fontsize=10)
            axis.minorticks_off()
            axis.set_xticks(config.delays, [str(d) for d in config.delays])
        axes[1, column].set_xlabel("delay (time steps)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    write_atomically(path, lambda file: figure.savefig(file, dpi=110, format="png"))


def run(config: DelaysConfig, say: Callable[[str], None] = print) -> str:
    """Run what is missing, write table and picture, and return the table.

    Raises
    ------
    ValueError
        For an unknown rule, or results of another program.
    """
    for name in config.rules:
        make_rule(name, 2)
    store = Store(config.out)
    for delay in config.delays:
        for neuron in config.neurons:
            for rule in config.rules:
                for seed in range(config.seeds):
                    key = key_of(config, rule, neuron, delay, seed)
                    if store.get(key) is None:
                        result = run_cell(config, rule, neuron, delay, seed)
                        store.put({key: {**result, "config": _plain(config)}})
                found = found_of(config, store, rule, neuron, delay)
                say(f"{neuron} {rule} {delay}: {_cell(found)}")
    text = table(config, store)
    write_text(config.out / "table.md", text, parents=True)
    draw(config, store, config.out / "delays.png")
    return text


def _plain(config: DelaysConfig) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, run, and print the table; return the exit code."""
    import tyro

    config = tyro.cli(DelaysConfig, description=__doc__, args=arguments)
    torch.set_num_threads(1)
    try:
        print(run(config, say=lambda line: print(line, file=sys.stderr, flush=True)))
    except ValueError as error:
        print(f"delays: {error}", file=sys.stderr)
        return 2
    print(config.out / "delays.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
