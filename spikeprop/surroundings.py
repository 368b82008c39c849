"""What surrounds a pass through a network: modes of modules, random numbers, tiny numbers."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from spikeprop.norms import batch_norms

__all__ = ["flushed_denormals", "mode", "no_compiler", "randomness"]

_SMALLEST = 5e-324  # below the smallest normal number


@contextmanager
def mode(net: nn.Module, *, training: bool) -> Iterator[None]:
    """Set dropout by ``training`` meanwhile; batch norms always use their running statistics."""
    before = [(module, module.training) for module in net.modules()]
    net.train(training)
    for norm in batch_norms(net):
        norm.eval()
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


@contextmanager
def randomness(seed: int, update: int, device: torch.device) -> Iterator[None]:
    """Make dropout a function of seed and update meanwhile, whatever else is drawn elsewhere."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        words = np.random.SeedSequence((seed, update)).generate_state(1)
        # Not torch.manual_seed, which looks for every kind of device and takes a millisecond.
        torch.default_generator.manual_seed(int(words[0]))
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(int(words[0]))
        yield


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Take numbers below the smallest normal one (1.2e-38 in float32) as zero meanwhile.

    Where an input is rare, as at the edge of a sensor, traces and Adam's moments decay to such
    numbers and stay there, and processors take many times longer for each: on SaccadeDigits an
    update of 2312-256-256 took 183 ms instead of 58 from the second epoch on. Holds for the calling
    thread and for threads that start meanwhile; where the processor cannot, nothing happens.
    """
    before = _SMALLEST * 1.0 == 0.0  # the processor's own setting, which torch does not tell
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextmanager
def no_compiler() -> Iterator[None]:
    """Let optimisers be made without torch's compiler.

    ``add_param_group`` is guarded against being compiled, for which torch imports the compiler:
    more than a second before the first update. Where it is there already nothing changes.
    """
    guarded = Optimizer.add_param_group
    if "torch._dynamo" in sys.modules:
        yield
        return
    Optimizer.add_param_group = inspect.unwrap(guarded)  # type: ignore[method-assign]
    try:
        yield
    finally:
        Optimizer.add_param_group = guarded  # type: ignore[method-assign]
