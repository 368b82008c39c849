"""The search space of either method: the same number of trials, best guess first.

A trial trains on the tuning part and is judged by its validation accuracy after the last epoch. The
best wins; of equals, the earlier in the list. Test data play no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, product

from spikeprop.experiments.bptt import BPTT, BPTTConfig
from spikeprop.experiments.forward import Forward, ForwardConfig

__all__ = ["METHODS", "TRIALS", "Config", "Model", "best", "build", "trials"]

Config = ForwardConfig | BPTTConfig
Model = Forward | BPTT

METHODS = ("spikeprop", "bptt")

_FORWARD = [
    ForwardConfig(lr=lr, tau=tau, dropout=dropout)
    for dropout, tau, lr in product((0.0, 0.2), (0.07, 0.05), (4e-4, 2e-4, 8e-4))
]
# Backpropagation does better with a short memory on some sets, and with a long one on others.
_BPTT = [
    BPTTConfig(lr=lr, slope=slope, dropout=dropout, beta=beta)
    for beta, (dropout, slope, lr) in zip(
        cycle((0.5, 0.9)), product((0.0, 0.2), (25.0, 10.0), (2e-3, 4e-3, 1e-3)), strict=False
    )
]
#: Largest search budget.
TRIALS = len(_FORWARD)


def trials(method: str, budget: int) -> Sequence[Config]:
    """Return the first ``budget`` trials of a method.

    Raises
    ------
    ValueError
        If the budget is not within 1 and :data:`TRIALS`, or the method is unknown.
    """
    spaces: dict[str, Sequence[Config]] = {"spikeprop": _FORWARD, "bptt": _BPTT}
    if method not in spaces:
        raise ValueError(f"method has to be one of {METHODS}, got {method!r}")
    if not 1 <= budget <= TRIALS:
        raise ValueError(f"trials has to lie in 1 .. {TRIALS}, got {budget}")
    return spaces[method][:budget]


def best(configs: Sequence[Config], validation: Sequence[float]) -> Config:
    """Return the configuration with the highest validation accuracy, the first of equals."""
    if not configs or len(configs) != len(validation):
        raise ValueError(
            f"every trial needs a result, got {len(configs)} trials and {len(validation)} results"
        )
    return configs[max(range(len(configs)), key=lambda i: (validation[i], -i))]


def build(config: Config, sizes: Sequence[int], steps: int, seed: int) -> Model:
    """Return an untrained model: inputs, hidden layers and classes as in ``sizes``."""
    kind = Forward if isinstance(config, ForwardConfig) else BPTT
    return kind(sizes, config, steps=steps, seed=seed)  # type: ignore[arg-type]
