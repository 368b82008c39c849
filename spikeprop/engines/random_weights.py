"""Feedback alignment: fixed random weights in place of the synapses', for what goes down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.blocks import Block
from spikeprop.synapses import NORMS

__all__ = ["random_weights", "seen_through"]


def random_weights(
    rule: str, blocks: Sequence[Block], tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Draw ``feedback.NAME`` shaped and scaled as the weight of each synapse but the first block's.

    They follow from the seed ``feedback.seed`` that the rule drew, and so from the learner's.

    Raises
    ------
    ValueError
        For a synapse whose weight is computed from other parameters.
    """
    generator = torch.Generator().manual_seed(int(tensors["feedback.seed"]))
    found: dict[str, Tensor] = {}
    for site in _crossed(blocks):
        weight = site.module._parameters.get("weight")
        if weight is None:
            raise ValueError(
                f"{rule} cannot train below synapse '{site.name}': its weight is computed from "
                f"other parameters, so that no random weight can take its place"
            )
        spread = weight.detach().float().std(correction=0).clamp_min(1e-3).cpu()
        drawn = torch.randn(weight.shape, generator=generator) * spread
        found[f"feedback.{site.name}"] = drawn.to(weight.detach())
    return found


def seen_through(
    blocks: Sequence[Block], tensors: dict[str, Tensor]
) -> list[torch.utils.hooks.RemovableHandle]:
    """Let each such synapse give its own output forward, and be the random one to autograd."""

    def giving(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
        def give(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            own = module._parameters["weight"]
            module._parameters["weight"] = tensors[f"feedback.{name}"]  # type: ignore[assignment]
            try:
                twin: Tensor = module.forward(*inputs)  # not module(...): no hooks
            finally:
                module._parameters["weight"] = own
            return output.detach() + (twin - twin.detach())

        return give

    return [site.module.register_forward_hook(giving(site.name)) for site in _crossed(blocks)]


def _crossed(blocks: Sequence[Block]) -> list[Any]:
    return [
        site
        for block in blocks[1:]
        for site in block.sites
        if not site.inside and not isinstance(site.module, NORMS)
    ]
