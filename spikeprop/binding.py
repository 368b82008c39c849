"""Binds a rule to a network: finds blocks, draws the rule's tensors, prepares thresholds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import nn

from spikeprop import checks
from spikeprop.blocks import Block, find_blocks
from spikeprop.engines import StepwiseEngine, stepwise
from spikeprop.rules import Rule
from spikeprop.thresholds import give_thresholds

__all__ = ["bind_network"]


def bind_network(
    net: nn.Module,
    rule: Rule,
    input_shape: Sequence[int],
    *,
    time_inside: bool,
    time_steps: int,
    traces: str,
    seed: int,
    make_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
) -> StepwiseEngine:
    """Return the engine that steps through time with a network for inputs of the given shape.

    Raises
    ------
    TypeError
        If the rule is of no known kind.
    ValueError
        If the network has no trainable block or does not take such an input.
    """
    kind = stepwise(rule)
    shape = torch.Size(input_shape)
    parameter = next(net.parameters(), None)
    like = parameter.detach() if parameter is not None else torch.zeros(())
    rows = (time_steps, 2, *shape) if time_inside else (2, *shape)
    checks.finite_weights(net)
    try:
        blocks = find_blocks(net, like.new_zeros(rows), whole_sequence=time_inside)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"the network does not take an input of shape {tuple(rows)} "
            f"({'T, B' if time_inside else 'B'}, *features): {error}"
        ) from error
    generator = torch.Generator().manual_seed(seed)
    shapes = [block.features for block in blocks]
    drawn = rule.draw(shapes, generator)
    drawn.update(rule.draw_input(shape, shapes, generator))
    tensors = {name: value.to(like) for name, value in drawn.items()}
    if rule.homeostasis is not None or rule.stream_homeostasis is not None:
        give_thresholds(blocks)
    _warn_of_untrained(net, blocks)
    own = {name: nn.Parameter(tensors[name]) for name in rule.learned(tensors)}
    tensors.update(own)
    optimizer = make_optimizer(list(own.values())) if own else None
    return kind(net, blocks, rule, tensors, time_inside, traces, optimizer)


def _warn_of_untrained(net: nn.Module, blocks: list[Block]) -> None:
    trained = {id(p) for block in blocks for p in block.parameters}
    rest = [n for n, p in net.named_parameters() if p.requires_grad and id(p) not in trained]
    if rest:
        warnings.warn(
            f"not trained, since they belong to no (synapse, neuron) pair or have no influence on "
            f"a voltage: {', '.join(rest)}. "
            f"Set requires_grad_(False) on them if that is meant",
            stacklevel=5,
        )
