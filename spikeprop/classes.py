"""A further class for a learner that has been learning."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner

__all__ = ["add_class"]


def add_class(learner: ForwardLearner) -> None:
    """Grow a learner's rule and tensors; see :meth:`spikeprop.ForwardLearner.add_class`."""
    engine = learner.bound()
    words = np.random.SeedSequence((learner.seed, learner.rule.num_classes)).generate_state(1)
    generator = torch.Generator().manual_seed(int(words[0]))
    rule, grown = learner.rule.with_class(engine.tensors, generator)
    tensors = dict(engine.tensors)
    for name, value in grown.items():
        held = tensors[name]
        value = value.to(held)
        if isinstance(held, nn.Parameter):
            assert engine.own_optimizer is not None, "it holds what is learned"
            _grow(engine.own_optimizer, held, value)
        else:
            tensors[name] = value
    learner.adopt(rule, replace(engine, rule=rule, tensors=tensors))


def _grow(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, value: Tensor) -> None:
    """Put a larger value into a parameter, with its optimiser's state zero where it is new."""
    before = parameter.shape
    for key, state in optimizer.state.get(parameter, {}).items():
        if isinstance(state, Tensor) and state.shape == before:
            larger = torch.zeros_like(value)
            larger[tuple(slice(size) for size in before)] = state
            optimizer.state[parameter][key] = larger
    parameter.data = value
